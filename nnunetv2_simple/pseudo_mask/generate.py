"""Initial pseudo-mask: extreme points -> shortest-path scribbles -> random walker (SimPLe, section 2.1).

Two recipes: "paper" follows the publication, "robust" (:mod:`nnunetv2_simple.pseudo_mask.robust_recipe`) says more of
what the clicks mean.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from nnunetv2_simple.extreme_points.box import LesionBox
from nnunetv2_simple.pseudo_mask.random_walker import RandomWalker, gradient_weights
from nnunetv2_simple.pseudo_mask.robust_recipe import (
    BACKGROUND_THRESHOLD,
    FOREGROUND_THRESHOLD,
    robust_region,
    robust_walk,
)
from nnunetv2_simple.pseudo_mask.scribbles import Recipe, check_recipe, checked_inputs, draw_scribbles

CROP_MARGIN_VOXELS = (10, 20, 20)  # (z, y, x) around the box: the crop whose intensities are scaled, as published
PAPER_DEFAULTS = {"beta": 130.0, "foreground_threshold": 0.8, "background_threshold": 0.1, "num_refinements": 7}


def generate_pseudo_mask(
    image: np.ndarray,
    extreme_points: Sequence,
    *,
    spacing_mm: Sequence[float],
    beta: float = 130.0,
    foreground_threshold: float = 0.8,
    background_threshold: float = 0.1,
    num_refinements: int = 7,
    ignore_label: int = 2,
    recipe: Recipe = "paper",
    axes: np.ndarray | None = None,
    scribbles: np.ndarray | None = None,
    seeds: np.ndarray | None = None,
    return_probability: bool = False,
    evidence: np.ndarray | None = None,
    evidence_weight: float = 1.0,
) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
    """Turn six extreme points into a pseudo-mask of foreground, background and unlabelled voxels.

    Recipe "paper": the intensities of the crop, which is the box extended by 10, 20, 20 voxels (z, y, x) and clipped to
    the image, are scaled to [0, 1]. The first walk starts from the scribbles (foreground) and every voxel outside the
    box (background).
    Voxels whose probability exceeds ``foreground_threshold`` or stays below ``background_threshold`` become seeds of
    the next walk. After the last one the voxels of the box above ``foreground_threshold`` are foreground, its other
    voxels unlabelled; everything outside the box is background. The published script leaves a collar of 5 voxels round
    the box unseeded, the paper, which is followed here, does not.

    Recipe "robust": see :mod:`nnunetv2_simple.pseudo_mask.robust_recipe`. Voxels inside the box may be background too.
    It has no options: ``beta`` to ``num_refinements`` are the paper's.

    Args:
        image: (z, y, x), finite intensities of any scale: a I + b with a > 0 gives the same pseudo-mask as I.
        extreme_points: (6, 3) voxels (z, y, x), two along each axis. Points on the image border are legal.
        spacing_mm: Voxel size (z, y, x).
        beta: Penalty on intensity differences (see :func:`nnunetv2_simple.pseudo_mask.random_walker.gradient_weights`)
            of the crop scaled to [0, 1], whose standard deviation is the std of the formula.
        foreground_threshold: Probability in (0, 1) above which a voxel is foreground.
        background_threshold: Probability in (0, 1) below which a voxel seeds the background of the next walk.
        num_refinements: Number of walks after the first one, at least 0.
        ignore_label: Label of the unlabelled voxels, 2 to 255.
        recipe: "paper" or "robust".
        axes: (3, 3) patient axes of an oblique image, along which the points are extreme; the image's own if None.
        scribbles: (z, y, x) bool, what :func:`draw_scribbles` drew for these points, where it is there already.
        seeds: (z, y, x) int, what somebody says of the voxels: 1 is lesion, -1 is not, 0 nothing is said. They are
            seeds of every walk and stay as they are in the result; where they contradict a scribble they count.
        return_probability: Whether to return the probability of the last walk as well.
        evidence: (z, y, x) in [0, 1], the lesion's probability that another model gives; for the recipe "robust". It
            has no say outside the box.
        evidence_weight: How far it is believed, 0 to 1.

    Returns:
        (z, y, x) uint8 in {0, 1, ignore_label}; on request also (z, y, x) float in [0, 1], 0 outside the box.

    Raises:
        ValueError: As :func:`draw_scribbles`, if an option is out of its range or not the recipe's, if the image is
            constant around the box, if the scribbles or the lesion's seeds leave the box, and if the seeds leave no
            voxel to the lesion.

    Reference:
        Zhong & Wang, SimPLe, MICCAI 2023, section 2.1; Grady, Random walks for image segmentation, TPAMI 2006.

    Example:
        >>> image = np.zeros((9, 9, 9))
        >>> image[3:6, 3:6, 3:6] = 1
        >>> points = [[2, 4, 4], [6, 4, 4], [4, 2, 4], [4, 6, 4], [4, 4, 2], [4, 4, 6]]
        >>> pseudo_mask = generate_pseudo_mask(image, points, spacing_mm=(1, 1, 1))
        >>> pseudo_mask[4, 2].tolist()  # along a face of the box: outside it background, a corner unlabelled
        [0, 0, 2, 1, 1, 1, 1, 0, 0]
    """
    options = {
        "beta": beta,
        "foreground_threshold": foreground_threshold,
        "background_threshold": background_threshold,
        "num_refinements": num_refinements,
    }
    _check_options(options, ignore_label, recipe)
    image, box, scribbles, spacing_mm = _prepare(image, extreme_points, spacing_mm, recipe, axes, scribbles)
    foreground_seeds, background_seeds = _join_seeds(scribbles, seeds, box)
    if evidence is not None:
        if recipe != "robust":
            raise ValueError('evidence belongs to the recipe "robust"')
        if evidence.shape != image.shape or not 0 <= evidence_weight <= 1:
            raise ValueError(
                f"evidence must have the image's shape {image.shape} and a weight in [0, 1], got {evidence.shape} and "
                f"{evidence_weight}"
            )
        options = {"evidence": evidence, "evidence_weight": evidence_weight}
    region, probability = _last_walk(image, box, foreground_seeds, background_seeds, spacing_mm, recipe, options)
    if recipe == "robust":
        foreground, background = probability > FOREGROUND_THRESHOLD, probability < BACKGROUND_THRESHOLD
    else:
        foreground, background = probability > foreground_threshold, ~box.contains(region) | background_seeds[region]

    pseudo_mask = np.zeros(image.shape, dtype=np.uint8)
    pseudo_mask[region] = np.where(background, 0, ignore_label)
    pseudo_mask[region][foreground] = 1
    if not return_probability:
        return pseudo_mask
    whole = np.zeros(image.shape)
    whole[region] = probability
    return pseudo_mask, whole


def walk_again(
    image: np.ndarray,
    extreme_points: Sequence,
    network_probability: np.ndarray,
    *,
    spacing_mm: Sequence[float],
    axes: np.ndarray | None = None,
    seeds: np.ndarray | None = None,
) -> np.ndarray:
    """Walk as the recipe "robust" does, with a network's opinion in the prior.

    It counts above all where the ellipsoid does not fit. A network has seen many lesions, the walker the edges of this
    one; see :func:`nnunetv2_simple.pseudo_mask.robust_recipe.robust_walk`.

    Args:
        image: As all others, see :func:`generate_pseudo_mask`.
        extreme_points: As above.
        network_probability: (z, y, x) in [0, 1], the network's probability of the lesion's class.
        spacing_mm: As above.
        axes: As above.
        seeds: As above.

    Returns:
        (z, y, x) float in [0, 1], the foreground probability; it is 0 outside the box.

    Raises:
        ValueError: As :func:`generate_pseudo_mask`, and if the probability does not have the image's shape.
    """
    options = {"spacing_mm": spacing_mm, "axes": axes, "seeds": seeds}
    region, in_region = walk_again_around(image, extreme_points, network_probability, **options)
    probability = np.zeros(np.shape(image))
    probability[region] = in_region
    return probability


def walk_again_around(
    image: np.ndarray,
    extreme_points: Sequence,
    network_probability: np.ndarray,
    *,
    spacing_mm: Sequence[float],
    axes: np.ndarray | None = None,
    seeds: np.ndarray | None = None,
) -> tuple[tuple[slice, ...], np.ndarray]:
    """As :func:`walk_again`; return the region around the box and the probability there, to save memory."""
    image, box, scribbles, spacing_mm = _prepare(image, extreme_points, spacing_mm, "robust", axes, None)
    if network_probability.shape != image.shape:
        raise ValueError(
            f"network_probability must have the image's shape {image.shape}, got {network_probability.shape}"
        )
    return _last_walk(image, box, *_join_seeds(scribbles, seeds, box), spacing_mm, "robust", {}, network_probability)


def _last_walk(
    image: np.ndarray,
    box: LesionBox,
    foreground_seeds: np.ndarray,
    background_seeds: np.ndarray,
    spacing_mm: Sequence[float],
    recipe: str,
    options: dict,
    network_probability: np.ndarray | None = None,
) -> tuple[tuple[slice, ...], np.ndarray]:
    """Return the region of the image that a recipe looks at, and the probability of its last walk there."""
    # walks end at the background seeds that touch the box, so nothing further out can matter
    region = robust_region(box) if recipe == "robust" else box.region((1, 1, 1))
    crop = image[region if recipe == "robust" else box.region(CROP_MARGIN_VOXELS)]
    lowest, highest = crop.min(), crop.max()
    if lowest == highest:
        raise ValueError(f"image is constant ({lowest}) in and around the box of the extreme points")
    if recipe == "robust":
        evidence = options["evidence"][region] if "evidence" in options else None
        return region, robust_walk(
            image[region],
            foreground_seeds[region],
            box,
            region,
            spacing_mm=spacing_mm,
            background_seeds=background_seeds[region],
            network_probability=None if network_probability is None else network_probability[region],
            evidence=evidence,
            evidence_weight=options.get("evidence_weight", 1.0),
        )
    scaled, std = (image[region] - lowest) / (highest - lowest), crop.std() / (highest - lowest)
    weights = gradient_weights(scaled, spacing_mm=spacing_mm, beta=options["beta"], intensity_std=std)
    background = ~box.contains(region) | background_seeds[region]
    return region, _refined_walks(RandomWalker(weights), foreground_seeds[region], background, options)


def _refined_walks(walker: RandomWalker, foreground: np.ndarray, background: np.ndarray, options: dict) -> np.ndarray:
    """Walk, turn what is certain into seeds, walk again; return the probability of the last walk."""
    probability = walker.walk(foreground, background)
    for _ in range(options["num_refinements"]):
        foreground = foreground | (probability > options["foreground_threshold"])
        background = background | (probability < options["background_threshold"])
        probability = walker.walk(foreground, background, initial=probability)
    return probability


def merge_pseudo_masks(pseudo_masks: Iterable[np.ndarray], labels: Sequence[int], *, ignore_label: int) -> np.ndarray:
    """Merge the pseudo-masks of several lesions of one image.

    A voxel gets the label of the lesions that claim it. Where lesions of different labels claim it, or none claims it
    but it is unlabelled in one of them, it is unlabelled. With one lesion of label 1 the result is its pseudo-mask.

    Args:
        pseudo_masks: (z, y, x) each, 1 on the lesion, 0 background, any other value unlabelled. One after the other is
            looked at, so they need not be in memory together.
        labels: The label of each lesion, in 1..ignore_label - 1.
        ignore_label: Label of the unlabelled voxels.

    Returns:
        (z, y, x) uint8.
    """
    unlabelled, claims = False, dict.fromkeys(labels, False)
    for pseudo_mask, label in zip(pseudo_masks, labels, strict=True):
        unlabelled = unlabelled | (pseudo_mask > 1)
        claims[label] = claims[label] | (pseudo_mask == 1)
    merged = np.where(unlabelled, ignore_label, 0).astype(np.uint8)
    for label, claim in claims.items():
        merged[claim] = label
    merged[sum(claim.astype(np.uint8) for claim in claims.values()) > 1] = ignore_label
    return merged


def _check_options(options: dict, ignore_label: int, recipe: str) -> None:
    check_recipe(recipe)
    if recipe == "robust" and options != PAPER_DEFAULTS:
        changed = {name: value for name, value in options.items() if value != PAPER_DEFAULTS[name]}
        raise ValueError(f'the recipe "robust" has no options, got {changed}; they belong to the recipe "paper"')
    if not 0 < options["background_threshold"] < options["foreground_threshold"] < 1:
        raise ValueError(
            f"thresholds must satisfy 0 < background < foreground < 1, "
            f"got background_threshold {options['background_threshold']} "
            f"and foreground_threshold {options['foreground_threshold']}"
        )
    if not (options["beta"] > 0 and options["num_refinements"] >= 0 and 2 <= ignore_label <= 255):
        raise ValueError(
            f"beta must be positive, num_refinements at least 0 and ignore_label in 2..255, "
            f"got {options['beta']}, {options['num_refinements']} and {ignore_label}"
        )


def _prepare(
    image: np.ndarray,
    extreme_points: Sequence,
    spacing_mm: Sequence[float],
    recipe: str,
    axes: np.ndarray | None,
    scribbles: np.ndarray | None,
) -> tuple[np.ndarray, LesionBox, np.ndarray, tuple[float, ...]]:
    """Check what is given, draw the scribbles where they are not."""
    image, extreme_points, spacing_mm, box = checked_inputs(image, extreme_points, spacing_mm, axes)
    if scribbles is None:
        scribbles = draw_scribbles(image, extreme_points, spacing_mm=spacing_mm, recipe=recipe, axes=axes)
    elif scribbles.shape != image.shape or scribbles.dtype != bool:
        raise ValueError(
            f"scribbles must be boolean of the image's shape {image.shape}, got {scribbles.dtype} {scribbles.shape}"
        )
    num_inside = np.count_nonzero(scribbles[box.slices] & box.contains(box.slices))
    if not 0 < num_inside == np.count_nonzero(scribbles):
        raise ValueError(
            f"scribbles must lie in the box of the extreme points, got {num_inside} of "
            f"{np.count_nonzero(scribbles)} voxels inside"
        )
    return image, box, scribbles, spacing_mm


def _join_seeds(scribbles: np.ndarray, seeds: np.ndarray | None, box: LesionBox) -> tuple[np.ndarray, np.ndarray]:
    """Return the voxels that are lesion, and those that are not, by the scribbles and by what somebody says."""
    if seeds is None:
        return scribbles, np.zeros(scribbles.shape, dtype=bool)
    seeds = np.asarray(seeds)
    if seeds.shape != scribbles.shape or not np.isin(seeds, (-1, 0, 1)).all():
        raise ValueError(
            f"seeds must be -1, 0 or 1 and of the image's shape {scribbles.shape}, got {seeds.dtype} {seeds.shape}"
        )
    marked = np.argwhere(seeds == 1)
    if (outside := ~box.contains_voxels(marked)).any():
        raise ValueError(
            f"seeds of the lesion must lie in the box of the extreme points, got voxel {marked[outside][0].tolist()}"
        )
    foreground = (scribbles & (seeds == 0)) | (seeds == 1)
    if not foreground.any():
        raise ValueError("the seeds say that no voxel of the scribbles is lesion: nothing is left of it")
    return foreground, seeds == -1
