"""The file formats of clicks. A lesion is marked by six points in any order or by a bounding box.

    .json                point lists and ROIs of 3D Slicer (.mrk.json), one lesion each; a list of two points is a box
    .json                {"coordinates": "voxel", "points": [[x, y, z], ... six]}, or "box": two opposite corners, or
                         "lesions": [{"label": "node", "points": [...]}, {"label": "node", "box": [...]}]
    .csv                 columns x, y, z, or x_mm, y_mm, z_mm and coordinates; optional lesion, label, case. Each lesion
                         has six rows (points) or two (opposite corners)
    .nii.gz, .mha, ...   the labels 1 to 6 (ITK-SNAP), one per point

"voxel" counts from 0, as ITK-SNAP and SimpleITK do; "LPS" and "RAS" are patient coordinates in mm. Every reader tells
which positions of the image a file marks; what they mean is left to :mod:`nnunetv2_simple.annotations`.
"""

import csv
import io
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk  # noqa: N813 (its documented abbreviation)
from scipy.optimize import linear_sum_assignment

from nnunetv2_simple.images import IMAGE_FILE_ENDINGS, check_same_geometry, read_volume, spacing_zyx_mm

ANNOTATION_FILE_ENDINGS = (".mrk.json", ".json", ".csv", *IMAGE_FILE_ENDINGS)
COORDINATES = ("voxel", "LPS", "RAS")
SLICER_COORDINATES = {"LPS": "LPS", "RAS": "RAS", "0": "RAS", "1": "LPS"}  # the numbers are Slicer's older codes
SLICER_POINT_LISTS = ("Fiducial", "PointList")
POINT_LABELS = {1, 2, 3, 4, 5, 6}  # of label images
FACE_INSET_VOXELS = 0.499  # half a voxel, less a tolerance for faces that run through voxel centres
OUTSIDE_TOLERANCE_VOXELS = 0.499  # how far beyond the border of the image a position in mm may lie


@dataclass(frozen=True, eq=False)
class Marks:
    """What a file says about one lesion.

    Attributes:
        title: What to call the lesion in an error.
        positions: (6, 3) continuous voxel indices (x, y, z) in any order.
        is_box: Whether they are the face centres of a bounding box, not clicks.
        class_name: The class as the file states it.
        markup_name: Free text of 3D Slicer, which may be a class name or not.
        point_names: The name of each position, such as "L" for the left-most one.
    """

    title: str
    positions: np.ndarray
    is_box: bool = False
    class_name: str | None = None
    markup_name: str | None = None
    point_names: tuple[str, ...] = ()


@contextmanager
def error_context(where: str) -> Iterator[None]:
    """Let a ValueError say where it happened."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def read_marks(file: str, image: sitk.Image, *, case: str) -> list[Marks]:
    """Read all lesions that a file marks in one case.

    Args:
        file: Of any of the formats; its ending and its content tell which.
        image: The image of the case.
        case: The case identifier; selects the rows of a CSV file with a column ``case``.

    Raises:
        ValueError: If the file cannot be read or is not of its format. Naming the file is left to the caller.
    """
    if file.endswith(".csv"):
        return _csv_lesions(file, image, case)
    if file.endswith(".json"):
        content = _read_json(file)
        is_slicer = isinstance(content, dict) and "markups" in content
        return _slicer_lesions(content["markups"], image) if is_slicer else _json_lesions(content, image)
    return [_label_image_lesion(file, image)]


def csv_cases(file: str) -> set[str]:
    """Return the case identifiers in a CSV file that serves a whole dataset.

    Raises:
        ValueError: If the file cannot be read or has no column ``case``.
    """
    columns, rows = _read_csv(file)
    if "case" not in columns:
        raise ValueError(f"a CSV file for a whole dataset needs a column 'case', got the columns {columns}")
    return {row["case"] for row in rows}


def _read_json(file: str) -> object:
    try:
        with open(file, encoding="utf-8-sig") as stream:
            return json.load(stream)
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"cannot be read as JSON: {error}") from error


def _json_lesions(content: object, image: sitk.Image) -> list[Marks]:
    keys = ("points", "box", "lesions")
    if not isinstance(content, dict) or "coordinates" not in content or sum(key in content for key in keys) != 1:
        raise ValueError(
            f"expected an object with 'coordinates' and one of {keys}, or with the 'markups' of 3D Slicer, "
            f"got {_excerpt(content)}"
        )
    entries = _objects(content["lesions"], "lesions") if "lesions" in content else [content]
    if not entries:
        raise ValueError("'lesions' is empty")
    lesions = []
    for number, entry in enumerate(entries, start=1):
        title = f"lesion {number}"
        with error_context(title):
            is_box, class_name = "box" in entry, entry.get("label")
            if is_box == ("points" in entry):
                raise ValueError(f"expected either 'points' or 'box', got {_excerpt(entry)}")
            if not (class_name is None or isinstance(class_name, str)):
                raise ValueError(f"'label' must be the name of a class, got {class_name!r}")
            points = entry["box" if is_box else "points"]
            positions = _positions(points, content["coordinates"], image, is_box=is_box)
            lesions.append(Marks(title, positions, is_box, class_name=class_name))
    return lesions


def _slicer_lesions(markups: object, image: sitk.Image) -> list[Marks]:
    """Read the markups schema 1.0.x of 3D Slicer: one lesion per markup, in mm, LPS unless stated otherwise."""
    markups = _objects(markups, "markups")
    if not markups:
        raise ValueError("'markups' is empty")
    lesions = []
    for number, markup in enumerate(markups, start=1):
        name = str(markup.get("name") or "")
        title = f"markup {number} {name!r}" if name else f"markup {number}"
        with error_context(title):
            coordinates = SLICER_COORDINATES.get(str(markup.get("coordinateSystem", "LPS")))
            if coordinates is None:
                raise ValueError(f"'coordinateSystem' must be 'LPS' or 'RAS', got {markup['coordinateSystem']!r}")
            if markup.get("coordinateUnits", "mm") not in ("mm", ["mm", "UCUM", "millimeter"]):
                raise ValueError(f"'coordinateUnits' must be 'mm', got {markup['coordinateUnits']!r}")
            if markup.get("type") == "ROI":
                positions, is_box, point_names = _slicer_box(markup, coordinates, image), True, ()
            elif markup.get("type") in SLICER_POINT_LISTS:
                positions, is_box, point_names = _slicer_points(markup, coordinates, image)
            else:
                raise ValueError(f"expected a point list or a ROI, got a markup of type {markup.get('type')!r}")
            lesions.append(Marks(title, positions, is_box, markup_name=name, point_names=point_names))
    return lesions


def _slicer_points(markup: Mapping, coordinates: str, image: sitk.Image) -> tuple[np.ndarray, bool, tuple[str, ...]]:
    points = _slicer_control_points(markup)
    if len(points) not in (2, 6):
        raise ValueError(
            f"expected six control points (extreme points) or two (corners of a bounding box) that are defined, "
            f"got {len(points)}"
        )
    is_box = len(points) == 2
    positions = _positions([point["position"] for point in points], coordinates, image, is_box=is_box)
    return positions, is_box, () if is_box else tuple(str(point.get("label", "")) for point in points)


def _slicer_control_points(markup: Mapping) -> list[dict]:
    """Return the control points that were placed; Slicer keeps the others in the list, with an empty position."""
    points = _objects(markup.get("controlPoints", []), "controlPoints")
    return [p for p in points if p.get("positionStatus", "defined") == "defined" and p.get("position", "") != ""]


def _slicer_box(markup: Mapping, coordinates: str, image: sitk.Image) -> np.ndarray:
    """Return the faces of a ROI: its centre, its edge lengths, and the directions of the edges in columns."""
    points = _slicer_control_points(markup)
    centre = markup.get("center", points[0]["position"] if len(points) == 1 else None)
    centre = _numbers(centre, (3,), "'center' must be [x, y, z]")
    size = _numbers(markup.get("size"), (3,), "'size' must be three edge lengths")
    directions = _numbers(markup.get("orientation", np.eye(3).ravel()), (9,), "'orientation' must be a 3x3 matrix")
    directions = directions.reshape(3, 3).T
    if (size < 0).any() or not np.allclose(directions @ directions.T, np.eye(3), atol=1e-3):
        raise ValueError(
            f"expected a ROI of non-negative 'size' and orthonormal 'orientation', got {size.tolist()} and "
            f"{directions.T.tolist()}"
        )
    faces = _to_index(_face_centres(centre, directions * size[:, None] / 2), coordinates, image)
    # its faces are drawn round the lesion: the voxels inside are those whose centres are
    return _along_image_axes(faces, inset_voxels=FACE_INSET_VOXELS)


def _csv_lesions(file: str, image: sitk.Image, case: str) -> list[Marks]:
    columns, rows = _read_csv(file)
    in_mm = {"x_mm", "y_mm", "z_mm"} <= set(columns)
    if in_mm == ({"x", "y", "z"} <= set(columns)):
        raise ValueError(f"expected the columns x, y, z (voxels) or else x_mm, y_mm, z_mm, got {columns}")
    rows = [row for row in rows if row.get("case", case) == case]
    if not rows:
        raise ValueError("no row belongs to the case")
    groups = {}
    for row in rows:
        groups.setdefault((row.get("lesion", ""), row.get("label", "")), []).append(row)
    lesions = []
    for number, ((name, class_name), members) in enumerate(groups.items(), start=1):
        title = f"lesion {name or number}" + (f" of label {class_name}" if class_name else "")
        with error_context(title):
            if len(members) not in (2, 6):
                raise ValueError(
                    f"expected six rows (extreme points) or two (corners of a bounding box), got {len(members)}"
                )
            points = [[row[axis + ("_mm" if in_mm else "")] for axis in "xyz"] for row in members]
            coordinates = {row.get("coordinates", "") or ("" if in_mm else "voxel") for row in members}
            if len(coordinates) != 1 or not coordinates <= ({"LPS", "RAS"} if in_mm else {"voxel"}):
                raise ValueError(
                    f"the column 'coordinates' must be LPS or RAS for x_mm, y_mm, z_mm and voxel or missing for "
                    f"x, y, z, the same for the whole lesion; got {sorted(coordinates)} and the columns {columns}"
                )
            is_box = len(members) == 2
            positions = _positions(points, coordinates.pop(), image, is_box=is_box)
            lesions.append(Marks(title, positions, is_box, class_name=class_name or None))
    return lesions


def _read_csv(file: str) -> tuple[list[str], list[dict[str, str]]]:
    """Return the columns, in lower case, and the rows that are not blank."""
    try:
        with open(file, encoding="utf-8-sig", newline="") as stream:
            text = stream.read()
        # spreadsheets separate by semicolon wherever the comma is the decimal mark
        separator = max(",;\t", key=text.partition("\n")[0].count)
        table = [[value.strip() for value in row] for row in csv.reader(io.StringIO(text), delimiter=separator)]
    except (OSError, ValueError, csv.Error) as error:
        raise ValueError(f"cannot be read as CSV: {error}") from error
    columns = [column.lower() for column in table[0]] if table else []
    if len(set(columns)) != len(columns):
        raise ValueError(f"the columns must differ, got {columns}")
    rows = [row for row in table[1:] if any(row)]
    for row in rows:
        if len(row) != len(columns):
            raise ValueError(f"expected a value for each of the columns {columns}, got {row}")
    if separator != ",":
        coordinates = [column.removesuffix("_mm") in ("x", "y", "z") for column in columns]
        rows = [[v.replace(",", ".") if c else v for v, c in zip(row, coordinates, strict=True)] for row in rows]
    return columns, [dict(zip(columns, row, strict=True)) for row in rows]


def _label_image_lesion(file: str, image: sitk.Image) -> Marks:
    """Read the labels 1 to 6, one per point; of several voxels the one nearest to their centroid is meant."""
    label_image = read_volume(file)
    check_same_geometry(image, label_image, names=("the image", "the label image"))
    array = sitk.GetArrayViewFromImage(label_image)
    labels = set(np.unique(array).tolist()) - {0}
    if labels != POINT_LABELS:
        raise ValueError(
            f"the labels 1 to 6 must mark one point each: missing are {sorted(POINT_LABELS - labels) or 'none'}, "
            f"unknown are {_excerpt(sorted(labels - POINT_LABELS)) if labels - POINT_LABELS else 'none'}"
        )
    points = []
    for label in sorted(POINT_LABELS):
        voxels = np.argwhere(array == label)
        distances_mm = np.linalg.norm((voxels - voxels.mean(axis=0)) * spacing_zyx_mm(image), axis=1)
        points.append(voxels[np.argmin(distances_mm)][::-1])
    return Marks("label image", np.array(points, dtype=float))


def _positions(points: object, coordinates: object, image: sitk.Image, *, is_box: bool) -> np.ndarray:
    """Return the positions of six points, or of a box from two opposite corners, along the axes of the coordinates."""
    expected = "two opposite corners [x, y, z]" if is_box else "six points [x, y, z]"
    points = _numbers(points, (2 if is_box else 6, 3), f"expected {expected}")
    if not is_box:
        return _to_index(points, coordinates, image)
    faces = _face_centres(points.mean(axis=0), np.diag(abs(points[1] - points[0]) / 2))
    return _along_image_axes(_to_index(faces, coordinates, image), inset_voxels=0)


def _to_index(positions: np.ndarray, coordinates: object, image: sitk.Image) -> np.ndarray:
    """Return continuous voxel indices (x, y, z) of positions (..., 3)."""
    if coordinates not in COORDINATES:
        raise ValueError(f"'coordinates' must be one of {COORDINATES}, got {coordinates!r}")
    if coordinates == "voxel":
        return positions
    lps = positions if coordinates == "LPS" else positions * (-1, -1, 1)
    indices = np.array([image.TransformPhysicalPointToContinuousIndex(position) for position in lps.tolist()])
    last, beyond = np.array(image.GetSize()) - 1, 0.5 + OUTSIDE_TOLERANCE_VOXELS
    return np.where((indices > -beyond) & (indices < last + beyond), indices.clip(0, last), indices)


def _face_centres(centre: np.ndarray, half_edges: np.ndarray) -> np.ndarray:
    """Return (6, 3), the centres of the two faces at the ends of each edge direction (row)."""
    return np.stack((centre - half_edges, centre + half_edges), axis=1).reshape(6, 3)


def _along_image_axes(faces: np.ndarray, *, inset_voxels: float) -> np.ndarray:
    """Bring the face centres of a box into the order of the image axes z, y, x and move them inwards."""
    half_edges = (faces[1::2] - faces[::2]) / 2
    reach = abs(half_edges).max(axis=1, keepdims=True)
    half_edges = half_edges * (np.maximum(reach - inset_voxels, 0) / np.maximum(reach, np.finfo(float).tiny))
    edge_along = np.argsort(linear_sum_assignment(-abs(half_edges))[1])  # the edge closest to the image's x, y, z
    return _face_centres(faces.mean(axis=0), half_edges[edge_along][::-1])


def _numbers(values: object, shape: tuple[int, ...], expected: str) -> np.ndarray:
    try:
        array = np.asarray(values, dtype=float)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{expected}, got {_excerpt(values)}") from error
    if array.shape != shape:
        raise ValueError(f"{expected}, got {f'{len(array)}: ' if array.ndim else ''}{_excerpt(values)}")
    if not np.isfinite(array).all():
        raise ValueError(f"{expected} and all numbers finite, got {_excerpt(values)}")
    return array


def _objects(content: object, name: str) -> list[dict]:
    if not isinstance(content, list) or not all(isinstance(entry, dict) for entry in content):
        raise ValueError(f"'{name}' must be a list of objects, got {_excerpt(content)}")
    return content


def _excerpt(content: object) -> str:
    text = str(content)
    return text if len(text) <= 300 else text[:300] + " ..."
