"""Length variants of nnUNetTrainerPartialCE: compare with nnUNetTrainer_Nepochs."""

from nnunetv2_simple.training.phased_trainer import PhasedTrainer
from nnunetv2_simple.training.phases import TRAIN_PARTIAL_CE, with_epochs, with_iterations

PHASES = (TRAIN_PARTIAL_CE,)


class nnUNetTrainerPartialCE_5epochs(PhasedTrainer):  # noqa: N801 (nnU-Net's naming)
    phases = with_epochs(PHASES, 5)


class nnUNetTrainerPartialCE_50epochs(PhasedTrainer):  # noqa: N801
    phases = with_epochs(PHASES, 50)


class nnUNetTrainerPartialCE_250epochs(PhasedTrainer):  # noqa: N801
    phases = with_epochs(PHASES, 250)


class nnUNetTrainerPartialCE_800iterations(PhasedTrainer):  # noqa: N801
    phases = with_iterations(PHASES, 800)


class nnUNetTrainerPartialCE_2000iterations(PhasedTrainer):  # noqa: N801
    phases = with_iterations(PHASES, 2000)
