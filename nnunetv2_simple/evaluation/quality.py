"""Measures of a pseudo-mask, per lesion and per case."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from nnunetv2_simple.evaluation.metrics import dice
from nnunetv2_simple.evaluation.quality_scores import evaluate_pseudo_mask, mean_of
from nnunetv2_simple.evaluation.quality_warnings import annotation_sentences, case_warnings, lesion_warnings
from nnunetv2_simple.extreme_points.box import LesionBox, grown, in_voxels
from nnunetv2_simple.extreme_points.points import along_axes

if TYPE_CHECKING:
    from nnunetv2_simple.extreme_points.lesions import Lesion

SHELL_MM = 5.0  # how far outside the box the background is compared with the foreground
CORE_RADIUS = 0.5  # of the box's core, an ellipsoid half the size of the one inscribed in the box


@dataclass(frozen=True, eq=False, kw_only=True)
class LabelledCase:
    """A training case and its pseudo-mask, to be measured and drawn.

    Attributes:
        image: (z, y, x), the image that the random walker saw.
        label: (z, y, x), the pseudo-mask of all lesions: 0 background, 1..K foreground, ``ignore_label`` unlabelled.
        scribbles: (z, y, x) bool, the foreground seeds of the first walk, of all lesions.
        lesions: The lesions of the case; may be empty.
        spacing_mm: Voxel size (z, y, x).
        ignore_label: Label of the unlabelled voxels, higher than any other.
        reference: (z, y, x), dense labels 0..K, where known.
        warnings: Sentences about the annotation.
        supervision: What the label is made from.
        evidence: (z, y, x), the labels 0..K that another model gives, where there is one.

    Raises:
        ValueError: If the arrays are not volumes of one shape, the spacing is not positive, a point lies outside the
            image, or the reference holds labels that are not below ``ignore_label``.
    """

    image: np.ndarray
    label: np.ndarray
    scribbles: np.ndarray
    lesions: Sequence["Lesion"]
    spacing_mm: Sequence[float]
    ignore_label: int
    reference: np.ndarray | None = None
    warnings: Sequence[str] = ()
    supervision: Sequence[str] = ()
    evidence: np.ndarray | None = None

    def __post_init__(self):
        volumes = {name: getattr(self, name) for name in ("image", "label", "scribbles", "reference")}
        shapes = {name: np.shape(volume) for name, volume in volumes.items() if volume is not None}
        if len(shapes["image"]) != 3 or len(set(shapes.values())) > 1:
            raise ValueError(f"expected volumes (z, y, x) of one shape, got {shapes}")
        if self.scribbles.dtype != bool:
            raise ValueError(f"scribbles must be boolean, got {self.scribbles.dtype}")
        if len(self.spacing_mm) != 3 or not all(np.isfinite(s) and s > 0 for s in self.spacing_mm):
            raise ValueError(f"spacing_mm must be three positive numbers (z, y, x), got {tuple(self.spacing_mm)}")
        highest = self.ignore_label - 1
        for lesion in self.lesions:
            points, shape = np.asarray(lesion.extreme_points), self.label.shape
            if points.shape != (6, 3) or (points < 0).any() or (points >= shape).any():
                raise ValueError(f"expected six points inside the image of shape {shape}, got {points.tolist()}")
            if not 0 < lesion.label <= highest:
                raise ValueError(f"the label of a lesion must lie in 1..{highest}, got {lesion.label}")
        if self.reference is not None and self.reference.size:
            lowest, largest = self.reference.min(), self.reference.max()
            if lowest < 0 or largest > highest:
                raise ValueError(f"reference must hold labels in 0..{highest}, got {lowest} to {largest}")

    def box(self, lesion: "Lesion") -> LesionBox:
        return lesion.box(self.label.shape, self.spacing_mm)

    def around(self, block: Sequence[slice], margin_mm: float) -> tuple[slice, ...]:
        """Return a block of the image with a margin of at least ``margin_mm``."""
        return grown(block, in_voxels(margin_mm, self.spacing_mm), self.label.shape)

    @property
    def foreground(self) -> np.ndarray:
        """(z, y, x) bool."""
        return (self.label != 0) & (self.label != self.ignore_label)


def measure_case(case: LabelledCase) -> dict:
    """Measure the pseudo-mask of one case.

    The fractions of the case are those of the union of its boxes, its volume counts every voxel once. Its core,
    points reached, components and contrast are those of its worst lesion, its box size is that of its largest box.

    Args:
        case: The case.

    Returns:
        A dictionary that JSON can hold. Measures of empty sets are None. Sizes are in mm (z, y, x), volumes in ml.
        ``lesions`` holds the measures of each lesion (see :func:`measure_lesion`), ``warnings`` sentences, those about
        the annotation first, ``evaluation_only`` the scores against the reference, if there is one.
    """
    measured = [measure_lesion(lesion, case) for lesion in case.lesions]
    boxed = case.label[_union_of_boxes(case)]
    measures = {
        "num_lesions": len(measured),
        "sources": list(case.supervision) or sorted({lesion["source"] for lesion in measured}),
        "foreground_fraction": mean_of((boxed != 0) & (boxed != case.ignore_label)),
        "unlabelled_fraction": mean_of(boxed == case.ignore_label),
        "background_fraction": mean_of(boxed == 0),
        "foreground_ml": _volume_ml(case.foreground, case.spacing_mm),
        "box_size_mm": max((lesion["box_size_mm"] for lesion in measured), key=np.prod, default=None),
        "core_fraction": _smallest(lesion["core_fraction"] for lesion in measured),
        "reached_points": min((lesion["reached_points"] for lesion in measured), default=None),
        "num_components": max((lesion["num_components"] for lesion in measured), default=None),
        "largest_component_fraction": _smallest(lesion["largest_component_fraction"] for lesion in measured),
        "contrast": _smallest(lesion["contrast"] for lesion in measured),
        "disagreement": _disagreement(case),
        "warnings": [*annotation_sentences(case.warnings), *case_warnings(measured)],
        "lesions": measured,
    }
    if case.reference is not None:
        measures["evaluation_only"] = evaluate_pseudo_mask(
            case.label,
            case.reference,
            scribbles=case.scribbles,
            lesion_labels=[lesion["label"] for lesion in measured],
        )
    return measures


def measure_lesion(lesion: "Lesion", case: LabelledCase) -> dict:
    """Measure the pseudo-mask inside the box of one lesion.

    Foreground are the voxels of the box that carry the lesion's own label.

    Args:
        lesion: The lesion.
        case: The case it belongs to.

    Returns:
        The share of the box that is foreground, unlabelled, background, foreground of other labels and scribble; the
        share of the box's core that is foreground (``CORE_RADIUS``), low where the scribbles ran round the lesion
        instead of through it; at how many of the six extreme points foreground lies within one voxel
        (26-neighbourhood); the number of its 26-connected components and the share of the largest; the share of it
        that lies beyond the scribbles (``grown_fraction``); its contrast, (mean_f - mean_b) /
        sqrt((var_f + var_b) / 2), to the background outside the box and no further than ``SHELL_MM`` from it;
        ``warnings``, one sentence per kind.
    """
    box = case.box(lesion)
    region = case.around(box.slices, SHELL_MM)
    in_box, near, image, scribbles = (
        box.contains(region),
        case.label[region],
        case.image[region],
        case.scribbles[region],
    )
    boxed, foreground = near[in_box], in_box & (near == lesion.label)
    components = np.bincount(ndimage.label(foreground, np.ones((3, 3, 3)))[0].ravel())[1:]
    measures = {
        "label": int(lesion.label),
        "source": str(lesion.source),
        "box_size_voxels": [side.stop - side.start for side in box.slices],
        "box_size_mm": _box_size_mm(lesion, case.spacing_mm),
        "foreground_fraction": mean_of(boxed == lesion.label),
        "unlabelled_fraction": mean_of(boxed == case.ignore_label),
        "background_fraction": mean_of(boxed == 0),
        "other_label_fraction": mean_of((boxed != 0) & (boxed != lesion.label) & (boxed != case.ignore_label)),
        "scribble_fraction": mean_of(scribbles[in_box]),
        "core_fraction": mean_of(foreground[in_box & (box.radius(region) <= CORE_RADIUS)]),
        "foreground_ml": _volume_ml(foreground, case.spacing_mm),
        "reached_points": _count_reached(lesion.extreme_points - [side.start for side in region], foreground),
        "num_components": len(components),
        "largest_component_fraction": float(components.max() / components.sum()) if len(components) else None,
        "grown_fraction": mean_of(~scribbles[foreground]),
        "contrast": _contrast(image[foreground], image[~in_box & (near == 0)]),
    }
    return measures | {"warnings": lesion_warnings(measures)}


def _union_of_boxes(case: LabelledCase) -> np.ndarray:
    union = np.zeros(case.label.shape, dtype=bool)
    for box in map(case.box, case.lesions):
        union[box.slices] |= box.contains(box.slices)
    return union


def _disagreement(case: LabelledCase) -> float | None:
    """Return 1 - Dice of the foreground and that of another model, over the labelled voxels of the boxes."""
    if case.evidence is None or not case.lesions:
        return None
    counted = _union_of_boxes(case) & (case.label != case.ignore_label)
    return 1 - dice(case.label[counted] != 0, case.evidence[counted] != 0)


def _box_size_mm(lesion: "Lesion", spacing_mm: Sequence[float]) -> list[float]:
    extent = np.ptp(along_axes(lesion.extreme_points, spacing_mm, lesion.axes), axis=0)
    if lesion.axes is None:
        return ((extent + 1) * spacing_mm).tolist()
    return (extent + abs(lesion.axes) @ np.asarray(spacing_mm)).tolist()


def _count_reached(extreme_points: np.ndarray, foreground: np.ndarray) -> int:
    neighbourhoods = [tuple(slice(max(i - 1, 0), i + 2) for i in point) for point in extreme_points]
    return sum(bool(foreground[neighbourhood].any()) for neighbourhood in neighbourhoods)


def _contrast(foreground: np.ndarray, background: np.ndarray) -> float | None:
    """Return the standardised difference of the means; None if a set is empty or neither varies."""
    if not (foreground.size and background.size):
        return None
    pooled_std = np.sqrt((np.var(foreground, dtype=float) + np.var(background, dtype=float)) / 2)
    difference = np.mean(foreground, dtype=float) - np.mean(background, dtype=float)
    return float(difference / pooled_std) if pooled_std > 0 else None


def _smallest(values: Iterable[float | None]) -> float | None:
    return min((value for value in values if value is not None), key=abs, default=None)


def _volume_ml(mask: np.ndarray, spacing_mm: Sequence[float]) -> float:
    return float(mask.sum() * np.prod(spacing_mm) / 1000)
