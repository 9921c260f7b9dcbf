"""What the clicks of the validation cases say of a network.

nnU-Net's pseudo-Dice is measured against weak labels, where it says how well the network repeats them. The clicks say
whether lesions are found and how far predictions reach (:mod:`nnunetv2_simple.evaluation.click_scores`).
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from nnunetv2_simple.conversion.case_files import PAINTED
from nnunetv2_simple.conversion.converted_case import far_from_lesions, recorded_lesions
from nnunetv2_simple.conversion.record import read_record
from nnunetv2_simple.evaluation.click_scores import score_clicks
from nnunetv2_simple.images import spacing_zyx_mm

BEST_VARIABLE = "nnUNet_simple_best"
CHOICES = ("clicks", "nnunet")
MAX_CASES = 20  # that are predicted while a training runs


def choice_of_best(default: str) -> str:
    """Return what checkpoint_best.pth of the weak phases is chosen by: what the environment says, or the default.

    Raises:
        ValueError: If it is none of :data:`CHOICES`.
    """
    choice = os.environ.get(BEST_VARIABLE) or default
    if choice not in CHOICES:
        raise ValueError(f"{BEST_VARIABLE} must be one of {', '.join(CHOICES)}, got {choice!r}")
    return choice


def cases_with_clicks(converted_folder: Path | None, cases: Sequence[str]) -> list[str]:
    """Return the cases whose lesions are all recorded with clicks, or that are known to have none."""
    if converted_folder is None:
        return []
    records = {case: read_record(converted_folder, case) for case in cases}
    return [case for case, r in records.items() if "lesions" in r and PAINTED not in r.get("supervision", ())]


def score_case_by_clicks(record: Mapping, grid: sitk.Image, prediction: np.ndarray) -> dict:
    """Score a prediction against the recorded clicks of its case.

    What is predicted where lesions may be that nobody annotated does not count.

    Args:
        record: Of the conversion of the case.
        grid: An image on the grid of the case.
        prediction: (z, y, x) labels.

    Returns:
        See :func:`nnunetv2_simple.evaluation.click_scores.score_clicks`.
    """
    annotated = np.where(far_from_lesions(record, grid), 0, prediction)
    return score_clicks(annotated, recorded_lesions(record, grid), spacing_mm=spacing_zyx_mm(grid))


def describe(summary: Mapping) -> str:
    """Return scores over all cases as a sentence for the log."""
    shown = {key: "-" if value is None else f"{value:.3g}" for key, value in summary.items()}
    return (
        f"{summary['num_found']} of {summary['num_lesions']} lesions found, "
        f"{shown['false_positives_per_case']} false positives per case, IoU of the boxes {shown['box_iou']}, "
        f"faces {shown['face_distance_mm']} mm off, {shown['outside_share']} of the prediction outside all boxes, "
        f"click score {shown['click_score']} ({summary['num_cases']} cases)"
    )
