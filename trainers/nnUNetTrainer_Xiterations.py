"""nnU-Net's own training with the schedules of the retraining of SimPLeTrainer_Niterations."""

from functools import wraps

from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from nnunetv2_simple.training.seeding import SeededTrainer


class nnUNetTrainer_800iterations(SeededTrainer):
    @wraps(nnUNetTrainer.__init__)
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.num_epochs = 4
        self.num_iterations_per_epoch = 200
        self.num_val_iterations_per_epoch = 5


class nnUNetTrainer_2000iterations(SeededTrainer):
    @wraps(nnUNetTrainer.__init__)
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.num_epochs = 10
        self.num_iterations_per_epoch = 200
        self.num_val_iterations_per_epoch = 5
