"""Dense pseudo-masks from a second random walk: what a network has learned over all cases, and the edges of each image.

The walk needs image and extreme points of each case once more. The conversion left them in nnUNet_raw:

    DatasetXXX_Name/imagesTr/<case>_0000.nii.gz, ...
    DatasetXXX_Name/provenance/<case>.json            the points of every lesion, and which channel the walker sees
"""

from collections.abc import Mapping, Sequence
from itertools import groupby
from operator import attrgetter
from pathlib import Path

import numpy as np

from nnunetv2_simple.conversion.converted_case import image_files, load_walker_image, recorded_lesions
from nnunetv2_simple.images import spacing_zyx_mm
from nnunetv2_simple.pseudo_mask.generate import walk_again_around


def images_with_points(converted_folder: Path, case: str, record: Mapping) -> list[Path]:
    """Return the images of a case whose extreme points are in its record; none if either is missing."""
    if "lesions" not in record:
        return []
    files = image_files(converted_folder, case, len(record["parameters"]["channel_names"]))
    return files if all(file.is_file() for file in files) else []


def second_walk_mask(
    images: Sequence[Path], record: Mapping, network: Mapping[int, np.ndarray] | np.ndarray
) -> np.ndarray:
    """Walk again from the scribbles of every lesion of a case, see :func:`nnunetv2_simple.pseudo_mask.walk_again`.

    A voxel belongs to the lesion of the largest probability above 0.5, to the first of equals.

    Args:
        images: The channels of the case, see :func:`images_with_points`.
        record: Of the conversion of the case.
        network: The probabilities that a network predicts, (z, y, x) under each label. It is asked for one at a time.

    Returns:
        (z, y, x) uint8 in 0..K.

    Raises:
        ValueError: If an image cannot be read, or it does not have the shape of the prediction.
    """
    image, first = load_walker_image(images, record["parameters"])
    mask, certainty = np.zeros(image.shape, dtype=np.uint8), np.zeros(image.shape)  # takes memory in the boxes only
    spacing_mm, lesions = spacing_zyx_mm(first), recorded_lesions(record, first)
    del first  # 4 bytes per voxel
    for label, lesions_of_label in groupby(lesions, attrgetter("label")):
        network_probability = network[label]  # worked out anew each time
        for lesion in lesions_of_label:
            region, probability = walk_again_around(
                image,
                lesion.extreme_points,
                network_probability,
                spacing_mm=spacing_mm,
                axes=lesion.axes,
                seeds=lesion.seeds(image.shape, spacing_mm),
            )
            wins = (probability > 0.5) & (probability > certainty[region])
            mask[region][wins], certainty[region][wins] = label, probability[wins]
    return mask
