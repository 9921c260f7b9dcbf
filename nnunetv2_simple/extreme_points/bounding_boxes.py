"""Bounding boxes as annotations: the voxels just inside the centres of their faces."""

from itertools import product

import numpy as np
import SimpleITK as sitk
from scipy.optimize import linear_sum_assignment

from nnunetv2_simple.extreme_points.box import LesionBox
from nnunetv2_simple.extreme_points.points import extreme_points_from_mask
from nnunetv2_simple.images import spacing_zyx_mm

FACE_INSET_VOXELS = 0.499  # half a voxel, less a tolerance for faces that run through voxel centres
FACE_TOLERANCE = 0.01  # of the extent of a voxel along an axis: how much of an oblique box may be cut off


def face_centres(centre: np.ndarray, half_edges: np.ndarray) -> np.ndarray:
    """Return (6, 3), the centres of the two faces at the ends of each edge direction (row)."""
    return np.stack((centre - half_edges, centre + half_edges), axis=1).reshape(6, 3)


def faces_between(corner: np.ndarray, opposite: np.ndarray) -> np.ndarray:
    """Return (6, 3), the centres of the faces of a box along the axes, lower and upper one of each in turn."""
    return face_centres((corner + opposite) / 2, np.diag(abs(opposite - corner) / 2))


def box_voxels(faces: np.ndarray, image: sitk.Image, axes: np.ndarray | None, *, inset_voxels: float) -> np.ndarray:
    """Return the positions (x, y, z) of the voxels just inside the six faces of a box.

    Args:
        faces: (6, 3) continuous voxel indices (x, y, z) of the centres of the faces.
        image: The image.
        axes: (3, 3) the box's axes, if not the image's.
        inset_voxels: How far inside the faces the centres of the outermost voxels lie.
    """
    if axes is None:
        return _along_image_axes(faces, inset_voxels=inset_voxels)
    spacing_mm, last = np.array(spacing_zyx_mm(image)), np.array(image.GetSize())[::-1] - 1
    faces_mm = faces[:, ::-1] * spacing_mm
    centre_mm, voxel_mm = faces_mm.mean(axis=0), abs(axes) @ spacing_mm
    half_mm = abs((faces_mm - centre_mm) @ axes.T).max(axis=0)
    reach_mm = np.maximum(half_mm - inset_voxels * voxel_mm, 0)
    voxels = []
    for (axis, size_mm), sign in product(enumerate(reach_mm), (-1, 1)):
        # a face that lies aslant runs between voxels: of those near its centre one that cuts nothing off, adds little
        ideal_mm = centre_mm + sign * size_mm * axes[axis]
        near = np.rint(ideal_mm / spacing_mm) + list(product((-1, 0, 1), repeat=3))
        inside = ((near >= 0) & (near <= last)).all(axis=1)
        near = near[inside] if inside.any() else near
        off_mm = near * spacing_mm - ideal_mm
        beyond_mm = sign * (off_mm @ axes[axis])
        is_short = beyond_mm < -FACE_TOLERANCE * voxel_mm[axis]
        voxels.append(near[np.lexsort((abs(beyond_mm) + np.linalg.norm(off_mm, axis=1), is_short))[0]])
    return np.array(voxels)[:, ::-1]


def clipped_box(voxels: np.ndarray, image: sitk.Image, axes: np.ndarray | None) -> np.ndarray:
    """Return the outermost voxels of the part of a box that lies in the image.

    Args:
        voxels: (6, 3) voxels (x, y, z) just inside the six faces of a box, some of them outside the image.
        image: The image.
        axes: (3, 3) the box's axes, if not the image's.

    Returns:
        (6, 3) voxels (x, y, z) of the image: the centres of the faces, or what lies nearest to them.

    Raises:
        ValueError: If no part of it lies in the image.
    """
    size = np.array(image.GetSize())
    lower, upper = voxels.min(axis=0).clip(0), voxels.max(axis=0).clip(max=size - 1)
    if axes is None and (lower <= upper).all():
        return np.rint(faces_between(lower, upper))
    if axes is not None:
        spacing_mm = spacing_zyx_mm(image)
        box = LesionBox(voxels[:, ::-1], shape=size[::-1], spacing_mm=spacing_mm, axes=axes)
        inside = box.contains(box.slices)
        if inside.any():
            points = extreme_points_from_mask(inside, spacing_mm=spacing_mm, axes=axes)
            return (points + [side.start for side in box.slices])[:, ::-1]
    first, last = ([int(v) for v in corner] for corner in (voxels.min(axis=0), voxels.max(axis=0)))
    raise ValueError(
        f"the bounding box from voxel {first} to {last} lies outside the image of size {image.GetSize()} (x, y, z)"
    )


def _along_image_axes(faces: np.ndarray, *, inset_voxels: float) -> np.ndarray:
    """Bring the face centres of a box into the order of the image axes z, y, x and move them inwards."""
    half_edges = (faces[1::2] - faces[::2]) / 2
    reach = abs(half_edges).max(axis=1, keepdims=True)
    half_edges = half_edges * (np.maximum(reach - inset_voxels, 0) / np.maximum(reach, np.finfo(float).tiny))
    edge_along = np.argsort(linear_sum_assignment(-abs(half_edges))[1])  # the edge closest to the image's x, y, z
    return face_centres(faces.mean(axis=0), half_edges[edge_along][::-1])
