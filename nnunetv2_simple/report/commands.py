"""How a comparison was made: commands, versions, settings, seeds."""

from collections.abc import Mapping
from html import escape

from nnunetv2_simple.report.data import Comparison
from nnunetv2_simple.report.format import NOTHING, title_html


def how_it_was_made(comparison: Comparison) -> str:
    """Return the commands of each method, folded away, and what they ran with."""
    commands = "".join(_method(method) for method in comparison.methods)
    versions = _definitions(comparison.content.get("versions") or {})
    made = {"made": comparison.content.get("created"), "comparison": comparison.file.name}
    return (
        f"<h3>Commands</h3>{_preparation(comparison)}{commands}"
        f'<div class="pair"><div><h3>Settings</h3>{_definitions(made | dict(comparison.settings))}</div>'
        f"<div><h3>Versions of the trainings</h3>{versions}<h3>Seeds</h3>{_seeds(comparison)}</div></div>"
    )


def _preparation(comparison: Comparison) -> str:
    commands = [str(command) for command in comparison.content.get("preparation") or ()]
    if not commands:
        return ""
    text = escape("\n".join(["export nnUNet_extTrainer=$(nnUNetv2_simple_trainers)", *commands]))
    return (
        f'<details><summary>Before: datasets from the converted one <span class="range">and where nnU-Net finds the '
        f"trainers</span></summary><pre>{text}</pre></details>"
    )


def _method(method: Mapping) -> str:
    parts = []
    for fold, result in method["folds"].items():
        commands = [str(command) for command in result.get("commands") or ()]
        text = escape("\n".join(commands)) or "not recorded"
        parts.append(f"<p>fold {escape(fold)}</p><pre>{text}</pre>")
    what = ", ".join(escape(str(method[name])) for name in ("trainer", "dataset", "checkpoint") if method.get(name))
    return (
        f'<details><summary>{title_html(method["title"])} <span class="range">{what}</span></summary>'
        f"{''.join(parts)}</details>"
    )


def _definitions(content: Mapping) -> str:
    entries = "".join(f"<dt>{escape(str(name))}</dt><dd>{_value(value)}</dd>" for name, value in content.items())
    return f'<dl class="definitions">{entries}</dl>' if entries else "<p>not recorded</p>"


def _value(value) -> str:
    if value is None:
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{escape(str(name))}: {escape(str(part))}" for name, part in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(escape(str(part)) for part in value)
    return escape(str(value))


def _seeds(comparison: Comparison) -> str:
    seeds = {}
    for method in comparison.methods:
        for fold, result in method["folds"].items():
            seed = (result.get("cost") or {}).get("seed")
            if seed is not None:
                seeds[f"{method.get('trainer', method['key'])}, {method.get('dataset', '')}, fold {fold}"] = seed
    return _definitions(seeds) if seeds else "<p>None was set: nnU-Net draws its own.</p>"
