"""Schedules of a few iterations, found by nnU-Net through nnUNet_extTrainer like any trainer of a user's own."""

from dataclasses import replace

from nnunetv2_simple.training.phases import FINETUNE, PAPER_FINETUNE, PAPER_RETRAIN, PAPER_TRAIN, RETRAIN, TRAIN
from nnunetv2_simple.training.trainer import PhasedTrainer

TINY = {"num_epochs": 3, "num_iterations_per_epoch": 4, "num_val_iterations_per_epoch": 1}
BRIEF = {"num_epochs": 1, "num_iterations_per_epoch": 2, "num_val_iterations_per_epoch": 1}


class SimPLeTrainer_Tiny(PhasedTrainer):
    phases = (
        replace(TRAIN, **TINY | {"num_iterations_per_epoch": 60}),
        replace(FINETUNE, **TINY),
        replace(RETRAIN, **TINY),
    )

    def configure_rotation_dummyDA_mirroring_and_inital_patch_size(self):  # noqa: N802 (nnU-Net's naming)
        """Mirror along one axis only: predicting, which takes longest, then is done twice instead of eight times."""
        *others, _ = super().configure_rotation_dummyDA_mirroring_and_inital_patch_size()
        self.inference_allowed_mirroring_axes = (0,)
        return *others, self.inference_allowed_mirroring_axes


class SimPLeTrainer_Brief(SimPLeTrainer_Tiny):
    phases = (replace(TRAIN, **BRIEF), replace(FINETUNE, **BRIEF), replace(RETRAIN, **BRIEF))


class SimPLeTrainer_PaperBrief(SimPLeTrainer_Tiny):  # noqa: N801
    phases = (replace(PAPER_TRAIN, **BRIEF), replace(PAPER_FINETUNE, **BRIEF), replace(PAPER_RETRAIN, **BRIEF))
