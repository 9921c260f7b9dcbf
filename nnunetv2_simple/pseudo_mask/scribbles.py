"""Scribbles: the shortest paths through the image between opposite extreme points (SimPLe, section 2.1)."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from scipy import ndimage
from skimage.graph import MCP_Geometric

from nnunetv2_simple.extreme_points.box import LesionBox
from nnunetv2_simple.extreme_points.points import as_six_points, sort_extreme_points

Recipe = Literal["paper", "robust"]
RECIPES = ("paper", "robust")


def draw_scribbles(
    image: np.ndarray,
    extreme_points: Sequence,
    *,
    spacing_mm: Sequence[float],
    recipe: Recipe = "paper",
    axes: np.ndarray | None = None,
) -> np.ndarray:
    """Draw one scribble along each axis, from one extreme point to the opposite one.

    A scribble is the path of least cost, integrated along its length in mm (Dijkstra on the 26-neighbourhood). It
    cannot leave the bounding box, in which the lesion lies by definition. It is dilated by one voxel (3 x 3 x 3) and
    clipped to the box.

    The cost is the gradient magnitude in the recipe "paper". Extreme points lie on the lesion's border and flat
    background costs nothing, so such a path may run round the lesion. In the recipe "robust" it is

        gradient magnitude / its 99th percentile (at most 1) + 0.1 + 0.3 r^2,

    with the radius r in the box (1 on the inscribed ellipsoid), which keeps the path short and inside; and it is
    dilated by the six face neighbours only, of these by those at least half a voxel inside the ellipsoid that touches
    the clicks: three voxels are as wide as a small lesion.

    Args:
        image: (z, y, x), finite intensities.
        extreme_points: (6, 3) voxels (z, y, x), two along each axis. Points on the image border are legal.
        spacing_mm: Voxel size (z, y, x).
        recipe: "paper" or "robust".
        axes: (3, 3) patient axes of an oblique image (see :func:`nnunetv2_simple.images.patient_axes`), along which
            the points are extreme; the image's own if None.

    Returns:
        (z, y, x) bool, True on the dilated scribbles.

    Raises:
        ValueError: If the image is not a finite volume, the spacing is not positive, the points are not six voxels of
            the image, or there is no such recipe.

    Reference:
        Zhong & Wang, SimPLe, MICCAI 2023, section 2.1.

    Example:
        >>> image = np.zeros((7, 7, 7))
        >>> image[2:5, 2:5, 2:5] = 1
        >>> points = [[2, 3, 3], [4, 3, 3], [3, 2, 3], [3, 4, 3], [3, 3, 2], [3, 3, 4]]
        >>> scribbles = draw_scribbles(image, points, spacing_mm=(1, 1, 1))
        >>> scribbles.shape, int(scribbles.sum())  # the paths, dilated by one voxel, fill this small box
        ((7, 7, 7), 27)
    """
    check_recipe(recipe)
    image, extreme_points, spacing_mm, box = checked_inputs(image, extreme_points, spacing_mm, axes)
    cost = _gradient_magnitude(image, box, spacing_mm)
    in_box = box.contains(box.slices)
    if recipe == "robust":
        steepest = np.quantile(cost, 0.99)
        cost = np.minimum(cost / steepest, 1) if steepest > 0 else np.zeros_like(cost)
        cost = cost + 0.1 + 0.3 * box.radius(box.slices) ** 2
    cost[~in_box] = np.inf

    corner = [side.start for side in box.slices]
    points = sort_extreme_points(extreme_points, spacing_mm=spacing_mm, axes=axes) - corner
    paths = np.zeros(cost.shape, dtype=bool)
    search = MCP_Geometric(cost, fully_connected=True, sampling=spacing_mm)
    for axis in range(3):
        start, end = points[2 * axis : 2 * axis + 2]
        search.find_costs([start], [end])
        paths[tuple(np.transpose(search.traceback(end)))] = True

    scribbles = np.zeros(image.shape, dtype=bool)
    if recipe == "paper":
        scribbles[box.slices] = ndimage.binary_dilation(paths, np.ones((3, 3, 3))) & in_box
    else:
        half_a_voxel = 1 / np.mean(cost.shape)  # in half-sizes of the box
        well_inside = box.touching_radius(box.slices) <= 1 - half_a_voxel
        scribbles[box.slices] = paths | ndimage.binary_dilation(paths) & well_inside & in_box
    return scribbles


def check_recipe(recipe: str) -> None:
    if recipe not in RECIPES:
        raise ValueError(f"recipe must be one of {RECIPES}, got {recipe!r}")


def checked_inputs(
    image: np.ndarray, extreme_points: Sequence, spacing_mm: Sequence[float], axes: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, tuple[float, ...], LesionBox]:
    """Return image, extreme points and spacing as arrays and numbers, and the box; ValueError if they do not fit."""
    image = np.asarray(image, dtype=float)
    if image.ndim != 3:
        raise ValueError(f"image must be three-dimensional (z, y, x), got shape {image.shape}")
    if not np.isfinite(image).all():
        raise ValueError(f"image must be finite, got {np.count_nonzero(~np.isfinite(image))} NaN or infinite voxels")
    spacing_mm = tuple(float(s) for s in spacing_mm)
    if len(spacing_mm) != 3 or not all(np.isfinite(s) and s > 0 for s in spacing_mm):
        raise ValueError(f"spacing_mm must be three positive numbers (z, y, x), got {spacing_mm}")
    extreme_points = as_six_points(extreme_points)
    if (extreme_points < 0).any() or (extreme_points >= image.shape).any():
        raise ValueError(
            f"extreme points must lie inside the image of shape {image.shape}, got {extreme_points.tolist()}"
        )
    box = LesionBox(extreme_points, shape=image.shape, spacing_mm=spacing_mm, axes=axes)
    return image, extreme_points, spacing_mm, box


def _gradient_magnitude(image: np.ndarray, box: LesionBox, spacing_mm: Sequence[float]) -> np.ndarray:
    """Return the gradient magnitude per mm in the box; an axis with a single slice has no gradient."""
    region = box.region((1, 1, 1))
    axes = [axis for axis in range(3) if image[region].shape[axis] > 1]
    magnitude = np.sqrt(sum(np.gradient(image[region], spacing_mm[axis], axis=axis) ** 2 for axis in axes))
    return magnitude[tuple(slice(s.start - r.start, s.stop - r.start) for s, r in zip(box.slices, region, strict=True))]
