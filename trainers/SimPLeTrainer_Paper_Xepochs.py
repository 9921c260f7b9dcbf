"""Length variants of SimPLeTrainer_Paper: compare with nnUNetTrainer_Nepochs."""

from nnunetv2_simple.training.phases import PAPER_FINETUNE, PAPER_RETRAIN, PAPER_TRAIN, with_epochs, with_iterations
from nnunetv2_simple.training.trainer import PhasedTrainer

PHASES = (PAPER_TRAIN, PAPER_FINETUNE, PAPER_RETRAIN)


class SimPLeTrainer_Paper_5epochs(PhasedTrainer):
    phases = with_epochs(PHASES, 5)


class SimPLeTrainer_Paper_50epochs(PhasedTrainer):
    phases = with_epochs(PHASES, 50)


class SimPLeTrainer_Paper_250epochs(PhasedTrainer):
    phases = with_epochs(PHASES, 250)


class SimPLeTrainer_Paper_800iterations(PhasedTrainer):
    phases = with_iterations(PHASES, 800)


class SimPLeTrainer_Paper_2000iterations(PhasedTrainer):
    phases = with_iterations(PHASES, 2000)
