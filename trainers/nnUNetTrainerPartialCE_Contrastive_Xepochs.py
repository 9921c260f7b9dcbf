from dataclasses import replace

from nnunetv2_simple.phased_trainer import PhasedTrainer
from nnunetv2_simple.phases import TRAIN


class nnUNetTrainerPartialCE_Contrastive_5epochs(PhasedTrainer):  # noqa: N801 (nnU-Net's naming)
    phases = (replace(TRAIN, num_epochs=5),)


class nnUNetTrainerPartialCE_Contrastive_50epochs(PhasedTrainer):  # noqa: N801
    phases = (replace(TRAIN, num_epochs=50),)


class nnUNetTrainerPartialCE_Contrastive_250epochs(PhasedTrainer):  # noqa: N801
    phases = (replace(TRAIN, num_epochs=250),)
