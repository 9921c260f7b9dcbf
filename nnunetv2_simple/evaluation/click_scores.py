"""How well a segmentation agrees with clicks, where nobody has painted a reference.

A box says where a lesion is and how far it reaches, not which of its voxels are lesion: a prediction that fills the box
scores as well as the lesion itself. What clicks can tell: whether a lesion was found, how far the prediction reaches
too far or not far enough, and what is predicted where there is no lesion.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from scipy import ndimage

from nnunetv2_simple.evaluation.metrics import FOUND_FROM_JACCARD
from nnunetv2_simple.extreme_points.lesions import BOUNDING_BOX, Lesion
from nnunetv2_simple.extreme_points.points import along_axes, box_iou, extreme_points_from_mask

LESION_SCORES = ("box_iou", "face_distance_mm", "click_distance_mm")
CASE_SCORES = ("num_lesions", "num_found", "num_false_positives", "outside_share", "predicted_ml", *LESION_SCORES)
CLICK_SCORE = "click_score"


def score_clicks(prediction: np.ndarray, lesions: Sequence[Lesion], *, spacing_mm: Sequence[float]) -> dict:
    """Score a prediction against the clicks of its case.

    The parts of a prediction are its connected components (26-neighbourhood), label by label; those that touch the box
    of a lesion of their label belong to it. With the box of these parts

        box_iou             volume shared by the two boxes / volume of their union; 0 without a part
        face_distance_mm    mean distance of the six faces of the two boxes, along the axes
        click_distance_mm   mean distance between the clicks and the extreme points of the parts; None for lesions that
                            were marked with a box

    both distances None without a part. A lesion is found if its ``box_iou`` is at least 0.1. A part that touches no box
    of its label is a false positive. ``outside_share`` is the share of the predicted voxels outside all boxes of their
    label, 0 where nothing is predicted. The click score in one number is

        click_score = mean box_iou * (1 - outside_share)

    and for a case without lesions 1 if nothing is predicted, 0 otherwise.

    Args:
        prediction: (z, y, x) labels, 0 background.
        lesions: All lesions of the case; none if it has none.
        spacing_mm: Voxel size (z, y, x).

    Returns:
        ``num_lesions``, ``num_found``, ``num_false_positives``, ``outside_share``, ``predicted_ml``, the means over the
        lesions of the three scores above, ``click_score``, and under ``lesions`` the scores of each.
    """
    in_boxes, scored = np.zeros(prediction.shape, dtype=bool), []
    num_false_positives = 0
    for label in sorted({*np.unique(prediction).tolist(), *(lesion.label for lesion in lesions)} - {0}):
        parts, num_parts = ndimage.label(prediction == label, np.ones((3, 3, 3)))
        touching = set()
        for lesion in lesions:
            if lesion.label == label:
                box = lesion.box(parts.shape, spacing_mm)
                inside, near = box.contains(box.slices), parts[box.slices]
                own = set(np.unique(near[inside]).tolist()) - {0}
                touching |= own
                in_boxes[box.slices] |= inside & (near != 0)
                scored.append(_score_lesion(np.isin(parts, list(own)), lesion, spacing_mm))
        num_false_positives += num_parts - len(touching)
    num_predicted = np.count_nonzero(prediction)
    outside_share = 1 - np.count_nonzero(in_boxes) / num_predicted if num_predicted else 0.0
    means = {key: mean(lesion[key] for lesion in scored) for key in LESION_SCORES}
    return {
        "num_lesions": len(lesions),
        "num_found": sum(lesion["found"] for lesion in scored),
        "num_false_positives": num_false_positives,
        "outside_share": outside_share,
        "predicted_ml": float(num_predicted * np.prod(spacing_mm) / 1000),
        **means,
        CLICK_SCORE: means["box_iou"] * (1 - outside_share) if lesions else float(not num_predicted),
        "lesions": scored,
    }


def summarise_clicks(cases: Mapping[str, Mapping]) -> dict:
    """Return the scores over all cases: counts are summed, all else is the mean over the cases that have it."""
    counts = {key: sum(case[key] for case in cases.values()) for key in CASE_SCORES if key.startswith("num_")}
    others = [key for key in (*CASE_SCORES, CLICK_SCORE) if key not in counts]
    negative = [case["num_false_positives"] for case in cases.values() if not case["num_lesions"]]
    return {
        "num_cases": len(cases),
        **counts,
        "false_positives_per_case": mean(case["num_false_positives"] for case in cases.values()),
        "false_positives_per_tumor_free_case": mean(negative),
        **{key: mean(case[key] for case in cases.values()) for key in others},
    }


def mean(values: Iterable[float | None]) -> float | None:
    """Return the mean of the values that are not None; None if there are none."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _score_lesion(parts: np.ndarray, lesion: Lesion, spacing_mm: Sequence[float]) -> dict:
    scores = {"label": int(lesion.label), "found": False, "box_iou": 0.0}
    if not parts.any():
        return scores | {"face_distance_mm": None, "click_distance_mm": None}
    reached = extreme_points_from_mask(parts, spacing_mm=spacing_mm, axes=lesion.axes)
    (lower, upper), (other_lower, other_upper) = (
        _box_mm(points, lesion, spacing_mm) for points in (lesion.extreme_points, reached)
    )
    iou = box_iou(lower, upper, other_lower, other_upper)
    off_mm = np.linalg.norm((reached - lesion.extreme_points) * np.asarray(spacing_mm), axis=1)
    return scores | {
        "found": iou >= FOUND_FROM_JACCARD,
        "box_iou": iou,
        "face_distance_mm": float(np.abs([lower - other_lower, upper - other_upper]).mean()),
        "click_distance_mm": None if lesion.source == BOUNDING_BOX else float(off_mm.mean()),
    }


def _box_mm(points: np.ndarray, lesion: Lesion, spacing_mm: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Return the lower and upper faces of the box of six points, in mm along the axes of a lesion."""
    axes, spacing = lesion.axes, np.asarray(spacing_mm, dtype=float)
    positions = along_axes(points, spacing, axes) if axes is not None else points * spacing
    half_voxel = (spacing if axes is None else abs(axes) @ spacing) / 2
    return positions.min(axis=0) - half_voxel, positions.max(axis=0) + half_voxel
