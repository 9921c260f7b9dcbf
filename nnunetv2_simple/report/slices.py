"""Slices of the worst, median and best case: predictions of test cases, pseudo-masks of training cases."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from nnunetv2_simple.evaluation.metrics import dice
from nnunetv2_simple.evaluation.statistics import evenly_chosen
from nnunetv2_simple.images import spacing_zyx_mm
from nnunetv2_simple.report.cases import pictured_cases, read_array_like, read_case, read_image
from nnunetv2_simple.report.data import Comparison, UnavailableError, worst_median_best
from nnunetv2_simple.report.pictures import (
    Outline,
    field_of_view,
    intensity_window,
    label_outlines,
    largest_slice,
    reference_outlines,
    slice_picture,
)
from nnunetv2_simple.report.rendering import percent

INITIAL, WALKER, PSEUDO_MASK = "initial pseudo-mask", "random walker, dense", "final pseudo-mask"
REFERENCE = "reference"
MAX_IN_GALLERY = 60
MAX_RATED = 24  # the number of training cases among which the worst, median and best one are chosen


def prediction_slices(comparison: Comparison) -> dict:
    """Return, for the worst, median and best test case, a slice with the prediction of each shown method.

    Reference:
        Zhong & Wang, SimPLe, MICCAI 2023, Fig. 4.
    """

    def draw(identifier: str) -> tuple[list, list]:
        return _test_case_panels(comparison, identifier, comparison.shown)

    return _rows(pictured_cases(comparison), draw) | {"fold": comparison.pictured_fold(comparison.main)}


def _test_case_panels(comparison: Comparison, identifier: str, methods: Sequence[Mapping]) -> tuple[list, list]:
    case = read_case(comparison, identifier)
    file_name = f"{identifier}_{comparison.settings['channel']:04d}{comparison.settings['file_ending']}"
    image = read_array_like(case.reference, case.reference_file, Path(comparison.settings["images"]) / file_name)
    shown = {method["key"]: method["title"] for method in methods if method["key"] in case.predictions}
    masks = {title: (case.predictions[key], case.dice[key]) for key, title in shown.items()}
    reference = sitk.GetArrayFromImage(case.reference)
    return _panels(image, masks, reference, comparison.settings["labels"], spacing_zyx_mm(case.reference))


def training_stages(comparison: Comparison) -> dict:
    """Return the pictures of the worst, median and best training case at each stage, and how they were chosen.

    Raises:
        UnavailableError: If the weak dataset is not there.

    Reference:
        Zhong & Wang, SimPLe, MICCAI 2023, Fig. 3.
    """
    foreground = comparison.settings["labels"]
    images, stages = find_training_cases(comparison)
    rated = PSEUDO_MASK if PSEUDO_MASK in stages else INITIAL
    chosen, num_rated = _choose(stages[rated], stages.get(REFERENCE), list(foreground.values()))

    def draw(case: str) -> tuple[list, list]:
        image = read_image(images[case])
        found = {
            stage: read_array_like(image, images[case], files[case]) for stage, files in stages.items() if case in files
        }
        reference = found.pop(REFERENCE, None)
        masks = {
            stage: (labels, None if reference is None else mean_dice(labels, reference, list(foreground.values())))
            for stage, labels in found.items()
        }
        return _panels(sitk.GetArrayFromImage(image), masks, reference, foreground, spacing_zyx_mm(image))

    absent = [stage for stage in (WALKER, PSEUDO_MASK, REFERENCE) if stage not in stages]
    return _rows(chosen, draw) | {"rated": rated, "num_rated": num_rated, "absent": absent}


def _rows(cases: Mapping[str, str], draw: Callable[[str], tuple[list, list]]) -> dict:
    """Draw each case, by its rank; return the rows of pictures and the legend of what is seen in them."""
    rows, legend = [], {}
    for case, rank in cases.items():
        row = {"title": f"{rank.capitalize()}: {case}" if rank else case, "panels": [], "problem": ""}
        try:
            row["panels"], outlines = draw(case)
            legend |= {outline.name: outline for outline in outlines if outline.mask.any()}
        except UnavailableError as reason:
            row["problem"] = str(reason)
        rows.append(row)
    return {"rows": rows, "legend": sorted(legend.values(), key=lambda outline: outline.name == REFERENCE)}


def _panels(
    image: np.ndarray,
    masks: Mapping[str, tuple[np.ndarray, float | None]],
    reference: np.ndarray | None,
    foreground: Mapping[str, int],
    spacing_mm: Sequence[float],
) -> tuple[list[tuple[str, str, str]], list[Outline]]:
    """Draw the slice on which the reference is largest: the image alone, then with each mask and the reference.

    Args:
        image: (z, y, x).
        masks: Labels (z, y, x) and their Dice, by title.
        reference: Labels (z, y, x).
        foreground: The foreground labels by name.
        spacing_mm: Voxel size (z, y, x).

    Returns:
        Address, title and detail of each picture; all that is drawn in them.
    """
    labels = [*([] if reference is None else [reference]), *(found for found, _ in masks.values())]
    across, index = largest_slice([np.isin(found, list(foreground.values())) for found in labels], spacing_mm)
    plane = tuple(index if axis == across else slice(None) for axis in range(3))
    pixel_mm = [mm for axis, mm in enumerate(spacing_mm) if axis != across]
    in_reference = reference is not None and np.isin(reference[plane], list(foreground.values())).any()
    framed = [reference] if in_reference else labels  # an island far away must not make the lesion small
    block = field_of_view(np.any([found[plane] != 0 for found in framed], axis=0), pixel_mm)
    pixels = image[plane][block]
    truth = [] if reference is None else reference_outlines(reference[plane][block], foreground)
    pictures = [("image", f"{'zyx'[across]} = {index}", [])]
    for title, (found, score) in masks.items():
        outlines = [*label_outlines(found[plane][block], foreground), *truth]
        details = [] if score is None else [f"Dice {percent(score)}"]
        if score is not None and reference is not None:
            on_slice = mean_dice(found[plane], reference[plane], list(foreground.values()))
            details.append(f"{percent(on_slice)} on this slice")
        details += _outside(np.isin(found, list(foreground.values())), across, block, spacing_mm)
        pictures.append((title, ", ".join(details), outlines))
    options = {"spacing_mm": pixel_mm, "window": intensity_window(pixels)}
    panels = [(slice_picture(pixels, outlines, **options), title, detail) for title, detail, outlines in pictures]
    return panels, [outline for _, _, outlines in pictures for outline in outlines]


def _outside(mask: np.ndarray, across: int, block: tuple[slice, slice], spacing_mm: Sequence[float]) -> list[str]:
    """Say how much of a mask lies, on any slice, outside the part of the slice that is shown; nothing if none does."""
    inside = np.moveaxis(mask, across, 0)[(slice(None), *block)]
    voxel_ml = np.prod(spacing_mm) / 1000
    outside_ml = (np.count_nonzero(mask) - np.count_nonzero(inside)) * voxel_ml
    if outside_ml == 0:
        return []
    return [f"{outside_ml:.2g} of {np.count_nonzero(mask) * voxel_ml:.2g} ml outside this window"]


def gallery(comparison: Comparison) -> dict:
    """Return a picture of every test case with the main method's prediction, the worst first.

    Raises:
        UnavailableError: If no case can be read.
    """
    main = comparison.main
    fold = main["folds"][comparison.pictured_fold(main)]
    ordered = sorted(fold["cases"], key=lambda case: fold["cases"][case]["dice"])
    pictures, missing = [], []
    for identifier in evenly_chosen(ordered, MAX_IN_GALLERY):
        try:
            panels, _ = _test_case_panels(comparison, identifier, [main])
            pictures.append((panels[-1][0], identifier, panels[-1][2]))
        except UnavailableError as reason:
            missing.append(f"{identifier}: {reason}")
    if not pictures:
        raise UnavailableError("; ".join(missing) or "there is no test case")
    return {"pictures": pictures, "num_cases": len(ordered), "missing": missing}


def find_training_cases(comparison: Comparison) -> tuple[dict[str, Path], dict[str, dict[str, Path]]]:
    """Find the stages of the training cases; those without a single file are left out.

    Returns:
        The image to show, by case identifier; the label files of each stage by case identifier, the reference last.

    Raises:
        UnavailableError: If the weak dataset is not there.
    """
    weak, ending = comparison.dataset_folder("weak"), comparison.settings["file_ending"]
    cases = sorted(file.name.removesuffix(ending) for file in (weak / "labelsTr").glob(f"*{ending}"))
    fold = comparison.main["folds"][comparison.pictured_fold(comparison.main)]
    folders = {
        INITIAL: weak / "labelsTr",
        WALKER: _labels_of(comparison, "walker"),
        PSEUDO_MASK: Path(fold["model_folder"]) / "pseudo_masks",
        REFERENCE: weak / "referencesTr" if (weak / "referencesTr").is_dir() else _labels_of(comparison, "dense"),
    }
    stages = {
        stage: {case: folder / f"{case}{ending}" for case in cases if (folder / f"{case}{ending}").is_file()}
        for stage, folder in folders.items()
        if folder is not None
    }
    images = {case: weak / "imagesTr" / f"{case}_{comparison.settings['channel']:04d}{ending}" for case in cases}
    return images, {stage: files for stage, files in stages.items() if files}


def _labels_of(comparison: Comparison, labels: str) -> Path | None:
    try:
        return comparison.dataset_folder(labels) / "labelsTr"
    except UnavailableError:
        return None  # this stage is left out, and the page says so


def _choose(
    files: Mapping[str, Path], references: Mapping[str, Path] | None, foreground: Sequence[int]
) -> tuple[dict[str, str], int]:
    """Choose three training cases; return the rank of each, and among how many they were chosen (0: not by Dice)."""
    if references is None:
        return dict.fromkeys(evenly_chosen(list(files), 3), ""), 0
    scores = {}
    for case in evenly_chosen([case for case in files if case in references], MAX_RATED):
        try:
            reference = read_image(references[case])
            mask = read_array_like(reference, references[case], files[case])
        except UnavailableError:
            continue  # a damaged file costs the case its rank, nothing else
        scores[case] = mean_dice(mask, sitk.GetArrayFromImage(reference), foreground)
    known = {case: score for case, score in scores.items() if score is not None}
    return worst_median_best(known), len(known)


def mean_dice(mask: np.ndarray, reference: np.ndarray, foreground: Sequence[int]) -> float | None:
    """Return the mean Dice over the labels that occur in either array; None if none does."""
    pairs = [(mask == label, reference == label) for label in foreground]
    values = [dice(found, true) for found, true in pairs if found.any() or true.any()]
    return float(np.mean(values)) if values else None
