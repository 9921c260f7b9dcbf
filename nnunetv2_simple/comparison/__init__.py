"""nnUNetv2_simple_compare: methods -> datasets -> trainings -> predictions -> scores -> tables."""
