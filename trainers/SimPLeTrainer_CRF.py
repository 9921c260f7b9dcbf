from nnunetv2_simple.training.phases import FINETUNE, RETRAIN, TRAIN_CRF
from nnunetv2_simple.training.trainer import PhasedTrainer


class SimPLeTrainer_CRF(PhasedTrainer):
    """As SimPLeTrainer, with L_crf in place of L_ctr."""

    phases = (TRAIN_CRF, FINETUNE, RETRAIN)
