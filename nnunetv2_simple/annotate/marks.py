"""What somebody marked in one case, and the JSON file that keeps it.

    {"coordinates": "voxel", "lesions": [{"label": "tumor", "points": [[x, y, z], ... six], "seconds": 21.5,
                                          "strokes": [{"is_lesion": false, "points": [[x, y, z], ...]}]}]}

is what the conversion reads. A lesion may have fewer points while it is begun: the conversion then refuses the case and
says so. ``"lesions": []`` is a tumor-free case, ``"skipped": true`` one that somebody decided to leave out.
"""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field

import numpy as np
import SimpleITK as sitk

from nnunetv2_simple import __version__
from nnunetv2_simple.extreme_points.annotation import error_context, excerpt
from nnunetv2_simple.extreme_points.bounding_boxes import faces_between
from nnunetv2_simple.extreme_points.lesions import BOUNDING_BOX, Lesion

UNTOUCHED, BEGUN, DONE, TUMOR_FREE, SKIPPED = "untouched", "begun", "done", "tumor-free", "skipped"
NUM_POINTS = 6
WRITTEN_BY = "nnUNetv2_simple_annotate"

Voxel = tuple[int, int, int]  # (x, y, z), as in the files


@dataclass
class MarkedStroke:
    is_lesion: bool
    points: list[Voxel]


@dataclass
class MarkedLesion:
    """A lesion as far as it is marked.

    Attributes:
        label: The name of its class.
        points: Up to six voxels (x, y, z) in any order.
        strokes: The corrections.
        seconds: How long it took.
        is_box: Whether the points are the centres of a box's faces, and nobody moved one of them yet.
    """

    label: str
    points: list[Voxel] = field(default_factory=list)
    strokes: list[MarkedStroke] = field(default_factory=list)
    seconds: float = 0.0
    is_box: bool = False

    @property
    def is_complete(self) -> bool:
        return len(self.points) == NUM_POINTS

    def to_json(self) -> dict:
        points = [list(point) for point in self.points]
        return {
            "label": self.label,
            **({"box": _corners(points)} if self.is_box else {"points": points}),
            "strokes": [
                {"is_lesion": s.is_lesion, "points": [list(point) for point in s.points]} for s in self.strokes
            ],
            "seconds": round(self.seconds, 1),
        }


@dataclass
class Marks:
    """Everything that is marked in one case.

    Attributes:
        lesions: The lesions.
        is_tumor_free: Whether somebody said that there is none.
        is_skipped: Whether somebody decided to leave the case out.
        seconds: How long it took to say that there is none.
        replaced: Names of annotation files in other formats that these marks stand in for.
    """

    lesions: list[MarkedLesion] = field(default_factory=list)
    is_tumor_free: bool = False
    is_skipped: bool = False
    seconds: float = 0.0
    replaced: tuple[str, ...] = ()

    @property
    def state(self) -> str:
        if self.is_skipped:
            return SKIPPED
        if self.is_tumor_free:
            return TUMOR_FREE
        if not self.lesions:
            return UNTOUCHED
        return DONE if all(lesion.is_complete for lesion in self.lesions) else BEGUN

    def copy(self) -> "Marks":
        return deepcopy(self)

    def to_json(self) -> dict:
        skipped = {"skipped": True} if self.is_skipped else {}
        return {
            "written_by": f"{WRITTEN_BY} {__version__}",
            "coordinates": "voxel",
            "lesions": [lesion.to_json() for lesion in self.lesions],
            **skipped,
            "seconds": round(self.seconds, 1),
            "replaced": list(self.replaced),
        }


def marks_from_json(content: object, *, labels: Mapping[str, int], size: Voxel) -> Marks:
    """Read what :meth:`Marks.to_json` wrote.

    Args:
        content: Of the file.
        labels: The classes.
        size: Number of voxels of the image (x, y, z).

    Raises:
        ValueError: If it is something else, or a voxel lies outside the image.
    """
    try:
        skipped, entries = bool(content.get("skipped", False)), content["lesions"]
        lesions = [_lesion_from_json(entry, labels) for entry in entries]
        seconds, replaced = float(content["seconds"]), tuple(content["replaced"])
    except (AttributeError, KeyError, TypeError, IndexError) as error:
        raise ValueError(f"it does not hold what {WRITTEN_BY} writes, got {excerpt(content)}") from error
    for number, lesion in enumerate(lesions, start=1):
        with error_context(f"lesion {number}"):
            _check(lesion, size)
    return Marks(lesions, not lesions and not skipped, skipped, seconds, replaced)


def is_own(content: object) -> bool:
    """Tell whether the content of a JSON file was written here."""
    return isinstance(content, dict) and str(content.get("written_by", "")).startswith(WRITTEN_BY)


def marks_from_lesions(lesions: list[Lesion], *, labels: Mapping[str, int], replaced: tuple[str, ...]) -> Marks:
    """Return the marks that lesions read from files of other formats are."""
    name_of = {label: name for name, label in labels.items()}
    marked = [
        MarkedLesion(
            name_of[lesion.label],
            [tuple(int(v) for v in point[::-1]) for point in lesion.extreme_points],
            [MarkedStroke(s.is_lesion, [tuple(int(v) for v in p[::-1]) for p in s.points]) for s in lesion.strokes],
            float(lesion.seconds or 0),
            lesion.source == BOUNDING_BOX and lesion.axes is None,
        )
        for lesion in lesions
    ]
    return Marks(marked, is_tumor_free=not marked, replaced=replaced)


def size_of(image: sitk.Image) -> Voxel:
    return tuple(int(v) for v in image.GetSize())


def _lesion_from_json(entry: dict, labels: Mapping[str, int]) -> MarkedLesion:
    if entry["label"] not in labels:
        raise ValueError(f"unknown class {entry['label']!r}, known are {list(labels)}")
    strokes = [MarkedStroke(bool(s["is_lesion"]), [_voxel(p) for p in s["points"]]) for s in entry["strokes"]]
    is_box = "box" in entry
    points = np.rint(faces_between(*np.array(entry["box"]))) if is_box else entry["points"]
    return MarkedLesion(entry["label"], list(map(_voxel, points)), strokes, float(entry["seconds"]), is_box)


def _corners(points: list[list[int]]) -> list[list[int]]:
    return [np.min(points, axis=0).tolist(), np.max(points, axis=0).tolist()]


def _voxel(values: list) -> Voxel:
    x, y, z = (int(v) for v in values)
    return x, y, z


def _check(lesion: MarkedLesion, size: Voxel) -> None:
    if len(lesion.points) > NUM_POINTS:
        raise ValueError(f"at most six points mark a lesion, got {len(lesion.points)}")
    for voxel in [*lesion.points, *(point for stroke in lesion.strokes for point in stroke.points)]:
        if not all(0 <= v < n for v, n in zip(voxel, size, strict=True)):
            raise ValueError(f"voxel {list(voxel)} lies outside the image of size {size} (x, y, z)")
