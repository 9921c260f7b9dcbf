from nnunetv2_simple.training.phased_trainer import PhasedTrainer
from nnunetv2_simple.training.phases import TRAIN_PARTIAL_CE


class nnUNetTrainerPartialCE(PhasedTrainer):  # noqa: N801 (nnU-Net's naming)
    """L_pce alone."""

    phases = (TRAIN_PARTIAL_CE,)
