from nnunetv2_simple.training.phases import PAPER_FINETUNE, PAPER_RETRAIN, PAPER_TRAIN
from nnunetv2_simple.training.trainer import PhasedTrainer


class SimPLeTrainer_Paper(PhasedTrainer):
    """The paper's setting to the letter, whatever SimPLeTrainer has become."""

    phases = (PAPER_TRAIN, PAPER_FINETUNE, PAPER_RETRAIN)
