"""Length variants of nnUNetTrainerPartialCE_Contrastive: compare with nnUNetTrainer_Nepochs."""

from nnunetv2_simple.training.phases import TRAIN, with_epochs, with_iterations
from nnunetv2_simple.training.trainer import PhasedTrainer

PHASES = (TRAIN,)


class nnUNetTrainerPartialCE_Contrastive_5epochs(PhasedTrainer):
    phases = with_epochs(PHASES, 5)


class nnUNetTrainerPartialCE_Contrastive_50epochs(PhasedTrainer):
    phases = with_epochs(PHASES, 50)


class nnUNetTrainerPartialCE_Contrastive_250epochs(PhasedTrainer):
    phases = with_epochs(PHASES, 250)


class nnUNetTrainerPartialCE_Contrastive_800iterations(PhasedTrainer):
    phases = with_iterations(PHASES, 800)


class nnUNetTrainerPartialCE_Contrastive_2000iterations(PhasedTrainer):
    phases = with_iterations(PHASES, 2000)
