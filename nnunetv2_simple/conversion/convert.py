"""From images and annotations to an nnU-Net raw dataset with an ignore label.

    DatasetXXX_Name/
        imagesTr/ imagesTs/            <case>_0000.nii.gz, <case>_0001.nii.gz, ...
        labelsTr/                      <case>.nii.gz: the pseudo-mask, its highest label is nnU-Net's ignore label
        walkerTr/                      the random walker's probabilities, 255 is probability 1
        referencesTr/ referencesTs/    dense masks where known; nothing of nnU-Net reads these folders
        quality_control/               index.html and one picture per case
        provenance/                    one record per case: what was written of it, and from what
        provenance.json                the lesions, parameters and version behind every label
        dataset.json

Every case is converted on its own (:mod:`nnunetv2_simple.conversion.case_files`), and its record says what
became of it (:mod:`nnunetv2_simple.conversion.record`). dataset.json is removed first and written last, from
the records, by whichever run finds that no case is left: an interrupted conversion leaves no
dataset.json that promises more than there is, and the same command resumes it.
"""

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from pathlib import Path

from nnunetv2_simple.conversion.case_files import convert_case
from nnunetv2_simple.conversion.cases import IDENTIFIER, MAX_IDENTIFIER_LENGTH, Case, Conversion
from nnunetv2_simple.conversion.dataset_files import (
    is_own_dataset_json,
    locked,
    remove_dataset_json,
    remove_leftovers,
    split_files,
    write_dataset_files,
)
from nnunetv2_simple.conversion.loading import CaseError, load_case
from nnunetv2_simple.conversion.record import (
    CASE_FILES,
    RECORD_FOLDER,
    UNREADABLE,
    changed_files,
    damaged_files,
    difference,
    is_converted,
    is_done,
    known_record,
    record_failure,
    recorded_cases,
    recorded_files,
    remove_case,
    reopen_case,
)
from nnunetv2_simple.nnunet.datasets import SPLITS_FILE
from nnunetv2_simple.parallel import open_workers, reason_of
from nnunetv2_simple.report.quality_page import QUALITY_FOLDER

KILLED = "its worker process was killed (out of memory?); the same command with fewer worker processes tries again"


def convert_dataset(
    cases: Sequence[Case],
    conversion: Conversion,
    *,
    overwrite: bool = False,
    changed: bool = False,
    part_id: int = 0,
    num_parts: int = 1,
    excluded: Collection[str] = (),
    num_processes: int = 1,
    dask_scheduler: str | None = None,
    progress: Callable[[Sequence[Case], Iterator], Iterator] = lambda cases, finished: finished,
) -> dict[str, str]:
    """Write an nnU-Net raw dataset whose labels are pseudo-masks, and optionally its fully supervised twin.

    The twin holds the dense masks as labels; its dataset.json points at the images of the first dataset, so cases are
    the same and nnU-Net splits them the same way. Cases that an earlier run finished are left as they are.

    Args:
        cases: All cases of the dataset.
        conversion: What they are converted with, and where to.
        overwrite: Whether to convert finished cases again, and to remove what an earlier conversion wrote of cases
            that are no longer among them (not by parts: only a call that has all cases knows which these are).
        changed: Whether to convert those finished cases again whose input or options are other ones now.
        part_id: Which part of the sorted cases to convert, 0 to ``num_parts`` - 1.
        num_parts: In how many parts the cases are converted, by as many calls.
        excluded: Identifiers that are not among the cases, and what an earlier conversion wrote of them is removed (not
            by parts).
        num_processes: Cases converted at the same time on this machine.
        dask_scheduler: Address of a Dask scheduler to convert the cases on instead.
        progress: Wraps the iterator over the finished cases, given the cases that are converted; e.g. a progress bar.

    Returns:
        The reason of failure of every case of this part that could not be converted. The others are converted.

    Raises:
        ValueError: If case identifiers are not unique or no file names, there is no case, an option is out of its
            range, or a finished case was converted from something else and neither ``overwrite`` nor ``changed`` is
            set, or ``changed`` would convert a case whose label somebody has corrected.
        FileExistsError: If one of the datasets holds files that no conversion wrote, or of cases that are no longer
            among them and may not be removed.
        BlockingIOError: If another conversion is at work in one of the datasets.
        ConnectionError: See :func:`nnunetv2_simple.parallel.open_workers`.
    """
    part = cases_of_part(cases, part_id=part_id, num_parts=num_parts)
    kept = {"overwrite": overwrite, "num_parts": num_parts, "excluded": excluded}
    check_dataset(cases, conversion, changed=changed, **kept)  # nothing is written before
    folder, failures = conversion.dataset_folder, {}
    anew = changed_cases(part, conversion) if changed else []
    is_finished = _is_finished(cases, conversion, overwrite=overwrite)
    if is_finished and not anew and not dropped_cases(cases, conversion, **kept):
        return failures
    with (
        open_workers(num_processes=num_processes, dask_scheduler=dask_scheduler) as run,
        locked(conversion.folders, part_id=part_id, num_parts=num_parts),
    ):
        check_dataset(cases, conversion, changed=changed, **kept)
        if num_parts == 1:
            remove_leftovers(conversion)
        dropped = dropped_cases(cases, conversion, **kept)
        to_convert = [case for case in part if overwrite or case.identifier in anew or not _is_done(case, conversion)]
        for identifier in (*dropped, *(case.identifier for case in to_convert)):
            reopen_case(conversion, identifier)
        if dropped or to_convert:
            remove_dataset_json(conversion)
        for identifier in dropped:
            remove_case(conversion, identifier)
        converted = run(partial(_try_to_convert, conversion=conversion), to_convert, killed=lambda case: KILLED)
        for case, reason in progress(to_convert, converted):
            if reason is None and not _is_done(case, conversion):
                reason = f"its files did not arrive in {folder}: all workers need the same file system"
            if reason is not None:
                failures[case.identifier] = reason
                record_failure(conversion, case.identifier, reason)
        write_dataset_files(cases, conversion)
    return failures


def changed_cases(cases: Sequence[Case], conversion: Conversion) -> list[str]:
    """Return the converted cases whose input or options are other ones now.

    Raises:
        ValueError: If somebody has corrected a file of one of them, which converting it again would lose.
    """
    found = []
    for case in cases:
        record = known_record(conversion, case.identifier)
        if is_converted(record) and difference(record, case, conversion):
            if corrected := changed_files(conversion, case.identifier, record):
                raise ValueError(
                    f"{case.identifier} must be converted again because its input has changed, but {corrected[0]} was "
                    f"changed since the conversion: move it away first"
                )
            found.append(case.identifier)
    return found


def examine_cases(
    cases: Sequence[Case],
    conversion: Conversion,
    *,
    part_id: int = 0,
    num_parts: int = 1,
    num_processes: int = 1,
    dask_scheduler: str | None = None,
    progress: Callable[[Sequence[Case], Iterator], Iterator] = lambda cases, finished: finished,
) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Read and check the cases as :func:`convert_dataset`, which has the same arguments, would, and write nothing.

    Returns:
        The problems and the warnings of every case of this part that has any.

    Raises:
        ValueError: If an option is out of its range.
        ConnectionError: See :func:`nnunetv2_simple.parallel.open_workers`.
    """
    part = cases_of_part(cases, part_id=part_id, num_parts=num_parts)
    problems, warnings = {}, {}
    with open_workers(num_processes=num_processes, dask_scheduler=dask_scheduler) as run:
        examined = run(partial(_examine, conversion=conversion), part, killed=lambda case: ([KILLED], []))
        for case, found in progress(part, examined):
            problems[case.identifier], warnings[case.identifier] = found
    return {k: v for k, v in problems.items() if v}, {k: v for k, v in warnings.items() if v}


def cases_of_part(cases: Sequence[Case], *, part_id: int, num_parts: int) -> list[Case]:
    """Return every ``num_parts``-th of the sorted cases, as nnUNetv2_predict does."""
    if not 0 <= part_id < num_parts:
        raise ValueError(f"part ids run from 0 to the number of parts - 1, got part {part_id} of {num_parts}")
    return sorted(cases, key=lambda case: case.identifier)[part_id::num_parts]


def _is_finished(cases: Sequence[Case], conversion: Conversion, *, overwrite: bool) -> bool:
    """Tell whether there is nothing to do, so that a dataset that cannot be written to is as good as any."""
    is_complete = all((folder / "dataset.json").is_file() for folder in conversion.folders)  # they are written last
    has_own_split = any(case.is_validation for case in cases)  # which may have changed
    if overwrite or has_own_split or not is_complete or dropped_cases(cases, conversion, overwrite=False):
        return False
    return all(_is_done(case, conversion) for case in cases)


def _is_done(case: Case, conversion: Conversion) -> bool:
    return is_done(conversion, case.identifier, known_record(conversion, case.identifier))


def annotation_warnings_of(cases: Sequence[Case], conversion: Conversion) -> dict[str, list[str]]:
    """Return what is valid but suspicious about converted cases, by case identifier."""
    found = {}
    for case in cases:
        record = known_record(conversion, case.identifier)
        found[case.identifier] = [
            *record.get("warnings", []),
            *(
                f"{file} was changed since the conversion and is kept as it is"
                for file in (changed_files(conversion, case.identifier, record) if is_converted(record) else [])
            ),
        ]
    return {identifier: warnings for identifier, warnings in found.items() if warnings}


def quality_warnings_of(cases: Sequence[Case], conversion: Conversion) -> dict[str, list[str]]:
    """Return the warnings of the pseudo-masks of converted cases, the case with most of them first."""
    records = {case.identifier: known_record(conversion, case.identifier) for case in cases}
    found = {name: record["quality"]["warnings"] for name, record in records.items() if "quality" in record}
    return {name: found[name] for name in sorted(found, key=lambda name: -len(found[name])) if found[name]}


def converted_cases(cases: Sequence[Case], conversion: Conversion) -> set[str]:
    """Return the identifiers of the cases all of whose files are there."""
    return {case.identifier for case in cases if _is_done(case, conversion)}


def dropped_cases(
    cases: Sequence[Case],
    conversion: Conversion,
    *,
    overwrite: bool,
    num_parts: int = 1,
    excluded: Collection[str] = (),
) -> list[str]:
    """Return the cases of earlier conversions that are no longer among the cases and that a conversion removes.

    These are all of them with ``overwrite``, otherwise the excluded ones and those of which only the beginnings are
    there; none where the cases are converted in parts.
    """
    if num_parts > 1:
        return []
    others = recorded_cases(conversion.dataset_folder) - {case.identifier for case in cases}
    records = {name: known_record(conversion, name) for name in others}
    only_begun = {name for name, record in records.items() if not (is_converted(record) or UNREADABLE in record)}
    return sorted(others if overwrite else only_begun | others & set(excluded))


def check_dataset(
    cases: Sequence[Case],
    conversion: Conversion,
    *,
    overwrite: bool,
    changed: bool = False,
    num_parts: int = 1,
    excluded: Collection[str] = (),
) -> None:
    """Raise for everything that :func:`convert_dataset` refuses before any work."""
    _check_identifiers(cases)
    # files first: of a case that another part converts right now, the record is there before the files are
    found = [file for folder in conversion.folders for file in _existing_files(folder)]
    identifiers = [case.identifier for case in cases]
    identifiers += dropped_cases(cases, conversion, overwrite=overwrite, num_parts=num_parts, excluded=excluded)
    records = {identifier: known_record(conversion, identifier) for identifier in identifiers}
    own = {file for name, record in records.items() for file in recorded_files(conversion, name, record)}
    for file in found:
        if file not in own and not (file.name == "dataset.json" and is_own_dataset_json(file)):
            raise FileExistsError(
                f"{file} was not written by a conversion of these cases: it comes from elsewhere, or its case is no "
                f"longer in the input. Remove such cases with --overwrite (without -num_parts), or choose another "
                f"dataset id"
            )
    if any(case.is_validation for case in cases):
        _check_split(conversion)
    if overwrite or changed:
        return
    for case in cases:
        record = records[case.identifier]
        if is_converted(record) and (what := difference(record, case, conversion)):
            raise ValueError(
                f"{case.identifier} was converted to {conversion.dataset_folder} {what}; to convert all cases again "
                f"use --overwrite, to convert only those that have changed --changed"
            )
        damaged = damaged_files(conversion, case.identifier, record) if is_converted(record) else []
        if damaged and (corrected := changed_files(conversion, case.identifier, record)):
            raise ValueError(
                f"{case.identifier} must be converted again, as {damaged[0]} is missing or damaged, but {corrected[0]} "
                f"was changed since the conversion: move it away first, or give it up with --overwrite"
            )


def _check_identifiers(cases: Sequence[Case]) -> None:
    if not cases:
        raise ValueError("there is no case to convert")
    if wrong := [case.identifier for case in cases if not re.fullmatch(IDENTIFIER, case.identifier)]:
        raise ValueError(
            f"a case identifier may only hold letters, digits, '_', '-' and '.', must start with a letter or digit and "
            f"have at most {MAX_IDENTIFIER_LENGTH} characters; got {', '.join(map(repr, wrong))}"
        )
    duplicates = [name for name, count in Counter(c.identifier for c in cases).items() if count > 1]
    if duplicates:
        raise ValueError(f"case identifiers must be unique, got several of {duplicates}")


def _existing_files(folder: Path) -> list[Path]:
    """List what a conversion would write over or would mix its cases with."""
    files = [file for name in CASE_FILES for file in sorted((folder / name).glob("[!.]*"))]
    files = [file for file in files if file.parent.name != QUALITY_FOLDER or file.suffix == ".png"]
    files.append(folder / "dataset.json")
    if not (folder / RECORD_FOLDER).is_dir():
        files += [folder / "provenance.json", folder / SPLITS_FILE]
    return [file for file in files if file.exists()]


def _check_split(conversion: Conversion) -> None:
    """Leave a split alone that someone made for the preprocessed data."""
    raw, *preprocessed = split_files(conversion)
    for file in preprocessed:
        if file.exists() and not (raw.exists() and file.read_bytes() == raw.read_bytes()):
            raise FileExistsError(f"{file} was not written by this conversion: remove it or choose another dataset id")


def _try_to_convert(case: Case, *, conversion: Conversion) -> str | None:
    """Convert a case; return why it could not be converted, if so."""
    try:
        convert_case(case, conversion)
    except Exception as error:  # whatever happens to one case must not stop the others
        return reason_of(error)
    return None


def _examine(case: Case, *, conversion: Conversion) -> tuple[list[str], list[str]]:
    try:
        return [], list(load_case(case, conversion).warnings)
    except CaseError as error:
        return error.problems, []
    except Exception as error:  # as above
        return [reason_of(error)], []
