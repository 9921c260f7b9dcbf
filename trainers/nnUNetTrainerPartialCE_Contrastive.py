from nnunetv2_simple.training.phased_trainer import PhasedTrainer
from nnunetv2_simple.training.phases import TRAIN


class nnUNetTrainerPartialCE_Contrastive(PhasedTrainer):  # noqa: N801 (nnU-Net's naming)
    """L_pce + L_ctr: the train phase of SimPLeTrainer by itself."""

    phases = (TRAIN,)
