from nnunetv2_simple.training.phased_trainer import PhasedTrainer
from nnunetv2_simple.training.phases import TRAIN_CRF


class nnUNetTrainerPartialCE_CRF(PhasedTrainer):  # noqa: N801 (nnU-Net's naming)
    """L_pce + L_crf: the train phase of SimPLeTrainer_CRF by itself."""

    phases = (TRAIN_CRF,)
