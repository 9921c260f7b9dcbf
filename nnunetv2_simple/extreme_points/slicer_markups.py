"""Points and boxes as 3D Slicer writes them: .mrk.json and the older .fcsv.

References:
    https://slicer.readthedocs.io/en/latest/developer_guide/modules/markups.html
"""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import SimpleITK as sitk

from nnunetv2_simple.extreme_points.annotation import (
    Annotation,
    annotated_positions,
    error_context,
    numbers,
    objects,
    to_index,
)
from nnunetv2_simple.extreme_points.bounding_boxes import FACE_INSET_VOXELS, box_voxels, face_centres
from nnunetv2_simple.files import read_text
from nnunetv2_simple.images import patient_axes

SLICER_COORDINATES = {"LPS": "LPS", "RAS": "RAS", "0": "RAS", "1": "LPS"}  # the numbers are Slicer's older codes
SLICER_POINT_LISTS = ("Fiducial", "PointList")
FCSV_COLUMNS = "id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID"  # where the file does not name them
FCSV_STATUS_INDEX = 14  # of a column that version 5 writes and does not name
FCSV_NOT_PLACED = ("0", "1", "3")  # undefined, preview, missing


def read_markups(markups: object, image: sitk.Image) -> list[Annotation]:
    """Read the markups schema 1.0.x of 3D Slicer: one lesion per markup, in mm, LPS unless stated otherwise."""
    markups = objects(markups, "markups")
    if not markups:
        raise ValueError("'markups' is empty")
    lesions = []
    for number, markup in enumerate(markups, start=1):
        name = str(markup.get("name") or "")
        title = f"markup {number} {name!r}" if name else f"markup {number}"
        with error_context(title):
            coordinates = _coordinates(markup.get("coordinateSystem", "LPS"), "'coordinateSystem'")
            if markup.get("coordinateUnits", "mm") not in ("mm", ["mm", "UCUM", "millimeter"]):
                raise ValueError(f"'coordinateUnits' must be 'mm', got {markup['coordinateUnits']!r}")
            if markup.get("type") == "ROI":
                annotation = _read_roi(markup, coordinates, image, title=title)
            elif markup.get("type") in SLICER_POINT_LISTS:
                annotation = _read_points(markup, coordinates, image, title=title)
            elif markup.get("type") == "Line":
                raise ValueError(
                    "a line, such as the long axis of RECIST, says how far a lesion reaches in one direction only: "
                    "mark it with six points or a ROI"
                )
            else:
                raise ValueError(f"expected a point list or a ROI, got a markup of type {markup.get('type')!r}")
            lesions.append(replace(annotation, markup_name=name))
    return lesions


def read_fcsv(file: str, image: sitk.Image) -> Annotation:
    """Read a .fcsv file: comments that say "name = value", and a row per point.

    Raises:
        ValueError: If the file cannot be read or is no such point list. Naming the file is left to the caller.
    """
    try:
        lines = read_text(file).splitlines()
        rows = list(csv.reader(line for line in lines if line.strip() and not line.startswith("#")))
    except (OSError, ValueError, csv.Error) as error:
        raise ValueError(f"cannot be read as CSV: {error}") from error
    comments = dict(line[1:].partition("=")[::2] for line in lines if line.startswith("#"))
    comments = {name.strip().lower(): value.strip() for name, value in comments.items()}
    coordinates = _coordinates(comments.get("coordinatesystem"), "'# CoordinateSystem = '")
    columns = [column.strip() for column in (comments.get("columns") or FCSV_COLUMNS).split(",")]
    if not {"x", "y", "z"} <= set(columns):
        raise ValueError(f"expected the columns x, y, z, got {columns}")
    points = []
    for row in rows:
        values = dict(zip(columns, row))  # noqa: B905 (version 5 writes more of them, other programs fewer)
        if not {"x", "y", "z"} <= values.keys():
            raise ValueError(f"expected a value for each of the columns {columns}, got {row}")
        is_placed = not (len(row) > FCSV_STATUS_INDEX and row[FCSV_STATUS_INDEX] in FCSV_NOT_PLACED)
        points.append(
            {
                "label": values.get("label", ""),
                "position": [values[axis] for axis in "xyz"],
                "positionStatus": "defined" if is_placed else "undefined",
            }
        )
    return _read_points({"controlPoints": points}, coordinates, image, title="point list")


def _coordinates(stated: object, name: str) -> str:
    if str(stated) not in SLICER_COORDINATES:
        raise ValueError(f"{name} must be LPS or RAS, got {stated!r}")
    return SLICER_COORDINATES[str(stated)]


def _read_points(markup: Mapping, coordinates: str, image: sitk.Image, *, title: str) -> Annotation:
    points = _control_points(markup)
    if len(points) not in (2, 6):
        raise ValueError(
            f"expected six control points (extreme points) or two (corners of a bounding box) that are defined, "
            f"got {len(points)}"
        )
    names = [str(point.get("label", "")) for point in points]
    return marks_of_points([point["position"] for point in points], names, coordinates, image, title=title)


def marks_of_points(
    points: Sequence, names: Sequence[str], coordinates: str, image: sitk.Image, *, title: str
) -> Annotation:
    """Return what six control points, or two corners of a bounding box, mark."""
    is_box = len(points) == 2
    positions, axes = annotated_positions(points, coordinates, image, is_box=is_box)
    return Annotation(title, positions, is_box, axes, point_names=() if is_box else tuple(names))


def _control_points(markup: Mapping) -> list[dict]:
    """Return the control points that were placed; Slicer keeps the others in the list, with an empty position."""
    points = objects(markup.get("controlPoints", []), "controlPoints")
    return [p for p in points if p.get("positionStatus", "defined") == "defined" and p.get("position", "") != ""]


def _read_roi(markup: Mapping, coordinates: str, image: sitk.Image, *, title: str) -> Annotation:
    """Read a ROI: its centre, its edge lengths, and the directions of the edges in columns."""
    points = _control_points(markup)
    centre = markup.get("center", points[0]["position"] if len(points) == 1 else None)
    centre = numbers(centre, (3,), "'center' must be [x, y, z]")
    size = numbers(markup.get("size"), (3,), "'size' must be three edge lengths")
    directions = numbers(markup.get("orientation", np.eye(3).ravel()), (9,), "'orientation' must be a 3x3 matrix")
    directions = directions.reshape(3, 3)
    if (size < 0).any() or not np.allclose(directions @ directions.T, np.eye(3), atol=1e-3):
        raise ValueError(
            f"expected a ROI of non-negative 'size' and orthonormal 'orientation', got {size.tolist()} and "
            f"{directions.tolist()}"
        )
    # the image as it lies to somebody whose axes are the ROI's
    turned = sitk.Image((1, 1, 1), sitk.sitkUInt8)
    in_lps = np.diag([-1, -1, 1]) @ directions if coordinates == "RAS" else directions
    turned.SetDirection((in_lps.T @ np.reshape(image.GetDirection(), (3, 3))).ravel().tolist())
    axes = patient_axes(turned)
    faces = to_index(face_centres(centre, directions.T * size[:, None] / 2), coordinates, image)
    # its faces are drawn round the lesion: the voxels inside are those whose centres are
    return Annotation(title, box_voxels(faces, image, axes, inset_voxels=FACE_INSET_VOXELS), True, axes)
