"""Labels that the extreme points of a case give without SimPLe, to compare its trainings with.

    walker      the random walker's result made dense: foreground where its last probability exceeds 0.5
    ellipsoid   the ellipsoid inscribed in the box of the extreme points; no image is used at all
    paper       the pseudo-mask of the recipe "paper", with unlabelled voxels

All of them come from the lesions and parameters that a conversion recorded.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from nnunetv2_simple.extreme_points.box import LesionBox
from nnunetv2_simple.pseudo_mask.generate import dense_pseudo_mask, generate_pseudo_mask, merge_pseudo_masks

RIVAL_KINDS = ("walker", "ellipsoid", "paper")
SPARSE_KINDS = ("paper",)  # those with unlabelled voxels


def rival_label(
    kind: str,
    image: np.ndarray,
    lesions: Sequence[Mapping],
    *,
    spacing_mm: Sequence[float],
    parameters: Mapping,
) -> np.ndarray:
    """Label one case.

    Where the dense foregrounds of several lesions overlap, the voxel belongs to the more certain one: the one of the
    larger probability, or of the smaller radius in its box; to the first of equals.

    Args:
        kind: One of ``RIVAL_KINDS``.
        image: (z, y, x), what the random walker sees.
        lesions: Of each lesion ``extreme_points_zyx``, ``label`` and ``axes_zyx`` (the axes along which the points
            are extreme; None for the image's own), as provenance.json has them.
        spacing_mm: Voxel size (z, y, x).
        parameters: ``recipe``, ``beta`` (of the recipe "paper") and ``ignore_label`` of the weak labels.

    Returns:
        (z, y, x) uint8, 0 background, 1..K foreground, and ``ignore_label`` in the kind "paper".

    Raises:
        ValueError: If there is no such kind, or a lesion is not one of the image.
    """
    if kind not in RIVAL_KINDS:
        raise ValueError(f"kind must be one of {RIVAL_KINDS}, got {kind!r}")
    if kind == "paper":
        return _paper_label(image, lesions, spacing_mm=spacing_mm, ignore_label=parameters["ignore_label"])
    if kind == "walker":
        found = _walker_foregrounds(image, lesions, spacing_mm=spacing_mm, parameters=parameters)
    else:
        found = _ellipsoids(image.shape, lesions, spacing_mm=spacing_mm)
    label, certainty = np.zeros(image.shape, dtype=np.uint8), np.full(image.shape, -np.inf)
    for own_label, foreground, own_certainty in found:
        wins = foreground & (own_certainty > certainty)
        label[wins], certainty[wins] = own_label, own_certainty[wins]
    return label


def _walker_foregrounds(
    image: np.ndarray, lesions: Sequence[Mapping], *, spacing_mm: Sequence[float], parameters: Mapping
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    options = {name: parameters[name] for name in ("recipe", "beta") if name in parameters}
    for lesion in lesions:
        foreground, probability = dense_pseudo_mask(
            image, lesion["extreme_points_zyx"], spacing_mm=spacing_mm, axes=_axes(lesion), **options
        )
        yield lesion["label"], foreground, probability


def _ellipsoids(
    shape: Sequence[int], lesions: Sequence[Mapping], *, spacing_mm: Sequence[float]
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    whole = tuple(slice(0, size) for size in shape)
    for lesion in lesions:
        points = np.asarray(lesion["extreme_points_zyx"])
        radius = LesionBox(points, shape=shape, spacing_mm=spacing_mm, axes=_axes(lesion)).radius(whole)
        yield lesion["label"], radius <= 1, -radius


def _paper_label(
    image: np.ndarray, lesions: Sequence[Mapping], *, spacing_mm: Sequence[float], ignore_label: int
) -> np.ndarray:
    pseudo_masks = (
        generate_pseudo_mask(
            image,
            lesion["extreme_points_zyx"],
            spacing_mm=spacing_mm,
            axes=_axes(lesion),
            ignore_label=ignore_label,
        )
        for lesion in lesions
    )
    return merge_pseudo_masks(pseudo_masks, [lesion["label"] for lesion in lesions], ignore_label=ignore_label)


def _axes(lesion: Mapping) -> np.ndarray | None:
    return None if lesion["axes_zyx"] is None else np.asarray(lesion["axes_zyx"])
