"""The pseudo-masks of training cases at each stage, with the reference."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from nnunetv2.utilities.utils import get_filenames_of_train_images_and_targets

from nnunetv2_simple.files import read_json
from nnunetv2_simple.images import spacing_zyx_mm
from nnunetv2_simple.report.cases import foreground_labels, read_array_like, read_image
from nnunetv2_simple.report.data import Comparison, UnavailableError, dataset_folder, pictured_fold, worst_median_best
from nnunetv2_simple.report.format import count, number
from nnunetv2_simple.report.slices import (
    UNLABELLED_COLOUR,
    draw_slice,
    grey_range_of,
    label_outlines,
    legend_html,
    panel_html,
    reference_outlines,
    slice_across,
    window_around,
)

INITIAL, WALKER, PSEUDO_MASK, REFERENCE = (
    "initial pseudo-mask",
    "random walker, dense",
    "final pseudo-mask",
    "reference",
)
MAX_RATED = 24  # training cases among which the worst, median and best one are looked for


@dataclass(frozen=True)
class TrainingCases:
    """Where the stages of the training cases lie.

    Attributes:
        images: The image to show, by case identifier.
        stages: The label files of each stage by case identifier; the last stage is the reference.
    """

    images: Mapping[str, Path]
    stages: Mapping[str, Mapping[str, Path]]


def find_training_cases(comparison: Comparison) -> TrainingCases:
    """Find the stages of the training cases; those without a single file are left out.

    Raises:
        UnavailableError: If the weak dataset is not there.
    """
    weak = dataset_folder(comparison, "weak")
    labels, images = _raw_files(weak, comparison.settings.get("channel") or 0)
    ending = comparison.setting("file_ending")
    fold = comparison.main["folds"][pictured_fold(comparison, comparison.main)]
    folders = {
        WALKER: _labels_of(comparison, "walker"),
        PSEUDO_MASK: Path(str(fold.get("model_folder"))) / "pseudo_masks",
        REFERENCE: weak / "referencesTr",
    }
    if not (weak / "referencesTr").is_dir():
        folders[REFERENCE] = _labels_of(comparison, "dense")
    stages = {INITIAL: labels}
    for stage, folder in folders.items():
        files = {case: folder / f"{case}{ending}" for case in labels} if folder else {}
        stages[stage] = {case: file for case, file in files.items() if file.is_file()}
    shown = {stage: files for stage, files in stages.items() if files}
    return TrainingCases(images, shown)


def _raw_files(folder: Path, channel: int) -> tuple[dict[str, Path], dict[str, Path]]:
    """Return the label file and the file of one channel of every training case."""
    try:
        description = read_json(folder / "dataset.json")
        if "dataset" in description:
            found = get_filenames_of_train_images_and_targets(str(folder), description)
            labels = {case: Path(files["label"]) for case, files in sorted(found.items())}
            images = {case: Path(files["images"][channel]) for case, files in found.items()}
        else:  # without the processes that nnU-Net starts to look at the files
            ending = description["file_ending"]
            files = sorted((folder / "labelsTr").glob(f"*{ending}"))
            labels = {file.name.removesuffix(ending): file for file in files}
            images = {case: folder / "imagesTr" / f"{case}_{channel:04d}{ending}" for case in labels}
    except (OSError, KeyError, IndexError, ValueError) as error:
        raise UnavailableError(f"cannot read the dataset {folder}: {error!r}") from error
    return labels, images


def _labels_of(comparison: Comparison, labels: str) -> Path | None:
    try:
        return dataset_folder(comparison, labels) / "labelsTr"
    except UnavailableError:
        return None  # this stage is left out, and the page says so


def training_stages(comparison: Comparison) -> str:
    """Return a row of pictures for the worst, median and best training case.

    Raises:
        UnavailableError: If the weak dataset is not there.

    Reference:
        Zhong & Wang, SimPLe, MICCAI 2023, Fig. 3.
    """
    labels = foreground_labels(comparison)
    cases = find_training_cases(comparison)
    chosen, how = _choose(cases, list(labels.values()))
    rows = []
    for case, rank in chosen.items():
        try:
            panels = _panels(cases, case, list(labels.values()))
        except UnavailableError as reason:
            panels = f'<p class="missing">{escape(str(reason))}</p>'
        title = f"{rank.capitalize()}: " if rank else ""
        rows.append(f'<h3>{title}{escape(case)}</h3><div class="panels">{panels}</div>')
    absent = [stage for stage in (WALKER, PSEUDO_MASK, REFERENCE) if stage not in cases.stages]
    note = f'<p class="missing">Not there: {escape(", ".join(absent))}.</p>' if absent else ""
    has_reference = REFERENCE in cases.stages
    legend = legend_html(labels, mask="foreground", unlabelled=True, reference=has_reference)
    return f"<p>{how}</p>{legend}{''.join(rows)}{note}"


def _choose(cases: TrainingCases, foreground: Sequence[int]) -> tuple[dict[str, str], str]:
    """Choose three training cases; return the rank of each, and how they were chosen."""
    stage = PSEUDO_MASK if PSEUDO_MASK in cases.stages else INITIAL
    candidates = list(cases.stages[stage])
    if REFERENCE not in cases.stages:
        return dict.fromkeys(_spread(candidates, 3), ""), "Three training cases; there are no references of them."
    candidates = _spread([case for case in candidates if case in cases.stages[REFERENCE]], MAX_RATED)
    scores = {}
    for case in candidates:
        try:
            reference = read_image(cases.stages[REFERENCE][case])
            mask = read_array_like(cases.stages[stage][case], reference, cases.stages[REFERENCE][case])
        except UnavailableError:
            continue  # shown cases say what is wrong with their files; this one is only not rated
        dice = mean_dice(mask, sitk.GetArrayFromImage(reference), foreground)
        if dice is not None:
            scores[case] = dice
    how = (
        f"The worst, the median and the best of {count(len(scores), 'training case')} by the Dice of the {stage}. "
        "References of training cases are for looking only: no method that learns from clicks sees them."
    )
    return worst_median_best(scores), how


def _spread(cases: Sequence[str], number_of: int) -> list[str]:
    """Return that many cases, evenly spread over all."""
    places = np.linspace(0, len(cases) - 1, min(number_of, len(cases))).round().astype(int)
    return [cases[place] for place in places]


def mean_dice(mask: np.ndarray, reference: np.ndarray, foreground: Sequence[int]) -> float | None:
    """Return the mean Dice over the labels that occur in either array; None if none does."""
    values = []
    for label in foreground:
        found, true = mask == label, reference == label
        total = int(found.sum()) + int(true.sum())
        if total:
            values.append(2 * int((found & true).sum()) / total)
    return float(np.mean(values)) if values else None


def _panels(cases: TrainingCases, case: str, foreground: Sequence[int]) -> str:
    image = read_image(cases.images[case])
    labels = {
        stage: read_array_like(files[case], image, cases.images[case])
        for stage, files in cases.stages.items()
        if case in files
    }
    reference = labels.pop(REFERENCE, None)
    spacing_mm = spacing_zyx_mm(image)
    first = [reference] if reference is not None else []
    masks = [np.isin(found, foreground) for found in (*first, *labels.values())]
    across, index = slice_across(masks, spacing_mm)
    plane = tuple(index if axis == across else slice(None) for axis in range(3))
    pixel_mm = [mm for axis, mm in enumerate(spacing_mm) if axis != across]
    seen = [labels[INITIAL][plane] != 0, *(mask[plane] for mask in masks)]
    window = window_around(np.any(seen, axis=0), pixel_mm)
    pixels = sitk.GetArrayFromImage(image)[plane][window]
    options = {"spacing_mm": pixel_mm, "grey_range": grey_range_of(pixels)}

    truth = [] if reference is None else reference_outlines(reference[plane][window], foreground)
    where = f"{'zyx'[across]} = {index}"
    panels = [panel_html(draw_slice(pixels, truth, **options), "reference" if truth else "image", where, alt=f"{case}")]
    for stage, found in labels.items():
        shown = found[plane][window]
        outlines = [((shown > max(foreground)), UNLABELLED_COLOUR, "-"), *label_outlines(shown, foreground)]
        dice = None if reference is None else mean_dice(found, reference, foreground)
        detail = f"Dice {number(dice, decimals=1, scale=100)} %" if reference is not None else ""
        picture = draw_slice(pixels, outlines + truth, **options)
        panels.append(panel_html(picture, stage, detail, alt=f"{case}, {stage}"))
    return "".join(panels)
