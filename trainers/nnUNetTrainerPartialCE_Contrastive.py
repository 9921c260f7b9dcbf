from nnunetv2_simple.training.phases import TRAIN
from nnunetv2_simple.training.trainer import PhasedTrainer


class nnUNetTrainerPartialCE_Contrastive(PhasedTrainer):
    """L_pce + L_ctr: the train phase of SimPLeTrainer by itself."""

    phases = (TRAIN,)
