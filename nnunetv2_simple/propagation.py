"""Similarity-aware propagation: unlabelled voxels whose features agree with known positives (SimPLe, section 2.3)."""

import torch
import torch.nn.functional as F

from nnunetv2_simple.sampling import features_at, sample_voxels

VOXELS_PER_CHUNK = 65_536  # bounds the (voxels x references) similarity matrix to 26 MB at 100 references


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

    features = features.detach()
    references = features_at(features, sample_voxels(target == 1, num_references, generator=generator))
    propagated = torch.zeros_like(target, dtype=torch.bool)
    if len(references) == 0:
        return propagated
    with torch.autocast(features.device.type, enabled=False):
        references = F.normalize(references.float(), dim=1)
        for voxels in (target == ignore_label).nonzero().split(VOXELS_PER_CHUNK):
            voxels = voxels.unbind(dim=1)
            similarity = F.normalize(features_at(features, voxels).float(), dim=1) @ references.T
            votes = (similarity > similarity_threshold).sum(dim=1)
            propagated[voxels] = votes > vote_fraction * len(references)
    return propagated
