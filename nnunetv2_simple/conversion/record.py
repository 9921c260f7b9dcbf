"""What a dataset remembers of each of its cases: provenance/<case>.json.

A case is done when its record names the inputs it was converted from, which is written last. Before its first file is
written the record names the files only: so it is known, whatever is interrupted, which files are the conversion's own.
The record of a case that could not be converted holds the reason.
"""

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from nnunetv2_simple.conversion.cases import Case, Conversion
from nnunetv2_simple.conversion.loading import annotated_lesions
from nnunetv2_simple.files import read_json, remove_partial_files, save_json_atomically
from nnunetv2_simple.images import read_grid

RECORD_FOLDER = "provenance"


def read_record(dataset_folder: Path, identifier: str) -> dict:
    """Return the record of a case; an empty one if there is none.

    Raises:
        ValueError: If its file holds something else, naming it.
    """
    file = _record_file(dataset_folder, identifier)
    record = read_json(file) if file.exists() else {}
    if not isinstance(record, dict):
        raise ValueError(f"{file} must hold the record of a case, got {str(record)[:100]}")
    return record


def recorded_cases(dataset_folder: Path) -> set[str]:
    """Return the identifiers of all cases that the dataset has a record of."""
    return {file.name.removesuffix(".json") for file in (dataset_folder / RECORD_FOLDER).glob("[!.]*.json")}


def recorded_files(dataset_folder: Path, record: dict) -> set[Path]:
    """Return every file that the conversion wrote of a case, or was about to write."""
    # joined as text, because a dataset folder may be a symbolic link and its twin lies beside the link
    return {Path(os.path.normpath(dataset_folder / file)) for file in record.get("files", [])}


def is_converted(record: dict) -> bool:
    """Tell whether a case was converted, from whatever and to files that may have been removed since."""
    return "inputs" in record


def is_done(dataset_folder: Path, record: dict) -> bool:
    """Tell whether a case was converted and all of its files are there."""
    return is_converted(record) and all(file.is_file() for file in recorded_files(dataset_folder, record))


def write_record(dataset_folder: Path, identifier: str, files: Iterable[Path], **content) -> None:
    """Write the record of a case: its files and, where it is done, what there is to say of it."""
    record_file = _record_file(dataset_folder, identifier)
    record_file.parent.mkdir(parents=True, exist_ok=True)
    relative = sorted(os.path.relpath(file, dataset_folder) for file in files)
    save_json_atomically({"files": relative, **content}, record_file)


def begin_case(dataset_folder: Path, identifier: str, files: Iterable[Path]) -> None:
    """Note which files of a case are about to be written; remove those of an earlier conversion it no longer has."""
    before = recorded_files(dataset_folder, read_record(dataset_folder, identifier))
    write_record(dataset_folder, identifier, {*before, *files})
    _remove(before - set(files))
    for file in files:
        remove_partial_files(file.parent, file.name)


def reopen_case(dataset_folder: Path, identifier: str) -> None:
    """Let a case no longer be done, so that any later run converts or removes it."""
    record = read_record(dataset_folder, identifier)
    if is_converted(record):
        write_record(dataset_folder, identifier, recorded_files(dataset_folder, record))


def record_failure(dataset_folder: Path, identifier: str, reason: str) -> None:
    """Remove what the conversion wrote of a case and remember why it failed."""
    _remove(recorded_files(dataset_folder, read_record(dataset_folder, identifier)))
    write_record(dataset_folder, identifier, [], reason=reason)


def remove_case(dataset_folder: Path, identifier: str) -> None:
    """Remove everything that the conversion wrote of a case, its record last."""
    _remove(recorded_files(dataset_folder, read_record(dataset_folder, identifier)))
    _record_file(dataset_folder, identifier).unlink()


def _remove(files: Iterable[Path]) -> None:
    for file in sorted(files):
        file.unlink(missing_ok=True)
        remove_partial_files(file.parent, file.name)


def inputs_of(case: Case) -> dict:
    """Describe the files a case is converted from, so that a change of any of them is noticed later."""
    return {
        "images": [_fingerprint(file) for file in case.image_files],
        "mask": _fingerprint(case.mask_file) if case.mask_file is not None else None,
        "annotations": [_fingerprint(file) for file in case.annotation_files],
    }


def difference(record: dict, case: Case, conversion: Conversion) -> str | None:
    """Tell in which way a case was converted from something else than it would be converted from now.

    Files count as the same if they hold the same bytes, wherever they lie; an annotation file also if it holds the
    same lesions of this case.

    Args:
        record: The record of the case.
        case: The case as it is now.
        conversion: What the cases are converted with now.

    Returns:
        The first difference; None if there is none.
    """
    now = conversion.parameters() | {"is_test": case.is_test}
    for name, value in now.items():
        if record["parameters"].get(name) != value:
            return f"with {name} {record['parameters'].get(name)!r} instead of {value!r}"
    before = record["inputs"]
    if not _same_files(before["images"], case.image_files):
        return f"from other images than {list(case.image_files)}"
    if not _same_files([before["mask"]] if before["mask"] else [], [case.mask_file] if case.mask_file else []):
        return f"with another dense mask than {case.mask_file}"
    same_annotations = case.is_test or _same_files(before["annotations"], case.annotation_files)
    if not same_annotations and _lesions_differ(record, case, conversion):
        return f"with other lesions than those of {list(case.annotation_files) or case.mask_file}"
    return None


def _lesions_differ(record: dict, case: Case, conversion: Conversion) -> bool:
    """Compare the lesions themselves: one annotation file may serve many cases and grow with them."""
    if not case.annotation_files:
        return True
    try:
        lesions = annotated_lesions(case, conversion, read_grid(case.image_files[0]))
    except ValueError:
        return True
    now = [lesion.to_json() for lesion in lesions]
    return now != [{key: lesion.get(key) for key in now[0]} for lesion in record["lesions"]]


def _same_files(before: list[dict], now: list[str] | tuple[str, ...]) -> bool:
    return len(before) == len(now) and all(
        _unchanged(fingerprint, file) for fingerprint, file in zip(before, now, strict=True)
    )


def _unchanged(fingerprint: dict, file: str) -> bool:
    try:
        found = os.stat(file)
    except OSError:
        return False
    if fingerprint["bytes"] != found.st_size:
        return False
    same_time = fingerprint["modified_ns"] == found.st_mtime_ns and fingerprint["file"] == str(file)
    return same_time or fingerprint["sha256"] == _sha256(file)


def _fingerprint(file: str) -> dict:
    found = os.stat(file)
    return {
        "file": str(file),
        "bytes": found.st_size,
        "modified_ns": found.st_mtime_ns,
        "sha256": _sha256(file),
    }


def _sha256(file: str) -> str:
    digest = hashlib.sha256()
    with open(file, "rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _record_file(dataset_folder: Path, identifier: str) -> Path:
    return dataset_folder / RECORD_FOLDER / f"{identifier}.json"
