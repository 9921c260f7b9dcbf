"""Slices through an image with outlines of masks on them: what all pictures of the two pages are made of."""

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from nnunetv2_simple.report import colours

WINDOW_PERCENTILES = (1, 99)
MARGIN_MM, MIN_SIDE_MM = 15.0, 50.0
PANEL_INCHES, DPI = 3.6, 120
_GREYS, _COLOURS = np.linspace(0, 1, 64)[:, None], np.array([to_rgb(colour) for colour in colours.ON_IMAGES])
PALETTE = np.concatenate(
    [_GREYS * np.ones(3), _COLOURS]
    + [
        share * _COLOURS + (1 - share) * grey
        for share in (0.25, 0.45, 0.75)
        for grey in _GREYS[[0, 12, 25, 38, 50, 63]]
    ]
)


class Outline(NamedTuple):
    """The outline of a mask of pixels or voxels.

    Attributes:
        name: What the mask is, for the legend.
        mask: bool.
        colour: Of the line.
        style: "-", "--" or ":".
        width: In points.
    """

    name: str
    mask: np.ndarray
    colour: str
    style: str = "-"
    width: float = 1.5


def intensity_window(values: np.ndarray) -> tuple[float, float]:
    """Return the intensities to show black and white."""
    low, high = np.percentile(values, WINDOW_PERCENTILES)
    return float(low), float(max(high, low + np.finfo(np.float32).eps))


def draw_slice(
    axes: Axes,
    pixels: np.ndarray,
    outlines: Sequence[Outline] = (),
    *,
    window: tuple[float, float],
    overlay: np.ndarray | None = None,
    corner: tuple[int, int] = (0, 0),
) -> None:
    """Draw a slice, rows downwards; the axes count the voxels of the image.

    Args:
        axes: Where to draw.
        pixels: (rows, columns).
        outlines: Of masks of the same shape.
        window: The intensities shown black and white.
        overlay: (rows, columns, 4), a picture on top of the slice, below the outlines.
        corner: The place of the first pixel in the image.
    """
    (top, bottom), (left, right) = ((c - 0.5, c + n - 0.5) for c, n in zip(corner, pixels.shape, strict=True))
    options = {"extent": (left, right, bottom, top), "aspect": "auto"}
    axes.imshow(pixels, cmap="gray", vmin=window[0], vmax=window[1], interpolation="bicubic", **options)
    if overlay is not None:
        axes.imshow(overlay, interpolation="nearest", **options)
    rows, columns = (np.arange(c - 1, c + n + 1) for c, n in zip(corner, pixels.shape, strict=True))
    for outline in outlines:
        if outline.mask.any():  # padded, so that outlines close at the border
            style = {"colors": [outline.colour], "linestyles": [outline.style], "linewidths": outline.width}
            axes.contour(columns, rows, np.pad(outline.mask, 1), levels=[0.5], **style)
    axes.set(xlim=(left, right), ylim=(bottom, top))


def label_outlines(labels: np.ndarray, foreground: Mapping[str, int]) -> list[Outline]:
    """Return the outlines of the unlabelled voxels and of each foreground label, by name."""
    unlabelled = Outline("unlabelled", labels > max(foreground.values()), colours.UNLABELLED, width=1.0)
    return [
        unlabelled,
        *(
            Outline(name, labels == label, colours.LABELS[place % len(colours.LABELS)])
            for place, (name, label) in enumerate(foreground.items())
        ),
    ]


def reference_outlines(labels: np.ndarray, foreground: Mapping[str, int]) -> list[Outline]:
    return [Outline("reference", labels == label, colours.REFERENCE, "--") for label in foreground.values()]


def largest_slice(masks: Sequence[np.ndarray], spacing_mm: Sequence[float]) -> tuple[int, int]:
    """Choose the slice to show: across the axis of the thickest slices, where the first mask with any voxel is largest.

    Args:
        masks: bool (z, y, x), the more important first.
        spacing_mm: Voxel size (z, y, x).

    Returns:
        The axis, and the place of the slice on it; the middle if all masks are empty.
    """
    across = int(np.argmax(spacing_mm))
    others = tuple(axis for axis in range(3) if axis != across)
    largest = next((mask for mask in masks if mask.any()), None)
    if largest is None:
        return across, masks[0].shape[across] // 2
    return across, int(largest.sum(axis=others).argmax())


def field_of_view(mask: np.ndarray, spacing_mm: Sequence[float]) -> tuple[slice, slice]:
    """Return a block, square in mm as far as the image reaches, around the pixels of a mask and a margin.

    Args:
        mask: bool (rows, columns); of an empty one the whole slice is returned.
        spacing_mm: Pixel size (rows, columns).
    """
    if not mask.any():
        return slice(0, mask.shape[0]), slice(0, mask.shape[1])
    ends = [(int(found.min()), int(found.max()) + 1) for found in np.nonzero(mask)]
    lengths_mm = [(stop - start) * mm + 2 * MARGIN_MM for (start, stop), mm in zip(ends, spacing_mm, strict=True)]
    half_mm = max(*lengths_mm, MIN_SIDE_MM) / 2
    block = []
    for (start, stop), mm, size in zip(ends, spacing_mm, mask.shape, strict=True):
        centre, half = (start + stop) / 2, half_mm / mm
        block.append(slice(max(int(np.floor(centre - half)), 0), min(int(np.ceil(centre + half)), size)))
    return tuple(block)


@matplotlib.style.context("default")  # nnU-Net changes the style of the process
def slice_picture(
    pixels: np.ndarray, outlines: Sequence[Outline], *, spacing_mm: Sequence[float], window: tuple[float, float]
) -> str:
    """Return a slice with outlines as the data URL of a PNG, see :func:`save_slice`."""
    stream = io.BytesIO()
    save_slice(stream, pixels, outlines, spacing_mm=spacing_mm, window=window)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()


@matplotlib.style.context("default")  # as above
def save_slice(
    file: Path | io.BytesIO,
    pixels: np.ndarray,
    outlines: Sequence[Outline],
    *,
    spacing_mm: Sequence[float],
    window: tuple[float, float],
    dpi: int = DPI,
) -> None:
    """Write a slice with outlines as a PNG, its longer side ``PANEL_INCHES`` long, see :func:`draw_slice`.

    Args:
        file: Where to write.
        pixels: (rows, columns).
        outlines: Of masks of the same shape.
        spacing_mm: Pixel size (rows, columns).
        window: The intensities shown black and white.
        dpi: Pixels per inch.
    """
    height, width = (n * mm for n, mm in zip(pixels.shape, spacing_mm, strict=True))
    scale = PANEL_INCHES / max(height, width)
    # at least 0.1 inch, for slices much longer than wide
    figure = Figure(figsize=(max(scale * width, 0.1), max(scale * height, 0.1)), dpi=dpi)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    draw_slice(axes, pixels, outlines, window=window)
    save_png(figure, file)


def save_png(figure: Figure, file: Path | io.BytesIO) -> None:
    """Write a figure as a PNG with a palette, a third of the size of one without."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    picture = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    palette = Image.new("P", (1, 1))  # greys, and every colour alone and blended with greys
    palette.putpalette(np.rint(255 * PALETTE).astype(np.uint8).tobytes())
    picture.quantize(palette=palette, dither=Image.Dither.NONE).save(file, format="PNG", optimize=True)
