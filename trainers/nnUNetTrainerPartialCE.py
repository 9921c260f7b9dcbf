from dataclasses import replace

from nnunetv2_simple.phased_trainer import PhasedTrainer
from nnunetv2_simple.phases import TRAIN


class nnUNetTrainerPartialCE(PhasedTrainer):  # noqa: N801 (nnU-Net's naming)
    """L_pce alone."""

    phases = (replace(TRAIN, voxel_term=None),)
