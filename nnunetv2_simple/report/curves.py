"""Training curves of all phases, from the log that nnU-Net keeps in its checkpoints."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from numbers import Real
from pathlib import Path

import plotly.graph_objects as go

from nnunetv2_simple.nnunet.checkpoints import load_checkpoint
from nnunetv2_simple.report.data import Comparison, UnavailableError
from nnunetv2_simple.report.figure import ACCENT, LINE, QUIET, SECOND, TEXT, axis, interactive_figure
from nnunetv2_simple.report.format import count, duration, title_html

PANELS = {
    "loss": ("train_losses", "val_losses"),
    "loss terms": (),  # whatever else is logged
    "share propagated": ("propagated_share", "accepted_positives", "accepted_negatives"),
    "pseudo Dice": ("mean_fg_dice",),
    "learning rate": ("lrs",),
}
NAMES = {
    "train_losses": "training",
    "val_losses": "validation",
    "mean_fg_dice": "pseudo Dice",
    "lrs": "learning rate",
    "partial_cross_entropy": "partial CE",
}
NOT_SHOWN = ("ema_fg_dice", "dice_per_class_or_region", "epoch_start_timestamps", "epoch_end_timestamps")
COLOURS, DASHES = (ACCENT, SECOND, TEXT, QUIET), ("solid", "dash", "dot", "dashdot")
OTHER_CHECKPOINTS = ("final", "best", "latest")
PANEL_HEIGHT_PX, GAP_PX, TOP_PX, BOTTOM_PX = 125, 46, 66, 44
MAX_EPOCHS_WITH_MARKERS = 60


@dataclass(frozen=True)
class Training:
    """What a fold folder tells of its training.

    Attributes:
        values: nnU-Net's log, one value per epoch.
        phases: Name, first epoch and epoch after the last, of each phase; none where there is only one.
        is_finished: Whether checkpoint_final.pth is there.
    """

    values: Mapping[str, Sequence]
    phases: tuple[tuple[str, int, int], ...]
    is_finished: bool


def read_training(fold_folder: Path) -> Training:
    """Read the log of a training and where its phases end.

    Args:
        fold_folder: nnU-Net's ``fold_X``.

    Raises:
        UnavailableError: If there is no checkpoint, or one that cannot be read.
    """
    files = (fold_folder / f"checkpoint_{name}.pth" for name in ("final", "latest"))
    file = next((file for file in files if file.is_file()), None)
    if file is None:
        raise UnavailableError(f"no checkpoint in {fold_folder}")
    values = _load(file).get("logging")
    if not isinstance(values, dict) or not values.get("train_losses"):
        raise UnavailableError(f"{file} holds no log of a training")
    ends = {}
    for kept in fold_folder.glob("checkpoint_*.pth"):
        name = kept.stem.removeprefix("checkpoint_")
        if name not in OTHER_CHECKPOINTS:
            ends[name] = int(_load(kept)["current_epoch"])
    num_epochs = len(values["train_losses"])
    if ends and max(ends.values()) < num_epochs:
        ends["retrain" if (fold_folder / "pseudo_masks").is_dir() else "last phase"] = num_epochs
    ordered = sorted(ends.items(), key=lambda item: item[1])
    starts = [0, *(end for _, end in ordered)]
    phases = tuple((name, start, end) for (name, end), start in zip(ordered, starts, strict=False))
    return Training(values, phases, file.stem == "checkpoint_final")


def _load(file: Path) -> Mapping:
    try:
        return load_checkpoint(file)
    except ValueError as error:
        raise UnavailableError(str(error)) from error


def training_curves(comparison: Comparison) -> str:
    """Return the curves of every training, to be chosen from a list, and which trainings are not to be had."""
    names, figures, notes, missing = [], {}, {}, []
    for name, methods, folder in _trainings(comparison):
        try:
            training = read_training(folder)
        except UnavailableError as reason:
            missing.append(f"<li>{escape(name)}: {escape(str(reason))}</li>")
            continue
        place = (len(names),)
        names.append(name)
        figures[place] = draw_training(training)
        notes[place] = _note(training, methods)
    absent = f'<p class="missing">Not there:</p><ul class="missing">{"".join(missing)}</ul>' if missing else ""
    if not figures:
        return absent
    num_panels = max(len({trace.yaxis for trace in figure.data}) for figure in figures.values())
    plot = interactive_figure(
        "curves",
        figures,
        choices=[("Training", names)],
        notes=notes,
        height_px=_height(num_panels),
        description="Losses, pseudo Dice and learning rate over the epochs of the chosen training",
    )
    return plot + absent


def _trainings(comparison: Comparison) -> Iterator[tuple[str, list[Mapping], Path]]:
    """Yield each training once, the main method's first: several methods may be checkpoints of one training."""
    found: dict[str, tuple[str, list[Mapping]]] = {}
    for method in [comparison.main, *(m for m in comparison.methods if m is not comparison.main)]:
        for fold, result in method["folds"].items():
            name = f"{method.get('trainer', method['key'])}, {method.get('dataset', '')}, fold {fold}"
            found.setdefault(str(result.get("model_folder")), (name, []))[1].append(method)
    for folder, (name, methods) in found.items():
        yield name, methods, Path(folder)


def _note(training: Training, methods: Sequence[Mapping]) -> str:
    starts, ends = (training.values.get(f"epoch_{which}_timestamps", []) for which in ("start", "end"))
    seconds = sum(max(end - start, 0) for start, end in zip(starts, ends, strict=False))
    state = "" if training.is_finished else " The training is not finished."
    gives = ", ".join(dict.fromkeys(title_html(method["title"]) for method in methods))
    return (
        f"Gives: {gives}. {count(len(training.values['train_losses']), 'epoch')}, {duration(seconds)}.{state} The "
        "pseudo Dice and the validation loss are measured on patches against the labels of the dataset, which for weak "
        "labels are not the truth."
    )


def draw_training(training: Training) -> go.Figure:
    """Draw a panel for each kind of value that was logged, the phases shaded."""
    panels = {title: keys for title, keys in _panels(training.values).items() if keys}
    num_epochs = len(training.values["train_losses"])
    height = _height(len(panels)) - TOP_PX - BOTTOM_PX
    layout = {
        "xaxis": axis("epoch", range=[-0.5, num_epochs - 0.5], anchor=f"y{_suffix(len(panels) - 1)}", zeroline=False),
        "margin": {"l": 10, "r": 10, "t": TOP_PX, "b": BOTTOM_PX},
        "hovermode": "x unified",
        "hoversubplots": "axis",
    }
    traces = []
    for row, (title, keys) in enumerate(panels.items()):
        suffix, top = _suffix(row), 1 - row * (PANEL_HEIGHT_PX + GAP_PX) / height
        layout[f"yaxis{suffix}"] = axis(title, domain=[max(top - PANEL_HEIGHT_PX / height, 0), top], nticks=5)
        if "propagated_share" in keys:
            layout[f"yaxis{suffix}"]["rangemode"] = "nonnegative"
        if keys == ("lrs",):
            layout[f"yaxis{suffix}"] |= {"type": "log", "dtick": 1, "tickformat": ".0e"}
        layout[f"legend{suffix}"] = {
            "y": top,
            "x": 1,
            "xanchor": "right",
            "yanchor": "bottom",
            "orientation": "h",
            "font": {"size": 11},
        }
        lines = [_line(key, training.values[key], place, suffix) for place, key in enumerate(keys)]
        lines[0].showlegend = len(lines) > 1  # alone it is what the axis says
        traces += lines
    layout["shapes"], layout["annotations"] = _shades(training.phases)
    return go.Figure(traces, layout)


def _suffix(row: int) -> str:
    return "" if row == 0 else str(row + 1)


def _height(num_panels: int) -> int:
    return TOP_PX + BOTTOM_PX + num_panels * (PANEL_HEIGHT_PX + GAP_PX) - GAP_PX


def _panels(values: Mapping[str, Sequence]) -> dict[str, tuple[str, ...]]:
    num_epochs = len(values["train_losses"])
    named = {key for keys in PANELS.values() for key in keys}
    logged = [
        key
        for key, found in values.items()
        if key not in NOT_SHOWN
        and len(found) >= num_epochs
        and all(isinstance(value, Real) for value in found)
        and not all(math.isnan(value) for value in found)
    ]
    others = tuple(key for key in logged if key not in named)
    return {title: tuple(k for k in keys if k in logged) if keys else others for title, keys in PANELS.items()}


def _line(key: str, values: Sequence[float], place: int, suffix: str) -> go.Scatter:
    return go.Scatter(
        y=[float(value) if math.isfinite(value) else None for value in values],
        name=NAMES.get(key, key.replace("_", " ")),
        mode="lines+markers" if len(values) <= MAX_EPOCHS_WITH_MARKERS else "lines",
        line={"color": COLOURS[place % 4], "width": 1.5, "dash": DASHES[place % 4]},
        marker={"size": 4},
        yaxis=f"y{suffix}",
        legend=f"legend{suffix}",
        hovertemplate="%{y:.4g}",
    )


def _shades(phases: Sequence[tuple[str, int, int]]) -> tuple[list[dict], list[dict]]:
    """Return a band over all panels for every second phase, and the names of all at the top."""
    shapes, names = [], []
    for place, (name, start, end) in enumerate(phases):
        if place % 2 == 1:
            band = {"x0": start - 0.5, "x1": end - 0.5, "y0": 0, "y1": 1, "xref": "x", "yref": "paper"}
            style = {"fillcolor": LINE, "opacity": 0.45, "line": {"width": 0}, "layer": "below"}
            shapes.append({"type": "rect"} | band | style)
        text = {"text": escape(name), "x": (start + end - 1) / 2, "y": 1, "xref": "x", "yref": "paper"}
        # short phases are narrower than their names: every second name stands higher
        names.append(text | {"yanchor": "bottom", "yshift": 22 + 16 * (place % 2), "showarrow": False})
    return shapes, names
