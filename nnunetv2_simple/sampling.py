"""Drawing voxels at random and looking up their features."""

import torch

VoxelIndices = tuple[torch.Tensor, ...]


def sample_voxels(mask: torch.Tensor, num: int, *, generator: torch.Generator | None = None) -> VoxelIndices:
    """Draw at most ``num`` of the voxels that are True, without replacement.

    Args:
        mask: (B, *spatial) bool.
        num: Number of voxels wanted.
        generator: Source of randomness, on the device of ``mask``; the device's default one if None.

    Returns:
        One index tensor per dimension of ``mask``, each of length min(mask.sum(), num). All voxels, in their order,
        where there are at most ``num``.
    """
    voxels = mask.nonzero()
    if len(voxels) > num:
        voxels = voxels[torch.randperm(len(voxels), device=mask.device, generator=generator)[:num]]
    return voxels.unbind(dim=1)


def features_at(features: torch.Tensor, voxels: VoxelIndices) -> torch.Tensor:
    """Look up the feature vectors of voxels.

    Args:
        features: (B, D, *spatial).
        voxels: Index tensors (batch, *spatial), as :func:`sample_voxels` returns them.

    Returns:
        (number of voxels, D).
    """
    batch, *spatial = voxels
    # not movedim(1, -1)[voxels]: its gradient would lie in memory channels last, and be slow to add to that of others
    return features[(batch, slice(None), *spatial)]
