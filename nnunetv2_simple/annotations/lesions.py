"""From what people annotated to the extreme points of every lesion.

A case is annotated by one or more files, each with one or more lesions (formats: see
:mod:`nnunetv2_simple.annotations.files`), or by a dense mask from which the clicks are simulated.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813 (its documented abbreviation)
from scipy import ndimage
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from nnunetv2_simple.annotations.files import ANNOTATION_FILE_ENDINGS, csv_cases, read_marks
from nnunetv2_simple.annotations.marks import Marks, error_context
from nnunetv2_simple.extreme_points import along_axes, bounding_box, extreme_points_from_mask, sort_extreme_points
from nnunetv2_simple.images import patient_axes, spacing_zyx_mm

EXTREME_POINTS = "extreme points"
BOUNDING_BOX = "bounding box"
SIMULATED = "simulated from a dense mask"

# A dense mask often breaks one lesion into fragments that a radiologist would click as one; what lies further apart
# than this, voxel centre to voxel centre, gets clicks of its own.
MERGE_DISTANCE_MM = 5.0

POINT_ROWS = ("low z", "high z", "low y", "high y", "low x", "high x")
MIN_SIZE_OF_DISTINCT_POINTS = 4  # voxels; in smaller lesions extreme points are neighbours

PATIENT_DIRECTIONS = {  # name of a point: axis and sign in LPS coordinates
    "left": (0, 1),
    "right": (0, -1),
    "posterior": (1, 1),
    "anterior": (1, -1),
    "superior": (2, 1),
    "inferior": (2, -1),
}


@dataclass(frozen=True, eq=False)
class Lesion:
    """One annotated lesion.

    Attributes:
        extreme_points: (6, 3) int array of voxels (z, y, x), rows z_min z_max y_min y_max x_min x_max.
        label: The label of its class.
        source: "extreme points", "bounding box" (where the lesion touches the faces is not known then: their centres
            stand in for the points), or "simulated from a dense mask".
        file: Where it was read from.
        axes: (3, 3) the axes along which the points are extreme (see :func:`nnunetv2_simple.images.patient_axes`), of
            an oblique image the patient's or a ROI's; None for the image's own.
    """

    extreme_points: np.ndarray
    label: int = 1
    source: str = EXTREME_POINTS
    file: str | None = None
    axes: np.ndarray | None = None

    def to_json(self) -> dict:
        """Return, as JSON has it, all that a label is made from."""
        return {
            "extreme_points_zyx": np.asarray(self.extreme_points).tolist(),
            "axes_zyx": None if self.axes is None else self.axes.tolist(),
            "label": int(self.label),
        }


def find_annotations(source: str | Path, identifiers: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Find the annotation files of each case.

    Args:
        source: A folder of files ``<case>.<ext>`` and ``<case>.<name>.<ext>``, where <name> names a lesion, or one
            CSV file with a column ``case`` for the whole dataset.
        identifiers: The case identifiers. They may contain dots: the longest one that fits a file name wins.

    Returns:
        The files of each case that has any. Files of no case are left alone.

    Raises:
        ValueError: If the source is neither, or two files of a case annotate the same lesion.
    """
    source = Path(source)
    if source.is_file() and source.suffix == ".csv":
        with error_context(str(source)):
            annotated = csv_cases(str(source))
        return {case: (str(source),) for case in identifiers if case in annotated}
    if not source.is_dir():
        raise ValueError(f"annotations must be a folder or a CSV file, got {source}")
    known = set(identifiers)
    found: dict[str, dict[str, str]] = {}
    for file in sorted(source.iterdir()):
        parts = _without_ending(file.name).split(".")
        prefixes = [".".join(parts[:count]) for count in range(len(parts), 0, -1)]
        case = next((prefix for prefix in prefixes if prefix in known), None)
        if case is None or _without_ending(file.name) == file.name or not file.is_file():
            continue
        files, name = found.setdefault(case, {}), _lesion_name(file, case)
        if name in files:
            raise ValueError(f"{case}: both {files[name]} and {file} annotate the same lesion, keep one of them")
        files[name] = str(file)
    return {case: tuple(files.values()) for case, files in found.items()}


def read_lesions(files: Sequence[str], image: sitk.Image, *, case: str, labels: Mapping[str, int]) -> list[Lesion]:
    """Read all lesions of a case.

    Which extreme point is which follows from the geometry, along the axes of the source: the patient's where it is in
    mm, the image's where it is in voxels or a label image, a ROI's own. Points that are not all extreme along these
    but along the other ones (image or patient) were clicked along those. Names of points in 3D Slicer ("L", "left",
    ...) are only checked against it, to one voxel. Positions are rounded to voxels; those in mm may lie up to half a
    voxel outside the image.

    The class of a lesion is named in the file or by the name of the file (``<case>.<class>2.mrk.json``). With a
    single class every lesion is of that class, whatever it is called, as long as all are called the same.

    Args:
        files: The files of the case (see :func:`find_annotations`).
        image: The image of the case.
        case: The case identifier.
        labels: The label of each foreground class.

    Raises:
        ValueError: If a file cannot be understood or contradicts the image, naming case, file and lesion.
    """
    lesions, stated = [], set()
    for file in map(str, files):
        with error_context(f"{case}: {file}"):
            for marks in read_marks(file, image, case=case):
                stated |= {marks.class_name} - {None}
                if len(labels) == 1 and len(stated) > 1:
                    raise ValueError(f"lesions of the classes {sorted(stated)}, but there is one label: {dict(labels)}")
                with error_context(marks.title):
                    points, axes = _extreme_points(marks, image)
                    label = _class_label(marks, _lesion_name(Path(file), case), labels)
                    source = BOUNDING_BOX if marks.is_box else EXTREME_POINTS
                    lesions.append(Lesion(points, label, source, file, axes))
    return lesions


def lesions_from_mask(
    mask: sitk.Image,
    *,
    labels: Mapping[str, int],
    jitter_mm: float = 0.0,
    generator: np.random.Generator | None = None,
) -> list[Lesion]:
    """Simulate the clicks on every lesion of a dense mask.

    A lesion is a connected component (26-neighbourhood) of one class; components within ``MERGE_DISTANCE_MM`` of each
    other, voxel centre to voxel centre, are one lesion.

    Args:
        mask: Holds the labels of the classes; with a single class every non-zero voxel is of that class.
        labels: The label of each foreground class.
        jitter_mm: Standard deviation of how far each click is off along each image axis. Clicks stay in the image.
        generator: Draws the jitter; needed where ``jitter_mm`` is not 0.

    Returns:
        The lesions, class by class.

    Raises:
        ValueError: If the mask is empty or holds unknown labels, or the jitter is negative or lacks its generator.
    """
    if not jitter_mm >= 0 or (jitter_mm > 0 and generator is None):
        raise ValueError(f"jitter_mm must be at least 0 and, unless 0, needs a generator; got {jitter_mm}, {generator}")
    array, spacing_mm, axes = sitk.GetArrayViewFromImage(mask), np.array(spacing_zyx_mm(mask)), patient_axes(mask)
    present = set(np.unique(array).tolist()) - {0}
    if not present or (len(labels) > 1 and present - set(labels.values())):
        raise ValueError(f"the mask must hold labels of {dict(labels)} besides 0, got {sorted(present)[:10] or 'none'}")
    lesions = []
    for label in labels.values():
        for lesion_mask, offset in _lesion_masks(array != 0 if len(labels) == 1 else array == label, spacing_mm):
            points = extreme_points_from_mask(lesion_mask, spacing_mm=spacing_mm, axes=axes) + offset
            if jitter_mm > 0:
                moved = np.rint(points + generator.normal(0, jitter_mm, (6, 3)) / spacing_mm).astype(int)
                moved = moved.clip(0, np.array(array.shape) - 1)
                points = sort_extreme_points(moved, spacing_mm=spacing_mm, axes=axes)
            lesions.append(Lesion(points, label, SIMULATED, axes=axes))
    return lesions


def annotation_warnings(lesion: Lesion) -> list[str]:
    """Return what is legal about an annotation but probably not meant."""
    box = bounding_box(lesion.extreme_points)
    sizes = [side.stop - side.start for side in box]
    flat = [name for name, size in zip("zyx", sizes, strict=True) if size == 1]
    warnings = [f"the lesion is only one voxel thick along image axis {name}" for name in flat]
    if lesion.source == EXTREME_POINTS and min(sizes) > MIN_SIZE_OF_DISTINCT_POINTS:
        # where a direction was forgotten, the click that comes closest to it stands for two directions
        for first, second in combinations(range(6), 2):
            if abs(lesion.extreme_points[first] - lesion.extreme_points[second]).max() <= 1:
                warnings.append(
                    f"the same place, voxel {lesion.extreme_points[first].tolist()} (z, y, x), is the extreme point "
                    f"towards {POINT_ROWS[first]} and {POINT_ROWS[second]}: is one of the six directions missing?"
                )
    return warnings


def _without_ending(file_name: str) -> str:
    ending = next((ending for ending in ANNOTATION_FILE_ENDINGS if file_name.endswith(ending)), "")
    return file_name.removesuffix(ending)


def _lesion_name(file: Path, case: str) -> str:
    stem = _without_ending(file.name)
    return stem.removeprefix(case + ".") if stem.startswith(case + ".") else ""


def _class_label(marks: Marks, lesion_name: str, labels: Mapping[str, int]) -> int:
    if len(labels) == 1:
        return next(iter(labels.values()))
    if marks.class_name is not None and _class_of(marks.class_name, labels) is None:
        raise ValueError(f"unknown class {marks.class_name!r}, known are {list(labels)}")
    stated = [name for name in (marks.class_name, marks.markup_name, lesion_name) if name]
    classes = {_class_of(name, labels) for name in stated} - {None}
    if len(classes) != 1:
        raise ValueError(
            f"its class must be named, in the file or by the file's name, as exactly one of {list(labels)}; "
            f"got {stated or 'no name'}"
        )
    return labels[classes.pop()]


def _class_of(name: str, labels: Mapping[str, int]) -> str | None:
    """Return the class that a name means: the class name itself, or followed by a number."""
    candidates = [known for known in labels if re.fullmatch(re.escape(known) + r"[0-9_-]*", name)]
    return max(candidates, key=len, default=None)


def _extreme_points(marks: Marks, image: sitk.Image) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the extreme points and the axes along which they are."""
    size = np.array(image.GetSize())
    voxels = np.rint(marks.positions)
    outside = ((voxels < 0) | (voxels >= size)).any(axis=1)
    if outside.any():
        what = "faces of the bounding box" if marks.is_box else "points"
        raise ValueError(
            f"{outside.sum()} of 6 {what} lie outside the image of size {image.GetSize()} (x, y, z), the first one at "
            f"voxel {[int(v) for v in voxels[outside][0]]}"
        )
    if (voxels == voxels[0]).all():
        what = "the bounding box is a single voxel" if marks.is_box else "all six points lie in the same voxel"
        raise ValueError(f"{what}, {voxels[0].astype(int).tolist()} (x, y, z)")
    points, spacing_mm = voxels[:, ::-1].astype(int), spacing_zyx_mm(image)
    axes = marks.axes if marks.is_box else _clicked_axes(points, marks.axes, image)
    _check_point_names(marks.point_names, points, axes, image)
    return sort_extreme_points(points, spacing_mm=spacing_mm, axes=axes), axes


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
    """Make sure that a point named after a patient direction is the extreme one there, to one voxel."""
    axes, spacing_mm = np.eye(3) if axes is None else axes, np.array(spacing_zyx_mm(image))
    in_patient = np.reshape(image.GetDirection(), (3, 3)) @ axes[:, ::-1].T  # columns: the axes in LPS coordinates
    axis_of = linear_sum_assignment(-abs(in_patient))[1]  # the one closest to left-right, ...
    positions_mm = along_axes(points, spacing_mm, axes)
    for index, name in enumerate(names):
        known = re.sub(r"[ _-]?most$", "", name.strip().lower())
        meant = [long for long in PATIENT_DIRECTIONS if known in (long, long[0])]
        if not meant:
            continue
        patient_axis, sign = PATIENT_DIRECTIONS[meant[0]]
        axis = axis_of[patient_axis]
        reach_mm = sign * np.sign(in_patient[patient_axis, axis]) * positions_mm[:, axis]
        short_mm = reach_mm.max() - reach_mm[index]
        if short_mm > spacing_mm[axis] * 1.001:
            raise ValueError(
                f"the point named {name!r} is not the {meant[0]}-most one: the one named "
                f"{names[np.argmax(reach_mm)]!r} lies {short_mm:.1f} mm further {meant[0]}; the names of all are "
                f"{list(names)}"
            )


def _lesion_masks(mask: np.ndarray, spacing_mm: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Cut out each lesion of a mask; yields its own mask and where its first voxel lies."""
    components, count = ndimage.label(mask, np.ones((3, 3, 3)))
    if count == 0:
        return
    boxes = ndimage.find_objects(components)
    margin = np.ceil(MERGE_DISTANCE_MM / spacing_mm).astype(int)
    pairs = [(component, component) for component in range(1, count + 1)]
    for component, box in enumerate(boxes, start=1):
        region = tuple(slice(max(s.start - m, 0), s.stop + m) for s, m in zip(box, margin, strict=True))
        around = components[region]
        if ((around != 0) & (around != component)).any():
            distance_mm = ndimage.distance_transform_edt(around != component, sampling=spacing_mm)
            near = np.unique(around[(distance_mm <= MERGE_DISTANCE_MM) & (around != 0)])
            pairs += [(component, other) for other in near]
    rows, columns = np.transpose(pairs).reshape(2, -1) - 1
    graph = coo_array((np.ones(len(rows)), (rows, columns)), shape=(count, count))
    lesion_count, lesion_of = connected_components(graph, directed=False)
    lesions = np.append(0, lesion_of + 1).astype(components.dtype)[components]
    for lesion, box in enumerate(ndimage.find_objects(lesions), start=1):
        yield lesions[box] == lesion, np.array([side.start for side in box])
