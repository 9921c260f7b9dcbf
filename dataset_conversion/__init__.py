"""Scripts that write nnU-Net raw datasets."""
