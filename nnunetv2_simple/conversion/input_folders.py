"""Folders of images, annotations and dense masks, and which files of them belong to which case."""

import re
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from nnunetv2_simple.arguments import MAX_NAMED, listed
from nnunetv2_simple.conversion.cases import Case
from nnunetv2_simple.evidence import NPZ
from nnunetv2_simple.extreme_points.annotation import error_context
from nnunetv2_simple.extreme_points.annotation_files import find_annotations
from nnunetv2_simple.files import files_below, read_text
from nnunetv2_simple.image_folders import CHANNEL_FILE, channel_files
from nnunetv2_simple.images import image_file_ending

DETACHED_DATA = (".raw", ".zraw")  # of .mhd
SLICER_SEGMENTATION = ".seg"  # before the file ending
ANNOTATION_NAMES = (
    "The annotations of an image <case>_0000.nii.gz are called <case>.mrk.json, <case>.<name>.json, ... and lie in the "
    "folder itself."
)
CSV_CASES = "The case of an image <case>_0000.nii.gz is <case>."
MASK_NAMES = (
    "The dense mask of an image <case>_0000.nii.gz is called <case>.nii.gz or <case>.seg.nrrd and lies in the folder "
    "itself."
)


def find_cases(
    images: Path,
    annotations: Path | None,
    masks: Path | None,
    *,
    painted: Path | None = None,
    evidence: Path | None = None,
    negative: Collection[str] = (),
    may_hold_more: Collection[str] | None = None,
) -> list[Case]:
    """List the cases of a folder of images named as nnU-Net names them; warn of files that nothing uses.

    Args:
        images: Holds ``<case>_0000.nii.gz``, ``<case>_0001.nii.gz``, ...
        annotations: The annotated lesions, see
            :func:`nnunetv2_simple.extreme_points.annotation_files.find_annotations`.
        masks: Holds ``<case>.nii.gz`` or, as 3D Slicer names them, ``<case>.seg.nrrd``: dense masks.
        painted: Holds dense masks of the same names, to be learned as they are.
        evidence: Holds what another model gives, of the same names or ``<case>.npz``.
        negative: The cases known to have no lesion.
        may_hold_more: The cases that may hold lesions nobody annotated; all of them if None.

    Raises:
        ValueError: If an image is not named so or of another format, the annotations cannot be read, or a listed case
            has no image.
    """
    channels = channel_files(images)
    if unknown := sorted({*negative, *(may_hold_more or ())} - channels.keys()):
        raise ValueError(f"these listed cases have no image in {images}: {', '.join(unknown)}. {CSV_CASES}")
    others = [folder for folder in (images, annotations, masks, painted, evidence) if folder is not None]
    painted_of = _one_file_each(painted, channels, (), "painted mask", others)
    evidence_of = _one_file_each(evidence, channels, (NPZ,), "evidence", others)
    mask_files_of = _mask_files(masks, channels)
    mask_files = [file for files in mask_files_of.values() for file in files]
    annotation_files = _annotations_of(list(channels), annotations, images, masks, mask_files)
    _warn_of_masks(mask_files_of, annotation_files, annotations, images, masks)
    cases = []
    for identifier, found in channels.items():
        mask_files, problems, warnings = mask_files_of.get(identifier, []), [], []
        if [channel for channel, _ in found] != [f"{index:04d}" for index in range(len(found))]:
            names = [Path(file).name for _, file in found]
            problems.append(f"images must be named <case>_0000, <case>_0001, ... without a gap, one each; got {names}")
        if len(mask_files) > 1:
            problems.append(f"expected exactly one dense mask, got {mask_files}")
        for found_files in (painted_of.get(identifier, []), evidence_of.get(identifier, [])):
            if len(found_files) > 1:
                problems.append(f"expected exactly one file of the case, got {found_files}")
        is_clicked = identifier in annotation_files or identifier in negative or identifier in painted_of
        if annotations is not None and mask_files and not is_clicked:
            warnings.append(f"no annotation was found in {annotations}: its clicks are simulated from {mask_files[0]}")
        cases.append(
            Case(
                identifier,
                tuple(file for _, file in found),
                annotation_files=annotation_files.get(identifier, ()),
                mask_file=mask_files[0] if mask_files else None,
                painted_file=painted_of.get(identifier, [None])[0],
                evidence_file=evidence_of.get(identifier, [None])[0],
                is_negative=identifier in negative,
                may_hold_more=may_hold_more is None or identifier in may_hold_more,
                problems=tuple(problems),
                warnings=tuple(warnings),
            )
        )
    return cases


def read_case_list(file: Path, *, may_be_empty: bool = False) -> list[str]:
    """Return the case identifiers of a text file, one a line; blank lines and those that begin with # are skipped.

    Raises:
        ValueError: If its text is not UTF-8 or UTF-16 or, unless it may be, if it is empty, naming the file.
    """
    with error_context(str(file)):
        lines = [line.strip() for line in read_text(file).splitlines()]
        identifiers = [line for line in lines if line and not line.startswith("#")]
        if not identifiers and not may_be_empty:
            raise ValueError("expected one case identifier a line, got none")
    return identifiers


def _one_file_each(
    folder: Path | None, identifiers: Collection[str], endings: Sequence[str], what: str, folders: Sequence[Path]
) -> dict[str, list[str]]:
    """Return the files of each case in a folder of its own; say which files of it nothing uses."""
    found = _mask_files(folder, identifiers, endings)
    if folder is not None:
        used = [file for files in found.values() for file in files]
        others = [other for other in folders if not other.samefile(folder)]
        if not any(other is not folder and other.samefile(folder) for other in folders):
            unused = [str(file) for file in files_below(folder, ignored=[*others, *used])]
            _warn_of_unused(unused, f"is the {what} of no image", MASK_NAMES, folder)
    return found


def _mask_files(
    folder: Path | None, identifiers: Collection[str], other_endings: Sequence[str] = ()
) -> dict[str, list[str]]:
    found = {}
    for file in sorted(folder.iterdir()) if folder is not None else ():
        ending = next((e for e in other_endings if file.name.endswith(e)), image_file_ending(file.name))
        name = file.name.removesuffix(ending)
        if name != file.name:
            name = name if name in identifiers else name.removesuffix(SLICER_SEGMENTATION)
            if name in identifiers:
                found.setdefault(name, []).append(str(file))
    return found


def _annotations_of(
    identifiers: Sequence[str], annotations: Path | None, images: Path, masks: Path | None, mask_files: Sequence[str]
) -> dict[str, tuple[str, ...]]:
    """Find the annotation files of each case; say which nothing uses, as what they mark counts as background."""
    if annotations is None:
        return {}
    folders = [folder for folder in (images, masks) if folder is not None and not folder.samefile(annotations)]
    found, others = find_annotations(annotations, identifiers, other_inputs=[*folders, *mask_files])
    expected_names = ANNOTATION_NAMES if annotations.is_dir() else CSV_CASES
    _warn_of_unused(others, f"belongs to no image in {images}", expected_names, images)
    return found


def _warn_of_masks(
    mask_files_of: Mapping[str, Sequence[str]],
    annotation_files: Mapping[str, Sequence[str]],
    annotations: Path | None,
    images: Path,
    masks: Path | None,
) -> None:
    """Say which files of the folder of masks nothing uses, and which masks no clicks are simulated from."""
    if masks is None:
        return
    if not (annotations is not None and masks.samefile(annotations)):  # of that folder all has been said
        used = [file for files in mask_files_of.values() for file in files]
        folders = [folder for folder in (images, annotations) if folder is not None]
        others = [str(file) for file in files_below(masks, ignored=[*folders, *used])]
        _warn_of_unused(others, f"is the dense mask of no image in {images}", MASK_NAMES, images)
    if clicked := [case for case in mask_files_of if case in annotation_files]:
        print(
            f"WARNING {masks}: the dense masks of these cases make no label, as the cases are annotated in "
            f"{annotations}; they are kept as references: {listed(clicked)}",
            file=sys.stderr,
        )


def _warn_of_unused(files: Iterable[str], what: str, expected_names: str, images: Path) -> None:
    files = [file for file in files if not (_is_data_of_another(file) or _belongs_to_image(file, images))]
    for file in files[:MAX_NAMED]:
        print(f"WARNING {file}: {what}, nothing uses it", file=sys.stderr)
    if len(files) > MAX_NAMED:
        print(f"WARNING and {len(files) - MAX_NAMED} more files that nothing uses", file=sys.stderr)
    if files:
        print(expected_names, file=sys.stderr)


def _is_data_of_another(file: str) -> bool:
    """Tell whether a file holds the voxels of an image whose header lies beside it."""
    path = Path(file)
    return path.suffix.lower() in DETACHED_DATA and path.with_suffix(".mhd").exists()


def _belongs_to_image(file: str, images: Path) -> bool:
    """Tell whether a file is an image, or about one, in a folder that images and other input share."""
    return re.search(CHANNEL_FILE, file, re.IGNORECASE) is not None and Path(file).parent.samefile(images)
