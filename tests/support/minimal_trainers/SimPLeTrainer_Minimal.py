"""A schedule of sixteen iterations: enough to see who runs what, not to learn anything. There is no retraining, whose
pseudo-masks take most of the time."""

from dataclasses import replace

from nnunetv2_simple.training.phases import FINETUNE, TRAIN
from nnunetv2_simple.training.trainer import PhasedTrainer

MINIMAL = {"num_epochs": 4, "num_iterations_per_epoch": 2, "num_val_iterations_per_epoch": 1}


class SimPLeTrainer_Minimal(PhasedTrainer):
    phases = (replace(TRAIN, **MINIMAL), replace(FINETUNE, **MINIMAL))
