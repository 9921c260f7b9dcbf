"""Slices of the test cases: what each shown method predicted, and the reference."""

from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from nnunetv2_simple.images import spacing_zyx_mm
from nnunetv2_simple.report.cases import (
    PicturedCase,
    foreground_labels,
    pictured_cases,
    read_array_like,
    read_case,
    reference_file,
)
from nnunetv2_simple.report.data import Comparison, UnavailableError, pictured_fold
from nnunetv2_simple.report.format import number, title_html
from nnunetv2_simple.report.slices import (
    draw_slice,
    grey_range_of,
    label_outlines,
    legend_html,
    panel_html,
    reference_outlines,
    slice_across,
    window_around,
)


def prediction_slices(comparison: Comparison) -> str:
    """Return, for the worst, median and best case, a slice with the prediction of each shown method.

    Raises:
        UnavailableError: If comparison.json names no labels.

    Reference:
        Zhong & Wang, SimPLe, MICCAI 2023, Fig. 4.
    """
    labels = foreground_labels(comparison)
    rows = []
    for identifier, rank in pictured_cases(comparison).items():
        try:
            panels = _panels(comparison, read_case(comparison, identifier, rank), list(labels.values()))
        except UnavailableError as reason:
            panels = f'<p class="missing">{escape(str(reason))}</p>'
        rows.append(f'<h3>{rank.capitalize()}: {escape(identifier)}</h3><div class="panels">{panels}</div>')
    main = comparison.main
    return (
        f"<p>The worst, the median and the best case by the Dice of {title_html(main['title'])}, fold "
        f"{escape(pictured_fold(comparison, main))}; the slice on which the reference is largest, the same for all.</p>"
        f"{legend_html(labels, mask='prediction')}{''.join(rows)}"
    )


def _panels(comparison: Comparison, case: PicturedCase, foreground: Sequence[int]) -> str:
    ending = comparison.setting("file_ending")
    channel = comparison.settings.get("channel") or 0
    image_file = Path(comparison.setting("images")) / f"{case.identifier}_{channel:04d}{ending}"
    image = read_array_like(image_file, case.reference, reference_file(comparison, case.identifier))
    reference = sitk.GetArrayFromImage(case.reference)
    spacing_mm = spacing_zyx_mm(case.reference)
    masks = [np.isin(labels, foreground) for labels in (reference, *case.predictions.values())]
    across, index = slice_across(masks, spacing_mm)
    plane = tuple(index if axis == across else slice(None) for axis in range(3))
    pixel_mm = [mm for axis, mm in enumerate(spacing_mm) if axis != across]
    window = window_around(np.any([mask[plane] for mask in masks], axis=0), pixel_mm)
    pixels = image[plane][window]
    options = {"spacing_mm": pixel_mm, "grey_range": grey_range_of(pixels)}

    where = f"{'zyx'[across]} = {index}"
    panels = [panel_html(draw_slice(pixels, [], **options), "image", where, alt=f"{case.identifier}, image")]
    truth = reference_outlines(reference[plane][window], foreground)
    for method in (method for method in comparison.shown if method["key"] in case.predictions):
        outlines = label_outlines(case.predictions[method["key"]][plane][window], foreground)
        panels.append(
            panel_html(
                draw_slice(pixels, outlines + truth, **options),
                title_html(method["title"]),
                f"Dice {number(case.dice[method['key']], decimals=1, scale=100)} %",
                alt=f"{case.identifier}, {method['title']}, with the reference",
            )
        )
    return "".join(panels)
