"""What a dataset remembers of each of its cases: provenance/<case>.json.

The record of a case is written before its first file is moved into place ("unfinished") and again after the last one
("finished"), or when the case cannot be converted ("failed"). So it tells which files belong to the conversion, what
is left to do after an interruption, and what the finished ones were made from. The record of a case that is to leave
the dataset ("dropped") outlives its files.
"""

import hashlib
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from nnunetv2_simple.conversion.cases import Case, Conversion
from nnunetv2_simple.conversion.loading import annotated_lesions
from nnunetv2_simple.files import read_json, remove_partial_files, save_json_atomically
from nnunetv2_simple.images import read_grid

RECORD_FOLDER = "provenance"
SCRATCH_FOLDER = "partial_conversion"
FINISHED, UNFINISHED, FAILED, DROPPED = "finished", "unfinished", "failed", "dropped"


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
    return {file.name.removesuffix(".json") for file in (dataset_folder / RECORD_FOLDER).glob("*.json")}


def recorded_files(dataset_folder: Path, record: dict) -> set[Path]:
    """Return every file that the conversion wrote of a case, or was about to write."""
    # joined as text, because a dataset folder may be a symbolic link and its twin lies beside the link
    return {Path(os.path.normpath(dataset_folder / file)) for file in record.get("files", [])}


def is_finished(dataset_folder: Path, record: dict) -> bool:
    """Tell whether a case is finished and nobody has removed any of its files since."""
    return record.get("status") == FINISHED and all(f.is_file() for f in recorded_files(dataset_folder, record))


def write_record(dataset_folder: Path, identifier: str, *, status: str, files: Iterable[Path], **content) -> None:
    """Write the record of a case.

    Args:
        dataset_folder: The dataset.
        identifier: The case.
        status: "finished", "unfinished", "failed" or "dropped".
        files: Everything the conversion wrote or is about to write of the case.
        content: What else there is to say.
    """
    record_file = _record_file(dataset_folder, identifier)
    record_file.parent.mkdir(parents=True, exist_ok=True)
    relative = sorted(os.path.relpath(file, dataset_folder) for file in files)
    save_json_atomically({"status": status, "files": relative, **content}, record_file)


def record_failure(dataset_folder: Path, identifier: str, reason: str) -> None:
    """Remove what the conversion wrote of a case and remember why it failed."""
    for file in recorded_files(dataset_folder, read_record(dataset_folder, identifier)):
        file.unlink(missing_ok=True)
    write_record(dataset_folder, identifier, status=FAILED, files=[], reason=reason)
    remove_scratch(dataset_folder, identifier)


def mark_as_dropped(dataset_folder: Path, identifiers: Iterable[str]) -> None:
    """Remember that cases are to leave the dataset, so that after an interruption any later run removes them."""
    for identifier in identifiers:
        files = recorded_files(dataset_folder, read_record(dataset_folder, identifier))
        write_record(dataset_folder, identifier, status=DROPPED, files=files)


def remove_case(dataset_folder: Path, identifier: str) -> None:
    """Remove everything that the conversion wrote of a case, its record last."""
    for file in recorded_files(dataset_folder, read_record(dataset_folder, identifier)):
        file.unlink(missing_ok=True)
    remove_scratch(dataset_folder, identifier)
    _record_file(dataset_folder, identifier).unlink()


def remove_scratch(dataset_folder: Path, identifier: str) -> None:
    """Remove the half-written files of a case."""
    shutil.rmtree(dataset_folder / SCRATCH_FOLDER / identifier, ignore_errors=True)
    remove_partial_files(dataset_folder / RECORD_FOLDER, f"{identifier}.json")


def inputs_of(case: Case) -> dict:
    """Describe the files a case is converted from, so that a change of any of them is noticed later."""
    return {
        "images": [_fingerprint(file) for file in case.image_files],
        "mask": _fingerprint(case.mask_file) if case.mask_file is not None else None,
        "annotations": [_fingerprint(file) for file in case.annotation_files],
    }


def difference(record: dict, case: Case, conversion: Conversion) -> str | None:
    """Tell in which way a finished case was made from something else than it would be made from now.

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
