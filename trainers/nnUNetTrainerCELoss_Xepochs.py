"""Length variants of nnU-Net's nnUNetTrainerCELoss, which itself has one of 5 epochs only."""

from functools import wraps

from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.training.nnUNetTrainer.variants.loss.nnUNetTrainerCELoss import nnUNetTrainerCELoss

from nnunetv2_simple.training.seeding import SeededTrainer


class nnUNetTrainerCELoss_50epochs(SeededTrainer, nnUNetTrainerCELoss):
    @wraps(nnUNetTrainer.__init__)
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.num_epochs = 50


class nnUNetTrainerCELoss_250epochs(SeededTrainer, nnUNetTrainerCELoss):
    @wraps(nnUNetTrainer.__init__)
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.num_epochs = 250


class nnUNetTrainerCELoss_800iterations(SeededTrainer, nnUNetTrainerCELoss):
    @wraps(nnUNetTrainer.__init__)
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.num_epochs = 4
        self.num_iterations_per_epoch = 200
        self.num_val_iterations_per_epoch = 5


class nnUNetTrainerCELoss_2000iterations(SeededTrainer, nnUNetTrainerCELoss):
    @wraps(nnUNetTrainer.__init__)
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.num_epochs = 10
        self.num_iterations_per_epoch = 200
        self.num_val_iterations_per_epoch = 5
