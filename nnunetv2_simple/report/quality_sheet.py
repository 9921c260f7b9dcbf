"""A picture of the pseudo-mask of one case: three orthogonal planes through each lesion."""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib.style
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from scipy import ndimage

from nnunetv2_simple.evaluation.quality import LabelledCase
from nnunetv2_simple.report import colours
from nnunetv2_simple.report.pictures import MARGIN_MM, Outline, draw_slice, intensity_window, save_png, save_slice

if TYPE_CHECKING:
    from nnunetv2_simple.extreme_points.lesions import Lesion

MAX_ROWS, MAX_NOTES = 4, 12
WINDOW_MARGIN_MM = 5.0  # the intensities within this margin of the box decide on black and white
NEAR_VOXELS = 1  # how far from a plane an extreme point still counts as lying in it
SCRIBBLE_COLOUR = to_rgba(colours.SCRIBBLE, 0.45)
IN_PLANE = {"markersize": 6, "markerfacecolor": colours.POINT, "markeredgecolor": "white"}
ELSEWHERE = {"markersize": 4.5, "markerfacecolor": "none", "markeredgecolor": colours.POINT}
DPI, THUMBNAIL_DPI = 90, 100
WIDTH, ROW, NOTE, TITLE, LEGEND = 11.5, 4.3, 0.2, 0.4, 0.4  # inches


@matplotlib.style.context("default")  # nnU-Net changes the style of the process
def draw_sheet(output_file: Path, case: LabelledCase, measures: dict, *, title: str) -> None:
    """Draw the pseudo-mask of one case on the three planes through the centre of the box of each lesion.

    One row per lesion, up to four, those with most warnings. All panels of a row have one scale in mm. The axes count
    the voxels of the image: z grows upwards, y downwards and x to the right, whatever they are in the patient.

    Args:
        output_file: The PNG to write.
        case: The case.
        measures: Its measures, see :func:`nnunetv2_simple.evaluation.quality.measure_case`.
        title: The heading, such as the case identifier.
    """
    measured = measures["lesions"]
    worst_first = sorted(range(len(measured)), key=lambda index: -len(measured[index]["warnings"]))
    rows = {
        _heading(index + 1, measured): _LesionView(case, case.lesions[index])
        for index in sorted(worst_first[:MAX_ROWS])
    } or {_heading_without_lesions(case): _LesionView(case, None)}
    if len(measured) > MAX_ROWS:
        title += f"    ({MAX_ROWS} of {len(measured)} lesions, those with most warnings)"
    notes = _wrapped(measures["warnings"])
    top = TITLE + NOTE * len(notes)
    height = top + ROW * len(rows) + LEGEND
    figure = Figure(figsize=(WIDTH, height), dpi=DPI)
    text = {"x": 0.01, "va": "top", "ha": "left", "parse_math": False}
    figure.text(y=1 - 0.1 / height, s=title, size=13, weight="bold", **text)
    figure.text(y=1 - TITLE / height, s="\n".join(notes), size=9, linespacing=1.5, color=colours.WARNING, **text)
    figure.set_layout_engine("constrained", h_pad=0.08, rect=(0, LEGEND / height, 1, 1 - (top + LEGEND) / height))
    for part, (heading, view) in zip(figure.subfigures(len(rows), squeeze=False)[:, 0], rows.items(), strict=True):
        part.suptitle(heading, size=9, x=0.01, ha="left")
        for across, axes in enumerate(part.subplots(1, 3)):
            view.draw(axes, across)
    handles = _legend([outline for view in rows.values() for outline in view.outlines])
    figure.legend(handles=handles, loc="lower center", ncols=len(handles), fontsize=8, columnspacing=1.2, frameon=False)
    save_png(figure, output_file)


def draw_thumbnail(output_file: Path, case: LabelledCase, measures: dict) -> None:
    """Draw the lesion with most warnings on the slice through the centre of its box, for the contact sheet.

    Args:
        output_file: The PNG to write.
        case: The case.
        measures: See :func:`draw_sheet`.
    """
    measured = measures["lesions"]
    worst = max(range(len(measured)), key=lambda index: len(measured[index]["warnings"]), default=None)
    view = _LesionView(case, None if worst is None else case.lesions[worst])
    across = int(np.argmax(case.spacing_mm))
    plane = tuple(view.centre[across] - view.corner[across] if axis == across else slice(None) for axis in range(3))
    save_slice(
        output_file,
        view.image[plane],
        [outline._replace(mask=outline.mask[plane]) for outline in view.outlines],
        spacing_mm=[mm for axis, mm in enumerate(case.spacing_mm) if axis != across],
        window=view.window,
        dpi=THUMBNAIL_DPI,
    )


class _LesionView:
    """The block of the image around the box of a lesion.

    Of a case without lesions (None) it is that around what is painted, and the whole image if nothing is.
    """

    def __init__(self, case: LabelledCase, lesion: "Lesion | None"):
        if lesion is None:
            whole = tuple(slice(0, n) for n in case.image.shape)
            (block,) = ndimage.find_objects(case.foreground.view(np.uint8)) or [whole]
            self.points, own_label = np.empty((0, 3), dtype=int), 1
        else:
            block, self.points, own_label = case.box(lesion).slices, lesion.extreme_points, lesion.label
        region, near = (case.around(block, margin_mm) for margin_mm in (MARGIN_MM, WINDOW_MARGIN_MM))
        labels = case.label[region]
        others = (labels != 0) & (labels != case.ignore_label) & (labels != own_label)
        self.outlines = [
            Outline("unlabelled", labels == case.ignore_label, colours.UNLABELLED, width=1.0),
            Outline("foreground of another label", others, colours.OTHER_LABEL),
            Outline("foreground", labels == own_label, colours.FOREGROUND),
        ]
        if lesion is not None:
            self.outlines.insert(1, Outline("box", case.box(lesion).contains(region), colours.BOX, ":", width=1.0))
        if lesion is not None and case.reference is not None:
            inside = case.reference[region] == own_label
            self.outlines.append(Outline("reference (evaluation only)", inside, colours.REFERENCE, "--"))
        self.image, self.scribbles = case.image[region], case.scribbles[region]
        self.corner = [side.start for side in region]
        self.centre = [(side.start + side.stop - 1) // 2 for side in block]
        self.window = intensity_window(case.image[near])
        self.spacing_mm, self.side_mm = case.spacing_mm, np.multiply(self.image.shape, case.spacing_mm).max()

    def draw(self, axes: Axes, across: int) -> None:
        """Draw the plane through the centre across one axis (0 z, 1 y, 2 x)."""
        rows, columns = (axis for axis in range(3) if axis != across)
        index = self.centre[across]
        plane = tuple(index - self.corner[across] if axis == across else slice(None) for axis in range(3))
        scribbles = self.scribbles[plane][..., None] * np.array(SCRIBBLE_COLOUR)
        draw_slice(
            axes,
            self.image[plane],
            [outline._replace(mask=outline.mask[plane]) for outline in self.outlines],
            window=self.window,
            overlay=scribbles,
            corner=(self.corner[rows], self.corner[columns]),
        )
        for point in self.points:
            style = IN_PLANE if abs(point[across] - index) <= NEAR_VOXELS else ELSEWHERE
            axes.plot(point[columns], point[rows], "o", clip_on=False, zorder=5, **style)
        for axis, centre_and_extend in ((rows, axes.set_ylim), (columns, axes.set_xlim)):  # squares of one size in mm
            middle = self.corner[axis] + (self.image.shape[axis] - 1) / 2
            half = self.side_mm / self.spacing_mm[axis] / 2
            centre_and_extend(middle - half, middle + half)
        if rows == 1:
            axes.invert_yaxis()
        axes.set_aspect(self.spacing_mm[rows] / self.spacing_mm[columns])
        axes.set(xlabel="zyx"[columns], ylabel="zyx"[rows], facecolor="0.2")
        axes.set_title(f"{'zyx'[across]} = {index}", fontsize=9, pad=3)
        axes.tick_params(labelsize=7, length=2, pad=2)
        axes.locator_params(nbins=5, integer=True, min_n_ticks=1)


def _legend(outlines: Sequence[Outline]) -> list[Artist]:
    """Return the entries of the legend: of every outline that is drawn, the scribbles and the points."""
    drawn = {outline.name: outline for outline in outlines if outline.mask.any()}
    handles: list[Artist] = [
        # a white line would not show on the sheet
        Line2D([], [], color="grey" if o.colour == colours.BOX else o.colour, ls=o.style, lw=o.width, label=o.name)
        for o in drawn.values()
    ]
    handles.append(Patch(color=SCRIBBLE_COLOUR, label="scribbles"))
    for where, style in ((f"in the plane (± {NEAR_VOXELS})", IN_PLANE), ("elsewhere", ELSEWHERE)):
        handles.append(Line2D([], [], marker="o", linestyle="", label=f"extreme point {where}", **style))
    return handles


def _heading_without_lesions(case: LabelledCase) -> str:
    if case.foreground.any():
        return "painted mask: planes through the centre of its box"
    return "no lesion: planes through the centre of the image"


def _heading(number: int, measured: Sequence[dict]) -> str:
    measures = measured[number - 1]
    name = f"lesion {number} of {len(measured)}, label {measures['label']}, " if len(measured) > 1 else ""
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
