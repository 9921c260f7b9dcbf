"""nnU-Net's own training, a schedule of four iterations."""

from functools import wraps

from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from nnunetv2_simple.training.seeding import SeededTrainer


class nnUNetTrainer_Minimal(SeededTrainer):
    @wraps(nnUNetTrainer.__init__)
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.num_epochs = 2
        self.num_iterations_per_epoch = 2
        self.num_val_iterations_per_epoch = 1
