"""Writing all files of one case."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from nnunetv2_simple.conversion.cases import Case, Conversion
from nnunetv2_simple.conversion.loading import LoadedCase, load_case
from nnunetv2_simple.conversion.record import (
    FINISHED,
    SCRATCH_FOLDER,
    UNFINISHED,
    inputs_of,
    read_record,
    recorded_files,
    remove_scratch,
    write_record,
)
from nnunetv2_simple.evaluation.quality import LabelledCase, measure_case
from nnunetv2_simple.extreme_points.lesions import annotation_warnings
from nnunetv2_simple.grids import check_same_geometry
from nnunetv2_simple.images import image_like, read_header, spacing_zyx_mm, write_image
from nnunetv2_simple.pseudo_mask.fusion import as_stored, walker_file
from nnunetv2_simple.pseudo_mask.generate import draw_scribbles, generate_pseudo_mask, merge_pseudo_masks
from nnunetv2_simple.report.quality_page import QUALITY_FOLDER
from nnunetv2_simple.report.quality_sheet import draw_sheet

FILE_ENDING = ".nii.gz"


def convert_case(case: Case, conversion: Conversion, *, run: str) -> None:
    """Write all files of one case, and its record last.

    The files are written beside their places and moved, so that an interruption at any moment leaves whole files and
    a record that says whether all of them are there.

    Args:
        case: The case.
        conversion: What all cases are converted with.
        run: A name of this run of the conversion, unlike that of any other.

    Raises:
        ValueError: If the case cannot be converted. Whatever was written is left to
            :func:`nnunetv2_simple.conversion.record.record_failure`.
    """
    scratch = conversion.dataset_folder / SCRATCH_FOLDER / case.identifier / run
    try:
        scratch.mkdir(parents=True)
    except FileExistsError as error:
        raise ValueError(
            "its worker process died (out of memory?), maybe because of another case it converted at the same time; "
            "the same command with fewer worker processes tries again"
        ) from error
    loaded = load_case(case, conversion)
    split, first = "Ts" if case.is_test else "Tr", loaded.channels[0]
    folder, file_name = conversion.dataset_folder, case.identifier + FILE_ENDING
    content = {
        "parameters": conversion.parameters() | {"is_test": case.is_test},
        "inputs": inputs_of(case),
        "spacing_mm_zyx": spacing_zyx_mm(first),
        "warnings": loaded.warnings,
    }
    images = {
        folder / f"images{split}" / f"{case.identifier}_{index:04d}{FILE_ENDING}": channel
        for index, channel in enumerate(loaded.channels)
    }
    if loaded.reference is not None:
        images[folder / f"references{split}" / file_name] = loaded.reference
    files = {}
    if not case.is_test:
        pseudo_mask, probabilities, quality = _make_pseudo_mask(
            case, conversion, loaded, sheet_file=scratch / "sheet.png"
        )
        files[folder / QUALITY_FOLDER / f"{case.identifier}.png"] = scratch / "sheet.png"
        images[folder / "labelsTr" / file_name] = image_like(pseudo_mask, first)
        for label, probability in probabilities.items():
            images[walker_file(folder, case.identifier, label)] = image_like(as_stored(probability), first)
        if conversion.dense_dataset_folder:
            images[conversion.dense_dataset_folder / "labelsTr" / file_name] = loaded.reference
        content |= _provenance_of_labels(case, conversion, loaded, pseudo_mask) | {"quality": quality}
    files |= _write_images(images, scratch)
    _publish(case, conversion, files, content)


def _make_pseudo_mask(
    case: Case, conversion: Conversion, loaded: LoadedCase, *, sheet_file: Path
) -> tuple[np.ndarray, dict[int, np.ndarray], dict]:
    """Make the pseudo-mask of all lesions, measure it and draw it.

    Returns:
        The pseudo-mask, the random walker's probability of each label (of its lesions the largest), and the measures.
    """
    spacing_mm = spacing_zyx_mm(loaded.channels[0])
    scribbles = np.zeros(loaded.walker_image.shape, dtype=bool)
    probabilities = {label: np.zeros(loaded.walker_image.shape) for label in conversion.labels.values()}

    def pseudo_masks() -> Iterator[np.ndarray]:  # one at a time, as there may be many lesions
        for lesion in loaded.lesions:
            common = {"spacing_mm": spacing_mm, "recipe": conversion.recipe, "axes": lesion.axes}
            own_scribbles = draw_scribbles(loaded.walker_image, lesion.extreme_points, **common)
            np.logical_or(scribbles, own_scribbles, out=scribbles)
            pseudo_mask, probability = generate_pseudo_mask(
                loaded.walker_image,
                lesion.extreme_points,
                scribbles=own_scribbles,
                ignore_label=conversion.ignore_label,
                return_probability=True,
                **common,
                **conversion.walker_options(),
            )
            np.maximum(probabilities[lesion.label], probability, out=probabilities[lesion.label])
            yield pseudo_mask

    labels = [lesion.label for lesion in loaded.lesions]
    labelled = LabelledCase(
        image=loaded.walker_image,
        label=merge_pseudo_masks(pseudo_masks(), labels, ignore_label=conversion.ignore_label),
        scribbles=scribbles,
        lesions=loaded.lesions,
        spacing_mm=spacing_mm,
        ignore_label=conversion.ignore_label,
        warnings=loaded.warnings,
        reference=None if loaded.reference is None else sitk.GetArrayViewFromImage(loaded.reference),
    )
    measures = measure_case(labelled)
    draw_sheet(sheet_file, labelled, measures, title=case.identifier)
    return labelled.label, probabilities, measures


def _provenance_of_labels(case: Case, conversion: Conversion, loaded: LoadedCase, pseudo_mask: np.ndarray) -> dict:
    counts = np.bincount(pseudo_mask.ravel(), minlength=conversion.ignore_label + 1)
    return {
        "lesions": [
            lesion.to_json()
            | {
                "source": lesion.source,
                "file": str(lesion.file or case.mask_file),
                "warnings": annotation_warnings(lesion),
            }
            for lesion in loaded.lesions
        ],
        "foreground_voxels": {name: int(counts[label]) for name, label in conversion.labels.items()},
        "unlabelled_voxels": int(counts[conversion.ignore_label]),
    }


def _write_images(images: dict[Path, sitk.Image], scratch: Path) -> dict[Path, Path]:
    """Write images beside their places."""
    written = {}
    for index, (target, image) in enumerate(images.items()):
        written[target] = scratch / f"{index}{FILE_ENDING}"
        write_checked(image, written[target], name=str(target))
    return written


def write_checked(image: sitk.Image, file: Path, *, name: str) -> None:
    """Write an image, and check that what is on disk lies where it was read.

    Raises:
        ValueError: If it does not, by its name.
    """
    write_image(image, str(file))
    check_same_geometry(image, read_header(file), names=("memory", name))


def _publish(case: Case, conversion: Conversion, files: dict[Path, Path], content: dict) -> None:
    """Move the files of a case into place, between two writings of its record."""
    folder = conversion.dataset_folder
    before = recorded_files(folder, read_record(folder, case.identifier))
    write_record(folder, case.identifier, status=UNFINISHED, files={*before, *files})
    for file in before - files.keys():
        file.unlink(missing_ok=True)
    for target, file in files.items():
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(file, target)
    remove_scratch(folder, case.identifier)
    write_record(folder, case.identifier, status=FINISHED, files=files, **content)
