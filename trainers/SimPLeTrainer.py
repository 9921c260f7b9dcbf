from nnunetv2_simple.training.phased_trainer import PhasedTrainer
from nnunetv2_simple.training.phases import FINETUNE, RETRAIN, TRAIN


class SimPLeTrainer(PhasedTrainer):
    """L_pce + L_ctr, then fine-tuning with similarity-aware propagation, then retraining on the pseudo-masks."""

    phases = (TRAIN, FINETUNE, RETRAIN)
