"""The page nnUNetv2_simple_compare ends with: one HTML file that needs nothing else."""
