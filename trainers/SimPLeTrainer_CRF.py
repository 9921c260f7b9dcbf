from nnunetv2_simple.training.phased_trainer import PhasedTrainer
from nnunetv2_simple.training.phases import FINETUNE, RETRAIN, TRAIN_CRF


class SimPLeTrainer_CRF(PhasedTrainer):  # noqa: N801 (nnU-Net's naming)
    """As SimPLeTrainer, with L_crf in place of L_ctr."""

    phases = (TRAIN_CRF, FINETUNE, RETRAIN)
