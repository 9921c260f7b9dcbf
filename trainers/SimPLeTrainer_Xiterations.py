"""A schedule for small networks on a CPU: 800 iterations of training, 100 of fine-tuning, 800 of retraining. Compare
with nnUNetTrainer_800iterations."""

from dataclasses import replace

from nnunetv2_simple.phased_trainer import PhasedTrainer
from nnunetv2_simple.phases import FINETUNE, RETRAIN, TRAIN

SHORT = {"num_epochs": 4, "num_iterations_per_epoch": 200, "num_val_iterations_per_epoch": 5}


class SimPLeTrainer_800iterations(PhasedTrainer):  # noqa: N801 (nnU-Net's naming)
    phases = (replace(TRAIN, **SHORT), FINETUNE, replace(RETRAIN, **SHORT))
