"""What concerns nnU-Net itself: its versions, checkpoints, plans, trainer folder, model export."""
