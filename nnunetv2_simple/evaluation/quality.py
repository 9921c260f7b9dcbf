"""Measures of a pseudo-mask, per lesion and per case."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from nnunetv2_simple.evaluation.quality_scores import evaluate_pseudo_mask
from nnunetv2_simple.evaluation.quality_warnings import annotation_sentences, case_warnings, lesion_warnings
from nnunetv2_simple.extreme_points.box import LesionBox
from nnunetv2_simple.extreme_points.points import along_axes

if TYPE_CHECKING:
    from nnunetv2_simple.extreme_points.lesions import Lesion

SHELL_MM = 5.0  # how far outside the box the background is compared with the foreground
CORE_RADIUS = 0.5  # of the box's core, an ellipsoid half the size of the one inscribed in the box


def measure_case(
    *,
    image: np.ndarray,
    label: np.ndarray,
    scribbles: np.ndarray,
    lesions: Sequence["Lesion"],
    spacing_mm: Sequence[float],
    ignore_label: int,
    reference: np.ndarray | None = None,
    warnings: Sequence[str] = (),
) -> dict:
    """Measure the pseudo-mask of one case.

    The fractions of the case are those of the union of its boxes, its volume counts every voxel once. Its core,
    points reached, components and contrast are those of its worst lesion, its box size is that of its largest box.

    Args:
        image: (z, y, x), what the random walker saw.
        label: (z, y, x), the pseudo-mask of all lesions: 0 background, 1..K foreground, ``ignore_label`` unlabelled.
        scribbles: (z, y, x) bool, the foreground seeds of the first walk, of all lesions.
        lesions: The lesions of the case; none is legal.
        spacing_mm: Voxel size (z, y, x).
        ignore_label: Label of the unlabelled voxels, higher than any other.
        reference: (z, y, x), dense labels 0..K, where known.
        warnings: What there is to say about the annotation; put in front of the warnings of the measures.

    Returns:
        A dictionary that JSON can hold. Measures of empty sets are None. Sizes are in mm (z, y, x), volumes in ml.
        ``lesions`` holds the measures of each lesion (see :func:`measure_lesion`), ``warnings`` sentences for people,
        ``evaluation_only`` the scores against the reference; without a reference that key is absent.

    Raises:
        ValueError: If the arrays are not volumes of one shape, the spacing is not positive, a point lies outside the
            image, or the reference holds labels that are not below ``ignore_label``.
    """
    check_case(
        image=image,
        label=label,
        scribbles=scribbles,
        lesions=lesions,
        spacing_mm=spacing_mm,
        ignore_label=ignore_label,
        reference=reference,
    )
    measured = [
        measure_lesion(
            lesion,
            image=image,
            label=label,
            scribbles=scribbles,
            spacing_mm=spacing_mm,
            ignore_label=ignore_label,
        )
        for lesion in lesions
    ]
    boxed = label[_union_of_boxes(lesions, label.shape, spacing_mm)]
    case = {
        "num_lesions": len(measured),
        "sources": sorted({measures["source"] for measures in measured}),
        "foreground_fraction": _mean((boxed != 0) & (boxed != ignore_label)),
        "unlabelled_fraction": _mean(boxed == ignore_label),
        "background_fraction": _mean(boxed == 0),
        "foreground_ml": _volume_ml((label != 0) & (label != ignore_label), spacing_mm),
        **_worst(measured),
        "warnings": [*annotation_sentences(warnings), *case_warnings(measured)],
        "lesions": measured,
    }
    if reference is not None:
        case["evaluation_only"] = evaluate_pseudo_mask(
            label, reference, scribbles=scribbles, lesion_labels=[m["label"] for m in measured]
        )
    return case


def measure_lesion(
    lesion: "Lesion",
    *,
    image: np.ndarray,
    label: np.ndarray,
    scribbles: np.ndarray,
    spacing_mm: Sequence[float],
    ignore_label: int,
) -> dict:
    """Measure the pseudo-mask inside the box of one lesion.

    Foreground are the voxels of the box that carry the lesion's own label.

    Args:
        lesion: The lesion.
        image: As all others, see :func:`measure_case`.
        label: As above.
        scribbles: As above.
        spacing_mm: As above.
        ignore_label: As above.

    Returns:
        The share of the box that is foreground, unlabelled, background, foreground of other labels and scribble; the
        share of the box's core that is foreground (``CORE_RADIUS``), low where the scribbles ran round the lesion
        instead of through it; at how many of the six extreme points foreground lies within one voxel
        (26-neighbourhood); the number of its 26-connected components and the share of the largest; the share of it
        that lies beyond the scribbles (``grown_fraction``); its contrast, (mean_f - mean_b) /
        sqrt((var_f + var_b) / 2), to the background outside the box and no further than ``SHELL_MM`` from it;
        ``warnings``, one sentence per kind.
    """
    box = LesionBox(lesion.extreme_points, shape=label.shape, spacing_mm=spacing_mm, axes=lesion.axes)
    region = box.region(margin_voxels(SHELL_MM, spacing_mm))
    in_box, near = box.contains(region), label[region]
    boxed = near[in_box]
    foreground = in_box & (near == lesion.label)
    components = np.bincount(ndimage.label(foreground, np.ones((3, 3, 3)))[0].ravel())[1:]
    measures = {
        "label": int(lesion.label),
        "source": str(lesion.source),
        "box_size_voxels": [side.stop - side.start for side in box.slices],
        "box_size_mm": _box_size_mm(lesion.extreme_points, spacing_mm, lesion.axes),
        "foreground_fraction": _mean(boxed == lesion.label),
        "unlabelled_fraction": _mean(boxed == ignore_label),
        "background_fraction": _mean(boxed == 0),
        "other_label_fraction": _mean((boxed != 0) & (boxed != lesion.label) & (boxed != ignore_label)),
        "scribble_fraction": _mean(scribbles[region][in_box]),
        "core_fraction": _mean(foreground[in_box & (box.radius(region) <= CORE_RADIUS)]),
        "foreground_ml": _volume_ml(foreground, spacing_mm),
        "reached_points": _count_reached(lesion.extreme_points - [side.start for side in region], foreground),
        "num_components": len(components),
        "largest_component_fraction": float(components.max() / components.sum()) if len(components) else None,
        "grown_fraction": _mean(~scribbles[region][foreground]),
        "contrast": _contrast(image[region][foreground], image[region][~in_box & (near == 0)]),
    }
    return measures | {"warnings": lesion_warnings(measures)}


def check_case(
    *,
    image: np.ndarray,
    label: np.ndarray,
    scribbles: np.ndarray,
    lesions: Sequence["Lesion"],
    spacing_mm: Sequence[float],
    ignore_label: int,
    reference: np.ndarray | None,
) -> None:
    """Raise ValueError for what :func:`measure_case` cannot measure."""
    volumes = {"image": image, "label": label, "scribbles": scribbles}
    if reference is not None:
        volumes["reference"] = reference
    shapes = {name: np.shape(volume) for name, volume in volumes.items()}
    if len(shapes["image"]) != 3 or len(set(shapes.values())) > 1:
        raise ValueError(f"expected volumes (z, y, x) of one shape, got {shapes}")
    if np.asarray(scribbles).dtype != bool:
        raise ValueError(f"scribbles must be boolean, got {np.asarray(scribbles).dtype}")
    if len(spacing_mm) != 3 or not all(np.isfinite(s) and s > 0 for s in spacing_mm):
        raise ValueError(f"spacing_mm must be three positive numbers (z, y, x), got {tuple(spacing_mm)}")
    for lesion in lesions:
        points = np.asarray(lesion.extreme_points)
        if points.shape != (6, 3) or (points < 0).any() or (points >= label.shape).any():
            raise ValueError(f"expected six points inside the image of shape {label.shape}, got {points.tolist()}")
        if not 0 < lesion.label < ignore_label:
            raise ValueError(f"the label of a lesion must lie in 1..{ignore_label - 1}, got {lesion.label}")
    if reference is not None and reference.size and not 0 <= reference.min() <= reference.max() < ignore_label:
        raise ValueError(
            f"reference must hold labels in 0..{ignore_label - 1}, got {reference.min()} to {reference.max()}"
        )


def margin_voxels(margin_mm: float, spacing_mm: Sequence[float]) -> list[int]:
    """Return the whole voxels per axis that make up at least ``margin_mm``."""
    return [int(np.ceil(margin_mm / s)) for s in spacing_mm]


def _union_of_boxes(lesions: Sequence["Lesion"], shape: Sequence[int], spacing_mm: Sequence[float]) -> np.ndarray:
    union = np.zeros(shape, dtype=bool)
    for lesion in lesions:
        box = LesionBox(lesion.extreme_points, shape=shape, spacing_mm=spacing_mm, axes=lesion.axes)
        union[box.slices] |= box.contains(box.slices)
    return union


def _worst(measured: Sequence[dict]) -> dict:
    return {
        "box_size_mm": max((m["box_size_mm"] for m in measured), key=np.prod, default=None),
        "core_fraction": _smallest(m["core_fraction"] for m in measured),
        "reached_points": min((m["reached_points"] for m in measured), default=None),
        "num_components": max((m["num_components"] for m in measured), default=None),
        "largest_component_fraction": _smallest(m["largest_component_fraction"] for m in measured),
        "contrast": _smallest(m["contrast"] for m in measured),
    }


def _box_size_mm(extreme_points: np.ndarray, spacing_mm: Sequence[float], axes: np.ndarray | None) -> list[float]:
    extent = np.ptp(along_axes(extreme_points, spacing_mm, axes), axis=0)
    size_mm = (extent + 1) * spacing_mm if axes is None else extent + abs(axes) @ np.asarray(spacing_mm)
    return size_mm.tolist()


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


def _mean(values: Sequence) -> float | None:
    return float(np.mean(values)) if np.size(values) else None


def _smallest(values) -> float | None:
    return min((value for value in values if value is not None), key=abs, default=None)


def _volume_ml(mask: np.ndarray, spacing_mm: Sequence[float]) -> float:
    return float(mask.sum() * np.prod(spacing_mm) / 1000)
