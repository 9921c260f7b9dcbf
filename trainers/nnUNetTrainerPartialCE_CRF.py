from nnunetv2_simple.training.phases import TRAIN_CRF, with_epochs
from nnunetv2_simple.training.trainer import PhasedTrainer


class nnUNetTrainerPartialCE_CRF(PhasedTrainer):
    """L_pce + L_crf: the train phase of SimPLeTrainer_CRF by itself, and longer."""

    phases = with_epochs((TRAIN_CRF,), 200)
