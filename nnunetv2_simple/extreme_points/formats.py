"""The file formats of clicks. A lesion is marked by six points in any order or by a bounding box.

    .json                point lists and ROIs of 3D Slicer (.mrk.json), one lesion each; a list of two points is a box
    .fcsv                a point list of older versions of 3D Slicer
    .json                {"coordinates": "voxel", "points": [[x, y, z], ... six]}, or "box": two opposite corners, or
                         "lesions": [{"label": "node", "points": [...]}, {"label": "node", "box": [...]}]; a lesion may
                         have "strokes": [{"is_lesion": false, "points": [[x, y, z], ...]}], seeds of the random walk
    .csv                 columns x, y, z, or x_mm, y_mm, z_mm and coordinates; optional lesion, label, case. Each lesion
                         has six rows (points) or two (opposite corners)
    .csv, .tsv           a table of control points as 3D Slicer exports it: columns l, p, s or r, a, s; label names the
                         point; rows whose "defined" is 0 are skipped
    .nii.gz, .mha, ...   the labels 1 to 6 (ITK-SNAP), one per point

A case without any lesion is stated as such: "lesions": [], one row without coordinates, or an empty label image.

"voxel" counts from 0, as SimpleITK does; "itksnap" counts from 1, as the cursor of ITK-SNAP does; "LPS" and "RAS" are
patient coordinates in mm. Every reader tells which positions of the image a file marks, and along which axes it was
made: the image's own for voxels and label images, the patient's for mm, a ROI's for a ROI.
:mod:`nnunetv2_simple.extreme_points.lesions` says what they mean.

References:
    https://slicer.readthedocs.io/en/latest/developer_guide/modules/markups.html
"""

import csv
import io
import json
import re
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from nnunetv2_simple.extreme_points.annotation import (
    FIRST_VOXEL,
    Annotation,
    annotated_positions,
    annotated_strokes,
    error_context,
    excerpt,
    named_coordinates,
    objects,
)
from nnunetv2_simple.extreme_points.slicer_markups import marks_of_points, read_fcsv, read_markups
from nnunetv2_simple.files import read_text
from nnunetv2_simple.grids import on_grid_of
from nnunetv2_simple.images import IMAGE_FILE_ENDINGS, label_array, read_volume, spacing_zyx_mm

ANNOTATION_FILE_ENDINGS = (".mrk.json", ".json", ".fcsv", ".csv", ".tsv", *IMAGE_FILE_ENDINGS)
POINT_LABELS = {1, 2, 3, 4, 5, 6}  # of label images
MM_AXES = ("x_mm", "y_mm", "z_mm")
SLICER_AXES = {("l", "p", "s"): "LPS", ("r", "a", "s"): "RAS"}  # of 3D Slicer's tables of control points
SLICER_UNDEFINED = ("0", "false")  # control points that were never placed
CSV_AXES = (("x", "y", "z"), MM_AXES, *SLICER_AXES)


def read_annotations(file: str, image: sitk.Image, *, case: str) -> list[Annotation]:
    """Read all lesions that a file marks in one case; none where it says that there is none.

    Args:
        file: Of any of the formats; its ending and its content tell which.
        image: The image of the case.
        case: The case identifier; selects the rows of a CSV file with a column ``case``.

    Raises:
        ValueError: If the file cannot be read or is not of its format. Naming the file is left to the caller.
    """
    ending = Path(file).suffix.lower()
    if ending == ".fcsv":
        return [read_fcsv(file, image)]
    if ending in (".csv", ".tsv"):
        return _csv_lesions(file, image, case)
    if ending == ".json":
        content = _read_json(file)
        is_slicer = isinstance(content, dict) and "markups" in content
        return read_markups(content["markups"], image) if is_slicer else _json_lesions(content, image)
    return _label_image_lesion(file, image)


def csv_cases(file: str) -> set[str]:
    """Return the case identifiers in a CSV file that serves a whole dataset.

    Raises:
        ValueError: If the file cannot be read or has no column ``case``.
    """
    columns, rows = read_csv(file)
    if "case" not in columns:
        raise ValueError(f"a CSV file for a whole dataset needs a column 'case', got the columns {columns}")
    return {row["case"] for row in rows}


def _read_json(file: str) -> object:
    try:
        return json.loads(read_text(file))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"cannot be read as JSON: {error}") from error


def _json_lesions(content: object, image: sitk.Image) -> list[Annotation]:
    if isinstance(content, dict) and content.get("skipped") is True:
        raise ValueError("the case was skipped when it was annotated: annotate it, or take its image out of the folder")
    keys = ("points", "box", "lesions")
    if isinstance(content, dict) and content.get("lesions") == [] and not content.keys() & {"points", "box"}:
        return []
    if not isinstance(content, dict) or "coordinates" not in content or sum(key in content for key in keys) != 1:
        raise ValueError(
            f"expected an object with 'coordinates' and one of {keys}, or with the 'markups' of 3D Slicer, "
            f"got {excerpt(content)}"
        )
    entries = objects(content["lesions"], "lesions") if "lesions" in content else [content]
    lesions = []
    for number, entry in enumerate(entries, start=1):
        title = f"lesion {number}"
        with error_context(title):
            is_box, class_name = "box" in entry, entry.get("label")
            if is_box == ("points" in entry):
                raise ValueError(f"expected either 'points' or 'box', got {excerpt(entry)}")
            if not (class_name is None or isinstance(class_name, str)):
                raise ValueError(f"'label' must be the name of a class, got {class_name!r}")
            points = entry["box" if is_box else "points"]
            coordinates = named_coordinates(content["coordinates"])
            positions, axes = annotated_positions(points, coordinates, image, is_box=is_box)
            strokes = annotated_strokes(entry.get("strokes", []), coordinates, image)
            seconds = entry.get("seconds")
            if not (seconds is None or (isinstance(seconds, (int, float)) and 0 <= seconds < np.inf)):
                raise ValueError(f"'seconds' must be a number of at least 0, got {seconds!r}")
            lesions.append(
                Annotation(title, positions, is_box, axes, class_name=class_name, strokes=strokes, seconds=seconds)
            )
    return lesions


def _csv_lesions(file: str, image: sitk.Image, case: str) -> list[Annotation]:
    columns, rows = read_csv(file)
    known = [axes for axes in CSV_AXES if set(axes) <= set(columns)]
    if len(known) != 1:
        raise ValueError(
            f"expected the columns x, y, z (voxels) or else x_mm, y_mm, z_mm or else, of 3D Slicer, l, p, s or "
            f"r, a, s; got {columns}"
        )
    axes = known[0]
    rows = [row for row in rows if row.get("case", case) == case and row.get("defined", "1") not in SLICER_UNDEFINED]
    if not rows:
        raise ValueError("no row belongs to the case")
    if axes not in SLICER_AXES and not any(row[axis] for row in rows for axis in axes):
        if len(rows) > 1:
            raise ValueError(f"a case without lesions has one row without coordinates, got {len(rows)} such rows")
        return []
    groups = {}
    for row in rows:
        class_name = "" if axes in SLICER_AXES else row.get("label", "")
        groups.setdefault((row.get("lesion", ""), class_name), []).append(row)
    lesions = []
    for number, ((name, class_name), members) in enumerate(groups.items(), start=1):
        title = f"lesion {name or number}" + (f" of label {class_name}" if class_name else "")
        with error_context(title):
            if len(members) not in (2, 6):
                raise ValueError(
                    f"expected six rows (extreme points) or two (corners of a bounding box), got {len(members)}"
                )
            points = [[row[axis] for axis in axes] for row in members]
            if axes in SLICER_AXES:
                names = [row.get("label", "") for row in members]
                lesions.append(marks_of_points(points, names, SLICER_AXES[axes], image, title=title))
                continue
            is_box, coordinates = len(members) == 2, _csv_coordinates(members, columns, in_mm=axes == MM_AXES)
            positions, own_axes = annotated_positions(points, coordinates, image, is_box=is_box)
            lesions.append(Annotation(title, positions, is_box, own_axes, class_name=class_name or None))
    return lesions


def _csv_coordinates(rows: list[dict[str, str]], columns: list[str], *, in_mm: bool) -> object:
    found = {named_coordinates(row.get("coordinates") or ("" if in_mm else "voxel")) for row in rows}
    if len(found) != 1 or not found <= ({"LPS", "RAS"} if in_mm else FIRST_VOXEL.keys()):
        raise ValueError(
            f"the column 'coordinates' must be LPS or RAS for x_mm, y_mm, z_mm; voxel, itksnap or missing for x, y, z; "
            f"the same for the whole lesion; got {sorted(found)} and the columns {columns}"
        )
    return found.pop()


def read_csv(file: str) -> tuple[list[str], list[dict[str, str]]]:
    """Return the columns, in lower case, and the rows that are not blank, a value for each column.

    As spreadsheets write them: separated by semicolons wherever the comma is the decimal mark, with a first line that
    names the separator, with blank columns at the end, without the separators of blank values at the end of a row.

    Raises:
        ValueError: If the file cannot be read or is no such table. Naming the file is left to the caller.
    """
    try:
        text = read_text(file)
        named = re.match(r"\s*sep=(.)[ \t]*\r?\n", text)
        text = text[named.end() :] if named else text
        separator = named[1] if named else max(",;\t", key=text.lstrip().partition("\n")[0].count)
        table = [[value.strip() for value in row] for row in csv.reader(io.StringIO(text), delimiter=separator)]
    except (OSError, ValueError, csv.Error) as error:
        raise ValueError(f"cannot be read as CSV: {error}") from error
    table = [row for row in table if any(row)]
    num_columns = max((place + 1 for place, column in enumerate(table[0]) if column), default=0) if table else 0
    columns = [column.lower() for column in table[0][:num_columns]] if table else []
    if len(set(columns)) != len(columns):
        raise ValueError(f"the columns must differ, got {columns}")
    rows = [row[:num_columns] + [""] * (num_columns - len(row)) for row in table[1:]]
    if beyond := [row for row in table[1:] if any(row[num_columns:])]:
        raise ValueError(f"expected a value for each of the columns {columns}, got {beyond[0]}")
    if separator != ",":
        coordinates = [any(column in axes for axes in CSV_AXES) for column in columns]
        rows = [[v.replace(",", ".") if c else v for v, c in zip(row, coordinates, strict=True)] for row in rows]
    return columns, [dict(zip(columns, row, strict=True)) for row in rows]


def _label_image_lesion(file: str, image: sitk.Image) -> list[Annotation]:
    """Read the labels 1 to 6, one per point; of several voxels the one nearest to their centroid is meant."""
    label_image = on_grid_of(read_volume(file), image, names=("the image", "the label image"), may_be_cropped=True)
    array = label_array(label_image, "the label image")
    labels = set(np.unique(array).tolist()) - {0}
    if not labels:
        return []
    if labels != POINT_LABELS:
        raise ValueError(
            f"the labels 1 to 6 must mark one point each: missing are {sorted(POINT_LABELS - labels) or 'none'}, "
            f"unknown are {excerpt(sorted(labels - POINT_LABELS)) if labels - POINT_LABELS else 'none'}"
        )
    points = []
    for label in sorted(POINT_LABELS):
        voxels = np.argwhere(array == label)
        first = voxels.min(axis=0)
        marked = np.zeros(voxels.max(axis=0) - first + 1, dtype=bool)
        marked[tuple((voxels - first).T)] = True
        _, num_places = ndimage.label(marked, np.ones((3, 3, 3)))
        if num_places > 1:
            raise ValueError(
                f"each label must mark one point, but label {label} lies at {num_places} places that do not touch, "
                f"among them {voxels[0][::-1].tolist()} and {voxels[-1][::-1].tolist()} (x, y, z); several lesions "
                "need a label image each: <case>.<name>.nii.gz"
            )
        distances_mm = np.linalg.norm((voxels - voxels.mean(axis=0)) * spacing_zyx_mm(image), axis=1)
        points.append(voxels[np.argmin(distances_mm)][::-1])
    return [Annotation("label image", np.array(points, dtype=float))]
