"""Scores of a pseudo-mask against a dense reference: for evaluation only, never an input of anything else."""

from collections.abc import Sequence

import numpy as np

from nnunetv2_simple.evaluation.metrics import dice


def evaluate_pseudo_mask(
    label: np.ndarray, reference: np.ndarray, *, scribbles: np.ndarray, lesion_labels: Sequence[int]
) -> dict:
    """Score the foreground of each label that a lesion or the reference has.

    Unlabelled voxels count as not foreground: precision is what a network may trust, recall what it is shown.

    Args:
        label: (z, y, x), the pseudo-mask.
        reference: (z, y, x), dense labels.
        scribbles: (z, y, x) bool.
        lesion_labels: The labels of the lesions.

    Returns:
        Mean ``precision``, ``recall`` and ``dice`` over the labels that have one, ``scribbles_inside_reference``, the
        share of the scribble voxels that lie on any foreground of the reference, and under ``labels`` the scores of
        each label. Scores of empty sets are None.
    """
    scores = {}
    for foreground_label in sorted({*lesion_labels, *np.unique(reference).astype(int).tolist()} - {0}):
        foreground, truth = label == foreground_label, reference == foreground_label
        num_foreground, num_truth = int(foreground.sum()), int(truth.sum())
        num_common = int((foreground & truth).sum())
        scores[str(foreground_label)] = {
            "precision": _ratio(num_common, num_foreground),
            "recall": _ratio(num_common, num_truth),
            "dice": dice(foreground, truth) if num_foreground or num_truth else None,
        }
    result = {}
    for name in ("precision", "recall", "dice"):
        defined = [score[name] for score in scores.values() if score[name] is not None]
        result[name] = _ratio(sum(defined), len(defined))
    on_scribbles = reference[scribbles]
    result["scribbles_inside_reference"] = _ratio(int((on_scribbles != 0).sum()), on_scribbles.size)
    return result | {"labels": scores}


def _ratio(numerator: float, denominator: int) -> float | None:
    return numerator / denominator if denominator else None
