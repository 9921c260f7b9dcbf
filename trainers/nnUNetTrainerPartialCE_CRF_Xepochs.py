"""Length variants of nnUNetTrainerPartialCE_CRF: compare with nnUNetTrainer_Nepochs."""

from nnunetv2_simple.training.phases import TRAIN_CRF, with_epochs, with_iterations
from nnunetv2_simple.training.trainer import PhasedTrainer

PHASES = (TRAIN_CRF,)


class nnUNetTrainerPartialCE_CRF_5epochs(PhasedTrainer):
    phases = with_epochs(PHASES, 5)


class nnUNetTrainerPartialCE_CRF_50epochs(PhasedTrainer):
    phases = with_epochs(PHASES, 50)


class nnUNetTrainerPartialCE_CRF_250epochs(PhasedTrainer):
    phases = with_epochs(PHASES, 250)


class nnUNetTrainerPartialCE_CRF_800iterations(PhasedTrainer):
    phases = with_iterations(PHASES, 800)


class nnUNetTrainerPartialCE_CRF_2000iterations(PhasedTrainer):
    phases = with_iterations(PHASES, 2000)
