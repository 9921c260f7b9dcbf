"""From what people annotated to the extreme points of every lesion.

A case is annotated by one or more files, each with one or more lesions (formats: see
:mod:`nnunetv2_simple.extreme_points.formats`), or by a dense mask from which the clicks are simulated
(:mod:`nnunetv2_simple.extreme_points.simulated_clicks`).
"""

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from nnunetv2_simple.extreme_points.annotation import Annotation, error_context
from nnunetv2_simple.extreme_points.annotation_files import lesion_name
from nnunetv2_simple.extreme_points.box import LesionBox
from nnunetv2_simple.extreme_points.clicked_points import clicked_extreme_points
from nnunetv2_simple.extreme_points.formats import read_annotations
from nnunetv2_simple.extreme_points.points import bounding_box, box_iou
from nnunetv2_simple.extreme_points.strokes import Stroke, stroke_seeds, stroke_warnings
from nnunetv2_simple.images import spacing_zyx_mm

EXTREME_POINTS = "extreme points"
BOUNDING_BOX = "bounding box"
SIMULATED = "simulated from a dense mask"

POINT_ROWS = ("low z", "high z", "low y", "high y", "low x", "high x")
SAME_LESION_OVERLAP = 0.5  # intersection over union of two boxes, from which on they may mark the same lesion
TINY = 4  # voxels: extreme points this close to each other are neighbours


@dataclass(frozen=True, eq=False)
class Lesion:
    """One annotated lesion.

    Attributes:
        extreme_points: (6, 3) int array of voxels (z, y, x), rows z_min z_max y_min y_max x_min x_max.
        label: The label of its class.
        source: "extreme points", "bounding box" (the centres of its faces are used as points), or "simulated from a
            dense mask".
        file: Where it was read from.
        axes: (3, 3) the axes along which the points are extreme (see :func:`nnunetv2_simple.images.patient_axes`), of
            an oblique image the patient's or a ROI's; None for the image's own.
        warnings: What is valid but suspicious about its annotation, of what the file alone tells.
        strokes: What somebody drew to correct the pseudo-mask.
        seconds: How long its annotation took, where known.
    """

    extreme_points: np.ndarray
    label: int = 1
    source: str = EXTREME_POINTS
    file: str | None = None
    axes: np.ndarray | None = None
    warnings: tuple[str, ...] = ()
    strokes: tuple[Stroke, ...] = ()
    seconds: float | None = None

    def box(self, shape: Sequence[int], spacing_mm: Sequence[float]) -> LesionBox:
        """Return the box of the extreme points in an image of this shape and voxel size (z, y, x)."""
        return LesionBox(self.extreme_points, shape=shape, spacing_mm=spacing_mm, axes=self.axes)

    def seeds(self, shape: Sequence[int], spacing_mm: Sequence[float]) -> np.ndarray | None:
        """Return what the strokes say, see :func:`nnunetv2_simple.extreme_points.strokes.stroke_seeds`."""
        return stroke_seeds(self.strokes, self.box(shape, spacing_mm), shape)

    @classmethod
    def from_json(cls, content: Mapping) -> "Lesion":
        """Return the lesion that :meth:`to_json` wrote; a ``source`` may be added, and strokes may be missing."""
        axes, strokes = content["axes_zyx"], content.get("strokes", [])
        return cls(
            np.asarray(content["extreme_points_zyx"]),
            content["label"],
            content.get("source", EXTREME_POINTS),
            axes=None if axes is None else np.asarray(axes),
            strokes=tuple(map(Stroke.from_json, strokes)),
        )

    def to_json(self) -> dict:
        """Return, as JSON has it, all that a label is made from."""
        return {
            "extreme_points_zyx": np.asarray(self.extreme_points).tolist(),
            "axes_zyx": None if self.axes is None else self.axes.tolist(),
            "label": int(self.label),
            "strokes": [stroke.to_json() for stroke in self.strokes],
        }


def read_lesions(files: Sequence[str], image: sitk.Image, *, case: str, labels: Mapping[str, int]) -> list[Lesion]:
    """Read all lesions of a case; none where its files say that it has none.

    Which extreme point is which follows from the geometry, along the axes of the source: the patient's where it is in
    mm, the image's where it is in voxels or a label image, a ROI's own. Points that are not all extreme along these
    but along the other ones (image or patient) were clicked along those. Names of points in 3D Slicer ("L", "left",
    ...) are only checked against it, to one voxel. Positions are rounded to voxels; those in mm may lie up to half a
    voxel outside the image. Boxes are clipped to the image.

    The class of a lesion is named in the file or by the name of the file (``<case>.<class>2.mrk.json``). With a
    single class every lesion is of that class, whatever it is called, as long as all are called the same.

    Args:
        files: The files of the case (see :func:`nnunetv2_simple.extreme_points.annotation_files.find_annotations`).
        image: The image of the case.
        case: The case identifier.
        labels: The label of each foreground class.

    Raises:
        ValueError: If a file cannot be understood or contradicts the image, naming case, file and lesion, if two
            files annotate the same lesion, or if one says that there is no lesion and another marks one.
    """
    lesions, stated, file_of, empty_files = [], set(), {}, []
    for file in map(str, files):
        other = file_of.setdefault(lesion_name(Path(file), case), file)
        if other != file:
            raise ValueError(f"{case}: both {other} and {file} annotate the same lesion, keep one of them")
    for file in map(str, files):
        with error_context(f"{case}: {file}"):
            annotations = read_annotations(file, image, case=case)
            empty_files += [] if annotations else [file]
            for annotation in annotations:
                stated |= {_composed(annotation.class_name)} if annotation.class_name is not None else set()
                if len(labels) == 1 and len(stated) > 1:
                    raise ValueError(f"lesions of the classes {sorted(stated)}, but there is one label: {dict(labels)}")
                with error_context(annotation.title):
                    label = _class_label(annotation, lesion_name(Path(file), case), labels)
                    lesions.append(lesion_of(annotation, image, label=label, file=file, others=lesions))
    if len(labels) == 1 and lesions and empty_files:
        raise ValueError(
            f"{case}: {empty_files[0]} says that there is no lesion, but {lesions[0].file} marks one; keep one of them"
        )
    return lesions


def lesion_of(
    annotation: Annotation, image: sitk.Image, *, label: int, file: str, others: Sequence[Lesion] = ()
) -> Lesion:
    """Return the lesion that an annotation means, with warnings about it and about the others beside it.

    Raises:
        ValueError: If its points lie outside the image or contradict their names.
    """
    points, axes, warnings = clicked_extreme_points(annotation, image)
    source = BOUNDING_BOX if annotation.is_box else EXTREME_POINTS
    lesion = Lesion(points, label, source, file, axes, (), annotation.strokes, annotation.seconds)
    box = lesion.box(image.GetSize()[::-1], spacing_zyx_mm(image))
    warnings += (*_overlap_warnings(lesion, others), *stroke_warnings(lesion.strokes, box))
    return replace(lesion, warnings=warnings)


def _overlap_warnings(lesion: Lesion, others: Sequence[Lesion]) -> Iterator[str]:
    """Say which lesions have nearly the same box."""
    lower, upper = lesion.extreme_points.min(axis=0), lesion.extreme_points.max(axis=0) + 1
    for number, other in enumerate(others, start=1):
        other_lower, other_upper = other.extreme_points.min(axis=0), other.extreme_points.max(axis=0) + 1
        overlap = box_iou(lower, upper, other_lower, other_upper)
        if overlap >= SAME_LESION_OVERLAP:
            yield (
                f"its box shares {overlap:.0%} with that of lesion {number}, {Path(other.file).name}: is the same "
                f"lesion annotated twice?"
            )


def annotation_warnings(lesion: Lesion) -> list[str]:
    """Return what is valid but suspicious about an annotation."""
    box = bounding_box(lesion.extreme_points)
    sizes = [side.stop - side.start for side in box]
    flat = [name for name, size in zip("zyx", sizes, strict=True) if size == 1]
    warnings = [*lesion.warnings, *(f"the lesion is only one voxel thick along image axis {name}" for name in flat)]
    if len(flat) == 3:
        voxel = lesion.extreme_points[0].tolist()
        warnings = [*lesion.warnings, f"the lesion is a single voxel, {voxel} (z, y, x), which becomes foreground"]
    if lesion.source == EXTREME_POINTS and max(sizes) > TINY:
        # where a direction was forgotten, the click that comes closest to it stands for two directions
        same_place = 1 if min(sizes) > TINY else 0
        for first, second in combinations(range(6), 2):
            are_faces_of_one_slice = first // 2 == second // 2 and sizes[first // 2] == 1
            distance = abs(lesion.extreme_points[first] - lesion.extreme_points[second]).max()
            if distance <= same_place and not are_faces_of_one_slice:
                warnings.append(
                    f"the same place, voxel {lesion.extreme_points[first].tolist()} (z, y, x), is the extreme point "
                    f"towards {POINT_ROWS[first]} and {POINT_ROWS[second]}: is one of the six directions missing?"
                )
    return warnings


def _class_label(annotation: Annotation, name_of_file: str, labels: Mapping[str, int]) -> int:
    if len(labels) == 1:
        return next(iter(labels.values()))
    if annotation.class_name is not None and _class_of(annotation.class_name, labels) is None:
        raise ValueError(f"unknown class {annotation.class_name!r}, known are {list(labels)}")
    stated = [name for name in (annotation.class_name, annotation.markup_name, name_of_file) if name]
    classes = {_class_of(name, labels) for name in stated} - {None}
    if len(classes) != 1:
        raise ValueError(
            f"its class must be named, in the file or by the file's name, as exactly one of {list(labels)}; "
            f"got {stated or 'no name'}"
        )
    return labels[classes.pop()]


def _class_of(name: str, labels: Mapping[str, int]) -> str | None:
    """Return the class that a name means: the class name itself, or followed by a number."""
    candidates = [k for k in labels if re.fullmatch(re.escape(_composed(k)) + r"[0-9_-]*", _composed(name))]
    return max(candidates, key=len, default=None)


def _composed(name: str) -> str:
    """Return a name with its accents composed (NFC): some systems, such as macOS, take them apart in file names."""
    return unicodedata.normalize("NFC", name)
