"""Trainers of other lengths: every trainer of this folder, nnUNetTrainer and nnUNetTrainerCELoss.

    <trainer>_5epochs  _50epochs  _250epochs        as nnU-Net's nnUNetTrainer_5epochs, _50epochs, _250epochs
    <trainer>_400iterations  _800iterations  _2000iterations        for small networks on a CPU

nnU-Net finds a trainer by the name of a module's attribute. nnU-Net brings the lengths in epochs that are missing here.
"""

from collections.abc import Callable
from functools import wraps

from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.training.nnUNetTrainer.variants.loss.nnUNetTrainerCELoss import nnUNetTrainerCELoss

from nnunetv2_simple.trainers.nnUNetTrainerPartialCE import nnUNetTrainerPartialCE
from nnunetv2_simple.trainers.nnUNetTrainerPartialCE_Contrastive import nnUNetTrainerPartialCE_Contrastive
from nnunetv2_simple.trainers.nnUNetTrainerPartialCE_CRF import nnUNetTrainerPartialCE_CRF
from nnunetv2_simple.trainers.SimPLeTrainer import SimPLeTrainer
from nnunetv2_simple.trainers.SimPLeTrainer_CRF import SimPLeTrainer_CRF
from nnunetv2_simple.trainers.SimPLeTrainer_Paper import SimPLeTrainer_Paper
from nnunetv2_simple.training.phases import RETRAIN, Phase, with_epochs, with_iterations
from nnunetv2_simple.training.seeding import SeededTrainer
from nnunetv2_simple.training.trainer import PhasedTrainer

EPOCHS, ITERATIONS = (5, 50, 250), (400, 800, 2000)

LENGTHS = (
    # trainer, its lengths in epochs, its lengths in iterations
    (SimPLeTrainer, EPOCHS, ITERATIONS),
    (SimPLeTrainer_CRF, EPOCHS, ITERATIONS),
    (SimPLeTrainer_Paper, EPOCHS, ITERATIONS),
    (nnUNetTrainerPartialCE, EPOCHS, ITERATIONS),
    (nnUNetTrainerPartialCE_Contrastive, EPOCHS, ITERATIONS),
    (nnUNetTrainerPartialCE_CRF, EPOCHS, ITERATIONS),
    (nnUNetTrainerCELoss, (50, 250), ITERATIONS),
    (nnUNetTrainer, (), ITERATIONS),
)


class _Scheduled(SeededTrainer):
    """One of nnU-Net's own trainers for as long as the retraining it is compared with."""

    schedule: Phase

    @wraps(nnUNetTrainer.__init__)
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        for name in ("num_epochs", "num_iterations_per_epoch", "num_val_iterations_per_epoch"):
            setattr(self, name, getattr(self.schedule, name))


def _variant(trainer: type[nnUNetTrainer], suffix: str, lengthen: Callable, length: int) -> type[nnUNetTrainer]:
    name = f"{trainer.__name__}_{length}{suffix}"
    if issubclass(trainer, PhasedTrainer):
        return type(name, (trainer,), {"__module__": __name__, "phases": lengthen(trainer.phases, length)})
    (schedule,) = lengthen((RETRAIN,), length)
    bases = (_Scheduled,) if trainer is nnUNetTrainer else (_Scheduled, trainer)
    return type(name, bases, {"__module__": __name__, "schedule": schedule})


for _trainer, _epochs, _iterations in LENGTHS:
    _variants = [_variant(_trainer, "epochs", with_epochs, length) for length in _epochs]
    _variants += [_variant(_trainer, "iterations", with_iterations, length) for length in _iterations]
    globals().update({variant.__name__: variant for variant in _variants})
