"""Length variants of nnUNetTrainerPartialCE_Contrastive: compare with nnUNetTrainer_Nepochs."""

from nnunetv2_simple.training.phased_trainer import PhasedTrainer
from nnunetv2_simple.training.phases import TRAIN, with_epochs, with_iterations

PHASES = (TRAIN,)


class nnUNetTrainerPartialCE_Contrastive_5epochs(PhasedTrainer):  # noqa: N801 (nnU-Net's naming)
    phases = with_epochs(PHASES, 5)


class nnUNetTrainerPartialCE_Contrastive_50epochs(PhasedTrainer):  # noqa: N801
    phases = with_epochs(PHASES, 50)


class nnUNetTrainerPartialCE_Contrastive_250epochs(PhasedTrainer):  # noqa: N801
    phases = with_epochs(PHASES, 250)


class nnUNetTrainerPartialCE_Contrastive_800iterations(PhasedTrainer):  # noqa: N801
    phases = with_iterations(PHASES, 800)


class nnUNetTrainerPartialCE_Contrastive_2000iterations(PhasedTrainer):  # noqa: N801
    phases = with_iterations(PHASES, 2000)
