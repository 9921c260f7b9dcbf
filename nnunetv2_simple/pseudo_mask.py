"""Initial pseudo-mask: extreme points -> shortest-path scribbles -> iterated random walker (SimPLe, section 2.1)."""

from collections.abc import Sequence

import numpy as np
from scipy import ndimage
from skimage.graph import MCP_Geometric

from nnunetv2_simple.extreme_points import bounding_box, sort_extreme_points
from nnunetv2_simple.random_walker import RandomWalker

STD_MARGIN_VOXELS = (10, 20, 20)  # (z, y, x) around the box: whose intensities scale beta, as in the published script


def draw_scribbles(image: np.ndarray, extreme_points: Sequence, *, spacing_mm: Sequence[float]) -> np.ndarray:
    """Draw one scribble along each axis, from one extreme point to the opposite one.

    A scribble is the path of least gradient magnitude, integrated along its length in mm (Dijkstra on the
    26-neighbourhood). The path cannot leave the bounding box, in which the lesion lies by definition. It is dilated
    by one voxel (3 x 3 x 3) and clipped to the box.

    Args:
        image: (z, y, x), finite intensities.
        extreme_points: (6, 3) voxels (z, y, x), two along each axis. Points on the image border are legal.
        spacing_mm: Voxel size (z, y, x).

    Returns:
        (z, y, x) bool, True on the dilated scribbles.

    Raises:
        ValueError: If the image is not a finite volume, the spacing is not positive, or the points are not six voxels
            of the image.

    Reference:
        Zhong & Wang, SimPLe, MICCAI 2023, section 2.1.
    """
    image, extreme_points, spacing_mm = _checked_inputs(image, extreme_points, spacing_mm)
    box = bounding_box(extreme_points)
    corner = extreme_points.min(axis=0)
    neighbourhood = _extended(box, (1, 1, 1), image.shape)
    box_in_neighbourhood = tuple(
        slice(side.start - around.start, side.stop - around.start)
        for side, around in zip(box, neighbourhood, strict=True)
    )
    gradient_magnitude = _gradient_magnitude(image[neighbourhood], spacing_mm)[box_in_neighbourhood]

    paths = np.zeros(gradient_magnitude.shape, dtype=bool)
    for axis in range(3):
        start, end = extreme_points[2 * axis : 2 * axis + 2] - corner
        search = MCP_Geometric(gradient_magnitude, fully_connected=True, sampling=spacing_mm)
        search.find_costs([start], [end])
        paths[tuple(np.transpose(search.traceback(end)))] = True

    scribbles = np.zeros(image.shape, dtype=bool)
    scribbles[box] = ndimage.binary_dilation(paths, np.ones((3, 3, 3)))
    return scribbles


def generate_pseudo_mask(
    image: np.ndarray,
    extreme_points: Sequence,
    *,
    spacing_mm: Sequence[float],
    beta: float = 130.0,
    foreground_threshold: float = 0.8,
    background_threshold: float = 0.1,
    num_refinements: int = 7,
    ignore_label: int = 2,
) -> np.ndarray:
    """Turn six extreme points into a pseudo-mask of foreground, background and unlabelled voxels.

    The first walk starts from the scribbles (foreground) and every voxel outside the box (background). Voxels whose
    probability exceeds ``foreground_threshold`` or stays below ``background_threshold`` become seeds of the next walk.
    After the last one the voxels of the box above ``foreground_threshold`` are foreground, its other voxels
    unlabelled; everything outside the box is background. The published script leaves a collar of 5 voxels round the
    box unseeded, the paper, which is followed here, does not.

    Args:
        image: (z, y, x), finite intensities. They are used as they are: beta depends on their scale.
        extreme_points: (6, 3) voxels (z, y, x), two along each axis. Points on the image border are legal.
        spacing_mm: Voxel size (z, y, x).
        beta: Penalty on intensity differences in scikit-image's scale, which divides by the standard deviation of the
            intensities; here of the box extended by 10, 20, 20 voxels (z, y, x) and clipped to the image.
        foreground_threshold: Probability in (0, 1) above which a voxel is foreground.
        background_threshold: Probability in (0, 1) below which a voxel seeds the background of the next walk.
        num_refinements: Number of walks after the first one, at least 0.
        ignore_label: Label of the unlabelled voxels, 2 to 255.

    Returns:
        (z, y, x) uint8 in {0, 1, ignore_label}.

    Raises:
        ValueError: As :func:`draw_scribbles`, if an option is out of its range, and if the image is constant around
            the box.

    Reference:
        Zhong & Wang, SimPLe, MICCAI 2023, section 2.1; Grady, Random walks for image segmentation, TPAMI 2006.
    """
    if not 0 < background_threshold < foreground_threshold < 1:
        raise ValueError(
            f"thresholds must satisfy 0 < background < foreground < 1, "
            f"got background_threshold {background_threshold} and foreground_threshold {foreground_threshold}"
        )
    if not (beta > 0 and num_refinements >= 0 and 2 <= ignore_label <= 255):
        raise ValueError(
            f"beta must be positive, num_refinements at least 0 and ignore_label in 2..255, "
            f"got {beta}, {num_refinements} and {ignore_label}"
        )
    scribbles = draw_scribbles(image, extreme_points, spacing_mm=spacing_mm)
    image, extreme_points, spacing_mm = _checked_inputs(image, extreme_points, spacing_mm)
    box = bounding_box(extreme_points)
    intensity_std = image[_extended(box, STD_MARGIN_VOXELS, image.shape)].std()
    if intensity_std == 0:
        raise ValueError(f"image is constant ({image[box].flat[0]}) in and around the box of the extreme points")

    # walks end at the background seeds that touch the box, so nothing further out can matter
    neighbourhood = _extended(box, (1, 1, 1), image.shape)
    walker = RandomWalker(image[neighbourhood], spacing_mm=spacing_mm, beta=beta, intensity_std=intensity_std)
    in_box = np.zeros(image.shape, dtype=bool)
    in_box[box] = True
    foreground, background = scribbles[neighbourhood], ~in_box[neighbourhood]
    probability = None
    for _ in range(1 + num_refinements):
        probability = walker.walk(foreground, background, initial=probability)
        foreground |= probability > foreground_threshold
        background |= probability < background_threshold

    pseudo_mask = np.where(in_box, ignore_label, 0).astype(np.uint8)
    pseudo_mask[neighbourhood][foreground] = 1
    return pseudo_mask


def merge_pseudo_masks(pseudo_masks: Sequence[np.ndarray], labels: Sequence[int], *, ignore_label: int) -> np.ndarray:
    """Merge the pseudo-masks of several lesions of one image.

    A voxel gets the label of the lesions that claim it. Where lesions of different labels claim it, or none claims it
    but it is unlabelled in one of them, it is unlabelled. With one lesion of label 1 the result is its pseudo-mask.

    Args:
        pseudo_masks: (z, y, x) each, 1 on the lesion, 0 background, any other value unlabelled.
        labels: The label of each lesion, in 1..ignore_label - 1.
        ignore_label: Label of the unlabelled voxels.

    Returns:
        (z, y, x) uint8.
    """
    merged = np.zeros_like(pseudo_masks[0], dtype=np.uint8)
    for pseudo_mask in pseudo_masks:
        merged[pseudo_mask > 1] = ignore_label
    claims = [
        np.any([p == 1 for p, own in zip(pseudo_masks, labels, strict=True) if own == label], axis=0)
        for label in sorted(set(labels))
    ]
    for label, claim in zip(sorted(set(labels)), claims, strict=True):
        merged[claim] = label
    merged[np.sum(claims, axis=0) > 1] = ignore_label
    return merged


def _checked_inputs(
    image: np.ndarray, extreme_points: Sequence, spacing_mm: Sequence[float]
) -> tuple[np.ndarray, np.ndarray, tuple[float, ...]]:
    image = np.asarray(image, dtype=float)
    if image.ndim != 3:
        raise ValueError(f"image must be three-dimensional (z, y, x), got shape {image.shape}")
    if not np.isfinite(image).all():
        raise ValueError(f"image must be finite, got {np.count_nonzero(~np.isfinite(image))} NaN or infinite voxels")
    spacing_mm = tuple(float(s) for s in spacing_mm)
    if len(spacing_mm) != 3 or not all(np.isfinite(s) and s > 0 for s in spacing_mm):
        raise ValueError(f"spacing_mm must be three positive numbers (z, y, x), got {spacing_mm}")
    extreme_points = sort_extreme_points(extreme_points)
    if (extreme_points < 0).any() or (extreme_points >= image.shape).any():
        raise ValueError(
            f"extreme points must lie inside the image of shape {image.shape}, got {extreme_points.tolist()}"
        )
    return image, extreme_points, spacing_mm


def _gradient_magnitude(image: np.ndarray, spacing_mm: Sequence[float]) -> np.ndarray:
    """Gradient magnitude per mm; an axis with a single slice has no gradient."""
    axes = [axis for axis in range(3) if image.shape[axis] > 1]
    return np.sqrt(sum(np.gradient(image, spacing_mm[axis], axis=axis) ** 2 for axis in axes))


def _extended(box: Sequence[slice], margin: Sequence[int], shape: Sequence[int]) -> tuple[slice, ...]:
    return tuple(
        slice(max(side.start - m, 0), min(side.stop + m, size))
        for side, m, size in zip(box, margin, shape, strict=True)
    )
