"""Length variants of SimPLeTrainer_CRF: compare with nnUNetTrainer_Nepochs."""

from nnunetv2_simple.training.phased_trainer import PhasedTrainer
from nnunetv2_simple.training.phases import FINETUNE, RETRAIN, TRAIN_CRF, with_epochs, with_iterations

PHASES = (TRAIN_CRF, FINETUNE, RETRAIN)


class SimPLeTrainer_CRF_5epochs(PhasedTrainer):  # noqa: N801 (nnU-Net's naming)
    phases = with_epochs(PHASES, 5)


class SimPLeTrainer_CRF_50epochs(PhasedTrainer):  # noqa: N801
    phases = with_epochs(PHASES, 50)


class SimPLeTrainer_CRF_250epochs(PhasedTrainer):  # noqa: N801
    phases = with_epochs(PHASES, 250)


class SimPLeTrainer_CRF_800iterations(PhasedTrainer):  # noqa: N801
    phases = with_iterations(PHASES, 800)


class SimPLeTrainer_CRF_2000iterations(PhasedTrainer):  # noqa: N801
    phases = with_iterations(PHASES, 2000)
