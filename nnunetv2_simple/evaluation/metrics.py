"""How well a segmentation agrees with a reference: overlap, distances between the surfaces in mm, volumes in ml."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from acvl_utils.cropping_and_padding.bounding_boxes import bounding_box_to_slice, get_bbox_from_mask
from scipy import ndimage

from nnunetv2_simple.grids import check_same_geometry
from nnunetv2_simple.images import label_array, read_volume, spacing_zyx_mm

MEASURES = ("dice", "jaccard", "hd95_mm", "assd_mm", "volume_ml")


def score_mask(prediction: np.ndarray, reference: np.ndarray, *, spacing_mm: Sequence[float]) -> dict[str, float]:
    """Score the mask of one label.

    Dice = 2 |P ∩ R| / (|P| + |R|), Jaccard = |P ∩ R| / |P ∪ R|. The surface of a mask are its voxels with a face
    neighbour outside it, voxels beyond the image being outside. With d(p, R) the distance in mm from a surface voxel
    of P to the nearest one of R, measured between voxel centres:

        HD95 = max(95th percentile of d(p, R) over p, 95th percentile of d(r, P) over r)
        average symmetric surface distance = (sum of d(p, R) over p + sum of d(r, P) over r) / (number of p and r)

    The HD95 is that of the package surface-distance, the larger of the two directed percentiles, except that every
    surface voxel counts once, whatever its area; percentiles are interpolated linearly.

    Where both masks are empty, overlap is 1 and distances are 0. Where exactly one is, overlap is 0 and distances are
    the diagonal of the image, the largest there can be.

    Args:
        prediction: (z, y, x) bool.
        reference: (z, y, x) bool.
        spacing_mm: Voxel size (z, y, x).

    Returns:
        ``dice``, ``jaccard`` (0 to 1), ``hd95_mm``, ``assd_mm``, ``volume_ml`` of the prediction and
        ``reference_volume_ml``.

    Raises:
        ValueError: If the masks do not have the same shape of as many axes as the spacing has.

    Reference:
        https://github.com/google-deepmind/surface-distance for the robust Hausdorff distance.
    """
    if not prediction.shape == reference.shape or prediction.ndim != len(spacing_mm):
        raise ValueError(
            f"prediction and reference must have one shape, of {len(spacing_mm)} axes as spacing_mm, got "
            f"{prediction.shape} and {reference.shape}"
        )
    num_predicted, num_reference = int(prediction.sum()), int(reference.sum())
    num_common, num_any = int((prediction & reference).sum()), int((prediction | reference).sum())
    voxel_ml = float(np.prod(spacing_mm)) / 1000
    hd95_mm, assd_mm = _surface_distances(prediction, reference, spacing_mm)
    return {
        "dice": 2 * num_common / (num_predicted + num_reference) if num_any else 1.0,
        "jaccard": num_common / num_any if num_any else 1.0,
        "hd95_mm": hd95_mm,
        "assd_mm": assd_mm,
        "volume_ml": num_predicted * voxel_ml,
        "reference_volume_ml": num_reference * voxel_ml,
    }


def _surface_distances(
    prediction: np.ndarray, reference: np.ndarray, spacing_mm: Sequence[float]
) -> tuple[float, float]:
    """Return HD95 and average symmetric surface distance in mm."""
    if not prediction.any() and not reference.any():
        return 0.0, 0.0
    if not prediction.any() or not reference.any():
        diagonal_mm = float(np.linalg.norm(np.multiply(prediction.shape, spacing_mm)))
        return diagonal_mm, diagonal_mm
    # both surfaces lie inside the box of the two masks, so nothing outside it matters
    box = bounding_box_to_slice(get_bbox_from_mask(prediction | reference))
    surfaces = [_surface(mask[box]) for mask in (prediction, reference)]
    to_reference, to_prediction = (
        ndimage.distance_transform_edt(~other, sampling=spacing_mm)[surface]
        for surface, other in (surfaces, surfaces[::-1])
    )
    hd95_mm = max(np.percentile(to_reference, 95), np.percentile(to_prediction, 95))
    return float(hd95_mm), float(np.concatenate([to_reference, to_prediction]).mean())


def _surface(mask: np.ndarray) -> np.ndarray:
    """Return the voxels of a mask with a face neighbour outside it; beyond the array all is outside."""
    return mask & ~ndimage.binary_erosion(mask, border_value=0)


def score_case(prediction_file: Path, reference_file: Path, labels: Mapping[str, int]) -> dict:
    """Score one predicted case.

    Args:
        prediction_file: Labels 0..K.
        reference_file: Dense labels on the same grid.
        labels: The foreground labels by name.

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
    per_label = {
        name: score_mask(predicted == label, truth == label, spacing_mm=spacing_zyx_mm(reference))
        for name, label in labels.items()
    }
    keys = (*MEASURES, "reference_volume_ml")
    means = {key: float(np.mean([scores[key] for scores in per_label.values()])) for key in keys}
    return means | {"per_label": per_label}
