"""The loss of a phase that learns weak labels: deep-supervised partial cross-entropy plus one voxel term."""

from collections.abc import Sequence

import torch
from torch import nn

from nnunetv2_simple.losses import partial_cross_entropy
from nnunetv2_simple.training.feature_tap import FeatureTap
from nnunetv2_simple.training.voxel_terms import VoxelBatch, VoxelTerm


class PartialCrossEntropyLoss(nn.Module):
    """:func:`nnunetv2_simple.losses.partial_cross_entropy` as a module, for nnU-Net's deep supervision wrapper."""

    def __init__(self, ignore_label: int):
        super().__init__()
        self.ignore_label = ignore_label

    def forward(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return partial_cross_entropy(logits, target, ignore_label=self.ignore_label)


class PhaseLoss(nn.Module):
    """Add a voxel term, computed at full resolution, to a (deep-supervised) segmentation loss.

    Before every call :attr:`image` must be the network's input; after it :attr:`terms` holds the value of each part,
    for the log.

    Args:
        segmentation_loss: Takes what the network returns and the target, a list per resolution or a tensor.
        voxel_term: What to learn from single voxels; None for the segmentation loss alone.
        feature_tap: Where the features of the latest forward pass are; needed by a voxel term.
        foreground_labels: Labels 1..K.
        ignore_label: K + 1.
        spacing_mm: Voxel size, one number per spatial dimension of the patches.
    """

    def __init__(
        self,
        segmentation_loss: nn.Module,
        voxel_term: VoxelTerm | None,
        feature_tap: FeatureTap | None,
        *,
        foreground_labels: Sequence[int],
        ignore_label: int,
        spacing_mm: Sequence[float],
    ):
        super().__init__()
        self.segmentation_loss = segmentation_loss
        self.voxel_term = voxel_term
        self.feature_tap = feature_tap
        self.foreground_labels = foreground_labels
        self.ignore_label = ignore_label
        self.spacing_mm = spacing_mm
        self.image: torch.Tensor | None = None
        self.terms: dict[str, float] = {}

    def forward(self, output: list[torch.Tensor] | torch.Tensor, target: list[torch.Tensor] | torch.Tensor):
        loss = self.segmentation_loss(output, target)
        self.terms = {"segmentation_loss": loss.item()}
        if self.voxel_term is not None:
            logits, target = (output[0], target[0]) if isinstance(output, list | tuple) else (output, target)
            batch = VoxelBatch(
                self.image,
                self.feature_tap.pop(),
                logits,
                target.squeeze(1),
                self.foreground_labels,
                self.ignore_label,
                self.spacing_mm,
            )
            term, log = self.voxel_term(batch)
            loss = loss + term
            self.terms |= log
        return loss
