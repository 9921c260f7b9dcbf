"""Length variants of nnUNetTrainerPartialCE: compare with nnUNetTrainer_Nepochs."""

from nnunetv2_simple.training.phases import TRAIN_PARTIAL_CE, with_epochs, with_iterations
from nnunetv2_simple.training.trainer import PhasedTrainer

PHASES = (TRAIN_PARTIAL_CE,)


class nnUNetTrainerPartialCE_5epochs(PhasedTrainer):
    phases = with_epochs(PHASES, 5)


class nnUNetTrainerPartialCE_50epochs(PhasedTrainer):
    phases = with_epochs(PHASES, 50)


class nnUNetTrainerPartialCE_250epochs(PhasedTrainer):
    phases = with_epochs(PHASES, 250)


class nnUNetTrainerPartialCE_800iterations(PhasedTrainer):
    phases = with_iterations(PHASES, 800)


class nnUNetTrainerPartialCE_2000iterations(PhasedTrainer):
    phases = with_iterations(PHASES, 2000)
