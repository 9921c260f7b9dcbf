"""Which of six clicks is which: it follows from the geometry, and names are only checked against that."""

import re
from collections.abc import Sequence

import numpy as np
import SimpleITK as sitk
from scipy.optimize import linear_sum_assignment

from nnunetv2_simple.extreme_points.annotation import Annotation
from nnunetv2_simple.extreme_points.bounding_boxes import clipped_box
from nnunetv2_simple.extreme_points.points import along_axes, sort_extreme_points
from nnunetv2_simple.images import patient_axes, spacing_zyx_mm

PATIENT_DIRECTIONS = {  # name of a point: axis and sign in LPS coordinates
    "left": (0, 1),
    "right": (0, -1),
    "posterior": (1, 1),
    "anterior": (1, -1),
    "superior": (2, 1),
    "inferior": (2, -1),
}


def clicked_extreme_points(
    annotation: Annotation, image: sitk.Image
) -> tuple[np.ndarray, np.ndarray | None, tuple[str, ...]]:
    """Return the extreme points, sorted, the axes along which they are (None: the image's), and warnings.

    A box that reaches beyond the image is clipped to it, with a warning. Clicks must lie in the image.

    Raises:
        ValueError: If clicks or a whole box lie outside the image, or clicks contradict their names.
    """
    size, warnings = np.array(image.GetSize()), ()
    voxels = np.rint(annotation.positions)
    outside = ((voxels < 0) | (voxels >= size)).any(axis=1)
    if outside.any() and not annotation.is_box:
        raise ValueError(
            f"{outside.sum()} of 6 points lie outside the image of size {image.GetSize()} (x, y, z), the first one at "
            f"voxel {[int(v) for v in voxels[outside][0]]}"
        )
    if outside.any():
        voxels = clipped_box(voxels, image, annotation.axes)
        warnings = (f"the bounding box reaches beyond the image of size {image.GetSize()} (x, y, z) and is clipped",)
    points, spacing_mm = voxels[:, ::-1].astype(int), spacing_zyx_mm(image)
    axes = annotation.axes if annotation.is_box else _clicked_axes(points, annotation.axes, image)
    _check_point_names(annotation.point_names, points, axes, image)
    return sort_extreme_points(points, spacing_mm=spacing_mm, axes=axes), axes, warnings


def _clicked_axes(points: np.ndarray, own_axes: np.ndarray | None, image: sitk.Image) -> np.ndarray | None:
    """Return the axes along which six points were clicked: their source's own, unless only the other ones fit."""
    other_axes = patient_axes(image) if own_axes is None else None
    spacing_mm = spacing_zyx_mm(image)
    if _are_extreme(points, spacing_mm, own_axes) or not _are_extreme(points, spacing_mm, other_axes):
        return own_axes
    return other_axes


def _are_extreme(points: np.ndarray, spacing_mm: Sequence[float], axes: np.ndarray | None) -> bool:
    """Tell whether each of six points is an extreme one in a direction of its own."""
    positions = along_axes(points, spacing_mm, axes)
    is_lowest, is_highest = (np.isclose(positions, end) for end in (positions.min(axis=0), positions.max(axis=0)))
    is_extreme = np.hstack((is_lowest, is_highest))
    return bool(is_extreme[linear_sum_assignment(is_extreme, maximize=True)].all())


def _check_point_names(names: Sequence[str], points: np.ndarray, axes: np.ndarray | None, image: sitk.Image) -> None:
    """Make sure that a point named after a patient direction is the extreme one there, to one voxel.

    Single letters are directions only where all of them are: six points may be called A to F.
    """
    axes, spacing_mm = np.eye(3) if axes is None else axes, np.array(spacing_zyx_mm(image))
    in_patient = np.reshape(image.GetDirection(), (3, 3)) @ axes[:, ::-1].T  # columns: the axes in LPS coordinates
    axis_of = linear_sum_assignment(-abs(in_patient))[1]  # the one closest to left-right, ...
    positions_mm = along_axes(points, spacing_mm, axes)
    letters = {direction[0]: direction for direction in PATIENT_DIRECTIONS}
    known = [re.sub(r"[ _-]?most$", "", name.strip().lower()) for name in names]
    if any(len(name) == 1 and name not in letters for name in known):
        letters = {}
    for index, name in enumerate(names):
        direction = letters.get(known[index], known[index])
        if direction not in PATIENT_DIRECTIONS:
            continue
        patient_axis, sign = PATIENT_DIRECTIONS[direction]
        axis = axis_of[patient_axis]
        reach_mm = sign * np.sign(in_patient[patient_axis, axis]) * positions_mm[:, axis]
        short_mm = reach_mm.max() - reach_mm[index]
        if short_mm > spacing_mm[axis] * 1.001:
            raise ValueError(
                f"the point named {name!r} is not the {direction}-most one: the one named "
                f"{names[np.argmax(reach_mm)]!r} lies {short_mm:.1f} mm further {direction}; the names of all are "
                f"{list(names)}"
            )
