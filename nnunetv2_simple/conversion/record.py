"""What a dataset remembers of each of its cases: provenance/<case>.json.

A case is done when its record names the inputs it was converted from, which is written last. Before its first file is
written the record names the files only: so it is known, whatever is interrupted, which files are the conversion's own.
The record of a case that could not be converted holds the reason.

A record may come from a copied dataset or be damaged, so nothing is removed on its word alone: only files named after
its case, in the folders of the dataset itself and, if the record names this dataset, of its present twin. A record that
cannot be read is that of an unfinished case.
"""

import hashlib
import os
import re
from collections.abc import Iterable
from pathlib import Path

from nnunetv2_simple.conversion.cases import Case, Conversion
from nnunetv2_simple.conversion.loading import annotated_lesions
from nnunetv2_simple.files import read_json, remove_partial_files, save_json_atomically
from nnunetv2_simple.images import read_grid, read_volume
from nnunetv2_simple.pseudo_mask.walker_probabilities import WALKER_FOLDER
from nnunetv2_simple.report.quality_page import QUALITY_FOLDER

RECORD_FOLDER = "provenance"
_CHANNEL, _LABEL = r"_\d{4}\.nii\.gz", r"\.nii\.gz"
CASE_FILES = {  # what comes after the identifier in the names of a case's files, by folder
    "imagesTr": _CHANNEL,
    "imagesTs": _CHANNEL,
    "labelsTr": _LABEL,
    "referencesTr": _LABEL,
    "referencesTs": _LABEL,
    WALKER_FOLDER: _CHANNEL,
    QUALITY_FOLDER: r"(\.thumbnail)?\.png",
}
UNREADABLE = "unreadable"


def read_record(dataset_folder: Path, identifier: str) -> dict:
    """Return the record of a case; an empty one if there is none.

    Raises:
        ValueError: If its file holds something else, naming it.
    """
    file = _record_file(dataset_folder, identifier)
    record = read_json(file) if file.exists() else {}
    is_whole = isinstance(record, dict) and (
        "inputs" not in record
        or all(isinstance(record.get(key), dict) for key in ("inputs", "parameters"))
        and {"images", "mask", "annotations"} <= record["inputs"].keys()
    )
    if not is_whole:
        raise ValueError(f"{file} must hold the record of a case, got {str(record)[:100]}")
    return record


def known_record(conversion: Conversion, identifier: str) -> dict:
    """Return the record of a case; where it cannot be read, that of an unfinished case with the files it may have."""
    try:
        return read_record(conversion.dataset_folder, identifier)
    except ValueError:
        files = [
            os.path.relpath(file, conversion.dataset_folder)
            for folder in conversion.folders
            for name in CASE_FILES
            for file in (folder / name).glob(f"{identifier}*")
        ]
        return {"dataset": conversion.dataset_folder.name, "files": files, UNREADABLE: True}


def recorded_cases(dataset_folder: Path) -> set[str]:
    """Return the identifiers of all cases that the dataset has a record of."""
    return {file.name.removesuffix(".json") for file in (dataset_folder / RECORD_FOLDER).glob("[!.]*.json")}


def recorded_files(conversion: Conversion, identifier: str, record: dict) -> dict[Path, int | None]:
    """Return every file that the conversion wrote of a case, or was about to write, with its size where it is known.

    Whatever else a record names is left out, see the top of this module.
    """
    dataset_folder, files = conversion.dataset_folder, record.get("files", {})
    sizes = files if isinstance(files, dict) else dict.fromkeys(files)
    is_own = record.get("dataset") == dataset_folder.name
    folders = conversion.folders if is_own else [dataset_folder]
    # joined as text, because a dataset folder may be a symbolic link and its twin lies beside the link
    found = {Path(os.path.normpath(dataset_folder / file)): size for file, size in sizes.items()}
    return {file: size for file, size in found.items() if _is_of_case(file, identifier, folders)}


def _is_of_case(file: Path, identifier: str, folders: Iterable[Path]) -> bool:
    ending = CASE_FILES.get(file.parent.name)
    is_named_so = ending is not None and re.fullmatch(re.escape(identifier) + ending, file.name)
    return bool(is_named_so) and file.parent.parent in folders


def is_converted(record: dict) -> bool:
    """Tell whether a case was converted, from whatever and to files that may have been removed since."""
    return "inputs" in record


def is_done(conversion: Conversion, identifier: str, record: dict) -> bool:
    """Tell whether a case was converted and all of its files are there and whole."""
    return is_converted(record) and not damaged_files(conversion, identifier, record)


def damaged_files(conversion: Conversion, identifier: str, record: dict) -> list[Path]:
    """Return the files of a converted case that are missing, or have another size and cannot be read."""
    files = recorded_files(conversion, identifier, record)
    return sorted(file for file, size in files.items() if not file.is_file() or _differs(file, size) == "damaged")


def changed_files(conversion: Conversion, identifier: str, record: dict) -> list[Path]:
    """Return the files of a converted case that somebody has saved since: they have another size, and are whole."""
    files = recorded_files(conversion, identifier, record)
    return sorted(file for file, size in files.items() if file.is_file() and _differs(file, size) == "changed")


def _differs(file: Path, size: int | None) -> str | None:
    if file.stat().st_size == size:
        return None
    try:
        read_volume(str(file))
    except ValueError:
        return "damaged"
    return "changed"


def write_record(conversion: Conversion, identifier: str, files: Iterable[Path], **content) -> None:
    """Write the record of a case: its files with their sizes and, where it is done, what there is to say of it."""
    dataset_folder = conversion.dataset_folder
    record_file = _record_file(dataset_folder, identifier)
    record_file.parent.mkdir(parents=True, exist_ok=True)
    sizes = {
        os.path.relpath(file, dataset_folder): file.stat().st_size if file.is_file() else None for file in sorted(files)
    }
    save_json_atomically({"dataset": dataset_folder.name, "files": sizes, **content}, record_file)


def begin_case(conversion: Conversion, identifier: str, files: Iterable[Path]) -> None:
    """Note which files of a case are about to be written; remove those of an earlier conversion it no longer has."""
    before = recorded_files(conversion, identifier, known_record(conversion, identifier)).keys()
    write_record(conversion, identifier, {*before, *files})
    _remove(before - set(files))
    for file in files:
        remove_partial_files(file.parent, file.name)


def reopen_case(conversion: Conversion, identifier: str) -> None:
    """Let a case no longer be done, so that any later run converts or removes it."""
    record = known_record(conversion, identifier)
    if is_converted(record):
        write_record(conversion, identifier, recorded_files(conversion, identifier, record))


def record_failure(conversion: Conversion, identifier: str, reason: str) -> None:
    """Remove what the conversion wrote of a case and remember why it failed."""
    _remove(recorded_files(conversion, identifier, known_record(conversion, identifier)))
    write_record(conversion, identifier, [], reason=reason)


def remove_case(conversion: Conversion, identifier: str) -> None:
    """Remove everything that the conversion wrote of a case, its record last."""
    _remove(recorded_files(conversion, identifier, known_record(conversion, identifier)))
    _record_file(conversion.dataset_folder, identifier).unlink()


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
        "painted": _fingerprint(case.painted_file) if case.painted_file is not None else None,
        "evidence": _fingerprint(case.evidence_file) if case.evidence_file is not None else None,
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
    now = conversion.parameters() | case.parameters()
    for name, value in now.items():
        if record["parameters"].get(name) != value:
            return f"with {name} {record['parameters'].get(name)!r} instead of {value!r}"
    before = record["inputs"]
    if not _same_files(before["images"], case.image_files):
        return f"from other images than {list(case.image_files)}"
    single_files = {"mask": ("dense mask", case.mask_file), "painted": ("painted mask", case.painted_file)}
    for key, (what, file) in (single_files | {"evidence": ("evidence", case.evidence_file)}).items():
        if not _same_files([before[key]] if before.get(key) else [], [file] if file else []):
            return f"with another {what} than {file}"
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
    before = record["lesions"]
    return len(now) != len(before) or any(n != {k: b.get(k) for k in n} for n, b in zip(now, before, strict=True))


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
