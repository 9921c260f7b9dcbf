"""Length variants of SimPLeTrainer_CRF: compare with nnUNetTrainer_Nepochs."""

from nnunetv2_simple.training.phases import FINETUNE, RETRAIN, TRAIN_CRF, with_epochs, with_iterations
from nnunetv2_simple.training.trainer import PhasedTrainer

PHASES = (TRAIN_CRF, FINETUNE, RETRAIN)


class SimPLeTrainer_CRF_5epochs(PhasedTrainer):
    phases = with_epochs(PHASES, 5)


class SimPLeTrainer_CRF_50epochs(PhasedTrainer):
    phases = with_epochs(PHASES, 50)


class SimPLeTrainer_CRF_250epochs(PhasedTrainer):
    phases = with_epochs(PHASES, 250)


class SimPLeTrainer_CRF_800iterations(PhasedTrainer):
    phases = with_iterations(PHASES, 800)


class SimPLeTrainer_CRF_2000iterations(PhasedTrainer):
    phases = with_iterations(PHASES, 2000)
