"""A phase is data, a trainer is a tuple of phases."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from nnunetv2_simple.training.feature_tap import Tap
from nnunetv2_simple.training.voxel_terms import ContrastiveTerm, CRFTerm, PropagationTerm, VoxelTerm

TERMS = {  # as the log calls them
    ContrastiveTerm: "voxel contrastive loss",
    CRFTerm: "CRF loss",
    PropagationTerm: "labels propagated by similarity (SimPLe)",
}


@dataclass(frozen=True)
class Phase:
    """One stage of a training: what is learned, from which labels, for how long, at which learning rate.

    The learning rate decays polynomially (power 0.9, nnU-Net's schedule) from ``initial_lr`` to zero within the phase.

    Attributes:
        name: Its checkpoint is kept as ``checkpoint_<name>.pth``; the last phase's is nnU-Net's checkpoint_final.pth.
        labels: "weak": the labels of the dataset, learned by partial cross-entropy, starting from the weights the
            previous phase left. "pseudo_masks": dense masks predicted by the network the previous phase left, learned
            from random weights.
        segmentation_loss: "partial_ce", cross-entropy over the labelled voxels, or nnU-Net's own "dice_ce", which
            leaves ignored voxels out as well.
        patches: "nnunet": the batch of the plans, every third patch around a foreground voxel. "half_foreground": twice
            that batch, the first half around any labelled voxel, which is nearly always background (anywhere, in dense
            pseudo-masks), the second half around foreground voxels; the segmentation loss is the sum of those of both
            halves, and the voxel term sees the second half only.
        tap: Where the voxel term finds its features, see :class:`nnunetv2_simple.training.feature_tap.FeatureTap`.
        voxel_term: Added to the partial cross-entropy of a weak phase.
        walks_again: Of the pseudo-masks: whether the random walker makes them, with the network's opinion as its prior
            (see :func:`nnunetv2_simple.pseudo_mask.walk_again`); otherwise the network alone decides, as in the paper.
        num_epochs: Number of epochs.
        num_iterations_per_epoch: Training iterations per epoch; nnU-Net has 250.
        num_val_iterations_per_epoch: Validation iterations per epoch; nnU-Net has 50.
        initial_lr: Learning rate at the start of the phase.
        weight_decay: Of the optimiser; nnU-Net has 3e-5.
        lr_decays_every: Whether the learning rate is lowered once per epoch or at every iteration.
    """

    name: str
    labels: Literal["weak", "pseudo_masks"]
    num_epochs: int
    segmentation_loss: Literal["partial_ce", "dice_ce"] = "partial_ce"
    patches: Literal["nnunet", "half_foreground"] = "nnunet"
    voxel_term: VoxelTerm | None = None
    tap: Tap = "after_nonlinearity"
    walks_again: bool = False
    num_iterations_per_epoch: int = 250
    num_val_iterations_per_epoch: int = 50
    initial_lr: float = 1e-2
    weight_decay: float = 3e-5
    lr_decays_every: Literal["epoch", "iteration"] = "epoch"

    def __str__(self) -> str:
        labels = {"weak": "the labels of the dataset, ignored voxels left out", "pseudo_masks": "the pseudo-masks"}
        losses = [{"partial_ce": "cross-entropy", "dice_ce": "nnU-Net's Dice + cross-entropy"}[self.segmentation_loss]]
        if self.voxel_term is not None:
            losses.append(TERMS.get(type(self.voxel_term), type(self.voxel_term).__name__))
        return (
            f"{self.num_epochs} epochs of {self.num_iterations_per_epoch} iterations on {labels[self.labels]}, "
            f"by {' + '.join(losses)}, learning rate from {self.initial_lr:g}"
        )


# After 2000 iterations pseudo-masks were as good as after 10,000 (docs/results.md). 50 epochs are 12,500, as larger
# networks and more cases may take longer.
TRAIN = Phase(name="train", labels="weak", num_epochs=50, voxel_term=ContrastiveTerm(), tap="before_nonlinearity")
TRAIN_CRF = Phase(name="train", labels="weak", num_epochs=50, voxel_term=CRFTerm())  # sees no features
TRAIN_PARTIAL_CE = Phase(name="train", labels="weak", num_epochs=50)
# The 100 iterations of the fine-tuning are counted as 10 epochs, to see them in the log.
FINETUNE = Phase(
    name="finetune",
    labels="weak",
    num_epochs=10,
    voxel_term=PropagationTerm(),
    tap="before_nonlinearity",
    num_iterations_per_epoch=10,
    num_val_iterations_per_epoch=5,
    initial_lr=1e-4,
    lr_decays_every="iteration",
)
# nnU-Net's own training, to the last detail: only the labels are not painted ones.
RETRAIN = Phase(name="retrain", labels="pseudo_masks", num_epochs=1000, segmentation_loss="dice_ce", walks_again=True)

# SimPLe, sections 2.2 and 2.3, as published: an epoch of 21 cases at batch size 2 has 10 iterations.
PAPER_STRATEGY = {"patches": "half_foreground", "weight_decay": 1e-4}
PAPER_EPOCHS = {"num_epochs": 200, "num_iterations_per_epoch": 10, "num_val_iterations_per_epoch": 5}
PAPER_TRAIN = replace(TRAIN, voxel_term=ContrastiveTerm(pull_negatives=False), **PAPER_STRATEGY, **PAPER_EPOCHS)
PAPER_FINETUNE = replace(FINETUNE, **PAPER_STRATEGY)
PAPER_RETRAIN = Phase(name="retrain", labels="pseudo_masks", **PAPER_STRATEGY, **PAPER_EPOCHS)


def with_epochs(phases: Sequence[Phase], num_epochs: int) -> tuple[Phase, ...]:
    """Return the phases with another length: as many epochs as the nnUNetTrainer_Nepochs they are compared with.

    An epoch has nnU-Net's 250 iterations and 50 of validation. Where there is a retraining it has that length and the
    train phase a fifth of it, which is 50 for 250; the fine-tuning keeps its own. A single phase has that length.
    """
    lengths = {"train": num_epochs // 5 if len(phases) > 1 else num_epochs, "retrain": num_epochs}
    nnunets = {"num_iterations_per_epoch": 250, "num_val_iterations_per_epoch": 50}
    return tuple(
        replace(phase, num_epochs=lengths[phase.name], **nnunets) if phase.name in lengths else phase
        for phase in phases
    )


def with_iterations(phases: Sequence[Phase], num_iterations: int) -> tuple[Phase, ...]:
    """Return the phases with a schedule for small networks on a CPU; compare with nnUNetTrainer_Niterations.

    Args:
        phases: Phases of any length. The fine-tuning keeps its own.
        num_iterations: Training iterations of each of the others: 400, or a multiple of 200. An epoch has 200 of them,
            or a quarter where there are fewer than 800, and 5 of validation.
    """
    per_epoch = min(200, num_iterations // 4)
    short = {
        "num_epochs": num_iterations // per_epoch,
        "num_iterations_per_epoch": per_epoch,
        "num_val_iterations_per_epoch": 5,
    }
    return tuple(phase if phase.name == "finetune" else replace(phase, **short) for phase in phases)


def first_epoch(phases: Sequence[Phase], phase: Phase) -> int:
    """Return the epoch, counted over all phases, at which a phase starts."""
    return sum(earlier.num_epochs for earlier in phases[: phases.index(phase)])


def phase_at(phases: Sequence[Phase], epoch: int) -> Phase:
    """Return the phase an epoch, counted over all phases, belongs to; the last phase once all epochs are done."""
    for phase in phases:
        if epoch < first_epoch(phases, phase) + phase.num_epochs:
            return phase
    return phases[-1]
