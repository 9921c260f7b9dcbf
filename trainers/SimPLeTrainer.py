from nnunetv2_simple.training.phases import FINETUNE, RETRAIN, TRAIN
from nnunetv2_simple.training.trainer import PhasedTrainer


class SimPLeTrainer(PhasedTrainer):
    """L_pce + L_ctr, then fine-tuning with similarity-aware propagation, then retraining on the pseudo-masks."""

    phases = (TRAIN, FINETUNE, RETRAIN)
