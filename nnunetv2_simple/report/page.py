"""The report of a comparison: one HTML file that needs nothing else, to look at and to pass on."""

import os
from collections.abc import Callable
from html import escape
from pathlib import Path
from string import Template
from uuid import uuid4

from plotly.offline import get_plotlyjs

from nnunetv2_simple.report.charts import box_plots, scatter
from nnunetv2_simple.report.commands import how_it_was_made
from nnunetv2_simple.report.curves import training_curves
from nnunetv2_simple.report.data import Comparison, UnavailableError, read_comparison
from nnunetv2_simple.report.headline import headline
from nnunetv2_simple.report.models import surface_views
from nnunetv2_simple.report.predictions import prediction_slices
from nnunetv2_simple.report.script import SCRIPT
from nnunetv2_simple.report.stages import training_stages
from nnunetv2_simple.report.tables import costs, results_table
from nnunetv2_simple.report.template import PAGE, STYLE

# id, title, short title for the list at the top, what writes it
SECTIONS: tuple[tuple[str, str, str, Callable[[Comparison], str]], ...] = (
    ("results", "Results", "Results", results_table),
    ("boxes", "All test cases, method by method", "Cases", box_plots),
    ("against", "Case by case against full supervision", "Against full supervision", scatter),
    ("training", "Training curves", "Training", training_curves),
    ("stages", "Pseudo-masks of training cases, stage by stage", "Pseudo-masks", training_stages),
    ("predictions", "Predictions of test cases", "Predictions", prediction_slices),
    ("models", "Predictions in 3D, coloured by their distance to the reference", "3D", surface_views),
    ("costs", "What each method cost", "Costs", costs),
    ("made", "How it was made", "How it was made", how_it_was_made),
)


def write_report(comparison_file: Path, output_file: Path) -> None:
    """Write the report of a comparison as one HTML file that opens offline.

    Read are comparison.json, the images, references and predictions of the few cases shown, labels of training cases,
    and the logs in nnU-Net's checkpoints. What of these is not there, the page says so and does without.

    Args:
        comparison_file: comparison.json, as ``nnUNetv2_simple_compare`` writes it.
        output_file: The HTML file to write; it appears complete or not at all.

    Raises:
        ValueError: If ``comparison_file`` cannot be read or is not the result of a comparison.
    """
    comparison = read_comparison(comparison_file)
    dataset = str(comparison.main.get("dataset") or "").partition("_")[2]
    page = Template(PAGE).substitute(
        title=escape(f"Segmentation from six clicks, compared: {dataset}" if dataset else "Comparison"),
        style=STYLE,
        headline=headline(comparison),
        links=" ".join(f'<a href="#{name}">{short}</a>' for name, _, short, _ in SECTIONS),
        sections="\n".join(
            f'<section id="{name}"><h2>{title}</h2>{_content(write, comparison)}</section>'
            for name, title, _, write in SECTIONS
        ),
        footer=_footer(comparison),
        plotly=get_plotlyjs(),
        script=SCRIPT,
    )
    output_file = Path(output_file)
    output_file.parent.mkdir(parents=True, exist_ok=True)
    partial = output_file.with_name(f"{output_file.name}.partial_{uuid4().hex}")
    try:
        partial.write_text(page, encoding="utf-8")
        os.replace(partial, output_file)
    finally:
        partial.unlink(missing_ok=True)


def _content(write: Callable[[Comparison], str], comparison: Comparison) -> str:
    try:
        return write(comparison)
    except UnavailableError as reason:
        return f'<p class="missing">Not shown: {escape(str(reason))}.</p>'


def _footer(comparison: Comparison) -> str:
    version, created = (escape(str(comparison.content.get(name, ""))) for name in ("nnunetv2_simple", "created"))
    return f"Written by nnunetv2_simple {version} {created}. Nothing on this page is loaded from elsewhere."
