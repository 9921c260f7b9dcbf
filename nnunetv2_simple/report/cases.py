"""The cases that the report shows in pictures, read from the files that comparison.json names."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from nnunetv2_simple.grids import check_same_geometry
from nnunetv2_simple.images import read_volume
from nnunetv2_simple.report.data import Comparison, UnavailableError, finite, pictured_fold, worst_median_best


@dataclass(frozen=True, eq=False)
class PicturedCase:
    """A test case with its reference and what the shown methods predicted.

    Attributes:
        identifier: The case.
        rank: "worst", "median" or "best", by the Dice of the main method.
        reference: Labels; carries the geometry.
        predictions: Labels (z, y, x), by the key of the method.
        dice: By the key of the method; None where it is not known.
    """

    identifier: str
    rank: str
    reference: sitk.Image
    predictions: Mapping[str, np.ndarray]
    dice: Mapping[str, float | None]


def pictured_cases(comparison: Comparison) -> dict[str, str]:
    """Return the rank of the worst, median and best case of the main method, by case identifier."""
    fold = comparison.main["folds"][pictured_fold(comparison, comparison.main)]
    scores = {case: finite(found.get("dice")) for case, found in fold["cases"].items()}
    return worst_median_best({case: score for case, score in scores.items() if score is not None})


def foreground_labels(comparison: Comparison) -> dict[str, int]:
    """Return the foreground labels by name.

    Raises:
        UnavailableError: If comparison.json has none.
    """
    labels = comparison.setting("labels")
    labels = {name: label for name, label in labels.items() if name not in ("background", "ignore")}
    if not labels:
        raise UnavailableError("comparison.json names no foreground label")
    return labels


def read_case(comparison: Comparison, identifier: str, rank: str) -> PicturedCase:
    """Read the masks of a test case.

    Raises:
        UnavailableError: If a file is not there or does not fit the reference.
    """
    ending = comparison.setting("file_ending")
    reference = read_image(reference_file(comparison, identifier))
    predictions, dice = {}, {}
    for method in comparison.shown:
        fold = method["folds"][pictured_fold(comparison, method)]
        if identifier not in fold["cases"]:
            continue
        file = Path(str(fold.get("predictions"))) / f"{identifier}{ending}"
        predictions[method["key"]] = read_array_like(file, reference, reference_file(comparison, identifier))
        dice[method["key"]] = finite(fold["cases"][identifier].get("dice"))
    return PicturedCase(identifier, rank, reference, predictions, dice)


def reference_file(comparison: Comparison, identifier: str) -> Path:
    return Path(comparison.setting("references")) / f"{identifier}{comparison.setting('file_ending')}"


def read_image(file: Path) -> sitk.Image:
    """Read a volume.

    Raises:
        UnavailableError: If it cannot be read.
    """
    try:
        return read_volume(str(file))
    except ValueError as error:
        raise UnavailableError(str(error)) from error


def read_array_like(file: Path, other: sitk.Image, other_file: Path) -> np.ndarray:
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
