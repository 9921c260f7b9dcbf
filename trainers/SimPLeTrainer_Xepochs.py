"""Length variants of SimPLeTrainer: compare with nnUNetTrainer_Nepochs."""

from nnunetv2_simple.training.phased_trainer import PhasedTrainer
from nnunetv2_simple.training.phases import FINETUNE, RETRAIN, TRAIN, with_epochs, with_iterations

PHASES = (TRAIN, FINETUNE, RETRAIN)


class SimPLeTrainer_5epochs(PhasedTrainer):  # noqa: N801 (nnU-Net's naming)
    phases = with_epochs(PHASES, 5)


class SimPLeTrainer_50epochs(PhasedTrainer):  # noqa: N801
    phases = with_epochs(PHASES, 50)


class SimPLeTrainer_250epochs(PhasedTrainer):  # noqa: N801
    phases = with_epochs(PHASES, 250)


class SimPLeTrainer_800iterations(PhasedTrainer):  # noqa: N801
    phases = with_iterations(PHASES, 800)


class SimPLeTrainer_2000iterations(PhasedTrainer):  # noqa: N801
    phases = with_iterations(PHASES, 2000)
