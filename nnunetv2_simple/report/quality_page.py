"""One static HTML page over the quality control of all cases of a dataset."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from types import MappingProxyType
from urllib.parse import quote

from nnunetv2_simple.evaluation.quality import SHELL_MM
from nnunetv2_simple.evaluation.quality_warnings import ANNOTATION, ELLIPSOID_FRACTION, is_about_annotation
from nnunetv2_simple.report import colours, rendering

QUALITY_FOLDER = "quality_control"
THUMBNAIL = ".thumbnail.png"  # after the identifier of the case, in that folder
# name, colour and style of what is drawn on the pictures, the reference last
OUTLINES = (
    ("pseudo-mask", colours.FOREGROUND, "solid"),
    ("unlabelled", colours.UNLABELLED, "solid"),
    ("box of the clicks", colours.BOX, "dotted"),
    ("reference (evaluation only)", colours.REFERENCE, "dashed"),
)
MAX_NAMED = 5  # cases in a sentence
# measures whose medians over the cases stand on top of the page, the contrast's by its magnitude
SUMMARISED = ("foreground_ml", "foreground_fraction", "unlabelled_fraction", "contrast", "precision", "recall", "dice")


def write_page(
    dataset_folder: str | Path,
    cases: Mapping[str, dict],
    *,
    failed: Mapping[str, str] = MappingProxyType({}),
    unannotated_margin_mm: float | None = None,
    unannotated_cases: Sequence[str] | None = None,
) -> Path:
    """Write ``quality_control/index.html``: all cases in one table that can be sorted and filtered.

    The page needs nothing but the pictures beside it: sheets (``quality_control/<case identifier>.png``) and thumbnails
    (``<case identifier>.thumbnail.png``; where there are none, sheets). Cases with most warnings come first or, where
    another model gave evidence, those that disagree with it most. Columns of measures against dense references are
    there if any case has them.

    Args:
        dataset_folder: The nnU-Net raw dataset.
        cases: What :func:`nnunetv2_simple.evaluation.quality.measure_case` returned, by case identifier.
        failed: The reason of every case that could not be converted, by case identifier.
        unannotated_margin_mm: How far around the boxes is background; None where everything outside them is.
        unannotated_cases: The cases that this holds for; all that were clicked if None.

    Returns:
        The file.
    """
    measures = {case: found | found.get("evaluation_only", {}) for case, found in cases.items()}
    has_evidence = any(found.get("disagreement") is not None for found in measures.values())
    ordered = sorted(measures, key=lambda case: (-len(measures[case]["warnings"]), _natural(case)))
    if has_evidence:
        ordered.sort(key=lambda case: -(measures[case]["disagreement"] or 0))
    file = Path(dataset_folder) / QUALITY_FOLDER / "index.html"
    rendering.write_page(
        file,
        "quality.html",
        title=f"Quality control of the pseudo-masks: {Path(dataset_folder).resolve().name}",
        has_evaluation=any("evaluation_only" in found for found in cases.values()),
        has_evidence=has_evidence,
        outside=describe_outside(unannotated_margin_mm, unannotated_cases),
        medians=_medians(list(measures.values())),
        failed=[(case, failed[case]) for case in sorted(failed, key=_natural)],
        kinds=_kinds(cases),
        cases=[(case, f"{quote(case)}.png", _thumbnail(file.parent, case), measures[case]) for case in ordered],
        outlines=OUTLINES if any("evaluation_only" in found for found in cases.values()) else OUTLINES[:-1],
        shell_mm=SHELL_MM,
        ellipsoid_fraction=ELLIPSOID_FRACTION,
    )
    return file


def describe_outside(unannotated_margin_mm: float | None, unannotated_cases: Sequence[str] | None) -> str:
    """Say what the labels of clicked cases hold outside the boxes; see :func:`write_page`."""
    if unannotated_margin_mm is None or unannotated_cases == []:
        return (
            "Outside the boxes of the clicks all is background: right if every lesion of a case is annotated. If there "
            "may be others, convert with -unannotated ignore."
        )
    where, elsewhere = "clicked cases", ""
    if unannotated_cases is not None:
        are_few = len(unannotated_cases) <= MAX_NAMED
        where = ", ".join(unannotated_cases) if are_few else f"{len(unannotated_cases)} cases"
        elsewhere = " In the others all outside the boxes is background."
    return (
        f"In {where} only what is within {unannotated_margin_mm:g} mm of a box is background, all else is ignored: "
        f"there may be lesions that nobody annotated.{elsewhere}"
    )


def _thumbnail(folder: Path, case: str) -> str:
    """Return the address of the small picture of a case; datasets of earlier versions have the sheet only."""
    return quote(case) + (THUMBNAIL if (folder / f"{case}{THUMBNAIL}").is_file() else ".png")


def _natural(identifier: str) -> list:
    return [(int(part), "") if part.isdecimal() else (0, part) for part in re.split(r"(\d+)", identifier)]


def _medians(cases: list[dict]) -> dict[str, float]:
    """Return the median over the cases of each measure that any case has."""
    known = {key: [abs(case[key]) for case in cases if case.get(key) is not None] for key in SUMMARISED}
    return {key: median(values) for key, values in known.items() if values}


def _kinds(cases: Mapping[str, dict]) -> list[tuple[str, int]]:
    """Return how many cases have each kind of warning, the most frequent first."""
    kinds = Counter()
    for case in cases.values():
        kinds.update({kind for lesion in case["lesions"] for kind in lesion["warnings"]})
        kinds.update({ANNOTATION} if any(map(is_about_annotation, case["warnings"])) else {})
    return sorted(kinds.items(), key=lambda item: (-item[1], item[0]))
