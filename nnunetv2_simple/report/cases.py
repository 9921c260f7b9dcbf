"""The test cases that the report shows in pictures, read from the files that comparison.json names."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from nnunetv2_simple.grids import check_same_geometry
from nnunetv2_simple.images import read_volume
from nnunetv2_simple.report.data import Comparison, UnavailableError, worst_median_best


@dataclass(frozen=True, eq=False)
class PicturedCase:
    """A test case with its reference and the predictions of the methods that are shown.

    Attributes:
        identifier: The case.
        reference_file: Labels.
        reference: The same, with their geometry.
        predictions: Labels (z, y, x), by the key of the method.
        dice: By the key of the method.
    """

    identifier: str
    reference_file: Path
    reference: sitk.Image
    predictions: Mapping[str, np.ndarray]
    dice: Mapping[str, float]


def pictured_cases(comparison: Comparison) -> dict[str, str]:
    """Return the rank of the worst, median and best case of the main method, by case identifier."""
    fold = comparison.main["folds"][comparison.pictured_fold(comparison.main)]
    return worst_median_best({case: scores["dice"] for case, scores in fold["cases"].items()})


def read_case(comparison: Comparison, identifier: str) -> PicturedCase:
    """Read the masks of a test case.

    Raises:
        UnavailableError: If a file is not there or does not fit the reference.
    """
    file_name = f"{identifier}{comparison.settings['file_ending']}"
    reference_file = Path(comparison.settings["references"]) / file_name
    reference = read_image(reference_file)
    predictions, dice = {}, {}
    for method in comparison.shown:
        fold = method["folds"][comparison.pictured_fold(method)]
        if identifier in fold["cases"]:
            file = Path(fold["predictions"]) / file_name
            predictions[method["key"]] = read_array_like(reference, reference_file, file)
            dice[method["key"]] = fold["cases"][identifier]["dice"]
    return PicturedCase(identifier, reference_file, reference, predictions, dice)


def read_image(file: Path) -> sitk.Image:
    """Read a volume.

    Raises:
        UnavailableError: If it cannot be read.
    """
    try:
        return read_volume(str(file))
    except ValueError as error:
        raise UnavailableError(str(error)) from error


def read_array_like(other: sitk.Image, other_file: Path, file: Path) -> np.ndarray:
    """Read a volume (z, y, x) that must have the geometry of another.

    Raises:
        UnavailableError: If it cannot be read or has another geometry.
    """
    image = read_image(file)
    try:
        check_same_geometry(other, image, names=(str(other_file), str(file)))
    except ValueError as error:
        raise UnavailableError(str(error)) from error
    return sitk.GetArrayFromImage(image)
