"""Folders of images named as nnU-Net names them, and of its predictions."""

import re
from collections.abc import Mapping
from pathlib import Path

from nnunetv2_simple.files import read_json
from nnunetv2_simple.images import IMAGE_FILE_ENDINGS, image_file_ending

CHANNEL_FILE = r"_\d{4}\.\w+(\.gz)?$"
# beside images: their data, and what converters and viewers write about them
NO_IMAGES = (".raw", ".zraw", ".json", ".txt", ".csv", ".tsv", ".bval", ".bvec", ".png", ".jpg", ".pdf", ".fcsv")


def channel_files(images: Path) -> dict[str, list[tuple[str, str]]]:
    """Return number and file of each channel, by case identifier.

    Args:
        images: Holds ``<case>_0000.nii.gz``, ``<case>_0001.nii.gz``, ...

    Raises:
        ValueError: If an image is not named so or of another format.
    """
    channels: dict[str, list[tuple[str, str]]] = {}
    misnamed, unknown = [], []
    for file in sorted(images.iterdir()):
        if file.name.startswith("."):
            continue
        if ending := image_file_ending(file.name):
            name = re.fullmatch(r"(.+)_(\d{4})", file.name.removesuffix(ending))
            if name:
                channels.setdefault(name[1], []).append((name[2], str(file)))
            else:
                misnamed.append(str(file))
        elif re.search(CHANNEL_FILE, file.name, re.IGNORECASE) and file.suffix.lower() not in NO_IMAGES:
            unknown.append(str(file))
    if unknown:
        raise ValueError(f"images must be of the formats {IMAGE_FILE_ENDINGS}, got {unknown}")
    if misnamed:
        raise ValueError(f"images must be named <case>_0000.nii.gz, <case>_0001.nii.gz, ..., got {misnamed}")
    return channels


def prediction_files(predictions: Path) -> dict[str, Path]:
    """Return the file of each case of a folder of predictions, ``<case>.nii.gz``, by case identifier.

    Raises:
        ValueError: If the folder is not there or holds none.
    """
    if not predictions.is_dir():
        raise ValueError(f"predictions must be a folder, got {predictions}")
    files = {
        file.name.removesuffix(ending): file
        for file in sorted(predictions.iterdir())
        if (ending := image_file_ending(file.name)) and not file.name.startswith(".")
    }
    if not files:
        raise ValueError(f"there is no prediction in {predictions}, expected <case>.nii.gz")
    return files


def foreground_labels(dataset_json: Mapping) -> dict[str, int]:
    """Return the label of each foreground class of a dataset.json; region-based ones, which are lists, are left out.

    Example:
        >>> foreground_labels({"labels": {"background": 0, "tumor": 1, "ignore": 2}})
        {'tumor': 1}
    """
    labels = dataset_json.get("labels", {})
    return {name: label for name, label in labels.items() if isinstance(label, int) and label and name != "ignore"}


def predicted_labels(predictions: Path) -> dict[str, int]:
    """Return the foreground labels of the dataset.json that nnUNetv2_predict writes; none where it is missing."""
    file = predictions / "dataset.json"
    return foreground_labels(read_json(file)) if file.is_file() else {}
