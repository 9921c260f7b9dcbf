from nnunetv2_simple.training.phases import TRAIN_PARTIAL_CE
from nnunetv2_simple.training.trainer import PhasedTrainer


class nnUNetTrainerPartialCE(PhasedTrainer):
    """L_pce alone."""

    phases = (TRAIN_PARTIAL_CE,)
