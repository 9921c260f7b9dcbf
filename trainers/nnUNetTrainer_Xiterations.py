"""nnU-Net's own training with the schedule of the retraining of SimPLeTrainer_800iterations."""

from functools import wraps

from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from nnunetv2_simple.training.seeding import SeededTrainer


class nnUNetTrainer_800iterations(SeededTrainer):  # noqa: N801 (nnU-Net's naming)
    @wraps(nnUNetTrainer.__init__)
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.num_epochs = 4
        self.num_iterations_per_epoch = 200
        self.num_val_iterations_per_epoch = 5
