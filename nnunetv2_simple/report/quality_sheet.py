"""A picture of the pseudo-mask of one case: three orthogonal planes through each lesion."""

import os
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib.style
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from nnunetv2_simple.evaluation.quality import check_case, measure_lesion
from nnunetv2_simple.evaluation.quality_warnings import case_warnings
from nnunetv2_simple.report.quality_panel import COLOURS, LesionView, draw_panel, legend_handles, view_lesion

if TYPE_CHECKING:
    from nnunetv2_simple.extreme_points.lesions import Lesion

MAX_ROWS, MAX_NOTES, MAX_LEGEND_COLUMNS = 4, 12, 7
DPI = 90
WARNING_COLOUR = "#a02000"
# lengths in inches
PANEL, LEFT, GAP, LINE, TITLE = 3.2, 0.55, 0.6, 0.2, 0.4
ABOVE_PANELS, BELOW_PANELS, LEGEND = 0.5, 0.45, 0.5
WIDTH = LEFT + 3 * PANEL + 2 * GAP + 0.2


@matplotlib.style.context("default")  # whatever others in this process have set
def draw_sheet(
    output_file: str | Path,
    *,
    image: np.ndarray,
    label: np.ndarray,
    scribbles: np.ndarray,
    lesions: Sequence["Lesion"],
    spacing_mm: Sequence[float],
    ignore_label: int,
    reference: np.ndarray | None = None,
    warnings: Sequence[str] = (),
    title: str,
) -> None:
    """Draw the pseudo-mask of one case on the three planes through the centre of the box of each lesion.

    One row per lesion, up to four, those with most warnings. All panels of a row have one scale in mm. Which end of an
    axis is anatomically up is not looked at: the axes count voxels.

    Args:
        output_file: The PNG to write.
        image: As all other arguments but the title, see :func:`nnunetv2_simple.evaluation.quality.measure_case`.
        label: As above.
        scribbles: As above.
        lesions: As above.
        spacing_mm: As above.
        ignore_label: As above.
        reference: As above.
        warnings: As above.
        title: The heading, such as the case identifier.

    Raises:
        ValueError: As ``measure_case``.
    """
    seen = {"image": image, "label": label, "scribbles": scribbles, "spacing_mm": spacing_mm}
    seen |= {"ignore_label": ignore_label}
    check_case(lesions=lesions, reference=reference, **seen)
    measured = [measure_lesion(lesion, **seen) for lesion in lesions]
    worst_first = sorted(range(len(lesions)), key=lambda index: -len(measured[index]["warnings"]))
    shown = sorted(worst_first[:MAX_ROWS])
    views = [view_lesion(lesion, reference=reference, **seen) for lesion in [lesions[i] for i in shown] or [None]]
    headings = [_heading(index + 1, len(lesions), measured[index]) for index in shown]
    if not lesions:
        headings = ["no lesion is annotated: planes through the centre of the image"]
    if len(lesions) > MAX_ROWS:
        title += f"    ({MAX_ROWS} of {len(lesions)} lesions, those with most warnings)"
    notes = _wrapped([*warnings, *case_warnings(measured)])

    top = TITLE + LINE * len(notes)
    row_heights = [ABOVE_PANELS + _panel_sizes(view)[0] + BELOW_PANELS for view in views]
    figure = Figure(figsize=(WIDTH, top + sum(row_heights) + LEGEND), dpi=DPI)
    _write(figure, title, top=0.1, size=13, weight="bold")
    for line, note in enumerate(notes):
        _write(figure, note, top=TITLE + LINE * line, color=WARNING_COLOUR)
    for view, heading, row_height in zip(views, headings, row_heights, strict=True):
        _write(figure, heading, top=top + 0.1)
        _draw_row(figure, view, top=top + ABOVE_PANELS)
        top += row_height
    handles = legend_handles(views)
    num_columns = min(len(handles), MAX_LEGEND_COLUMNS)
    figure.legend(handles=handles, loc="lower center", ncols=num_columns, fontsize=8, frameon=False)
    _save_small(figure, Path(output_file))


def _heading(number: int, num_lesions: int, measures: dict) -> str:
    name = f"lesion {number} of {num_lesions}, label {measures['label']}, " if num_lesions > 1 else ""
    contrast = "undefined" if measures["contrast"] is None else f"{measures['contrast']:.2f}"
    return (
        f"{name}{measures['source']}:   box {' × '.join(f'{mm:.3g}' for mm in measures['box_size_mm'])} mm (z × y × x)"
        f"   foreground {measures['foreground_ml']:.3g} ml, {measures['foreground_fraction']:.0%} of the box   "
        f"{measures['reached_points']} of 6 points reached   contrast {contrast}"
    )


def _wrapped(warnings: Sequence[str]) -> list[str]:
    lines = [line for warning in warnings for line in textwrap.wrap(warning, 140, subsequent_indent="    ")]
    if len(lines) > MAX_NOTES:
        lines[MAX_NOTES - 1 :] = [f"... and more, {len(warnings)} warnings in all"]
    return lines


def _panel_sizes(view: LesionView) -> tuple[float, float]:
    """Return the height of the highest panel of a row in inches, and inches per mm."""
    scale = PANEL / max(view.size_mm)
    return scale * max(view.size_mm[0], view.size_mm[1]), scale


def _draw_row(figure: Figure, view: LesionView, *, top: float) -> None:
    """Draw the planes across z, y and x, their tops ``top`` inches below that of the figure."""
    figure_height = figure.get_figheight()
    row_height, scale = _panel_sizes(view)
    for across in range(3):
        height, width = (scale * mm for axis, mm in enumerate(view.size_mm) if axis != across)
        left = LEFT + across * (PANEL + GAP) + (PANEL - width) / 2
        bottom = figure_height - top - (row_height + height) / 2
        panel = figure.add_axes((left / WIDTH, bottom / figure_height, width / WIDTH, height / figure_height))
        draw_panel(panel, view, across=across)


def _write(figure: Figure, text: str, *, top: float, size: float = 9, **style) -> None:
    """Write one line at the left, ``top`` inches below the top of the figure."""
    y = 1 - top / figure.get_figheight()
    figure.text(0.1 / WIDTH, y, text, va="top", fontsize=size, parse_math=False, **style)


def _save_small(figure: Figure, file: Path) -> None:
    """Write a PNG with a palette, beside its place first."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    picture = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(file.name + ".partial")
    picture.quantize(palette=_palette(), dither=Image.Dither.NONE).save(partial, format="PNG", optimize=True)
    os.replace(partial, file)


def _palette() -> Image.Image:
    """Return a palette of greys and of every colour blended with black, greys and white."""
    greys = np.linspace(0, 1, 64)[:, None] * np.ones(3)
    blends = [
        (1 - share) * grey + share * np.array(to_rgb(colour))
        for colour in (*COLOURS, WARNING_COLOUR)
        for share in (0.25, 0.45, 0.75, 1)
        for grey in (0, 0.2, 0.4, 0.6, 0.8, 1)
    ]
    palette = Image.new("P", (1, 1))
    palette.putpalette(np.rint(255 * np.concatenate([greys, blends])).astype(np.uint8).tobytes())
    return palette
