"""What is learned from single voxels of a batch, on top of the segmentation loss: one term per phase.

A term is called with a :class:`VoxelBatch` and returns the loss to add and what to log. With several foreground classes
each class in turn is the positive one and the terms are averaged; with one class this is the paper.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch

from nnunetv2_simple.losses import contrastive_loss_of_pairs, crf_loss
from nnunetv2_simple.propagation import draw_references, draw_voxels, features_at, vote

TermResult = tuple[torch.Tensor, dict[str, torch.Tensor]]


class VoxelBatch(NamedTuple):
    """A batch as a term sees it, at full resolution.

    Attributes:
        image: (B, channels, *spatial), the network's input.
        features: (B, D, *spatial), the feature vector Z of every voxel.
        logits: (B, C, *spatial).
        target: (B, *spatial), labels.
        foreground_labels: 1..K.
        ignore_label: K + 1.
        spacing_mm: Voxel size, one number per spatial dimension.
    """

    image: torch.Tensor
    features: torch.Tensor
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
        loss = torch.stack([self._against_rest(batch, label) for label in batch.foreground_labels]).mean()
        return loss, {"contrastive": loss.detach()}

    def _against_rest(self, batch: VoxelBatch, label: int) -> torch.Tensor:
        is_negative = (batch.target != label) & (batch.target != batch.ignore_label)
        drawn = [draw_voxels(mask, self.num_samples) for mask in (batch.target == label, is_negative)]
        return contrastive_loss_of_pairs(
            torch.cat([features_at(batch.features, voxels) for voxels in drawn]),
            torch.cat([torch.full_like(voxels.counts, index == 0) for index, voxels in enumerate(drawn)]),
            torch.cat([voxels.counts for voxels in drawn]),
            temperature=self.temperature,
            pull_negatives=self.pull_negatives,
        )


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
        return loss, {"crf": loss.detach()}


@dataclass(frozen=True)
class PropagationTerm:
    """-weight * mean of log p over the voxels that similarity-aware propagation labels (SimPLe, section 2.3).

    The paper sums over these voxels, the published code takes their mean. The mean is followed: L_pce is a mean as
    well, and a sum would make the weight depend on patch size and batch size.

    Attributes:
        weight: w.
        num_references: N.
        similarity_threshold: lambda.
        vote_fraction: alpha. No voxel can agree with more than the share of the references that are right, so it must
            stay below the precision of the initial pseudo-masks.
    """

    weight: float = 0.1
    num_references: int = 100
    similarity_threshold: float = 0.96
    vote_fraction: float = 0.96

    def __call__(self, batch: VoxelBatch) -> TermResult:
        is_unlabelled = batch.target == batch.ignore_label
        votes = [self._vote(batch, label) for label in batch.foreground_labels]
        accepted = torch.stack([agrees & is_unlabelled for agrees, _ in votes])
        propagated = accepted.sum(dim=0) == 1  # a voxel that two labels accept stays unlabelled
        log_p = batch.logits.float().log_softmax(dim=1)
        log_likelihood = sum(
            log_p[:, label].where(is_accepted & propagated, 0).sum()
            for label, is_accepted in zip(batch.foreground_labels, accepted, strict=True)
        )
        loss = -self.weight * log_likelihood / propagated.sum().clamp(min=1)
        rates = {key: torch.stack([rates[key] for _, rates in votes]).nanmean() for key in votes[0][1]}
        return loss, {
            "propagation": loss.detach(),
            "propagated_share": propagated.sum() / is_unlabelled.sum().clamp(min=1),
        } | rates

    def _vote(self, batch: VoxelBatch, label: int) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Return which voxels agree with a label, and which shares of those of known labels do (NaN: there is none)."""
        features = batch.features.detach()
        known, others = batch.target == label, (batch.target != label) & (batch.target != batch.ignore_label)
        references = draw_references(features, known, self.num_references)
        agrees = vote(
            features,
            references,
            similarity_threshold=self.similarity_threshold,
            vote_fraction=self.vote_fraction,
        )
        return agrees, {
            "accepted_positives": (agrees & known).sum() / known.sum(),
            "accepted_negatives": (agrees & others).sum() / others.sum(),
        }


VoxelTerm = ContrastiveTerm | CRFTerm | PropagationTerm
