"""Filling in the templates of the pages, and how the pages write names and numbers."""

import re
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from nnunetv2_simple.files import written_atomically

NOTHING = "–"
FIGURE_SPACE = "\u2007"  # as wide as a digit


def write_page(file: Path, template: str, **content) -> None:
    """Fill in a template and write the page, which needs nothing outside its folder.

    Args:
        file: The page; it appears complete or not at all.
        template: A file of ``templates/``.
        content: What the template asks for; all text in it is escaped.
    """
    page = ENVIRONMENT.get_template(template).render(content)
    file.parent.mkdir(parents=True, exist_ok=True)
    with written_atomically(file) as beside:
        beside.write_text(page, encoding="utf-8")


def formula(title: str) -> Markup:
    """Escape a text, and set the paper's losses as formulas: ``L_pce`` with an index."""
    return Markup(re.sub(r"\bL_([A-Za-z]+)", r"<i>L</i><sub>\1</sub>", str(escape(title))))


def number(value: float | None, decimals: int = 1, scale: float = 1.0) -> str:
    return NOTHING if value is None else f"{scale * value:,.{decimals}f}"


def percent(fraction: float | None) -> str:
    return f"{number(fraction, scale=100)}\u00a0%"


def mean_and_std(statistics: dict | list | None, decimals: int, scale: float = 1.0) -> str:
    """Return mean ± standard deviation, the deviation padded so that numbers below each other line up.

    Args:
        statistics: ``mean`` and ``std``, by name or in this order.
        decimals: Of both.
        scale: Of both.
    """
    if not statistics:
        return NOTHING
    mean, std = (statistics["mean"], statistics["std"]) if isinstance(statistics, dict) else statistics
    return f"{scale * mean:.{decimals}f} ± {f'{scale * std:.{decimals}f}'.rjust(3 + decimals, FIGURE_SPACE)}"


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
    """Return a number with its noun, in the plural unless it is one."""
    return f"{number_of} {noun}" if number_of == 1 else f"{number_of} {noun}s"


def points(difference: float) -> str:
    """Return a signed difference of percentages."""
    return f"{difference:+.1f}".replace("-", "\u2212")  # a minus sign, as wide as the plus


def _source(name: str) -> Markup:
    """Return a style sheet or script of ``templates/`` as it is."""
    return Markup(ENVIRONMENT.loader.get_source(ENVIRONMENT, name)[0])


ENVIRONMENT = Environment(
    loader=PackageLoader("nnunetv2_simple.report"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
FILTERS = (formula, number, percent, mean_and_std, p_value, duration, count, points)
ENVIRONMENT.filters |= {function.__name__: function for function in FILTERS}
ENVIRONMENT.globals |= {"source": _source, "NOTHING": NOTHING}
