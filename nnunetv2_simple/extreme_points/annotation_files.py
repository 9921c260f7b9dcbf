"""Which annotation files belong to which case, and which lesion of it their names mean."""

import re
from collections.abc import Collection, Sequence
from pathlib import Path

from nnunetv2_simple.extreme_points.annotation import error_context
from nnunetv2_simple.extreme_points.formats import ANNOTATION_FILE_ENDINGS, csv_cases
from nnunetv2_simple.files import files_below

CHANNEL_SUFFIX = r"_\d{4}"  # nnU-Net's, of images
# files that may bear it: neither copies of images nor what converters write beside them (.json)
NAMED_AFTER_IMAGES = (".mrk.json", ".fcsv", ".csv", ".tsv")


def find_annotations(
    source: str | Path, identifiers: Sequence[str], *, other_inputs: Collection[str | Path] = ()
) -> tuple[dict[str, tuple[str, ...]], tuple[str, ...]]:
    """Find the annotation files of each case.

    Args:
        source: A folder of files ``<case>.<ext>`` and ``<case>.<name>.<ext>``, where <name> names a lesion, or one
            CSV file with a column ``case`` for the whole dataset. What 3D Slicer writes may also be named after the
            image: ``<case>_0000.mrk.json``.
        identifiers: The case identifiers. They may contain dots: the longest one that fits a file name wins.
        other_inputs: Files and folders that are something else, such as the images.

    Returns:
        The files of each case that has any, and what belongs to no case: files, also of sub-folders, or cases of the
        CSV file.

    Raises:
        ValueError: If the source is neither.
    """
    source = Path(source)
    if source.is_file() and source.suffix.lower() in (".csv", ".tsv"):
        with error_context(str(source)):
            annotated = csv_cases(str(source))
        found = {case: (str(source),) for case in identifiers if case in annotated}
        return found, tuple(f"{source}, case {case!r}" for case in sorted(annotated - found.keys()))
    if not source.is_dir():
        raise ValueError(f"annotations must be a folder or a CSV file, got {source}")
    known, found, others = set(identifiers), {}, []
    for file in files_below(source, ignored=other_inputs):
        case = _annotated_case(file.name, known) if file.parent == source else None
        if case is None:
            others.append(str(file))
        else:
            found.setdefault(case, []).append(str(file))
    return {case: tuple(files) for case, files in found.items()}, tuple(others)


def _annotated_case(file_name: str, identifiers: Collection[str]) -> str | None:
    stem = _without_ending(file_name)
    if stem == file_name:
        return None
    parts = stem.split(".")
    for count in range(len(parts), 0, -1):
        prefix = ".".join(parts[:count])
        if prefix in identifiers:
            return prefix
        case = re.sub(CHANNEL_SUFFIX + "$", "", prefix)
        if case in identifiers and file_name.lower().endswith(NAMED_AFTER_IMAGES):
            return case
    return None


def _without_ending(file_name: str) -> str:
    ending = next((ending for ending in ANNOTATION_FILE_ENDINGS if file_name.lower().endswith(ending)), "")
    return file_name[: len(file_name) - len(ending)]


def lesion_name(file: Path, case: str) -> str:
    """Return the <name> of a file <case>.<name>.<ext>, "" if it has none."""
    stem = _without_ending(file.name)
    name = re.fullmatch(rf"{re.escape(case)}(?:{CHANNEL_SUFFIX})?\.(.+)", stem)
    return name[1] if name else ""
