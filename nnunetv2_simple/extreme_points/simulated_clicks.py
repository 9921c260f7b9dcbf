"""Clicks simulated on the lesions of a dense mask."""

from collections.abc import Iterator, Mapping

import numpy as np
import SimpleITK as sitk
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from nnunetv2_simple.extreme_points.lesions import SIMULATED, Lesion
from nnunetv2_simple.extreme_points.points import extreme_points_from_mask, sort_extreme_points
from nnunetv2_simple.images import patient_axes, spacing_zyx_mm

# A dense mask often breaks one lesion into fragments that a radiologist would click as one; what lies further apart
# than this, voxel centre to voxel centre, gets clicks of its own.
MERGE_DISTANCE_MM = 5.0


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
