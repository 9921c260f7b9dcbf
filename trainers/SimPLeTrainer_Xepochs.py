"""Length variants of SimPLeTrainer: compare with nnUNetTrainer_Nepochs."""

from nnunetv2_simple.training.phases import FINETUNE, RETRAIN, TRAIN, with_epochs, with_iterations
from nnunetv2_simple.training.trainer import PhasedTrainer

PHASES = (TRAIN, FINETUNE, RETRAIN)


class SimPLeTrainer_5epochs(PhasedTrainer):
    phases = with_epochs(PHASES, 5)


class SimPLeTrainer_50epochs(PhasedTrainer):
    phases = with_epochs(PHASES, 50)


class SimPLeTrainer_250epochs(PhasedTrainer):
    phases = with_epochs(PHASES, 250)


class SimPLeTrainer_800iterations(PhasedTrainer):
    phases = with_iterations(PHASES, 800)


class SimPLeTrainer_2000iterations(PhasedTrainer):
    phases = with_iterations(PHASES, 2000)
