"""Losses of the train phase: partial cross-entropy and voxel contrastive loss (SimPLe, section 2.2)."""

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
    """
    if positives.ndim != 2 or negatives.ndim != 2 or positives.shape[1] != negatives.shape[1]:
        raise ValueError(
            f"positives and negatives must be (P, D) and (N, D), "
            f"got {tuple(positives.shape)} and {tuple(negatives.shape)}"
        )
    if temperature <= 0:
        raise ValueError(f"temperature must be positive, got {temperature}")
    with torch.autocast(positives.device.type, enabled=False):
        z = F.normalize(torch.cat((positives, negatives)).float(), dim=1, eps=1e-6)
        is_positive = torch.arange(len(z), device=z.device) < len(positives)
        same_label = is_positive[:, None] == is_positive[None, :]
        pairs = torch.ones_like(same_label).triu(diagonal=1)
        if not pull_negatives:
            pairs &= is_positive[:, None] | is_positive[None, :]
        bce = F.binary_cross_entropy_with_logits(z @ z.T / temperature, same_label.float(), reduction="none")
        return bce[pairs].sum() / pairs.sum().clamp(min=1)
