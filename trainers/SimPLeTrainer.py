from nnunetv2_simple.phased_trainer import PhasedTrainer
from nnunetv2_simple.phases import FINETUNE, RETRAIN, TRAIN


class SimPLeTrainer(PhasedTrainer):
    """L_pce + L_ctr, then fine-tuning with similarity-aware propagation, then retraining on the pseudo-masks."""

    phases = (TRAIN, FINETUNE, RETRAIN)
