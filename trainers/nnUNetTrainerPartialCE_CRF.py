from nnunetv2_simple.training.phases import TRAIN_CRF
from nnunetv2_simple.training.trainer import PhasedTrainer


class nnUNetTrainerPartialCE_CRF(PhasedTrainer):
    """L_pce + L_crf: the train phase of SimPLeTrainer_CRF by itself."""

    phases = (TRAIN_CRF,)
