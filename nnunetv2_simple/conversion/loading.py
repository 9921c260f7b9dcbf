"""Reading one case and checking it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from nnunetv2_simple.conversion.cases import Case, Conversion
from nnunetv2_simple.extreme_points.box import LesionBox
from nnunetv2_simple.extreme_points.lesions import Lesion, annotation_warnings, read_lesions
from nnunetv2_simple.extreme_points.simulated_clicks import lesions_from_mask
from nnunetv2_simple.images import check_same_geometry, image_like, read_volume, spacing_zyx_mm
from nnunetv2_simple.pseudo_mask.generate import CROP_MARGIN_VOXELS
from nnunetv2_simple.pseudo_mask.robust_recipe import robust_region


@dataclass(frozen=True)
class LoadedCase:
    """A case in memory, checked.

    Attributes:
        channels: All with the geometry of the first.
        lesions: None are there for a test case.
        reference: The dense mask, uint8 labels 0..K; None where not known.
        walker_image: (z, y, x), what the random walker sees.
        warnings: What is legal but probably not meant.
    """

    channels: Sequence[sitk.Image]
    lesions: Sequence[Lesion]
    reference: sitk.Image | None
    walker_image: np.ndarray
    warnings: Sequence[str]


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
    problems = _Problems(case.problems)
    if len(case.image_files) != len(conversion.channel_names):
        found = f"{len(case.image_files)}: {list(case.image_files)}"
        problems.append(f"expected {len(conversion.channel_names)} channels, found {found}")
    channels = {}
    for file in case.image_files:
        with problems.collected():
            channels[file] = read_volume(file)
    reference, lesions = None, []
    first = channels.get(case.image_files[0]) if case.image_files else None
    if first is not None:
        for file, channel in channels.items():
            with problems.collected():
                check_same_geometry(first, channel, names=(case.image_files[0], file))
                channel.CopyInformation(first)
        with problems.collected():
            reference = _read_reference(case, conversion, first)
        if not case.is_test:
            with problems.collected():
                lesions = _find_lesions(case, conversion, first, reference)
    if problems:
        raise CaseError(problems)
    channels = list(channels.values())
    walker_image = conversion.walker_image([sitk.GetArrayViewFromImage(channel) for channel in channels])
    for lesion in lesions:
        with problems.collected():
            _check_varies(walker_image, lesion, first, case.image_files, conversion.recipe)
    if problems:
        raise CaseError(problems)
    return LoadedCase(channels, lesions, reference, walker_image, [*case.warnings, *_lesion_warnings(case, lesions)])


def _lesion_warnings(case: Case, lesions: Sequence[Lesion]) -> Iterator[str]:
    for number, lesion in enumerate(lesions, start=1):
        where = Path(lesion.file or case.mask_file).name + (f", lesion {number}" if len(lesions) > 1 else "")
        yield from (f"{where}: {warning}" for warning in annotation_warnings(lesion))


def _read_reference(case: Case, conversion: Conversion, image: sitk.Image) -> sitk.Image | None:
    if case.mask_file is None:
        if conversion.dense_dataset_folder and not case.is_test:
            raise ValueError("a fully supervised twin dataset needs a dense mask of every training case, got none")
        return None
    mask = read_volume(case.mask_file)
    check_same_geometry(image, mask, names=(case.image_files[0], case.mask_file))
    array = sitk.GetArrayViewFromImage(mask)
    if not np.array_equal(array, np.rint(array)):
        raise ValueError(f"{case.mask_file} must hold whole numbers, got fractions: was it resampled as an image?")
    if len(conversion.labels) == 1:
        return image_like((array != 0).astype(np.uint8), image)
    unknown = set(np.unique(array).tolist()) - {0, *conversion.labels.values()}
    if unknown:
        raise ValueError(
            f"{case.mask_file} may hold 0 and the labels {dict(conversion.labels)}, got {sorted(unknown)[:10]} as well"
        )
    return image_like(array.astype(np.uint8), image)


def _find_lesions(
    case: Case, conversion: Conversion, image: sitk.Image, reference: sitk.Image | None
) -> Sequence[Lesion]:
    if case.annotation_files:
        return annotated_lesions(case, conversion, image)
    if case.mask_file is None:
        raise ValueError("no annotation was found, neither extreme points nor a dense mask")
    if reference is None:
        return []  # what is wrong with the mask has been said
    if not sitk.GetArrayViewFromImage(reference).any():
        raise ValueError(f"the mask {case.mask_file} is empty, there is nothing to click on")
    # seeded by the case, so that neither the order of the cases nor their number changes its clicks
    generator = np.random.default_rng([conversion.jitter_seed, *case.identifier.encode()])
    return lesions_from_mask(reference, labels=conversion.labels, jitter_mm=conversion.jitter_mm, generator=generator)


def annotated_lesions(case: Case, conversion: Conversion, image: sitk.Image) -> Sequence[Lesion]:
    """Read the annotation files of a case; a case needs at least one lesion."""
    try:
        lesions = read_lesions(case.annotation_files, image, case=case.identifier, labels=conversion.labels)
    except ValueError as error:
        raise ValueError(str(error).removeprefix(f"{case.identifier}: ")) from error
    if not lesions:
        raise ValueError(f"no lesion is annotated in {list(case.annotation_files)}")
    return lesions


def _check_varies(
    walker_image: np.ndarray, lesion: Lesion, image: sitk.Image, files: Sequence[str], recipe: str
) -> None:
    box = LesionBox(lesion.extreme_points, shape=walker_image.shape, spacing_mm=spacing_zyx_mm(image), axes=lesion.axes)
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
