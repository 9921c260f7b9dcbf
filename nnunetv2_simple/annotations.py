"""Reading what people clicked."""

import json

import numpy as np
import SimpleITK as sitk  # noqa: N813 (its documented abbreviation)

from nnunetv2_simple.extreme_points import sort_extreme_points

COORDINATES = ("voxel", "LPS", "RAS")


def read_extreme_points(file: str, image: sitk.Image) -> np.ndarray:
    """Read the six extreme points of a case from a JSON file.

        {"coordinates": "voxel", "points": [[x, y, z], [x, y, z], [x, y, z], [x, y, z], [x, y, z], [x, y, z]]}

    The points come in any order. "voxel" means 0-based indices (x, y, z) into the image as SimpleITK and ITK-SNAP
    count them; "LPS" and "RAS" mean patient coordinates in mm.

    Args:
        file: The JSON file.
        image: The image the points belong to.

    Returns:
        (6, 3) int array of voxels (z, y, x), rows z_min z_max y_min y_max x_min x_max.

    Raises:
        ValueError: If the file is not such an annotation or a point lies outside the image.
    """
    try:
        with open(file, encoding="utf-8") as stream:
            annotation = json.load(stream)
    except (OSError, ValueError) as error:
        raise ValueError(f"cannot read {file} as JSON: {error}") from error
    if not isinstance(annotation, dict) or not {"coordinates", "points"} <= annotation.keys():
        raise ValueError(f"{file} must be an object with 'coordinates' and 'points', got {str(annotation)[:200]}")
    if annotation["coordinates"] not in COORDINATES:
        raise ValueError(f"{file}: 'coordinates' must be one of {COORDINATES}, got {annotation['coordinates']!r}")
    try:
        points = np.asarray(annotation["points"], dtype=float)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{file}: 'points' must be six [x, y, z], got {annotation['points']}") from error
    if points.shape != (6, 3) or not np.isfinite(points).all():
        raise ValueError(f"{file}: 'points' must be six finite [x, y, z], got {annotation['points']}")
    if annotation["coordinates"] != "voxel":
        lps = points if annotation["coordinates"] == "LPS" else points * (-1, -1, 1)
        points = np.array([image.TransformPhysicalPointToContinuousIndex(point) for point in lps.tolist()])
    voxels = np.rint(points).astype(int)
    outside = ((voxels < 0) | (voxels >= image.GetSize())).any(axis=1)
    if outside.any():
        raise ValueError(
            f"{file}: {outside.sum()} of 6 points lie outside the image of size {image.GetSize()} (x, y, z), "
            f"the first one at voxel {voxels[outside][0].tolist()}"
        )
    return sort_extreme_points(voxels[:, ::-1])
