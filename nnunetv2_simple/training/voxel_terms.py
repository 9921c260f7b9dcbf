"""What is learned from single voxels of a batch, on top of the segmentation loss: one term per phase.

A term is called with a :class:`VoxelBatch` and returns the loss to add and what to log. With several foreground classes
each class in turn is the positive one and the terms are averaged; with one class this is the paper.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple

import torch

from nnunetv2_simple.losses import crf_loss, voxel_contrastive_loss
from nnunetv2_simple.propagation import MAX_CALIBRATION_VOXELS, draw_references, similarity_threshold_for, vote
from nnunetv2_simple.sampling import sample_voxels
from nnunetv2_simple.training.feature_tap import VoxelFeatures

TermResult = tuple[torch.Tensor, dict[str, float]]


class VoxelBatch(NamedTuple):
    """A batch as a term sees it, at full resolution.

    Attributes:
        image: (B, channels, *spatial), the network's input.
        features: The feature vector Z of every voxel.
        logits: (B, C, *spatial).
        target: (B, *spatial), labels.
        foreground_labels: 1..K.
        ignore_label: K + 1.
        spacing_mm: Voxel size, one number per spatial dimension.
    """

    image: torch.Tensor
    features: VoxelFeatures
    logits: torch.Tensor
    target: torch.Tensor
    foreground_labels: Sequence[int]
    ignore_label: int
    spacing_mm: Sequence[float]


@dataclass(frozen=True)
class ContrastiveTerm:
    """L_ctr over voxels sampled from the batch (SimPLe, section 2.2).

    Attributes:
        num_samples: Positives sampled from the batch, and as many negatives.
        temperature: tau.
        pull_negatives: Whether pairs of two negatives take part, as eq. 2 has it and the published code has not.
    """

    num_samples: int = 100
    temperature: float = 0.1
    pull_negatives: bool = True

    def __call__(self, batch: VoxelBatch) -> TermResult:
        losses = []
        for label in batch.foreground_labels:
            is_negative = (batch.target != label) & (batch.target != batch.ignore_label)
            positives = batch.features.at(sample_voxels(batch.target == label, self.num_samples))
            negatives = batch.features.at(sample_voxels(is_negative, self.num_samples))
            losses.append(
                voxel_contrastive_loss(
                    positives, negatives, temperature=self.temperature, pull_negatives=self.pull_negatives
                )
            )
        loss = torch.stack(losses).mean()
        return loss, {"contrastive": loss.item()}


@dataclass(frozen=True)
class CRFTerm:
    """weight * L_crf over all voxels of the batch, labelled or not.

    Attributes:
        weight: Of L_crf, which is a mean over the window where published losses are sums: 0.1 for the 120 voxels of a
            window in 2D is 12 here. So much makes short trainings call everything background
            (docs/results.md, "Choices").
    """

    weight: float = 1.0

    def __call__(self, batch: VoxelBatch) -> TermResult:
        probabilities = batch.logits.float().softmax(dim=1)
        loss = self.weight * crf_loss(probabilities, batch.image, spacing_mm=batch.spacing_mm)
        return loss, {"crf": loss.item()}


@dataclass(frozen=True)
class PropagationTerm:
    """-weight * mean of log p over the voxels that similarity-aware propagation labels (SimPLe, section 2.3).

    The paper sums over these voxels, the published code takes their mean. The mean is followed: L_pce is a mean as
    well, and a sum would make the weight depend on patch size and batch size.

    Attributes:
        weight: w.
        num_references: N.
        similarity_threshold: lambda; "calibrated" chooses it for each batch such that the same vote accepts
            ``max_false_share`` of the voxels known to be of another label.
        vote_fraction: alpha. No voxel can agree with more than the share of the references that are right, so it must
            stay below the precision of the initial pseudo-masks.
        max_false_share: Of the calibration.
        propagated: Which labels spread: "foreground" as in the paper, "background" or "all".
    """

    weight: float = 0.1
    num_references: int = 100
    similarity_threshold: float | str = 0.96
    vote_fraction: float = 0.96
    max_false_share: float = 0.01
    propagated: Literal["foreground", "background", "all"] = "foreground"

    def __call__(self, batch: VoxelBatch) -> TermResult:
        foreground = list(batch.foreground_labels)
        labels = {"foreground": foreground, "background": [0], "all": [0, *foreground]}[self.propagated]
        features = batch.features.everywhere()
        votes = [self._accepted(batch, features, label) for label in labels]
        accepted = torch.stack([accepted for accepted, _ in votes])
        propagated = accepted.sum(dim=0) == 1  # a voxel that two labels accept stays unlabelled
        log_p = batch.logits.float().log_softmax(dim=1)
        log_likelihood = sum(
            log_p[:, label][is_accepted & propagated].sum() for label, is_accepted in zip(labels, accepted, strict=True)
        )
        loss = -self.weight * log_likelihood / propagated.sum().clamp(min=1)
        num_unlabelled = (batch.target == batch.ignore_label).sum().clamp(min=1)
        rates = {key: sum(rate[key] for _, rate in votes) / len(votes) for key in votes[0][1]}
        return loss, {
            "propagation": loss.item(),
            "propagated_share": (propagated.sum() / num_unlabelled).item(),
        } | rates

    def _accepted(self, batch: VoxelBatch, features: torch.Tensor, label: int) -> tuple[torch.Tensor, dict[str, float]]:
        """Return which unlabelled voxels agree with a label, and how the same vote judges voxels of known labels."""
        known, others = batch.target == label, (batch.target != label) & (batch.target != batch.ignore_label)
        references = draw_references(features, known, self.num_references)
        threshold = self.similarity_threshold
        if threshold == "calibrated":
            threshold = similarity_threshold_for(
                features,
                others,
                references,
                vote_fraction=self.vote_fraction,
                accepted_share=self.max_false_share,
            )
        vote_on = partial(
            vote,
            features,
            references=references,
            similarity_threshold=threshold,
            vote_fraction=self.vote_fraction,
        )
        rates = {
            "accepted_positives": _share(vote_on, known),
            "accepted_negatives": _share(vote_on, others),
        }
        return vote_on(batch.target == batch.ignore_label), rates


def _share(vote_on: Callable[[torch.Tensor], torch.Tensor], mask: torch.Tensor) -> float:
    """Return the share of a sample of the voxels of a mask that a vote accepts; NaN for an empty mask."""
    sample = torch.zeros_like(mask)
    sample[sample_voxels(mask, MAX_CALIBRATION_VOXELS)] = True
    return (vote_on(sample).sum() / sample.sum()).item()


VoxelTerm = ContrastiveTerm | CRFTerm | PropagationTerm
