"""How the report writes names and numbers."""

import re
from html import escape

NOTHING = "–"
FIGURE_SPACE = "\u2007"  # as wide as a digit


def title_html(title: str) -> str:
    """Escape a name, and set the paper's losses as formulas: ``L_pce`` with an index."""
    return re.sub(r"\bL_([A-Za-z]+)", r"<i>L</i><sub>\1</sub>", escape(title))


def number(value: float | None, *, decimals: int, scale: float = 1.0) -> str:
    return NOTHING if value is None else f"{scale * value:.{decimals}f}"


def mean_and_std(mean: float | None, std: float | None, *, decimals: int, scale: float = 1.0) -> str:
    """Return mean ± standard deviation, the deviation padded so that numbers below each other line up."""
    if mean is None:
        return NOTHING
    if std is None:
        return f"{scale * mean:.{decimals}f}"
    spread = f"{scale * std:.{decimals}f}".rjust(3 + decimals, FIGURE_SPACE)
    return f"{scale * mean:.{decimals}f} ± {spread}"


def p_value(value: float | None) -> str:
    if value is None:
        return NOTHING
    if value < 0.001:
        return "< 0.001"
    return f"{value:.2f}" if value >= 0.1 else f"{value:.3f}"


def duration(seconds: float | None) -> str:
    if seconds is None:
        return NOTHING
    minutes = round(seconds / 60)
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"


def count(number_of: int, noun: str) -> str:
    """Return a number with its noun, in the plural where there is not one of it."""
    return f"{number_of} {noun}" if number_of == 1 else f"{number_of} {noun}s"
