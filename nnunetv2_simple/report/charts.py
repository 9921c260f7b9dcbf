"""Box plots per method, and the cases of one method against full supervision."""

import textwrap
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
import plotly.graph_objects as go

from nnunetv2_simple.report.data import Comparison, UnavailableError, case_means, common_folds
from nnunetv2_simple.report.figure import ACCENT, CLEAR, QUIET, TEXT, axis, interactive_figure
from nnunetv2_simple.report.format import count, title_html

LABEL_WIDTH = 26  # characters
NUM_LISTED = 3  # cases with the largest differences
MARKERS = {"paper": "circle", "rival": "diamond", "full supervision": "square"}
MEASURES = (("dice", "Dice, %", 100), ("hd95_mm", "HD95, mm", 1))


def box_plots(comparison: Comparison) -> str:
    """Return a box plot of Dice and of HD95: one box per method, one point per case."""
    height = 90 + 46 * len(comparison.methods)
    plots = []
    for measure, title, scale in MEASURES:
        traces = [_box(method, measure, title, scale, comparison) for method in comparison.methods]
        layout = {
            "xaxis": axis(title, rangemode="tozero", zeroline=False),
            "yaxis": axis("", autorange="reversed", showgrid=False, ticks=""),
            "showlegend": False,
            "margin": {"l": 10, "r": 16, "t": 10, "b": 44},
            "boxgap": 0.35,
        }
        description = f"Box plots of {title} of the test cases, one per method"
        figure = {(): go.Figure(traces, layout)}
        plots.append(interactive_figure(f"box-{measure}", figure, height_px=height, description=description))
    folds = ", means over the folds" if len(comparison.folds) > 1 else ""
    return (
        f'<div class="pair">{"".join(plots)}</div>'
        f'<p class="note">One point per test case{folds}: rest the pointer on it for its name. Box: quartiles; line: '
        "median; dashed: mean; whiskers: the farthest cases within 1.5 box lengths. Circles: rows of the paper; "
        "diamonds: rivals; squares: full supervision.</p>"
    )


def _colour(method: Mapping, comparison: Comparison) -> str:
    if method is comparison.main:
        return ACCENT
    return TEXT if method["role"] == "full supervision" else QUIET


def _box(method: Mapping, measure: str, title: str, scale: float, comparison: Comparison) -> go.Box:
    values = case_means(method, measure)
    colour = _colour(method, comparison)
    unit = title.rpartition(", ")[2]
    return go.Box(
        x=[scale * value for value in values.values()],
        y=[_label(method)] * len(values),
        text=[escape(case) for case in values],
        name=_label(method),
        orientation="h",
        boxpoints="all",
        boxmean=True,
        jitter=0.5,
        pointpos=0,
        hoveron="points",
        hovertemplate=f"%{{text}}: %{{x:.1f}} {unit}<extra></extra>",
        line={"color": colour, "width": 1.5},
        fillcolor=CLEAR,
        marker={"color": colour, "size": 5, "opacity": 0.55, "symbol": MARKERS[method["role"]]},
    )


def _label(method: Mapping) -> str:
    return "<br>".join(title_html(line) for line in textwrap.wrap(method["title"], LABEL_WIDTH))


def scatter(comparison: Comparison) -> str:
    """Return the Dice of each case with one method against full supervision's, the method to be chosen.

    Raises:
        UnavailableError: Without full supervision or without anything to compare with it.
    """
    full = comparison.full
    if full is None:
        raise UnavailableError("full supervision was not run")
    others = [comparison.main, *(method for method in comparison.methods if method is not comparison.main)]
    pairs = {}
    for method in (method for method in others if method is not full):
        folds = common_folds(method, full)
        dice, full_dice = (case_means(each, "dice", folds) for each in (method, full))
        common = {case: (full_dice[case], dice[case]) for case in dice if case in full_dice}
        if common:
            pairs[method["key"]] = (method, common)
    if not pairs:
        raise UnavailableError("no method has a case in common with full supervision")
    figures = {(place,): _scatter(method, common) for place, (method, common) in enumerate(pairs.values())}
    notes = {(place,): _difference(common) for place, (_, common) in enumerate(pairs.values())}
    return interactive_figure(
        "scatter",
        figures,
        choices=[("Method", [method["title"] for method, _ in pairs.values()])],
        notes=notes,
        height_px=460,
        max_width_px=520,
        note_beside=True,
        description="Dice of each test case: the chosen method against full supervision",
    )


def _scatter(method: Mapping, common: Mapping[str, tuple[float, float]]) -> go.Figure:
    full_dice, dice = 100 * np.array(list(common.values())).T
    identity = go.Scatter(
        x=[0, 100], y=[0, 100], mode="lines", line={"color": QUIET, "width": 1, "dash": "dot"}, hoverinfo="skip"
    )
    cases = go.Scatter(
        x=full_dice.tolist(),
        y=dice.tolist(),
        text=[escape(case) for case in common],
        mode="markers",
        marker={"color": ACCENT, "size": 9, "opacity": 0.75},
        hovertemplate="%{text}: %{y:.1f} %, full supervision %{x:.1f} %<extra></extra>",
    )
    ends = {"range": [-2, 102], "zeroline": False, "dtick": 20, "constrain": "domain"}
    layout = {
        "xaxis": axis("Dice with full supervision, %", **ends),
        "yaxis": axis("Dice with the method, %", scaleanchor="x", **ends),
        "showlegend": False,
        "margin": {"l": 10, "r": 10, "t": 10, "b": 48},
    }
    return go.Figure([identity, cases], layout)


def _difference(common: Mapping[str, tuple[float, float]]) -> str:
    """Say how the cases lie about the line on which both are equal."""
    differences = {case: 100 * (dice - full_dice) for case, (full_dice, dice) in common.items()}
    ordered = sorted(differences, key=lambda case: differences[case])
    losses, gains = ([case for case in ordered if sign * differences[case] > 0] for sign in (-1, 1))
    facts = {
        "better than full supervision": f"{len(gains)} of {count(len(common), 'case')}",
        "worse": str(len(losses)),
        "median difference": f"{_signed(float(np.median(list(differences.values()))))} points",
        "largest losses": _listed(differences, [case for case in ordered[:NUM_LISTED] if differences[case] < 0]),
        "largest gains": _listed(
            differences, [case for case in ordered[: -NUM_LISTED - 1 : -1] if differences[case] > 0]
        ),
    }
    entries = "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in facts.items())
    return f'<dl class="definitions">{entries}</dl>'


def _listed(differences: Mapping[str, float], cases: Sequence[str]) -> str:
    return "<br>".join(f"{escape(case)} {_signed(differences[case])}" for case in cases) or "none"


def _signed(points: float) -> str:
    return f"{points:+.1f}".replace("-", "\u2212")  # a minus sign, as wide as the plus
