"""Writing all files of one case."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from nnunetv2_simple.conversion.cases import Case, Conversion
from nnunetv2_simple.conversion.loading import LoadedCase, load_case
from nnunetv2_simple.conversion.record import begin_case, inputs_of, write_record
from nnunetv2_simple.evaluation.quality import LabelledCase, measure_case
from nnunetv2_simple.extreme_points.box import near_lesions
from nnunetv2_simple.extreme_points.lesions import annotation_warnings
from nnunetv2_simple.files import written_atomically
from nnunetv2_simple.grids import check_same_geometry
from nnunetv2_simple.images import image_like, read_header, spacing_zyx_mm, write_image
from nnunetv2_simple.pseudo_mask.generate import draw_scribbles, generate_pseudo_mask, merge_pseudo_masks
from nnunetv2_simple.pseudo_mask.walker_probabilities import as_stored, label_digest, walker_file
from nnunetv2_simple.report.quality_page import QUALITY_FOLDER, THUMBNAIL
from nnunetv2_simple.report.quality_sheet import draw_sheet, draw_thumbnail

FILE_ENDING = ".nii.gz"
NO_LESION, PAINTED, EVIDENCE = "tumor-free", "painted mask", "evidence of another model"


def convert_case(case: Case, conversion: Conversion) -> None:
    """Write all files of one case, and its record last.

    Raises:
        ValueError: If the case cannot be converted. Whatever was written is left to
            :func:`nnunetv2_simple.conversion.record.record_failure`.
    """
    loaded = load_case(case, conversion)
    folder, split, first = conversion.dataset_folder, "Ts" if case.is_test else "Tr", loaded.channels[0]
    content = {
        "parameters": conversion.parameters() | case.parameters(),
        "inputs": inputs_of(case),
        "spacing_mm_zyx": spacing_zyx_mm(first),
        "warnings": loaded.warnings,
    }
    images = {
        folder / f"images{split}" / f"{case.identifier}_{index:04d}{FILE_ENDING}": channel
        for index, channel in enumerate(channels_to_write(loaded, conversion))
    }
    if loaded.reference is not None:
        images[folder / f"references{split}" / f"{case.identifier}{FILE_ENDING}"] = loaded.reference
    writers = {file: partial(write_checked, image, name=str(file)) for file, image in images.items()}
    if not case.is_test:
        labelled, probabilities = _make_pseudo_mask(conversion, loaded, unannotated_margin_mm(case, conversion, loaded))
        for file, image in _label_images(case, conversion, loaded, labelled.label, probabilities).items():
            writers[file] = partial(write_checked, image, name=str(file))
        measures = measure_case(labelled)
        writers[folder / QUALITY_FOLDER / f"{case.identifier}.png"] = partial(
            draw_sheet, case=labelled, measures=measures, title=case.identifier
        )
        writers[folder / QUALITY_FOLDER / f"{case.identifier}{THUMBNAIL}"] = partial(
            draw_thumbnail, case=labelled, measures=measures
        )
        content |= _provenance_of_labels(case, conversion, loaded, labelled.label) | {"quality": measures}
    begin_case(conversion, case.identifier, list(writers))
    for file, write in writers.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        with written_atomically(file) as beside:
            write(beside)
    write_record(conversion, case.identifier, list(writers), **content)


def _label_images(
    case: Case,
    conversion: Conversion,
    loaded: LoadedCase,
    pseudo_mask: np.ndarray,
    probabilities: dict[int, np.ndarray],
) -> dict[Path, sitk.Image]:
    folder, file_name, first = conversion.dataset_folder, case.identifier + FILE_ENDING, loaded.channels[0]
    images = {folder / "labelsTr" / file_name: image_like(pseudo_mask, first)}
    for label, probability in probabilities.items():
        images[walker_file(folder, case.identifier, label)] = image_like(as_stored(probability), first)
    if conversion.dense_dataset_folder:
        images[conversion.dense_dataset_folder / "labelsTr" / file_name] = loaded.reference
    return images


def channels_to_write(loaded: LoadedCase, conversion: Conversion) -> list[sitk.Image]:
    """Return the channels of a case, with the difference that the random walker sees where it is wanted."""
    first, seen = loaded.channels[0], loaded.walker_image.astype(np.float32)
    return [*loaded.channels, *([image_like(seen, first)] if conversion.subtraction_channel else [])]


def unannotated_margin_mm(case: Case, conversion: Conversion, loaded: LoadedCase) -> float | None:
    """Return how far around the boxes of a case is known, None where all of it is."""
    return conversion.unannotated_margin_mm if loaded.lesions and case.may_hold_more else None


def _make_pseudo_mask(
    conversion: Conversion, loaded: LoadedCase, margin_mm: float | None
) -> tuple[LabelledCase, dict[int, np.ndarray]]:
    """Make the pseudo-mask of all lesions.

    Returns:
        The case with its pseudo-mask, and the random walker's probability of each label (of its lesions the largest).
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
                seeds=lesion.seeds(loaded.walker_image.shape, spacing_mm),
                ignore_label=conversion.ignore_label,
                return_probability=True,
                evidence=None if loaded.evidence is None else loaded.evidence[lesion.label],
                evidence_weight=conversion.evidence_weight,
                **common,
                **conversion.walker_options(),
            )
            np.maximum(probabilities[lesion.label], probability, out=probabilities[lesion.label])
            yield pseudo_mask

    label = np.zeros(loaded.walker_image.shape, dtype=np.uint8)
    if loaded.lesions:
        labels = [lesion.label for lesion in loaded.lesions]
        label = merge_pseudo_masks(pseudo_masks(), labels, ignore_label=conversion.ignore_label)
    if margin_mm is not None:
        near = near_lesions(loaded.lesions, shape=label.shape, spacing_mm=spacing_mm, margin_mm=margin_mm)
        label[~near] = conversion.ignore_label
    if loaded.painted is not None:
        is_painted = loaded.painted != 0
        label[is_painted] = loaded.painted[is_painted]
        for number, probability in probabilities.items():
            probability[is_painted] = loaded.painted[is_painted] == number
    labelled = LabelledCase(
        image=loaded.walker_image,
        label=label,
        scribbles=scribbles,
        lesions=loaded.lesions,
        spacing_mm=spacing_mm,
        ignore_label=conversion.ignore_label,
        warnings=loaded.warnings,
        supervision=supervision_of(loaded),
        evidence=None if loaded.evidence is None else loaded.evidence.argmax(axis=0),
        reference=None if loaded.reference is None else sitk.GetArrayViewFromImage(loaded.reference),
    )
    return labelled, probabilities


def supervision_of(loaded: LoadedCase) -> list[str]:
    """Return, for people, what the label of a training case is made from."""
    found = sorted({lesion.source for lesion in loaded.lesions})
    if loaded.painted is not None and (loaded.painted.any() or found):
        found.append(PAINTED)
    if found and loaded.lesions and loaded.evidence is not None:
        found.append(EVIDENCE)
    return found or [NO_LESION]


def _provenance_of_labels(case: Case, conversion: Conversion, loaded: LoadedCase, pseudo_mask: np.ndarray) -> dict:
    counts = np.bincount(pseudo_mask.ravel(), minlength=conversion.ignore_label + 1)
    return {
        "supervision": supervision_of(loaded),
        "unannotated_margin_mm": unannotated_margin_mm(case, conversion, loaded),
        "lesions": [
            lesion.to_json()
            | {
                "source": lesion.source,
                "file": str(lesion.file or case.mask_file),
                "warnings": annotation_warnings(lesion),
                "seconds": lesion.seconds,
            }
            for lesion in loaded.lesions
        ],
        "foreground_voxels": {name: int(counts[label]) for name, label in conversion.labels.items()},
        "unlabelled_voxels": int(counts[conversion.ignore_label]),
        "label_sha256": label_digest(pseudo_mask),
    }


def write_checked(image: sitk.Image, file: Path, *, name: str) -> None:
    """Write an image, and check that what is on disk lies where it was read.

    Raises:
        ValueError: If it does not, by its name.
    """
    write_image(image, str(file))
    check_same_geometry(image, read_header(file), names=("memory", name))
