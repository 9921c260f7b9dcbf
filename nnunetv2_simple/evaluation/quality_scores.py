"""Scores of a pseudo-mask against a dense reference: for evaluation only, never an input of anything else."""

from collections.abc import Sequence

import numpy as np

from nnunetv2_simple.evaluation.metrics import dice


def evaluate_pseudo_mask(
    label: np.ndarray, reference: np.ndarray, *, scribbles: np.ndarray, lesion_labels: Sequence[int]
) -> dict:
    """Score the foreground of each label that a lesion or the reference has, except those that were painted.

    Unlabelled voxels count as not foreground: precision says how far a network may trust the foreground, recall how
    much of the lesions it is shown.

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
    clicked_or_missed = {*lesion_labels, *(set(np.unique(reference).tolist()) - set(np.unique(label).tolist()))}
    for foreground_label in sorted(clicked_or_missed - {0}):
        foreground, truth = label == foreground_label, reference == foreground_label
        scores[str(foreground_label)] = {
            "precision": mean_of(truth[foreground]),
            "recall": mean_of(foreground[truth]),
            "dice": dice(foreground, truth) if foreground.any() or truth.any() else None,
        }
    means = {
        name: mean_of(np.array([score[name] for score in scores.values() if score[name] is not None]))
        for name in ("precision", "recall", "dice")
    }
    return means | {"scribbles_inside_reference": mean_of(reference[scribbles] != 0), "labels": scores}


def mean_of(values: np.ndarray) -> float | None:
    return float(values.mean()) if values.size else None
