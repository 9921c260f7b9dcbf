"""One static HTML page over the quality control of all cases of a dataset."""

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from statistics import median
from string import Template
from types import MappingProxyType
from urllib.parse import quote
from uuid import uuid4

from nnunetv2_simple.evaluation.quality_warnings import ANNOTATION, is_about_annotation
from nnunetv2_simple.report.quality_columns import COLUMNS, Column
from nnunetv2_simple.report.quality_template import PAGE

QUALITY_FOLDER = "quality_control"
MAX_LISTED = 10  # longer lists of failed cases are folded away
EVALUATION = "evaluation only"
EVALUATION_NOTE = f"{EVALUATION}: from dense references, not available to the training"


def write_page(
    dataset_folder: str | Path, cases: Mapping[str, dict], *, failed: Mapping[str, str] = MappingProxyType({})
) -> Path:
    """Write ``quality_control/index.html``: all cases in one table that can be sorted and filtered.

    The page needs nothing but the sheets beside it (``quality_control/<case identifier>.png``). Cases with most
    warnings come first. Columns of measures against dense references are there if any case has them.

    Args:
        dataset_folder: The nnU-Net raw dataset.
        cases: What :func:`nnunetv2_simple.evaluation.quality.measure_case` returned, by case identifier.
        failed: The reason of every case that could not be converted, by case identifier.

    Returns:
        The file.
    """
    has_evaluation = any("evaluation_only" in case for case in cases.values())
    columns = [column for column in COLUMNS if has_evaluation or not column.is_evaluation]
    ordered = sorted(cases, key=lambda identifier: (-len(cases[identifier]["warnings"]), _natural(identifier)))
    page = Template(PAGE).substitute(
        dataset=escape(Path(dataset_folder).resolve().name),
        summary="\n".join(_summary(cases, columns)),
        failed=_failed(failed),
        kinds=_kinds(cases),
        explanations="\n".join(_explanations(columns)),
        head=_head(columns),
        rows="\n".join(_row(identifier, cases[identifier], columns) for identifier in ordered),
    )
    file = Path(dataset_folder) / QUALITY_FOLDER / "index.html"
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f"{file.name}.partial_{uuid4().hex}")  # several runs may write it at once
    try:
        partial.write_text(page, encoding="utf-8")
        os.replace(partial, file)
    finally:
        partial.unlink(missing_ok=True)
    return file


def _natural(identifier: str) -> list:
    return [(int(part), "") if part.isdecimal() else (0, part) for part in re.split(r"(\d+)", identifier)]


def _measure(case: Mapping, column: Column):
    return (case.get("evaluation_only", {}) if column.is_evaluation else case).get(column.key)


def _summary(cases: Mapping[str, dict], columns: Sequence[Column]) -> list[str]:
    with_warnings = sum(bool(case["warnings"]) for case in cases.values())
    facts = [("cases", str(len(cases)), ""), ("with warnings", str(with_warnings), "")]
    for column in (column for column in columns if column.summary):
        measures = [_measure(case, column) for case in cases.values()]
        values = [column.value(measure) for measure in measures if measure is not None]
        if values:
            note = f" ({EVALUATION})" if column.is_evaluation else ""
            facts.append((column.summary + note, column.show(median(values)), _style(column)))
    return [
        f'<div class="{style}"><dt>{escape(title)}</dt><dd>{escape(value)}</dd></div>' for title, value, style in facts
    ]


def _failed(failed: Mapping[str, str]) -> str:
    """Return the list of cases that are not in the table."""
    if not failed:
        return ""
    entries = "".join(
        f"<dt>{escape(identifier)}</dt><dd>{escape(failed[identifier])}</dd>"
        for identifier in sorted(failed, key=_natural)
    )
    title = "1 case failed and is left out" if len(failed) == 1 else f"{len(failed)} cases failed and are left out"
    is_open = " open" if len(failed) <= MAX_LISTED else ""
    return f'<details class="failed"{is_open}><summary>{title}</summary><dl>{entries}</dl></details>'


def _kinds(cases: Mapping[str, dict]) -> str:
    """Return how many cases have each kind of warning, as buttons that filter."""
    kinds = Counter()
    for case in cases.values():
        kinds.update({kind for lesion in case["lesions"] for kind in lesion["warnings"]})
        kinds.update({ANNOTATION} if any(map(is_about_annotation, case["warnings"])) else {})
    buttons = [
        f'<button type="button" data-kind="{escape(kind)}">{escape(kind)}: {count}</button>'
        for kind, count in sorted(kinds.items(), key=lambda item: (-item[1], item[0]))
    ]
    return f'<p class="kinds">Cases by warning: {" ".join(buttons)}</p>' if buttons else ""


def _explanations(columns: Sequence[Column]) -> list[str]:
    return [
        f"<dt>{escape(column.title)}</dt><dd>{escape(column.explanation)}"
        f"{f' <em>({escape(EVALUATION_NOTE)})</em>' if column.is_evaluation else ''}</dd>"
        for column in columns
    ]


def _style(column: Column) -> str:
    return "evaluation" if column.is_evaluation else ""


def _head(columns: Sequence[Column]) -> str:
    evaluation = [column for column in columns if column.is_evaluation]
    groups = f'<th colspan="{2 + len(columns) - len(evaluation)}" scope="colgroup">Pseudo-masks</th>'
    if evaluation:
        groups += (
            f'<th colspan="{len(evaluation)}" scope="colgroup" class="evaluation first-evaluation">'
            f"{escape(EVALUATION_NOTE.capitalize())}</th>"
        )
    heads = [
        '<th scope="col"><button type="button">Case</button></th>',
        '<th scope="col" data-numeric aria-sort="descending"><button type="button">Warnings</button></th>',
    ]
    for column in columns:
        style = f"number {_style(column)}{' first-evaluation' if column in evaluation[:1] else ''}"
        heads.append(
            f'<th scope="col" class="{style.strip()}" title="{escape(column.explanation)}">'
            f'<button type="button">{escape(column.title)}</button></th>'
        )
    return f"<tr>{groups}</tr>\n<tr>{''.join(heads)}</tr>"


def _row(identifier: str, case: Mapping, columns: Sequence[Column]) -> str:
    name, sheet = escape(identifier), escape(quote(f"{identifier}.png"))
    warnings = "".join(f"<li>{escape(warning)}</li>" for warning in case["warnings"])
    cells = [
        f'<th scope="row" data-value="{name}"><a href="{sheet}">{name}'
        f'<img src="{sheet}" alt="sheet of {name}" loading="lazy"></a></th>',
        f'<td data-value="{len(case["warnings"])}">{f"<ul>{warnings}</ul>" if warnings else "none"}</td>',
    ]
    first_evaluation = next((column for column in columns if column.is_evaluation), None)
    for column in columns:
        measure = _measure(case, column)
        value, text = ("", "–") if measure is None else (f"{column.value(measure):.6g}", column.show(measure))
        style = f"number {_style(column)}{' first-evaluation' if column is first_evaluation else ''}"
        cells.append(f'<td class="{style.strip()}" data-value="{value}">{escape(text)}</td>')
    return f"<tr{' data-warnings' if warnings else ''}>{''.join(cells)}</tr>"
