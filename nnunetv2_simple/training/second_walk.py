"""Dense pseudo-masks from a second random walk: what a network has learned over all cases, and the edges of each image.

The walk needs image and extreme points of each case once more. The conversion left them in nnUNet_raw:

    DatasetXXX_Name/imagesTr/<case>_0000.nii.gz, ...
    DatasetXXX_Name/provenance/<case>.json            the points of every lesion, and which channel the walker sees
"""

from pathlib import Path

import numpy as np
import SimpleITK as sitk

from nnunetv2_simple.conversion.dataset_files import image_files
from nnunetv2_simple.conversion.loading import far_from_lesions, load_walker_image
from nnunetv2_simple.conversion.record import read_record
from nnunetv2_simple.extreme_points.lesions import Lesion
from nnunetv2_simple.images import patient_axes, spacing_zyx_mm
from nnunetv2_simple.pseudo_mask import painted_voxels, walk_again


def find_images_with_points(converted_folder: Path, case: str) -> list[Path]:
    """Return the images of a case whose extreme points are recorded; nothing if either is missing.

    Raises:
        ValueError: If the record cannot be read, naming its file.
    """
    record = read_record(converted_folder, case)
    if "lesions" not in record:
        return []
    files = image_files(converted_folder, case, len(record["parameters"]["channel_names"]))
    return files if all(file.is_file() for file in files) else []


def second_walk_mask(converted_folder: Path, case: str, network: np.ndarray) -> np.ndarray:
    """Walk again from the scribbles of every lesion of a case, see :func:`nnunetv2_simple.pseudo_mask.walk_again`.

    A voxel belongs to the lesion of the largest probability above 0.5, to the first of equals.

    Args:
        converted_folder: ``DatasetXXX_Name`` in nnUNet_raw.
        case: Case identifier.
        network: (1 + K, z, y, x) probabilities that a network predicts, background first.

    Returns:
        (z, y, x) uint8 in 0..K.

    Raises:
        ValueError: If an image cannot be read, or it does not have the shape of the prediction.
    """
    record = read_record(converted_folder, case)
    image, first = load_walker_image(find_images_with_points(converted_folder, case), record["parameters"])
    mask, certainty = np.zeros(image.shape, dtype=np.uint8), np.zeros(image.shape)  # takes memory in the boxes only
    spacing_mm, axes = spacing_zyx_mm(first), patient_axes(first)
    for recorded in record["lesions"]:
        lesion = Lesion.from_json({"axes_zyx": axes} | recorded)  # axes were not recorded before version 0.2
        probability = walk_again(
            image,
            lesion.extreme_points,
            network[lesion.label],
            spacing_mm=spacing_mm,
            axes=lesion.axes,
            seeds=lesion.seeds(image.shape, spacing_mm),
        )
        inside = np.nonzero(probability > 0.5)
        wins = tuple(axis[probability[inside] > certainty[inside]] for axis in inside)
        mask[wins], certainty[wins] = lesion.label, probability[wins]
    return mask


def kept_voxels(
    converted_folder: Path, case: str, label: np.ndarray, *, grid: sitk.Image, ignore_label: int
) -> np.ndarray:
    """Return which voxels of a case keep their label in its pseudo-mask, whatever network and walker say.

    What was painted is learned as painted. Where lesions may be that nobody annotated, what is ignored stays ignored.

    Args:
        converted_folder: ``DatasetXXX_Name`` in nnUNet_raw.
        case: Case identifier.
        label: (z, y, x), its label.
        grid: An image on its grid.
        ignore_label: Label of the unlabelled voxels.

    Returns:
        (z, y, x) bool; all False where nothing is recorded of the case.
    """
    record = read_record(converted_folder, case)
    if "lesions" not in record:
        return np.zeros(label.shape, dtype=bool)
    kept = painted_voxels(label, [lesion["label"] for lesion in record["lesions"]], ignore_label=ignore_label)
    if (margin_mm := record.get("unannotated_margin_mm")) is not None:
        kept |= far_from_lesions(record["lesions"], grid, margin_mm=margin_mm) & (label == ignore_label)
    return kept
