"""What a converted dataset holds of one training case: its images, its lesions, and what of its label is certain.

A record is that of :func:`nnunetv2_simple.conversion.record.read_record`; the cases in provenance.json hold the same.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from nnunetv2_simple.conversion.case_files import FILE_ENDING
from nnunetv2_simple.extreme_points.box import near_lesions
from nnunetv2_simple.extreme_points.lesions import Lesion
from nnunetv2_simple.images import patient_axes, read_volume, spacing_zyx_mm
from nnunetv2_simple.pseudo_mask.walker_image import WalkerImage


def image_files(dataset_folder: Path, case: str, num_channels: int) -> list[Path]:
    """Return the image files of a training case."""
    return [dataset_folder / "imagesTr" / f"{case}_{channel:04d}{FILE_ENDING}" for channel in range(num_channels)]


def load_walker_image(files: Sequence[Path], parameters: Mapping) -> tuple[np.ndarray, sitk.Image]:
    """Read what the random walker saw of a case.

    Args:
        files: Its images.
        parameters: Of the conversion, as the record and provenance.json have them.

    Returns:
        (z, y, x) float, and the first channel.

    Raises:
        ValueError: If a channel cannot be read.
    """
    channels = [read_volume(str(file)) for file in files]
    walker_image = WalkerImage(parameters["walker_channel"], parameters["walker_subtracts_channel"])
    return walker_image([sitk.GetArrayViewFromImage(channel) for channel in channels]), channels[0]


def recorded_lesions(record: Mapping, image: sitk.Image) -> list[Lesion]:
    """Return the lesions of a record; ``image`` is an image of the case."""
    axes = patient_axes(image)  # which versions before 0.2 did not record
    return [Lesion.from_json({"axes_zyx": axes} | lesion) for lesion in record["lesions"]]


def far_from_lesions(record: Mapping, image: sitk.Image) -> np.ndarray:
    """Return (z, y, x) bool, True where there may be lesions that nobody annotated; ``image`` is one of the case."""
    shape, margin_mm = image.GetSize()[::-1], record.get("unannotated_margin_mm")
    if margin_mm is None:
        return np.zeros(shape, dtype=bool)
    lesions = recorded_lesions(record, image)
    return ~near_lesions(lesions, shape=shape, spacing_mm=spacing_zyx_mm(image), margin_mm=margin_mm)


def kept_voxels(label: np.ndarray, record: Mapping, image: sitk.Image, *, ignore_label: int) -> np.ndarray:
    """Return which voxels keep their label in any other label of the case, such as a baseline or a pseudo-mask.

    Labels that no lesion was clicked of were painted, and stay. Where there may be lesions that nobody annotated,
    ignored voxels stay ignored.

    Args:
        label: (z, y, x), the label of the case.
        record: Of the case.
        image: An image on its grid.
        ignore_label: Label of the unlabelled voxels.

    Returns:
        (z, y, x) bool.
    """
    is_painted = label != 0  # np.isin takes ten times the memory
    for other in {ignore_label, *(lesion["label"] for lesion in record["lesions"])}:
        is_painted &= label != other
    return is_painted | far_from_lesions(record, image) & (label == ignore_label)
