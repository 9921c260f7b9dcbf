"""Similarity-aware propagation: unlabelled voxels whose features agree with known positives (SimPLe, section 2.3)."""

import math

import torch
import torch.nn.functional as F

from nnunetv2_simple.sampling import VoxelIndices, features_at, sample_voxels

VOXELS_PER_CHUNK = 65_536  # bounds the (voxels x references) similarity matrix to 26 MB at 100 references
MAX_CALIBRATION_VOXELS = 2_000


def propagate_labels(
    features: torch.Tensor,
    target: torch.Tensor,
    *,
    ignore_label: int = 2,
    num_references: int = 100,
    similarity_threshold: float = 0.96,
    vote_fraction: float = 0.96,
    generator: torch.Generator | None = None,
) -> torch.Tensor:
    """Find the unlabelled voxels that count as positive in this iteration.

    N reference voxels are drawn from the positives (label 1) of the whole batch. An unlabelled voxel u becomes
    positive where

        |{reference r : cos(Z_u, Z_r) > similarity_threshold}| > vote_fraction * N

    With at most ``num_references`` positives in the batch all of them are references and N is their number; without
    any positive nothing is propagated. Features are detached: the vote has no gradient.

    Args:
        features: (B, D, *spatial), the feature vector Z of every voxel.
        target: (B, 1, *spatial) or (B, *spatial), labels; 1 is positive.
        ignore_label: Label of the unlabelled voxels.
        num_references: N > 0.
        similarity_threshold: lambda, a cosine in [-1, 1].
        vote_fraction: alpha in [0, 1].
        generator: Source of randomness, on the device of ``target``; the device's default one if None.

    Returns:
        (B, *spatial) bool, True where an unlabelled voxel becomes positive.

    Raises:
        ValueError: If the shapes do not belong together or ``num_references`` is not positive.

    Reference:
        Zhong & Wang, SimPLe, MICCAI 2023, section 2.3.

    Example:
        >>> features = torch.tensor([[[1.0, 2.0, 0.0], [0.0, 0.1, 1.0]]])  # of three voxels
        >>> propagate_labels(features, torch.tensor([[1, 2, 2]])).tolist()  # the second one agrees with the positive
        [[False, True, False]]
    """
    if target.ndim == features.ndim:
        target = target.squeeze(1)
    if target.shape != features.shape[:1] + features.shape[2:]:
        raise ValueError(
            f"target must be (B, 1, *spatial) or (B, *spatial) for features (B, D, *spatial), "
            f"got features {tuple(features.shape)} and target {tuple(target.shape)}"
        )
    if num_references < 1:
        raise ValueError(f"num_references must be at least 1, got {num_references}")

    references = draw_references(features, target == 1, num_references, generator=generator)
    return vote(
        features,
        target == ignore_label,
        references,
        similarity_threshold=similarity_threshold,
        vote_fraction=vote_fraction,
    )


def draw_references(
    features: torch.Tensor, mask: torch.Tensor, num_references: int, *, generator: torch.Generator | None = None
) -> torch.Tensor:
    """Return the normalised, detached features (<= num_references, D) of voxels drawn from a mask (B, *spatial)."""
    return _unit_features(features, sample_voxels(mask, num_references, generator=generator))


def vote(
    features: torch.Tensor,
    mask: torch.Tensor,
    references: torch.Tensor,
    *,
    similarity_threshold: float,
    vote_fraction: float,
) -> torch.Tensor:
    """Return which voxels of a mask (B, *spatial) agree with the references; see :func:`propagate_labels`."""
    accepted = torch.zeros_like(mask)
    if len(references):
        for voxels in mask.nonzero().split(VOXELS_PER_CHUNK):
            voxels = voxels.unbind(dim=1)
            agrees = _unit_features(features, voxels) @ references.T > similarity_threshold
            votes = agrees.sum(dim=1, dtype=torch.int32)  # ten times faster than the default, int64
            accepted[voxels] = votes > vote_fraction * len(references)
    return accepted


def similarity_threshold_for(
    features: torch.Tensor,
    mask: torch.Tensor,
    references: torch.Tensor,
    *,
    vote_fraction: float,
    accepted_share: float,
    generator: torch.Generator | None = None,
) -> float:
    """Return the similarity threshold at which the vote accepts a given share of the voxels of a mask.

    A voxel is accepted at any threshold below its (floor(alpha N) + 1)-th largest cosine to the N references: the
    threshold is a quantile of these. With voxels known to be of another label this calibrates the vote: the accepted
    share is that of its false positives.

    Args:
        features: (B, D, *spatial).
        mask: (B, *spatial) bool; at most 2000 of its voxels are looked at.
        references: (N, D), from :func:`draw_references`.
        vote_fraction: alpha in [0, 1).
        accepted_share: In [0, 1].
        generator: Source of randomness.

    Returns:
        lambda; infinity, which accepts nothing, where mask or references are empty.
    """
    voxels = sample_voxels(mask, MAX_CALIBRATION_VOXELS, generator=generator)
    num_needed = int(vote_fraction * len(references)) + 1
    if len(voxels[0]) == 0 or num_needed > len(references):
        return math.inf
    similarity = _unit_features(features, voxels) @ references.T
    scores = similarity.kthvalue(len(references) - num_needed + 1, dim=1).values
    return torch.quantile(scores, 1 - accepted_share, interpolation="higher").item()


def _unit_features(features: torch.Tensor, voxels: VoxelIndices) -> torch.Tensor:
    with torch.autocast(features.device.type, enabled=False):
        return F.normalize(features_at(features.detach(), voxels).float(), dim=1)
