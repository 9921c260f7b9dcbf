"""Losses of the train phase: partial cross-entropy, voxel contrastive loss (SimPLe, section 2.2) and CRF loss."""

import itertools
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F


def partial_cross_entropy(logits: torch.Tensor, target: torch.Tensor, *, ignore_label: int) -> torch.Tensor:
    """Compute the cross-entropy averaged over the labelled voxels only.

    L_pce = -1/|L| * sum over labelled voxels i in L of log softmax(logits_i)[target_i]

    Args:
        logits: (B, C, *spatial), any floating type; computed in float32.
        target: (B, 1, *spatial) or (B, *spatial), integer labels in {0..C-1} or ``ignore_label``.
        ignore_label: Label of the unlabelled voxels.

    Returns:
        Scalar. Zero, with zero gradient, where no voxel is labelled.

    Raises:
        ValueError: If the shapes of ``logits`` and ``target`` do not belong together.

    Reference:
        Zhong & Wang, SimPLe, MICCAI 2023, section 2.2, eq. 1.

    Example:
        >>> logits = torch.zeros(1, 2, 3)  # of three voxels: each label has the probability 1/2
        >>> loss = partial_cross_entropy(logits, torch.tensor([[0, 1, 2]]), ignore_label=2)
        >>> round(loss.item(), 4)  # log 2
        0.6931
    """
    if target.ndim == logits.ndim:
        target = target.squeeze(1)
    if target.shape != logits.shape[:1] + logits.shape[2:]:
        raise ValueError(
            f"target must be (B, 1, *spatial) or (B, *spatial) for logits (B, C, *spatial), "
            f"got logits {tuple(logits.shape)} and target {tuple(target.shape)}"
        )
    num_labelled = (target != ignore_label).sum()
    total = F.cross_entropy(logits.float(), target.long(), ignore_index=ignore_label, reduction="sum")
    return total / num_labelled.clamp(min=1)


def voxel_contrastive_loss(
    positives: torch.Tensor, negatives: torch.Tensor, *, temperature: float = 0.1, pull_negatives: bool = True
) -> torch.Tensor:
    """Pull the features of voxels of the same label together and push those of different labels apart.

    L_ctr = mean over pairs i < j of BCE(sigmoid(cos(Z_i, Z_j) / temperature), [label_i == label_j])

    Equation 2 of the paper pulls same-label pairs of both classes together, which is the default here; the published
    code leaves the negative-negative pairs out (``pull_negatives=False``).

    Args:
        positives: (P, D) features of positive voxels, P >= 0.
        negatives: (N, D) features of negative voxels, N >= 0.
        temperature: tau > 0.
        pull_negatives: Whether pairs of two negatives take part.

    Returns:
        Scalar, float32. Zero, with zero gradient, where there is no pair.

    Raises:
        ValueError: If the features are not two matrices of one width, or the temperature is not positive.

    Reference:
        Zhong & Wang, SimPLe, MICCAI 2023, section 2.2, eq. 2.

    Example:
        >>> positives, negatives = torch.tensor([[1.0, 0.0], [2.0, 0.0]]), torch.tensor([[0.0, 1.0]])
        >>> loss = voxel_contrastive_loss(positives, negatives)  # two pairs at a right angle: BCE(1/2, 0) each
        >>> round(loss.item(), 4)  # 2/3 log 2, and next to nothing for the pair that agrees
        0.4621
    """
    if positives.ndim != 2 or negatives.ndim != 2 or positives.shape[1] != negatives.shape[1]:
        raise ValueError(
            f"positives and negatives must be (P, D) and (N, D), "
            f"got {tuple(positives.shape)} and {tuple(negatives.shape)}"
        )
    if temperature <= 0:
        raise ValueError(f"temperature must be positive, got {temperature}")
    features = torch.cat((positives, negatives))
    is_positive = torch.arange(len(features), device=features.device) < len(positives)
    counts = torch.ones_like(is_positive)
    return contrastive_loss_of_pairs(
        features, is_positive, counts, temperature=temperature, pull_negatives=pull_negatives
    )


def contrastive_loss_of_pairs(
    features: torch.Tensor,
    is_positive: torch.Tensor,
    counts: torch.Tensor,
    *,
    temperature: float,
    pull_negatives: bool,
) -> torch.Tensor:
    """Compute :func:`voxel_contrastive_loss` of voxels of which some do not count, without waiting for the device.

    Args:
        features: (M, D).
        is_positive: (M,) bool.
        counts: (M,) bool, whether a voxel takes part.
        temperature: tau > 0.
        pull_negatives: Whether pairs of two negatives take part.

    Returns:
        Scalar, float32. Zero, with zero gradient, where there is no pair.
    """
    with torch.autocast(features.device.type, enabled=False):
        z = F.normalize(features.float(), dim=1, eps=1e-6)
        same_label = is_positive[:, None] == is_positive[None, :]
        pairs = (counts[:, None] & counts[None, :]).triu(diagonal=1)
        if not pull_negatives:
            pairs &= is_positive[:, None] | is_positive[None, :]
        bce = F.binary_cross_entropy_with_logits(z @ z.T / temperature, same_label.float(), reduction="none")
        return bce.where(pairs, 0).sum() / pairs.sum().clamp(min=1)


def crf_loss(
    probabilities: torch.Tensor,
    image: torch.Tensor,
    *,
    spacing_mm: Sequence[float],
    position_sigma_mm: float = 6.0,
    intensity_sigma: float = 0.5,
    window_radius_mm: float = 5.0,
    max_offsets: int = 64,
) -> torch.Tensor:
    """Compute the energy of a conditional random field: neighbours that look alike should be labelled alike.

    L_crf = 1 / (V |W|) * sum over voxels i, offsets i -> j in W of K_ij * (1 - sum_k p_ik p_jk)
    K_ij = exp(-|x_i - x_j|^2 / (2 position_sigma_mm^2) - |I_i - I_j|^2 / (2 intensity_sigma^2))

    the Potts model relaxed to probabilities, with V voxels and the window W of all offsets but zero of at most
    ``window_radius_mm``; pairs that leave the patch count zero. This is the energy of the gated CRF loss divided by
    |W|, so that its scale does not depend on the voxel size, and with the widths in mm instead of voxels.

    Each two opposite offsets take part or not together. Where voxels are so fine that there are more than
    ``max_offsets`` such pairs (257 at 1 mm), every k-th takes part, in the order of their length, with the smallest k
    that leaves no more. On phantoms of 0.8 to 3 mm that changes the energy by less than 1 %.

    Memory is that of a few volumes like ``probabilities``, however large the window. Differentiable once, with respect
    to ``probabilities``.

    Args:
        probabilities: (B, C, *spatial), two or three spatial dimensions, sum one over C; computed in float32.
        image: (B, channels, *spatial), normalised intensities.
        spacing_mm: Voxel size, one number per spatial dimension.
        position_sigma_mm: Width of the kernel in space.
        intensity_sigma: Width of the kernel in intensity, in the image's unit: standard deviations in nnU-Net.
        window_radius_mm: Radius of the window.
        max_offsets: Largest number of pairs of opposite offsets; the time is proportional to it.

    Returns:
        Scalar in [0, 1]. Zero where the window holds no offset.

    Raises:
        ValueError: If the shapes do not belong together, or a width or ``max_offsets`` is not positive.

    Reference:
        Obukhov et al., Gated CRF loss for weakly supervised semantic image segmentation, 2019, eq. 2 to 4.
        Tang et al., On regularized losses for weakly-supervised CNN segmentation, ECCV 2018.

    Example:
        >>> image = torch.zeros(1, 1, 2, 2)
        >>> agreeing = torch.tensor([1.0, 0.0])[:, None, None].expand(1, 2, 2, 2)
        >>> crf_loss(agreeing, image, spacing_mm=(1, 1)).item()
        0.0
        >>> crf_loss(agreeing * 0 + 0.5, image, spacing_mm=(1, 1)).item() > 0
        True
    """
    if (
        probabilities.ndim not in (4, 5)
        or image.shape[:1] + image.shape[2:] != probabilities.shape[:1] + probabilities.shape[2:]
    ):
        raise ValueError(
            f"probabilities and image must be (B, C, *spatial) and (B, channels, *spatial) with two or three spatial "
            f"dimensions, got {tuple(probabilities.shape)} and {tuple(image.shape)}"
        )
    if len(spacing_mm) != probabilities.ndim - 2 or not all(spacing > 0 for spacing in spacing_mm):
        raise ValueError(f"spacing_mm must be {probabilities.ndim - 2} positive numbers, got {tuple(spacing_mm)}")
    if not (position_sigma_mm > 0 and intensity_sigma > 0 and window_radius_mm > 0 and max_offsets > 0):
        raise ValueError(
            f"position_sigma_mm, intensity_sigma, window_radius_mm and max_offsets must be positive, "
            f"got {position_sigma_mm}, {intensity_sigma}, {window_radius_mm} and {max_offsets}"
        )
    with torch.autocast(probabilities.device.type, enabled=False):
        probabilities, image = probabilities.float(), image.float() / (math.sqrt(2) * intensity_sigma)
        p = probabilities.detach()
        messages = torch.zeros_like(p)  # sum_j K_ij p_j
        offsets = _half_window(spacing_mm, window_radius_mm, max_offsets)
        zero = image.new_zeros(())
        for offset in offsets:
            closeness = math.exp(-_length_mm2(offset, spacing_mm) / (2 * position_sigma_mm**2))
            here = (..., *(slice(max(-step, 0), -step if step > 0 else None) for step in offset))
            there = (..., *(slice(max(step, 0), step if step < 0 else None) for step in offset))
            log_likeness = zero
            for channel in image.split(1, dim=1):
                difference = channel[here] - channel[there]
                log_likeness = torch.addcmul(log_likeness, difference, difference, value=-1)
            likeness = log_likeness.exp_()
            messages[here].addcmul_(likeness, p[there], value=closeness)
            messages[there].addcmul_(likeness, p[here], value=closeness)
        degrees = messages.sum(dim=1)  # sum_j K_ij, as the probabilities sum to one
        # p^T K p has the gradient 2 K p: linear in p around its present value, at no cost in memory for autograd
        agreement = (2 * probabilities * messages).sum(dim=1) - (p * messages).sum(dim=1)
        return (degrees - agreement).sum() / (degrees.numel() * max(2 * len(offsets), 1))


def _half_window(spacing_mm: Sequence[float], radius_mm: float, max_offsets: int) -> list[tuple[int, ...]]:
    """Return one of each two opposite voxel offsets within a radius, without the zero offset, or every k-th of them."""
    radius_mm *= 1 + 1e-6  # 0.3 mm are three voxels of 0.1 mm, whatever the rounding
    reach = [int(radius_mm / spacing) for spacing in spacing_mm]
    zero = (0,) * len(reach)
    offsets = [
        offset
        for offset in itertools.product(*(range(-steps, steps + 1) for steps in reach))
        if offset > zero and _length_mm2(offset, spacing_mm) <= radius_mm**2
    ]
    offsets.sort(key=lambda offset: (_length_mm2(offset, spacing_mm), offset))
    step = max(math.ceil(len(offsets) / max_offsets), 1)
    return offsets[step // 2 :: step]


def _length_mm2(offset: Sequence[int], spacing_mm: Sequence[float]) -> float:
    return sum((step * spacing) ** 2 for step, spacing in zip(offset, spacing_mm, strict=True))
