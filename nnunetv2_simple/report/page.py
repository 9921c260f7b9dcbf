"""The report of a comparison: one HTML file that needs nothing else, to look at and to pass on."""

from collections.abc import Callable
from pathlib import Path

from markupsafe import Markup
from plotly.offline import get_plotlyjs

from nnunetv2_simple.report.charts import box_plots, scatter
from nnunetv2_simple.report.curves import training_curves
from nnunetv2_simple.report.data import Comparison, UnavailableError, read_comparison
from nnunetv2_simple.report.rendering import write_page
from nnunetv2_simple.report.slices import gallery, prediction_slices, training_stages
from nnunetv2_simple.report.surface_views import surface_views
from nnunetv2_simple.report.tables import costs, headline, results_table, seeds

# what the sections of templates/report.html are made from
SECTIONS: dict[str, Callable[[Comparison], dict]] = {
    "results": results_table,
    "boxes": box_plots,
    "against": scatter,
    "training": training_curves,
    "stages": training_stages,
    "predictions": prediction_slices,
    "gallery": gallery,
    "models": surface_views,
    "costs": costs,
    "made": seeds,
}


def write_report(comparison_file: Path, output_file: Path) -> None:
    """Write the report of a comparison as one HTML file that opens offline.

    It reads comparison.json, the images, references and predictions of the few cases shown, labels of training cases,
    and the logs in nnU-Net's checkpoints. Where a file is missing, the page says so in its place.

    Args:
        comparison_file: comparison.json, as ``nnUNetv2_simple_compare`` writes it.
        output_file: The HTML file to write; it appears complete or not at all.

    Raises:
        ValueError: If ``comparison_file`` cannot be read or is not the result of a comparison.
    """
    comparison = read_comparison(comparison_file)
    dataset = comparison.main["dataset"].partition("_")[2]
    write_page(
        output_file,
        "report.html",
        title=f"Segmentation from six clicks, compared: {dataset}",
        comparison=comparison,
        headline=headline(comparison),
        sections={name: _content(collect, comparison) for name, collect in SECTIONS.items()},
        plotly=Markup(get_plotlyjs()),
    )


def _content(collect: Callable[[Comparison], dict], comparison: Comparison) -> dict:
    try:
        return collect(comparison)
    except UnavailableError as reason:
        return {"unavailable": str(reason)}
