from nnunetv2_simple.phased_trainer import PhasedTrainer
from nnunetv2_simple.phases import TRAIN_PARTIAL_CE


class nnUNetTrainerPartialCE(PhasedTrainer):  # noqa: N801 (nnU-Net's naming)
    """L_pce alone."""

    phases = (TRAIN_PARTIAL_CE,)
