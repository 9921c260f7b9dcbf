"""An interactive figure of the report: plotly data, drawn by the page's script in the colours of the page.

Colours may be names of the page's style sheet, such as ``var(--accent)``; the script puts in what they stand for, in
light or in dark.
"""

import json
from collections.abc import Mapping, Sequence
from html import escape

import plotly.graph_objects as go
from plotly.utils import PlotlyJSONEncoder

ACCENT, TEXT, QUIET, LINE, SECOND = "var(--accent)", "var(--text)", "var(--quiet)", "var(--line)", "var(--second)"
CLEAR = "rgba(0,0,0,0)"
STYLE = {
    "template": "none",
    "font": {"family": "system-ui, sans-serif", "size": 12, "color": TEXT},
    "paper_bgcolor": CLEAR,
    "plot_bgcolor": CLEAR,
    "hoverlabel": {"bgcolor": "var(--page)", "bordercolor": LINE, "font": {"color": TEXT}},
    "modebar": {"bgcolor": CLEAR, "color": QUIET, "activecolor": ACCENT},
}
OVERLAY = "overlay"  # as a trace's meta: the reader can switch it off


def axis(title: str, **options) -> dict:
    """Return a plotly axis in the style of the report."""
    quiet = {"gridcolor": LINE, "zerolinecolor": LINE, "linecolor": LINE, "tickcolor": LINE}
    return {"title": {"text": title, "standoff": 8, "font": {"size": 12}}, "automargin": True, **quiet, **options}


def interactive_figure(
    identifier: str,
    figures: Mapping[tuple[int, ...], go.Figure],
    *,
    choices: Sequence[tuple[str, Sequence[str]]] = (),
    notes: Mapping[tuple[int, ...], str] | None = None,
    overlay: str | None = None,
    height_px: int,
    max_width_px: int | None = None,
    note_beside: bool = False,
    description: str,
) -> str:
    """Return the HTML of a figure with a drop-down list per choice.

    What several figures share, such as the surface of one reference, is stored once.

    Args:
        identifier: The id of the element.
        figures: By the places of the chosen options, one per choice; ``()`` where there is nothing to choose.
        choices: Name and options of each drop-down list.
        notes: HTML to show below the figure, as ``figures``.
        overlay: What a box to tick says that shows and hides the traces whose ``meta`` is :data:`OVERLAY`.
        height_px: Height.
        max_width_px: Largest width.
        note_beside: Whether the note stands beside the figure, where there is room, instead of below it.
        description: What a screen reader says.
    """
    traces: dict[str, int] = {}  # place by content
    variants = {}
    for chosen, figure in figures.items():
        figure.update_layout(STYLE)
        content = figure.to_dict()
        places = [traces.setdefault(_json(trace), len(traces)) for trace in content["data"]]
        note = (notes or {}).get(chosen, "")
        variants["-".join(map(str, chosen))] = {"traces": places, "layout": content["layout"], "note": note}
    data = f'{{"traces":[{",".join(traces)}],"variants":{_json(variants)}}}'
    controls = "".join(_drop_down(name, options) for name, options in choices)
    if overlay:
        controls += f'<label><input type="checkbox" checked autocomplete="off"> {escape(overlay)}</label>'
    width = f"max-width:{max_width_px}px;" if max_width_px else ""
    return (
        f'<div class="interactive{" beside" if note_beside else ""}" id="{identifier}">'
        f"{f'<form class=controls>{controls}</form>' if controls else ''}"
        f'<div class="plot" style="{width}height:{height_px}px" role="img" aria-label="{escape(description)}"></div>'
        f'<div class="note" aria-live="polite"></div><script type="application/json">{data}</script></div>'
    )


def _drop_down(name: str, options: Sequence[str]) -> str:
    items = "".join(f'<option value="{place}">{escape(option)}</option>' for place, option in enumerate(options))
    return f'<label>{escape(name)} <select autocomplete="off">{items}</select></label>'


def _json(content) -> str:
    # no "<", so that nothing in it can end the element it stands in
    return json.dumps(content, cls=PlotlyJSONEncoder, separators=(",", ":")).replace("<", "\\u003c")
