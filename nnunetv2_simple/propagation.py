"""Similarity-aware propagation: unlabelled voxels whose features agree with known positives (SimPLe, section 2.3).

Nothing here waits for the device: how many voxels there are of a kind stays on it. So draws have a fixed length and say
which of their entries count, and the vote is held on all voxels.
"""

from fractions import Fraction
from typing import NamedTuple

import torch
import torch.nn.functional as F

VOXELS_PER_CHUNK = 32_768  # bounds the (references x voxels) similarity matrix to 13 MB at 100 references


class DrawnVoxels(NamedTuple):
    """Voxels drawn from a mask.

    Attributes:
        indices: One index tensor (num,) per dimension of the mask.
        counts: (num,) bool, False for the entries left over where the mask has fewer voxels.
    """

    indices: tuple[torch.Tensor, ...]
    counts: torch.Tensor


class References(NamedTuple):
    """Features that unlabelled voxels are compared with.

    Attributes:
        features: (N, D) float32, of length one.
        counts: (N,) bool, as in :class:`DrawnVoxels`.
    """

    features: torch.Tensor
    counts: torch.Tensor


def draw_voxels(mask: torch.Tensor, num: int, *, generator: torch.Generator | None = None) -> DrawnVoxels:
    """Draw ``num`` of the voxels that are True, without replacement; all of them where there are fewer.

    Args:
        mask: (B, *spatial) bool.
        num: Number of voxels wanted.
        generator: Source of randomness, on the device of ``mask``; the device's default one if None.
    """
    keys = torch.rand(mask.numel(), device=mask.device, generator=generator).masked_fill_(~mask.flatten(), -1)
    keys, voxels = keys.topk(min(num, len(keys)))
    return DrawnVoxels(torch.unravel_index(voxels, mask.shape), keys >= 0)


def features_at(features: torch.Tensor, voxels: DrawnVoxels) -> torch.Tensor:
    """Look up the feature vectors (num, D) of voxels in (B, D, *spatial)."""
    batch, *spatial = voxels.indices
    # not movedim(1, -1)[voxels]: its gradient would lie in memory channels last, and be slow to add to that of others
    return features[(batch, slice(None), *spatial)]


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
    accepted = vote(features, references, similarity_threshold=similarity_threshold, vote_fraction=vote_fraction)
    return accepted & (target == ignore_label)


def draw_references(
    features: torch.Tensor, mask: torch.Tensor, num_references: int, *, generator: torch.Generator | None = None
) -> References:
    """Draw reference voxels from a mask (B, *spatial) and return their features, detached."""
    voxels = draw_voxels(mask, num_references, generator=generator)
    return References(_unit_length(features_at(features.detach(), voxels), dim=1), voxels.counts)


def vote(
    features: torch.Tensor,
    references: References,
    *,
    similarity_threshold: float,
    vote_fraction: float,
) -> torch.Tensor:
    """Return which voxels (B, *spatial) agree with the references, labelled or not; see :func:`propagate_labels`."""
    most_that_fail = _most_that_fail(vote_fraction, references.counts.sum())
    nobody = torch.where(references.counts, 0.0, -torch.inf)[:, None]  # entries that do not count agree with no voxel
    flat = features.detach().flatten(2)
    # filled in place: small tensors kept from among large ones that are freed would hold the memory of these
    accepted = flat.new_empty((len(flat), flat.shape[2]), dtype=torch.bool)
    with torch.autocast(features.device.type, enabled=False):
        for patch, accepted_in_patch in zip(flat, accepted, strict=True):
            chunks = patch.split(VOXELS_PER_CHUNK, dim=1)
            for chunk, result in zip(chunks, accepted_in_patch.split(VOXELS_PER_CHUNK), strict=True):
                similarity = torch.addmm(nobody, references.features, _unit_length(chunk, dim=0))
                votes = (similarity > similarity_threshold).sum(dim=0, dtype=torch.int32)  # faster than int64
                torch.gt(votes, most_that_fail, out=result)
    return accepted.reshape(features.shape[:1] + features.shape[2:])


def _most_that_fail(vote_fraction: float, num_references: torch.Tensor) -> torch.Tensor:
    """Return floor(alpha N), in integers: 0.53 * 100 is not exact in float32, and not all devices have float64."""
    alpha = Fraction(vote_fraction).limit_denominator(1_000_000)
    return num_references * alpha.numerator // alpha.denominator


def _unit_length(features: torch.Tensor, *, dim: int) -> torch.Tensor:
    return F.normalize(features.float(), dim=dim)
