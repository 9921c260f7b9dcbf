"""What the files of clicks have in common: positions in voxels or in mm of the patient, as voxels of the image."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from nnunetv2_simple.extreme_points.bounding_boxes import box_voxels, faces_between
from nnunetv2_simple.extreme_points.strokes import Stroke
from nnunetv2_simple.images import patient_axes

FIRST_VOXEL = {"voxel": 0, "itksnap": 1}  # the number of the first voxel; the cursor of ITK-SNAP counts from 1
COORDINATES = (*FIRST_VOXEL, "LPS", "RAS")
CORNER_INSET_VOXELS = 1e-3  # a corner of a box midway between two voxels means the inner one
OUTSIDE_TOLERANCE_VOXELS = 0.499  # how far beyond the border of the image a position in mm may lie


@dataclass(frozen=True, eq=False)
class Annotation:
    """What a file says about one lesion.

    Attributes:
        title: What to call the lesion in an error.
        positions: (6, 3) continuous voxel indices (x, y, z) in any order.
        is_box: Whether they are the face centres of a bounding box, not clicks.
        axes: (3, 3) the axes along which the file was made, each named after the image axis it is closest to (see
            :func:`nnunetv2_simple.images.patient_axes`); None for the image's own.
        class_name: The class as the file states it.
        markup_name: Free text of 3D Slicer, which may be a class name or not.
        point_names: The name of each position, such as "L" for the left-most one.
        strokes: What somebody drew to correct the pseudo-mask.
        seconds: How long the annotation of the lesion took, where known.
    """

    title: str
    positions: np.ndarray
    is_box: bool = False
    axes: np.ndarray | None = None
    class_name: str | None = None
    markup_name: str | None = None
    point_names: tuple[str, ...] = ()
    strokes: tuple[Stroke, ...] = ()
    seconds: float | None = None


@contextmanager
def error_context(where: str) -> Iterator[None]:
    """Let a ValueError say where it happened."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def annotated_positions(
    points: object, coordinates: object, image: sitk.Image, *, is_box: bool
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the positions of six points, or of a box from two opposite corners, and the axes of the coordinates."""
    expected = "two opposite corners [x, y, z]" if is_box else "six points [x, y, z]"
    points = numbers(points, (2 if is_box else 6, 3), f"expected {expected}")
    if coordinates not in COORDINATES:
        raise ValueError(f"'coordinates' must be one of {COORDINATES}, got {coordinates!r}")
    axes = None if coordinates in FIRST_VOXEL else patient_axes(image)
    if not is_box:
        return to_index(points, coordinates, image), axes
    faces = to_index(faces_between(*points), coordinates, image)
    return box_voxels(faces, image, axes, inset_voxels=CORNER_INSET_VOXELS), axes


def annotated_strokes(content: object, coordinates: str, image: sitk.Image) -> tuple[Stroke, ...]:
    """Return the strokes [{"is_lesion": true, "points": [[x, y, z], ...]}, ...] of a lesion as voxels of the image."""
    strokes = []
    for number, stroke in enumerate(objects(content, "strokes"), start=1):
        with error_context(f"stroke {number}"):
            points = stroke.get("points")
            if not isinstance(stroke.get("is_lesion"), bool) or not isinstance(points, list) or not points:
                raise ValueError(f"expected 'is_lesion' (true or false) and 'points', got {excerpt(stroke)}")
            points = numbers(points, (len(points), 3), "expected 'points' to be a list of [x, y, z]")
            voxels = np.rint(to_index(points, coordinates, image)).astype(int)
            outside = ((voxels < 0) | (voxels >= image.GetSize())).any(axis=1)
            if outside.any():
                raise ValueError(
                    f"voxel {voxels[outside][0].tolist()} lies outside the image of size {image.GetSize()} (x, y, z)"
                )
            strokes.append(Stroke(stroke["is_lesion"], voxels[:, ::-1]))
    return tuple(strokes)


def named_coordinates(name: object) -> object:
    """Return one of :data:`COORDINATES` however its letters are written; anything else as it is."""
    letters = str(name).strip().lower().replace("-", "")
    return next((known for known in COORDINATES if letters == known.lower()), name)


def to_index(positions: np.ndarray, coordinates: str, image: sitk.Image) -> np.ndarray:
    """Return continuous voxel indices (x, y, z) of positions (..., 3) in one of :data:`COORDINATES`."""
    if coordinates in FIRST_VOXEL:
        return positions - FIRST_VOXEL[coordinates]
    lps = positions if coordinates == "LPS" else positions * (-1, -1, 1)
    indices = np.array([image.TransformPhysicalPointToContinuousIndex(position) for position in lps.tolist()])
    last, beyond = np.array(image.GetSize()) - 1, 0.5 + OUTSIDE_TOLERANCE_VOXELS
    return np.where((indices > -beyond) & (indices < last + beyond), indices.clip(0, last), indices)


def numbers(values: object, shape: tuple[int, ...], expected: str) -> np.ndarray:
    try:
        array = np.asarray(values, dtype=float)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{expected}, got {excerpt(values)}") from error
    if array.shape != shape:
        raise ValueError(f"{expected}, got {f'{len(array)}: ' if array.ndim else ''}{excerpt(values)}")
    if not np.isfinite(array).all():
        raise ValueError(f"{expected} and all numbers finite, got {excerpt(values)}")
    return array


def objects(content: object, name: str) -> list[dict]:
    if not isinstance(content, list) or not all(isinstance(entry, dict) for entry in content):
        raise ValueError(f"'{name}' must be a list of objects, got {excerpt(content)}")
    return content


def excerpt(content: object) -> str:
    text = str(content)
    return text if len(text) <= 300 else text[:300] + " ..."
