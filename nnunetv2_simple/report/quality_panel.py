"""One plane through one lesion: image, scribbles, outlines of the pseudo-mask, extreme points."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from nnunetv2_simple.evaluation.quality import margin_voxels
from nnunetv2_simple.extreme_points.box import LesionBox

if TYPE_CHECKING:
    from matplotlib.artist import Artist

    from nnunetv2_simple.extreme_points.lesions import Lesion

MARGIN_MM = 15.0  # around the box
WINDOW_MARGIN_MM = 5.0  # around the box: whose intensities decide on black and white
WINDOW_PERCENTILES = (1, 99)
NEAR_VOXELS = 1  # how far from a plane an extreme point still counts as lying in it

FOREGROUND_COLOUR, UNLABELLED_COLOUR, REFERENCE_COLOUR = "#ffb000", "#66aaff", "#33dd88"
OTHER_COLOUR, SCRIBBLE_COLOUR, POINT_COLOUR, BOX_COLOUR = "#c08bff", "#e040a0", "#ff4040", "#ffffff"
COLOURS = (
    FOREGROUND_COLOUR,
    UNLABELLED_COLOUR,
    REFERENCE_COLOUR,
    OTHER_COLOUR,
    SCRIBBLE_COLOUR,
    POINT_COLOUR,
)
SCRIBBLE_OPACITY = 0.45
IN_PLANE = {"markersize": 6, "markerfacecolor": POINT_COLOUR, "markeredgecolor": "white"}
ELSEWHERE = {"markersize": 4.5, "markerfacecolor": "none", "markeredgecolor": POINT_COLOUR}


@dataclass(frozen=True, eq=False)
class LesionView:
    """What is shown of one lesion: the block of the image around its box.

    Attributes:
        image: (z, y, x), the block; as the other arrays.
        foreground: bool, carries the lesion's label.
        other_foreground: bool, carries the label of another class.
        unlabelled: bool.
        scribbles: bool.
        reference: bool, carries the lesion's label in the reference; None without a reference.
        in_box: bool.
        extreme_points: (n, 3) voxels of the image (z, y, x).
        corner: The first voxel of the block in the image.
        centre: The voxel of the image through which the planes go.
        window: The intensities shown black and white.
        spacing_mm: Voxel size (z, y, x).
    """

    image: np.ndarray
    foreground: np.ndarray
    other_foreground: np.ndarray
    unlabelled: np.ndarray
    scribbles: np.ndarray
    reference: np.ndarray | None
    in_box: np.ndarray
    extreme_points: np.ndarray
    corner: tuple[int, ...]
    centre: tuple[int, ...]
    window: tuple[float, float]
    spacing_mm: tuple[float, ...]

    @property
    def size_mm(self) -> tuple[float, ...]:
        return tuple(n * mm for n, mm in zip(self.image.shape, self.spacing_mm, strict=True))


def view_lesion(
    lesion: "Lesion | None",
    *,
    image: np.ndarray,
    label: np.ndarray,
    scribbles: np.ndarray,
    spacing_mm: Sequence[float],
    ignore_label: int,
    reference: np.ndarray | None,
) -> LesionView:
    """Cut out what is shown of a lesion; of a case without lesions (None) the whole image, without a box."""
    region = near = block = tuple(slice(0, n) for n in image.shape)
    in_box, points = np.zeros(image.shape, dtype=bool), np.empty((0, 3), dtype=int)
    if lesion is not None:
        box = LesionBox(lesion.extreme_points, shape=image.shape, spacing_mm=spacing_mm, axes=lesion.axes)
        region, near = (box.region(margin_voxels(mm, spacing_mm)) for mm in (MARGIN_MM, WINDOW_MARGIN_MM))
        block, in_box, points = box.slices, box.contains(region), lesion.extreme_points
    own_label = lesion.label if lesion is not None else 1
    foreground = (label[region] != 0) & (label[region] != ignore_label)
    return LesionView(
        image=image[region],
        foreground=label[region] == own_label,
        other_foreground=foreground & (label[region] != own_label),
        unlabelled=label[region] == ignore_label,
        scribbles=scribbles[region],
        reference=None if reference is None else reference[region] == own_label,
        in_box=in_box,
        extreme_points=points,
        corner=tuple(side.start for side in region),
        centre=tuple((side.start + side.stop - 1) // 2 for side in block),
        window=tuple(np.percentile(image[near], WINDOW_PERCENTILES)),
        spacing_mm=tuple(spacing_mm),
    )


def draw_panel(panel: Axes, view: LesionView, *, across: int) -> None:
    """Draw the plane across one axis (0 z, 1 y, 2 x).

    The axes count the voxels of the image. z grows upwards, y downwards and x to the right, whatever they are in the
    patient.
    """
    rows, columns = (axis for axis in range(3) if axis != across)
    corner = view.corner[rows], view.corner[columns]
    index = view.centre[across]
    plane = tuple(index - view.corner[across] if axis == across else slice(None) for axis in range(3))
    pixels = view.image[plane]
    x_limits, y_limits = ((corner[i] - 0.5, corner[i] + pixels.shape[i] - 0.5) for i in (1, 0))
    options = {"extent": (*x_limits, *y_limits), "origin": "lower", "aspect": "auto", "interpolation": "nearest"}
    panel.imshow(pixels, cmap="gray", vmin=view.window[0], vmax=view.window[1], **options)
    overlay = np.zeros((*pixels.shape, 4))
    overlay[view.scribbles[plane]] = to_rgba(SCRIBBLE_COLOUR, SCRIBBLE_OPACITY)
    panel.imshow(overlay, **options)

    _outline(panel, view.unlabelled[plane], corner, UNLABELLED_COLOUR, linewidths=1.0)
    _outline(panel, view.in_box[plane], corner, BOX_COLOUR, linewidths=1.0, linestyles=":")
    _outline(panel, view.other_foreground[plane], corner, OTHER_COLOUR)
    _outline(panel, view.foreground[plane], corner, FOREGROUND_COLOUR)
    if view.reference is not None:
        _outline(panel, view.reference[plane], corner, REFERENCE_COLOUR, linestyles="--")
    for point in view.extreme_points:
        style = IN_PLANE if abs(point[across] - index) <= NEAR_VOXELS else ELSEWHERE
        panel.plot(point[columns], point[rows], "o", clip_on=False, zorder=5, **style)

    panel.set(xlim=x_limits, ylim=y_limits if rows == 0 else y_limits[::-1])
    panel.set_xlabel("zyx"[columns], labelpad=3)
    panel.set_ylabel("zyx"[rows], labelpad=3)
    panel.set_title(f"{'zyx'[across]} = {index}", fontsize=9, pad=3)
    panel.tick_params(labelsize=7, length=2, pad=2)
    panel.locator_params(nbins=5, integer=True, min_n_ticks=1)


def legend_handles(views: Sequence[LesionView]) -> list["Artist"]:
    """Return the entries of the legend that the views need."""
    handles = [Line2D([], [], color=FOREGROUND_COLOUR, label="foreground")]
    if any(view.other_foreground.any() for view in views):
        handles.append(Line2D([], [], color=OTHER_COLOUR, label="foreground of another label"))
    handles += [
        Line2D([], [], color=UNLABELLED_COLOUR, linewidth=1, label="unlabelled"),
        Patch(color=SCRIBBLE_COLOUR, alpha=SCRIBBLE_OPACITY, label="scribbles"),
        Line2D([], [], color="grey", linewidth=1, linestyle=":", label="box"),
        Line2D([], [], marker="o", linestyle="", label=f"extreme point in the plane (± {NEAR_VOXELS})", **IN_PLANE),
        Line2D([], [], marker="o", linestyle="", label="extreme point elsewhere", **ELSEWHERE),
    ]
    if any(view.reference is not None for view in views):
        handles.append(Line2D([], [], color=REFERENCE_COLOUR, linestyle="--", label="reference (evaluation only)"))
    return handles


def _outline(panel: Axes, mask: np.ndarray, corner: tuple[int, int], colour: str, **style) -> None:
    """Draw the outline of a mask of pixels, closed at the border of the panel."""
    if mask.any():
        y, x = (np.arange(n + 2) + first - 1 for n, first in zip(mask.shape, corner, strict=True))
        panel.contour(x, y, np.pad(mask, 1), levels=[0.5], colors=[colour], **{"linewidths": 1.5} | style)
