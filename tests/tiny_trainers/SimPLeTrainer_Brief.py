"""All phases, an epoch of two iterations each."""

from dataclasses import replace

from nnunetv2_simple.training.phased_trainer import PhasedTrainer
from nnunetv2_simple.training.phases import FINETUNE, RETRAIN, TRAIN

BRIEF = {"num_epochs": 1, "num_iterations_per_epoch": 2, "num_val_iterations_per_epoch": 1}


class SimPLeTrainer_Brief(PhasedTrainer):  # noqa: N801 (nnU-Net's naming)
    phases = (replace(TRAIN, **BRIEF), replace(FINETUNE, **BRIEF), replace(RETRAIN, **BRIEF))
