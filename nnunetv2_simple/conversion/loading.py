"""Reading one case and checking it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from nnunetv2_simple.conversion.cases import Case, Conversion
from nnunetv2_simple.conversion.channel_names import ct_warnings
from nnunetv2_simple.evidence import read_evidence
from nnunetv2_simple.extreme_points.lesions import Lesion, annotation_warnings, read_lesions
from nnunetv2_simple.extreme_points.simulated_clicks import lesions_from_mask
from nnunetv2_simple.files import check_is_utf8, printable
from nnunetv2_simple.grids import check_fits_single_precision, on_grid_of, placement_warning
from nnunetv2_simple.images import image_like, label_array, read_volume, spacing_zyx_mm
from nnunetv2_simple.pseudo_mask.generate import CROP_MARGIN_VOXELS
from nnunetv2_simple.pseudo_mask.robust_recipe import robust_region


@dataclass(frozen=True)
class LoadedCase:
    """A case in memory, checked.

    Attributes:
        channels: All with the geometry of the first.
        lesions: Empty for a test case and for a case without lesions.
        reference: The dense mask, uint8 labels 0..K; None where not known.
        painted: (z, y, x) uint8, labels that are learned as they are; None without.
        evidence: (1 + K, z, y, x), the probability of every class that another model gives; None without.
        walker_image: (z, y, x), what the random walker sees.
        warnings: Valid but suspicious input.
    """

    channels: Sequence[sitk.Image]
    lesions: Sequence[Lesion]
    reference: sitk.Image | None
    walker_image: np.ndarray
    warnings: Sequence[str]
    painted: np.ndarray | None = None
    evidence: np.ndarray | None = None


class CaseError(ValueError):
    """A case that cannot be converted.

    Attributes:
        problems: Every reason that was found.
    """

    def __init__(self, problems: Sequence[str]):
        super().__init__("; ".join(problems))
        self.problems = list(problems)


class _Problems(list):
    @contextmanager
    def collected(self) -> Iterator[None]:
        try:
            yield
        except ValueError as error:
            self.append(str(error))


def load_case(case: Case, conversion: Conversion) -> LoadedCase:
    """Read everything of one case and check it.

    Args:
        case: The case.
        conversion: What all cases are converted with.

    Raises:
        CaseError: Naming everything that is wrong with the case.
    """
    problems, warnings = _Problems(map(printable, case.problems)), [*map(printable, case.warnings)]
    _check_paths(case, problems)
    if len(case.image_files) != len(conversion.channel_names):
        found = f"{len(case.image_files)}: {list(case.image_files)}"
        problems.append(f"expected {len(conversion.channel_names)} channels, found {found}")
    channels = _read_channels(case, problems, warnings)
    reference, lesions, painted, evidence = None, [], None, None
    first = channels.get(case.image_files[0]) if case.image_files else None
    if first is not None:
        with problems.collected():
            reference = _read_mask(case.mask_file, case, conversion, first, warnings)
            painted = _read_mask(case.painted_file, case, conversion, first, warnings)
            if case.evidence_file is not None:
                evidence = read_evidence(case.evidence_file, conversion.labels, first)
        with problems.collected():
            if not case.is_test:
                lesions = _find_lesions(case, conversion, first, reference)
            if painted is not None:
                _check_painted(case, conversion, painted, lesions)
            if painted is not None and not lesions:
                reference = painted if case.mask_file is None else reference
            elif case.is_negative or not (case.is_test or lesions):
                reference = _empty_reference(case, first, reference)
        if conversion.dense_dataset_folder and reference is None and case.mask_file is None and not case.is_test:
            problems.append("a fully supervised twin dataset needs a dense mask of every training case, got none")
    if problems:
        raise CaseError(problems)
    channels = list(channels.values())
    walker_image = conversion.walker_image([sitk.GetArrayViewFromImage(channel) for channel in channels])
    for lesion in lesions:
        with problems.collected():
            _check_varies(walker_image, lesion, first, case.image_files, conversion.recipe)
    if problems:
        raise CaseError(problems)
    warnings += [*ct_warnings(channels, conversion.channel_names), *_lesion_warnings(case, lesions)]
    painted = None if painted is None else sitk.GetArrayFromImage(painted)
    return LoadedCase(channels, lesions, reference, walker_image, warnings, painted, evidence)


def _check_paths(case: Case, problems: _Problems) -> None:
    """Make sure that all files can be opened: with other paths than UTF-8, SimpleITK ends the whole process."""
    num_problems = len(problems)
    single_files = filter(None, [case.mask_file, case.painted_file, case.evidence_file])
    for file in (*case.image_files, *case.annotation_files, *single_files):
        with problems.collected():
            check_is_utf8(file)
    if len(problems) > num_problems:
        raise CaseError(problems)


def _read_channels(case: Case, problems: _Problems, warnings: list[str]) -> dict[str, sitk.Image]:
    """Read the channels that can be read and lie on the grid of the first."""
    channels = {}
    for file in case.image_files:
        with problems.collected():
            channel = _read(file, warnings)
            check_fits_single_precision(channel, file)
            grid = channels.get(case.image_files[0], channel)
            channels[file] = on_grid_of(channel, grid, names=(case.image_files[0], file))
    return channels


def _read(file: str, warnings: list[str]) -> sitk.Image:
    image = read_volume(file)
    if warning := placement_warning(image):
        warnings.append(warning)
    return image


def _lesion_warnings(case: Case, lesions: Sequence[Lesion]) -> Iterator[str]:
    for number, lesion in enumerate(lesions, start=1):
        where = Path(lesion.file or case.mask_file).name + (f", lesion {number}" if len(lesions) > 1 else "")
        yield from (f"{where}: {warning}" for warning in annotation_warnings(lesion))


def _read_mask(
    file: str | None, case: Case, conversion: Conversion, image: sitk.Image, warnings: list[str]
) -> sitk.Image | None:
    if file is None:
        return None
    mask = _read(file, warnings)
    mask = on_grid_of(mask, image, names=(case.image_files[0], file), may_be_cropped=True)
    array = label_array(mask, file)
    if len(conversion.labels) == 1:
        return image_like((array != 0).astype(np.uint8), image)
    unknown = set(np.unique(array).tolist()) - {0, *conversion.labels.values()}
    if unknown:
        raise ValueError(
            f"{file} may hold 0 and the labels {dict(conversion.labels)}, got {sorted(unknown)[:10]} as well"
        )
    return image_like(array.astype(np.uint8), image)


def _check_painted(case: Case, conversion: Conversion, painted: sitk.Image, lesions: Sequence[Lesion]) -> None:
    """A class is painted in a case, or it is clicked: both would leave open which of them holds."""
    found = set(np.unique(sitk.GetArrayViewFromImage(painted)).tolist()) - {0}
    names = {label: name for name, label in conversion.labels.items()}
    both = {lesion.label for lesion in lesions} & (found if len(names) > 1 else names.keys())
    if both:
        raise ValueError(
            f"a class is either painted or clicked in a case, but {', '.join(names[label] for label in sorted(both))} "
            f"is painted in {case.painted_file} and clicked in {lesions[0].file}"
        )
    if found and case.is_negative:
        raise ValueError(f"it is listed as a case without lesions, but {case.painted_file} holds one")


def _empty_reference(case: Case, image: sitk.Image, reference: sitk.Image | None) -> sitk.Image | None:
    """Return the reference of a case without lesions, which is known even where there is no mask."""
    if reference is None:
        is_known = case.mask_file is None
        return image_like(np.zeros(image.GetSize()[::-1], dtype=np.uint8), image) if is_known else None
    if sitk.GetArrayViewFromImage(reference).any():
        stated_by = "the list of cases without lesions" if case.is_negative else case.annotation_files[0]
        raise ValueError(f"{stated_by} says that there is no lesion, but the mask {case.mask_file} holds one")
    return reference


def _find_lesions(
    case: Case, conversion: Conversion, image: sitk.Image, reference: sitk.Image | None
) -> Sequence[Lesion]:
    if case.annotation_files:
        return annotated_lesions(case, conversion, image)
    if case.is_negative or case.painted_file is not None:
        return []
    if case.mask_file is None:
        raise ValueError("no annotation was found, neither extreme points nor a dense mask")
    if reference is None or not sitk.GetArrayViewFromImage(reference).any():
        return []  # what is wrong with the mask has been said
    # seeded by the case, so that neither the order of the cases nor their number changes its clicks
    generator = np.random.default_rng([conversion.jitter_seed, *case.identifier.encode()])
    return lesions_from_mask(reference, labels=conversion.labels, jitter_mm=conversion.jitter_mm, generator=generator)


def annotated_lesions(case: Case, conversion: Conversion, image: sitk.Image) -> Sequence[Lesion]:
    """Read the annotation files of a case; where they say so there is no lesion."""
    try:
        lesions = read_lesions(case.annotation_files, image, case=case.identifier, labels=conversion.labels)
    except ValueError as error:
        warning = placement_warning(image)
        cause = f"; the cause may be that {warning}" if warning else ""
        raise ValueError(str(error).removeprefix(f"{case.identifier}: ") + cause) from error
    if lesions and case.is_negative:
        raise ValueError(f"it is listed as a case without lesions, but {lesions[0].file} marks one")
    return lesions


def _check_varies(
    walker_image: np.ndarray, lesion: Lesion, image: sitk.Image, files: Sequence[str], recipe: str
) -> None:
    box = lesion.box(walker_image.shape, spacing_zyx_mm(image))
    around = walker_image[robust_region(box) if recipe == "robust" else box.region(CROP_MARGIN_VOXELS)]
    with np.errstate(over="ignore"):
        if not np.isfinite(np.square(np.ptp(around))):
            raise ValueError(
                f"what the random walker sees of {list(files)} has intensities too large to be squared, from "
                f"{around.min():g} to {around.max():g}"
            )
    if around.min() == around.max():
        raise ValueError(
            f"what the random walker sees of {list(files)} is constant ({around.flat[0]:g}) in and around "
            f"the box of the extreme points {lesion.extreme_points.tolist()}"
        )
