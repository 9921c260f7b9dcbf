from nnunetv2_simple.training.phases import TRAIN, with_epochs
from nnunetv2_simple.training.trainer import PhasedTrainer


class nnUNetTrainerPartialCE_Contrastive(PhasedTrainer):
    """L_pce + L_ctr: the train phase of SimPLeTrainer by itself, and longer."""

    phases = with_epochs((TRAIN,), 200)
