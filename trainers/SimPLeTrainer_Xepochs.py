"""Length variants: N epochs of retraining, compare with nnUNetTrainer_Nepochs. The train phase keeps its proportion of
one to five (200 : 1000 by default), the fine-tuning its 100 iterations."""

from dataclasses import replace

from nnunetv2_simple.phased_trainer import PhasedTrainer
from nnunetv2_simple.phases import FINETUNE, RETRAIN, TRAIN


class SimPLeTrainer_5epochs(PhasedTrainer):  # noqa: N801 (nnU-Net's naming)
    phases = (replace(TRAIN, num_epochs=1), FINETUNE, replace(RETRAIN, num_epochs=5))


class SimPLeTrainer_50epochs(PhasedTrainer):  # noqa: N801
    phases = (replace(TRAIN, num_epochs=10), FINETUNE, replace(RETRAIN, num_epochs=50))


class SimPLeTrainer_250epochs(PhasedTrainer):  # noqa: N801
    phases = (replace(TRAIN, num_epochs=50), FINETUNE, replace(RETRAIN, num_epochs=250))
