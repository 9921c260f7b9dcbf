"""Slices through an image with the outlines of masks on them, as pictures within the page."""

import base64
import io
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from nnunetv2_simple.report.quality_panel import (
    FOREGROUND_COLOUR,
    REFERENCE_COLOUR,
    UNLABELLED_COLOUR,
    WINDOW_PERCENTILES,
)

MARGIN_MM, MIN_SIDE_MM = 15.0, 50.0
PANEL_INCHES, DPI = 3.6, 120
LABEL_COLOURS = (
    FOREGROUND_COLOUR,
    "#ff8fd0",
    "#c08bff",
    "#ffffff",
    "#ff7a4d",
)  # from the sixth label on from the start


def slice_across(masks: Sequence[np.ndarray], spacing_mm: Sequence[float]) -> tuple[int, int]:
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


def window_around(mask: np.ndarray, spacing_mm: Sequence[float]) -> tuple[slice, slice]:
    """Return a window, square in mm as far as the image reaches, around the pixels of a mask and a margin.

    Args:
        mask: bool (rows, columns); an empty one stands for the whole slice.
        spacing_mm: Pixel size (rows, columns).
    """
    if not mask.any():
        return slice(0, mask.shape[0]), slice(0, mask.shape[1])
    ends = [(int(found.min()), int(found.max()) + 1) for found in np.nonzero(mask)]
    lengths_mm = [(stop - start) * mm + 2 * MARGIN_MM for (start, stop), mm in zip(ends, spacing_mm, strict=True)]
    half_mm = max(*lengths_mm, MIN_SIDE_MM) / 2
    window = []
    for (start, stop), mm, size in zip(ends, spacing_mm, mask.shape, strict=True):
        centre, half = (start + stop) / 2, half_mm / mm
        window.append(slice(max(int(np.floor(centre - half)), 0), min(int(np.ceil(centre + half)), size)))
    return tuple(window)


def draw_slice(
    pixels: np.ndarray,
    outlines: Sequence[tuple[np.ndarray, str, str]],
    *,
    spacing_mm: Sequence[float],
    grey_range: tuple[float, float],
) -> str:
    """Draw a slice with outlines and return it as a data URL of a PNG.

    Args:
        pixels: (rows, columns).
        outlines: Masks of the same shape, each with colour and line style.
        spacing_mm: Pixel size (rows, columns).
        grey_range: The intensities shown black and white.
    """
    height_mm, width_mm = (n * mm for n, mm in zip(pixels.shape, spacing_mm, strict=True))
    scale = PANEL_INCHES / max(height_mm, width_mm)
    # a picture of at least 0.1 inch, for slices much longer than wide
    figure = Figure(figsize=(max(scale * width_mm, 0.1), max(scale * height_mm, 0.1)), dpi=DPI)
    panel = figure.add_axes((0, 0, 1, 1))
    panel.set_axis_off()
    panel.imshow(pixels, cmap="gray", vmin=grey_range[0], vmax=grey_range[1], aspect="auto", interpolation="bicubic")
    rows, columns = (np.arange(-1, n + 1) for n in pixels.shape)
    for mask, colour, style in outlines:
        if mask.any():  # padded, so that outlines close at the border
            panel.contour(
                columns, rows, np.pad(mask, 1), levels=[0.5], colors=[colour], linestyles=[style], linewidths=1.6
            )
    panel.set(xlim=(-0.5, pixels.shape[1] - 0.5), ylim=(pixels.shape[0] - 0.5, -0.5))
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    picture = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB").quantize(256)
    stream = io.BytesIO()
    picture.save(stream, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()


def grey_range_of(pixels: np.ndarray) -> tuple[float, float]:
    """Return the intensities to show black and white."""
    low, high = np.percentile(pixels, WINDOW_PERCENTILES)
    return float(low), float(max(high, low + np.finfo(np.float32).eps))


def label_outlines(labels: np.ndarray, foreground: Sequence[int]) -> list[tuple[np.ndarray, str, str]]:
    """Return one outline per foreground label."""
    return [(labels == label, LABEL_COLOURS[place % len(LABEL_COLOURS)], "-") for place, label in enumerate(foreground)]


def reference_outlines(labels: np.ndarray, foreground: Sequence[int]) -> list[tuple[np.ndarray, str, str]]:
    return [(labels == label, REFERENCE_COLOUR, (0, (3, 2))) for label in foreground]


def panel_html(picture: str, title: str, detail: str, *, alt: str) -> str:
    """Return a picture with its caption; title and detail are HTML."""
    return (
        f'<figure><img src="{picture}" alt="{escape(alt)}"><figcaption>{title}<br>'
        f'<span class="range">{detail}</span></figcaption></figure>'
    )


def legend_html(labels: Mapping[str, int], *, mask: str, unlabelled: bool = False, reference: bool = True) -> str:
    """Return which colour stands for what.

    Args:
        labels: Foreground labels by name.
        mask: What the masks are.
        unlabelled: Whether unlabelled voxels are outlined.
        reference: Whether references are.
    """
    names = [mask] if len(labels) == 1 else [f"{mask}: {name}" for name in labels]
    entries = [(name, LABEL_COLOURS[place % len(LABEL_COLOURS)], "solid") for place, name in enumerate(names)]
    entries += [("reference", REFERENCE_COLOUR, "dashed")] if reference else []
    entries += [("unlabelled", UNLABELLED_COLOUR, "solid")] if unlabelled else []
    keys = "".join(
        f'<span><i style="border-top:3px {style} {colour}"></i>{escape(name)}</span>' for name, colour, style in entries
    )
    return f'<p class="legend">{keys}</p>'
