"""Extreme points: the six voxels where a lesion reaches furthest along each axis."""

from collections.abc import Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment


def extreme_points_from_mask(
    mask: np.ndarray, *, spacing_mm: Sequence[float] = (1.0, 1.0, 1.0), axes: np.ndarray | None = None
) -> np.ndarray:
    """Simulate the six clicks from a dense mask.

    On each of the six faces of the bounding box the voxel of the mask nearest to the centroid of that face's mask
    voxels is taken: where a radiologist would click.

    Args:
        mask: (z, y, x), non-zero inside the lesion.
        spacing_mm: Voxel size (z, y, x); matters for oblique images only.
        axes: (3, 3) patient axes of an oblique image (see :func:`nnunetv2_simple.images.patient_axes`), along which
            the points are extreme; the image's own if None.

    Returns:
        (6, 3) int array, rows z_min z_max y_min y_max x_min x_max, each row a voxel (z, y, x) of the mask.

    Raises:
        ValueError: If the mask is not three-dimensional or is empty.

    Example:
        >>> mask = np.zeros((5, 6, 7), dtype=bool)
        >>> mask[1:4, 2:5, 3:6] = True
        >>> extreme_points_from_mask(mask).tolist()
        [[1, 3, 4], [3, 3, 4], [2, 2, 4], [2, 4, 4], [2, 3, 3], [2, 3, 5]]
    """
    mask = np.asarray(mask)
    if mask.ndim != 3:
        raise ValueError(f"mask must be three-dimensional (z, y, x), got shape {mask.shape}")
    voxels = np.argwhere(mask)
    if len(voxels) == 0:
        raise ValueError(f"mask is empty, extreme points need at least one voxel; got shape {mask.shape}")
    positions = along_axes(voxels, spacing_mm, axes)
    face_depth = 0.5 if axes is None else 0.5 * min(spacing_mm)
    points = []
    for axis in range(3):
        for extreme in (positions[:, axis].min(), positions[:, axis].max()):
            face = voxels[abs(positions[:, axis] - extreme) < face_depth]
            points.append(face[np.argmin(((face - face.mean(axis=0)) ** 2).sum(axis=1))])
    return np.array(points)


def along_axes(voxels: np.ndarray, spacing_mm: Sequence[float], axes: np.ndarray | None) -> np.ndarray:
    """Return (..., 3) positions along the patient axes in mm; without axes the voxel indices themselves.

    Args:
        voxels: (..., 3) voxels (z, y, x).
        spacing_mm: Voxel size (z, y, x).
        axes: (3, 3) patient axes of an oblique image, or None.
    """
    return voxels if axes is None else (voxels * np.asarray(spacing_mm, dtype=float)) @ np.transpose(axes)


def sort_extreme_points(
    points: Sequence, *, spacing_mm: Sequence[float] = (1.0, 1.0, 1.0), axes: np.ndarray | None = None
) -> np.ndarray:
    """Bring six points of any order into the order z_min z_max y_min y_max x_min x_max.

    Which point is which follows from the geometry alone, never from the order they come in: along each axis the lowest
    and the highest one. Where several points are lowest (or highest), as many points as possible find a place, and of
    what is left open those nearest to the middle of the faces of the box are taken. A point that is extreme in no
    direction gives its place to one that is extreme in two.

    Args:
        points: (6, 3) voxels (z, y, x) in any order.
        spacing_mm: Voxel size (z, y, x); matters for oblique images only.
        axes: (3, 3) patient axes of an oblique image; the image's own if None.

    Returns:
        (6, 3) int array in the order of :func:`extreme_points_from_mask`.

    Raises:
        ValueError: If there are not exactly six points of three finite coordinates.
    """
    points = as_six_points(points)
    points = points[np.lexsort(points.T)]
    positions = along_axes(points, spacing_mm, axes)
    lower, upper = positions.min(axis=0), positions.max(axis=0)
    is_extreme = np.stack((positions == lower, positions == upper), axis=1).transpose(2, 1, 0).reshape(6, 6)
    squared = ((2 * positions - lower - upper) / np.where(upper > lower, upper - lower, 1)) ** 2
    off_middle = np.repeat(squared.sum(axis=1) - squared.T, 2, axis=0)  # of the face: at most 2
    cost = np.where(is_extreme, off_middle, 100) - 1e-9 * np.outer(range(6), range(6))
    _, order = linear_sum_assignment(cost)
    has_none = ~is_extreme[range(6), order]
    order[has_none] = cost.argmin(axis=1)[has_none]
    return points[order]


def as_six_points(points: Sequence) -> np.ndarray:
    """Return (6, 3) int array of six points, rounded to voxels.

    Raises:
        ValueError: If there are not exactly six points of three finite coordinates.
    """
    points = np.asarray(points, dtype=float)
    if points.shape != (6, 3):
        raise ValueError(f"expected six extreme points of three coordinates, got an array of shape {points.shape}")
    if not np.isfinite(points).all():
        raise ValueError(f"extreme points must be finite, got {points.tolist()}")
    return np.rint(points).astype(int)


def box_iou(lower: np.ndarray, upper: np.ndarray, other_lower: np.ndarray, other_upper: np.ndarray) -> float:
    """Return the volume that two boxes share, divided by that of their union.

    Args:
        lower: Corner of the first box, (3,), in voxels or mm; every corner in the same unit and along the same axes.
        upper: The opposite corner, larger in all coordinates.
        other_lower: As ``lower``, of the second box.
        other_upper: As ``upper``, of the second box.

    Example:
        >>> box_iou(np.zeros(3), np.full(3, 2), np.array([0, 0, 1]), np.full(3, 2))
        0.5
    """
    shared = (np.minimum(upper, other_upper) - np.maximum(lower, other_lower)).clip(0).prod()
    return float(shared / ((upper - lower).prod() + (other_upper - other_lower).prod() - shared))


def bounding_box(extreme_points: np.ndarray) -> tuple[slice, slice, slice]:
    """Return the box spanned by the extreme points, faces included.

    Args:
        extreme_points: (6, 3) voxels (z, y, x).

    Returns:
        One slice per axis.
    """
    lower, upper = np.min(extreme_points, axis=0), np.max(extreme_points, axis=0) + 1
    return tuple(slice(int(a), int(b)) for a, b in zip(lower, upper, strict=True))
