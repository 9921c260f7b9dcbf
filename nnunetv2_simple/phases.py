"""A phase is data, a trainer is a tuple of phases."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from nnunetv2_simple.voxel_terms import ContrastiveTerm, PropagationTerm


@dataclass(frozen=True)
class Phase:
    """One stage of a training: what is learned, from which labels, for how long, at which learning rate.

    The learning rate decays polynomially (power 0.9, nnU-Net's schedule) from ``initial_lr`` to zero within the phase.

    Attributes:
        name: Its checkpoint is kept as ``checkpoint_<name>.pth``; the last phase's is nnU-Net's checkpoint_final.pth.
        labels: "weak": the labels of the dataset, learned by partial cross-entropy, starting from the weights the
            previous phase left. "pseudo_masks": dense masks predicted by the network the previous phase left, learned
            by nnU-Net's own loss from random weights.
        voxel_term: Added to the partial cross-entropy of a weak phase.
        num_epochs: Number of epochs.
        num_iterations_per_epoch: Training iterations per epoch; nnU-Net has 250.
        num_val_iterations_per_epoch: Validation iterations per epoch; nnU-Net has 50.
        initial_lr: Learning rate at the start of the phase.
        lr_decays_every: Whether the learning rate is lowered once per epoch or at every iteration.
    """

    name: str
    labels: Literal["weak", "pseudo_masks"]
    num_epochs: int
    voxel_term: ContrastiveTerm | PropagationTerm | None = None
    num_iterations_per_epoch: int = 250
    num_val_iterations_per_epoch: int = 50
    initial_lr: float = 1e-2
    lr_decays_every: Literal["epoch", "iteration"] = "epoch"


# SimPLe, sections 2.2 and 2.3. The 100 iterations of the fine-tuning are counted as 10 epochs, to see them in the log.
TRAIN = Phase(name="train", labels="weak", num_epochs=200, voxel_term=ContrastiveTerm())
FINETUNE = Phase(
    name="finetune",
    labels="weak",
    num_epochs=10,
    voxel_term=PropagationTerm(),
    num_iterations_per_epoch=10,
    num_val_iterations_per_epoch=5,
    initial_lr=1e-4,
    lr_decays_every="iteration",
)
# nnU-Net's own training, to the last detail: only the labels are not painted ones.
RETRAIN = Phase(name="retrain", labels="pseudo_masks", num_epochs=1000)


def first_epoch(phases: Sequence[Phase], phase: Phase) -> int:
    """Return the epoch, counted over all phases, at which a phase starts."""
    return sum(earlier.num_epochs for earlier in phases[: phases.index(phase)])


def phase_at(phases: Sequence[Phase], epoch: int) -> Phase:
    """Return the phase an epoch, counted over all phases, belongs to; the last phase once all epochs are done."""
    for phase in phases:
        if epoch < first_epoch(phases, phase) + phase.num_epochs:
            return phase
    return phases[-1]
