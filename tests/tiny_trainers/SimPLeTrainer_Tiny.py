"""A schedule of a few iterations, found by nnU-Net through nnUNet_extTrainer like any trainer of a user's own."""

from dataclasses import replace

from nnunetv2_simple.training.phased_trainer import PhasedTrainer
from nnunetv2_simple.training.phases import FINETUNE, RETRAIN, TRAIN

TINY = {"num_epochs": 3, "num_iterations_per_epoch": 4, "num_val_iterations_per_epoch": 1}


class SimPLeTrainer_Tiny(PhasedTrainer):  # noqa: N801 (nnU-Net's naming)
    phases = (
        replace(TRAIN, **TINY | {"num_iterations_per_epoch": 60}),
        replace(FINETUNE, **TINY),
        replace(RETRAIN, **TINY),
    )
