"""A schedule of sixteen iterations: enough to see who runs what, not to learn anything. There is no retraining, whose
pseudo-masks take most of the time."""

from dataclasses import replace

from nnunetv2_simple.training.phased_trainer import PhasedTrainer
from nnunetv2_simple.training.phases import FINETUNE, TRAIN

MINIMAL = {"num_epochs": 4, "num_iterations_per_epoch": 2, "num_val_iterations_per_epoch": 1}


class SimPLeTrainer_Minimal(PhasedTrainer):  # noqa: N801 (nnU-Net's naming)
    phases = (replace(TRAIN, **MINIMAL), replace(FINETUNE, **MINIMAL))
