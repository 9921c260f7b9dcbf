from nnunetv2_simple.training.phased_trainer import PhasedTrainer
from nnunetv2_simple.training.phases import PAPER_FINETUNE, PAPER_RETRAIN, PAPER_TRAIN


class SimPLeTrainer_Paper(PhasedTrainer):  # noqa: N801 (nnU-Net's naming)
    """The paper's setting to the letter, whatever SimPLeTrainer has become."""

    phases = (PAPER_TRAIN, PAPER_FINETUNE, PAPER_RETRAIN)
