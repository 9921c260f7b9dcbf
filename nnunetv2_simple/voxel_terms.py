"""What is learned from single voxels of a batch, on top of the partial cross-entropy: one term per phase.

A term is called with the features Z (B, D, *spatial), the full-resolution logits (B, C, *spatial), the target
(B, 1, *spatial), the foreground labels and the ignore label. It returns the loss to add and what to log. With several
foreground classes each class in turn is the positive one and the terms are averaged; with one class this is the paper.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from nnunetv2_simple.losses import voxel_contrastive_loss
from nnunetv2_simple.propagation import propagate_labels
from nnunetv2_simple.sampling import features_at, sample_voxels

TermResult = tuple[torch.Tensor, dict[str, float]]


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

    log_keys = ("contrastive",)

    def __call__(
        self,
        features: torch.Tensor,
        logits: torch.Tensor,
        target: torch.Tensor,
        foreground_labels: Sequence[int],
        ignore_label: int,
    ) -> TermResult:
        target = target.squeeze(1)
        losses = []
        for label in foreground_labels:
            is_negative = (target != label) & (target != ignore_label)
            positives = features_at(features, sample_voxels(target == label, self.num_samples))
            negatives = features_at(features, sample_voxels(is_negative, self.num_samples))
            losses.append(
                voxel_contrastive_loss(
                    positives, negatives, temperature=self.temperature, pull_negatives=self.pull_negatives
                )
            )
        loss = torch.stack(losses).mean()
        return loss, {"contrastive": loss.item()}


@dataclass(frozen=True)
class PropagationTerm:
    """-weight * mean of log p over the voxels that similarity-aware propagation makes positive (SimPLe, section 2.3).

    The paper sums over these voxels, the published code takes their mean. The mean is followed: L_pce is a mean as
    well, and a sum would make the weight depend on patch size and batch size.

    Attributes:
        weight: w.
        num_references: N.
        similarity_threshold: lambda.
        vote_fraction: alpha.
    """

    weight: float = 0.1
    num_references: int = 100
    similarity_threshold: float = 0.96
    vote_fraction: float = 0.96

    log_keys = ("propagation", "propagated_share")

    def __call__(
        self,
        features: torch.Tensor,
        logits: torch.Tensor,
        target: torch.Tensor,
        foreground_labels: Sequence[int],
        ignore_label: int,
    ) -> TermResult:
        target = target.squeeze(1)
        accepted = torch.stack([self._accepted(features, target, label, ignore_label) for label in foreground_labels])
        propagated = accepted.sum(dim=0) == 1  # a voxel that two classes accept stays unlabelled
        log_p = logits.float().log_softmax(dim=1)
        log_likelihood = sum(
            log_p[:, label][is_accepted & propagated].sum()
            for label, is_accepted in zip(foreground_labels, accepted, strict=True)
        )
        loss = -self.weight * log_likelihood / propagated.sum().clamp(min=1)
        num_unlabelled = (target == ignore_label).sum().clamp(min=1)
        share = (propagated.sum() / num_unlabelled).item()
        return loss, {"propagation": loss.item(), "propagated_share": share}

    def _accepted(self, features: torch.Tensor, target: torch.Tensor, label: int, ignore_label: int) -> torch.Tensor:
        one_versus_rest = torch.where(target == ignore_label, 2, (target == label).to(target.dtype))
        return propagate_labels(
            features,
            one_versus_rest,
            ignore_label=2,
            num_references=self.num_references,
            similarity_threshold=self.similarity_threshold,
            vote_fraction=self.vote_fraction,
        )
