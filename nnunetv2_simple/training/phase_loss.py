"""The loss of a phase: a (deep-supervised) segmentation loss plus at most one voxel term."""

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
    for the log, as scalar tensors on the device: nothing waits for it before the backward pass.

    Args:
        segmentation_loss: Takes what the network returns and the target, a list per resolution or a tensor.
        half_foreground: Whether the first half of every batch are background patches and the second half foreground
            patches: the segmentation losses of both are added, and the voxel term sees the foreground patches only.
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
        half_foreground: bool,
        foreground_labels: Sequence[int],
        ignore_label: int,
        spacing_mm: Sequence[float],
    ):
        super().__init__()
        self.segmentation_loss = segmentation_loss
        self.half_foreground = half_foreground
        self.voxel_term = voxel_term
        self.feature_tap = feature_tap
        self.foreground_labels = foreground_labels
        self.ignore_label = ignore_label
        self.spacing_mm = spacing_mm
        self.image: torch.Tensor | None = None
        self.terms: dict[str, torch.Tensor] = {}

    def forward(self, output: list[torch.Tensor] | torch.Tensor, target: list[torch.Tensor] | torch.Tensor):
        parts = self._parts(len(_full_resolution(output)))
        loss = sum(self.segmentation_loss(_patches(output, part), _patches(target, part)) for part in parts)
        self.terms = {"segmentation_loss": loss.detach()}
        if self.voxel_term is not None:
            part, features = parts[-1], self.feature_tap.pop()
            batch = VoxelBatch(
                self.image[part],
                features[part],
                _full_resolution(output)[part],
                _full_resolution(target)[part].squeeze(1),
                self.foreground_labels,
                self.ignore_label,
                self.spacing_mm,
            )
            term, log = self.voxel_term(batch)
            loss = loss + term
            self.terms |= log
        return loss

    def _parts(self, num_patches: int) -> list[slice]:
        """Return which patches of a batch share one segmentation loss; the last are those a voxel term sees."""
        if not self.half_foreground:
            return [slice(None)]
        return [slice(num_patches // 2), slice(num_patches // 2, None)]  # nnU-Net's data loader puts foreground last


def _full_resolution(tensors: list[torch.Tensor] | torch.Tensor) -> torch.Tensor:
    return tensors[0] if isinstance(tensors, list | tuple) else tensors


def _patches(tensors: list[torch.Tensor] | torch.Tensor, part: slice) -> list[torch.Tensor] | torch.Tensor:
    return [tensor[part] for tensor in tensors] if isinstance(tensors, list | tuple) else tensors[part]
