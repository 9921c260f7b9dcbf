"""How well a segmentation agrees with a reference: overlap, distances in mm, volumes in ml, lesions found or missed.

Surface distances are those of the package surface-distance, which weighs every surface element by its area: on thick
slices, counting voxels would overweight the faces that lie across them.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from acvl_utils.morphology.morphology_helper import remove_all_but_largest_component
from scipy import ndimage
from surface_distance import compute_robust_hausdorff, compute_surface_dice_at_tolerance, compute_surface_distances

from nnunetv2_simple.grids import check_same_geometry
from nnunetv2_simple.images import label_array, read_volume, spacing_zyx_mm

LESION_MEASURES = ("num_lesions", "num_found", "num_false_positives")
MEASURES = ("dice", "dice_largest_part", "jaccard", "hd95_mm", "assd_mm", "nsd", "volume_ml", *LESION_MEASURES)
TOLERANCE_MM = 2.0
FOUND_FROM_JACCARD = 0.1


def dice(prediction: np.ndarray, reference: np.ndarray) -> float:
    """Return 2 |P ∩ R| / (|P| + |R|) of two bool arrays of one shape; 1 where both are empty.

    Example:
        >>> dice(np.array([True, True, False]), np.array([True, False, False]))
        0.6666666666666666
    """
    num_voxels = np.count_nonzero(prediction) + np.count_nonzero(reference)
    return float(2 * np.count_nonzero(prediction & reference) / num_voxels) if num_voxels else 1.0


def score_mask(
    prediction: np.ndarray,
    reference: np.ndarray,
    *,
    spacing_mm: Sequence[float],
    tolerance_mm: float = TOLERANCE_MM,
) -> dict[str, float]:
    """Score the mask of one label.

    Dice = 2 |P ∩ R| / (|P| + |R|), Jaccard = |P ∩ R| / |P ∪ R|. Of every surface element p of P, of area a(p), let
    d(p) be the distance in mm to the surface of R, and the same of R's elements r to the surface of P:

        HD95 = the larger of the two directed 95th percentiles of d by area
        ASSD = (sum of a(p) d(p) + sum of a(r) d(r)) / (sum of a(p) + sum of a(r))
        NSD  = area of all elements with d <= tolerance / area of all elements

    Where both masks are empty, Dice, Jaccard and NSD are 1 and distances 0. Where exactly one is, Dice, Jaccard and NSD
    are 0 and distances are the diagonal of the image, the largest there can be. ``dice_largest_part`` is the Dice of
    the prediction's largest connected part alone, which nnU-Net's postprocessing may keep.

    Args:
        prediction: (z, y, x) bool.
        reference: (z, y, x) bool.
        spacing_mm: Voxel size (z, y, x).
        tolerance_mm: Of the NSD.

    Returns:
        ``dice``, ``dice_largest_part``, ``jaccard``, ``nsd`` (0 to 1), ``hd95_mm``, ``assd_mm``, ``volume_ml`` of the
        prediction, ``reference_volume_ml``, and what :func:`detect_lesions` returns.

    Raises:
        ValueError: If the masks do not have the same shape of as many axes as the spacing has.

    Reference:
        Nikolov et al., Clinically applicable segmentation of head and neck anatomy for radiotherapy, JMIR 2021;
        https://github.com/google-deepmind/surface-distance.
    """
    if not prediction.shape == reference.shape or prediction.ndim != len(spacing_mm):
        raise ValueError(
            f"prediction and reference must have one shape, of {len(spacing_mm)} axes as spacing_mm, got "
            f"{prediction.shape} and {reference.shape}"
        )
    num_any = np.count_nonzero(prediction | reference)
    voxel_ml = float(np.prod(spacing_mm)) / 1000
    return {
        "dice": dice(prediction, reference),
        "dice_largest_part": dice(remove_all_but_largest_component(prediction), reference),
        "jaccard": float(np.count_nonzero(prediction & reference) / num_any) if num_any else 1.0,
        **_surface_scores(prediction, reference, spacing_mm, tolerance_mm),
        "volume_ml": np.count_nonzero(prediction) * voxel_ml,
        "reference_volume_ml": np.count_nonzero(reference) * voxel_ml,
        **detect_lesions(prediction, reference),
    }


def detect_lesions(prediction: np.ndarray, reference: np.ndarray) -> dict[str, int]:
    """Count the lesions that a prediction finds, and its false positives.

    A lesion is a connected part of the reference (26-neighbourhood). It is found if the parts of the prediction that
    touch it have a Jaccard index of at least 0.1 with it. A part of the prediction that touches no lesion is a false
    positive.

    Args:
        prediction: Bool.
        reference: Bool of the same shape.

    Returns:
        ``num_lesions``, ``num_found``, ``num_false_positives``.

    Example:
        >>> detect_lesions(np.array([1, 1, 0, 0, 1], bool), np.array([0, 1, 0, 0, 0], bool))
        {'num_lesions': 1, 'num_found': 1, 'num_false_positives': 1}

    Reference:
        Baumgartner et al., nnDetection, MICCAI 2021 (the threshold).
    """
    neighbourhood = np.ones((3,) * reference.ndim)
    lesions, num_lesions = ndimage.label(reference, neighbourhood)
    parts, num_parts = ndimage.label(prediction, neighbourhood)
    common = np.zeros((num_lesions + 1, num_parts + 1), dtype=int)  # voxels by lesion and part
    np.add.at(common, (lesions[reference | prediction], parts[reference | prediction]), 1)
    touches = common[1:, 1:] > 0
    num_in_parts = touches @ common[:, 1:].sum(0)
    in_both, in_lesions = common[1:, 1:].sum(1), common[1:].sum(1)
    found = in_both >= FOUND_FROM_JACCARD * (num_in_parts + in_lesions - in_both)
    return {
        "num_lesions": num_lesions,
        "num_found": int(np.count_nonzero(found & touches.any(1))),
        "num_false_positives": int(np.count_nonzero(~touches.any(0))),
    }


def _surface_scores(
    prediction: np.ndarray, reference: np.ndarray, spacing_mm: Sequence[float], tolerance_mm: float
) -> dict[str, float]:
    if not prediction.any() and not reference.any():
        return {"hd95_mm": 0.0, "assd_mm": 0.0, "nsd": 1.0}
    if not prediction.any() or not reference.any():
        diagonal_mm = float(np.linalg.norm(np.multiply(prediction.shape, spacing_mm)))
        return {"hd95_mm": diagonal_mm, "assd_mm": diagonal_mm, "nsd": 0.0}
    found = compute_surface_distances(reference, prediction, spacing_mm)
    distances_mm = np.concatenate([found["distances_gt_to_pred"], found["distances_pred_to_gt"]])
    areas = np.concatenate([found["surfel_areas_gt"], found["surfel_areas_pred"]])
    return {
        "hd95_mm": float(compute_robust_hausdorff(found, 95)),
        "assd_mm": float(np.average(distances_mm, weights=areas)),
        "nsd": float(compute_surface_dice_at_tolerance(found, tolerance_mm)),
    }


def score_case(
    prediction_file: Path, reference_file: Path, labels: Mapping[str, int], *, tolerance_mm: float = TOLERANCE_MM
) -> dict:
    """Score one predicted case.

    Args:
        prediction_file: Labels 0..K.
        reference_file: Dense labels on the same grid.
        labels: The foreground labels by name.
        tolerance_mm: Of the NSD.

    Returns:
        What :func:`score_mask` returns, as the mean over the labels, and under ``per_label`` for each of them.

    Raises:
        ValueError: Naming the files, if one cannot be read or holds fractions, if they differ in size, spacing,
            origin or direction, or if the reference holds other labels than these and the background's 0.
    """
    prediction, reference = (read_volume(str(file)) for file in (prediction_file, reference_file))
    check_same_geometry(prediction, reference, names=(str(prediction_file), str(reference_file)))
    predicted, truth = label_array(prediction, str(prediction_file)), label_array(reference, str(reference_file))
    if unknown := sorted(set(np.unique(truth).tolist()) - {0, *labels.values()}):
        raise ValueError(f"{reference_file} holds the labels {unknown}, expected 0 and {dict(labels)}")
    options = {"spacing_mm": spacing_zyx_mm(reference), "tolerance_mm": tolerance_mm}
    per_label = {name: score_mask(predicted == label, truth == label, **options) for name, label in labels.items()}
    keys = (*MEASURES, "reference_volume_ml")
    means = {key: float(np.mean([scores[key] for scores in per_label.values()])) for key in keys}
    return means | {"per_label": per_label}
