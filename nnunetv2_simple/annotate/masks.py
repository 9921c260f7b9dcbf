"""The pseudo-masks the page shows: what the conversion would make, of as little of the image as that takes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import SimpleITK as sitk

from nnunetv2_simple.annotate.marks import MarkedLesion
from nnunetv2_simple.evaluation.quality import SHELL_MM, LabelledCase, measure_case
from nnunetv2_simple.extreme_points.annotation import Annotation
from nnunetv2_simple.extreme_points.box import grown, in_voxels
from nnunetv2_simple.extreme_points.lesions import Lesion, lesion_of
from nnunetv2_simple.extreme_points.strokes import Stroke
from nnunetv2_simple.images import spacing_zyx_mm
from nnunetv2_simple.pseudo_mask.generate import draw_scribbles, generate_pseudo_mask, merge_pseudo_masks
from nnunetv2_simple.pseudo_mask.robust_recipe import robust_region
from nnunetv2_simple.pseudo_mask.walker_image import WalkerImage

RECIPE = "robust"
MARGIN_VOXELS = 1  # beyond the region of the recipe, for the gradient at its border
PREVIEW_VOXELS = 60_000  # a box that is larger is shown coarsely first

Region = tuple[slice, slice, slice]


@dataclass(frozen=True, eq=False)
class LesionMask:
    """The pseudo-mask of one lesion in a region of the image.

    Attributes:
        lesion: The lesion.
        region: Where in the image.
        mask: (z, y, x) uint8 of the region: 1 lesion, 0 background, 255 uncertain.
        scribbles: (z, y, x) bool of the region.
        is_preview: Whether it is a coarse one.
    """

    lesion: Lesion
    region: Region
    mask: np.ndarray
    scribbles: np.ndarray
    is_preview: bool = False


def as_lesion(
    marked: MarkedLesion, image: sitk.Image, *, label: int, file: str = "", others: Sequence[Lesion] = ()
) -> Lesion:
    """Return a complete lesion as the conversion reads it from its file."""
    strokes = tuple(Stroke(s.is_lesion, np.array(s.points)[:, ::-1]) for s in marked.strokes)
    points = np.array(marked.points, dtype=float)
    annotation = Annotation("lesion", points, marked.is_box, strokes=strokes)
    return lesion_of(annotation, image, label=label, file=file, others=others)


def make_mask(
    lesion: Lesion, channels: Sequence[sitk.Image], walker_image: WalkerImage, *, known: Sequence[LesionMask] = ()
) -> LesionMask:
    """Make the pseudo-mask of one lesion, voxel for voxel the conversion's.

    Args:
        lesion: The lesion.
        channels: The images of the case.
        walker_image: What the walker sees of them.
        known: Pseudo-masks of the case. The scribbles of one with the same points are taken over.

    Raises:
        ValueError: If the image is constant there, or the strokes leave nothing of the lesion.
    """
    region, image, cropped, spacing_mm = _crop(lesion, channels, walker_image)
    same = [found for found in known if not found.is_preview and _has_points_of(found.lesion, lesion)]
    return _walk(cropped, image, region, lesion, spacing_mm, scribbles=same[0].scribbles if same else None)


def make_preview(lesion: Lesion, channels: Sequence[sitk.Image], walker_image: WalkerImage) -> LesionMask | None:
    """Make a coarse pseudo-mask of a large lesion from a part of the voxels; None where the exact one is quick."""
    region, image, cropped, spacing_mm = _crop(lesion, channels, walker_image)
    box = np.ptp(cropped.extreme_points, axis=0) + 1
    if np.prod(box) <= PREVIEW_VOXELS or cropped.axes is not None:
        return None
    wanted = (np.prod(box) / PREVIEW_VOXELS) ** (1 / 3)
    steps = np.minimum(np.ceil(wanted * max(spacing_mm) / np.array(spacing_mm)).astype(int), np.maximum(box // 6, 1))
    coarse_image = image[tuple(slice(None, None, step) for step in steps)]
    last = np.array(coarse_image.shape) - 1
    strokes = tuple(replace(s, points=np.minimum(s.points // steps, last)) for s in cropped.strokes)
    coarse = replace(cropped, extreme_points=np.minimum(cropped.extreme_points // steps, last), strokes=strokes)
    found = _walk(coarse, coarse_image, region, lesion, tuple(spacing_mm * steps))
    index = np.ix_(*(np.minimum(np.arange(n) // step, e) for n, step, e in zip(image.shape, steps, last, strict=True)))
    return replace(found, mask=found.mask[index], scribbles=found.scribbles[index], is_preview=True)


def merge_masks(masks: Sequence[LesionMask], shape: Sequence[int], *, ignore_label: int) -> np.ndarray:
    """Return (z, y, x) uint8, the label image that the conversion makes of several lesions."""
    label = np.zeros(shape, dtype=np.uint8)
    if masks:
        region = _union([found.region for found in masks])
        parts = (_paste(found, found.mask, region, np.uint8) for found in masks)
        labels = [found.lesion.label for found in masks]
        label[region] = merge_pseudo_masks(parts, labels, ignore_label=ignore_label)
    return label


def mask_warnings(
    masks: Sequence[LesionMask], channels: Sequence[sitk.Image], walker_image: WalkerImage, *, ignore_label: int
) -> list[str]:
    """Return what the quality page would say of the pseudo-masks of a case."""
    if not masks:
        return []
    shape, spacing_mm = channels[0].GetSize()[::-1], spacing_zyx_mm(channels[0])
    if any(found.lesion.axes is not None for found in masks):
        region = tuple(slice(0, size) for size in shape)
    else:
        region = grown(_union([found.region for found in masks]), in_voxels(SHELL_MM, spacing_mm), shape)
    scribbles = np.any([_paste(found, found.scribbles, region, bool) for found in masks], axis=0)
    whole = merge_masks(masks, shape, ignore_label=ignore_label)
    case = LabelledCase(
        image=walker_image([sitk.GetArrayViewFromImage(channel)[region] for channel in channels]),
        label=whole[region],
        scribbles=scribbles,
        lesions=[_moved(found.lesion, region) for found in masks],
        spacing_mm=spacing_mm,
        ignore_label=ignore_label,
    )
    return measure_case(case)["warnings"]


def _has_points_of(lesion: Lesion, other: Lesion) -> bool:
    same_axes = (lesion.axes is None) == (other.axes is None)
    return same_axes and np.array_equal(lesion.extreme_points, other.extreme_points)


def _crop(
    lesion: Lesion, channels: Sequence[sitk.Image], walker_image: WalkerImage
) -> tuple[Region, np.ndarray, Lesion, tuple[float, ...]]:
    """Return the region a walk looks at, what the walker sees of it, the lesion there, and the voxel size.

    In an oblique image positions are rounded numbers, so all of it is taken: a crop would round otherwise.
    """
    shape, spacing_mm = channels[0].GetSize()[::-1], spacing_zyx_mm(channels[0])
    region = tuple(slice(0, size) for size in shape)
    if lesion.axes is None:
        region = grown(robust_region(lesion.box(shape, spacing_mm)), 3 * [MARGIN_VOXELS], shape)
    image = walker_image([sitk.GetArrayViewFromImage(channel)[region] for channel in channels])
    return region, image, _moved(lesion, region), spacing_mm


def _moved(lesion: Lesion, region: Region) -> Lesion:
    """Return a lesion in the voxels of a region; strokes that leave it are cut off, as they lie outside the box."""
    corner, shape = np.array([side.start for side in region]), [side.stop - side.start for side in region]
    strokes = []
    for stroke in lesion.strokes:
        voxels = stroke.voxels() - corner
        voxels = voxels[((voxels >= 0) & (voxels < shape)).all(axis=1)]
        strokes += [Stroke(stroke.is_lesion, voxel[None]) for voxel in voxels]
    return replace(lesion, extreme_points=lesion.extreme_points - corner, strokes=tuple(strokes))


def _walk(
    cropped: Lesion,
    image: np.ndarray,
    region: Region,
    lesion: Lesion,
    spacing_mm: Sequence[float],
    *,
    scribbles: np.ndarray | None = None,
) -> LesionMask:
    common = {"spacing_mm": spacing_mm, "recipe": RECIPE, "axes": cropped.axes}
    if scribbles is None:
        scribbles = draw_scribbles(image, cropped.extreme_points, **common)
    seeds = cropped.seeds(image.shape, spacing_mm)
    mask = generate_pseudo_mask(
        image, cropped.extreme_points, scribbles=scribbles, seeds=seeds, ignore_label=255, **common
    )
    return LesionMask(lesion, region, mask, scribbles)


def _union(regions: Sequence[Region]) -> Region:
    return tuple(slice(min(s.start for s in sides), max(s.stop for s in sides)) for sides in zip(*regions, strict=True))


def _paste(found: LesionMask, part: np.ndarray, region: Region, dtype: type) -> np.ndarray:
    """Return part of a mask in a larger region."""
    whole = np.zeros([side.stop - side.start for side in region], dtype=dtype)
    inner = tuple(slice(a.start - b.start, a.stop - b.start) for a, b in zip(found.region, region, strict=True))
    whole[inner] = part
    return whole
