"""Training curves of all phases, from the log that nnU-Net keeps in its checkpoints; templates/figure.js draws them."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from pathlib import Path

from nnunetv2_simple.nnunet.checkpoints import load_checkpoint
from nnunetv2_simple.nnunet.training_log import MIN_PROPAGATED_SHARE
from nnunetv2_simple.report.data import Comparison, UnavailableError
from nnunetv2_simple.report.rendering import count, duration, percent

PANELS = {
    "loss": {"train_losses": "training", "val_losses": "validation"},
    "loss terms": {},  # whatever else is logged
    "share propagated": {
        "propagated_share": "propagated share",
        "accepted_positives": "accepted positives",
        "accepted_negatives": "accepted negatives",
    },
    "pseudo Dice": {"mean_fg_dice": "pseudo Dice"},
    "learning rate": {"lrs": "learning rate"},
}
TERMS = {"partial_cross_entropy": "partial CE"}  # other terms are called as in the log
NOT_SHOWN = ("ema_fg_dice", "dice_per_class_or_region", "epoch_start_timestamps", "epoch_end_timestamps")
OTHER_CHECKPOINTS = ("final", "best", "latest")


@dataclass(frozen=True)
class Training:
    """The log of a training.

    Attributes:
        values: nnU-Net's log, one value per epoch.
        phases: Name, first epoch and epoch after the last, of each phase; none where there is only one.
        is_finished: Whether checkpoint_final.pth is there.
    """

    values: Mapping[str, Sequence]
    phases: Sequence[tuple[str, int, int]]
    is_finished: bool

    @property
    def num_epochs(self) -> int:
        return len(self.values["train_losses"])

    @property
    def seconds(self) -> float:
        starts, ends = (self.values.get(f"epoch_{which}_timestamps", []) for which in ("start", "end"))
        return sum(max(end - start, 0) for start, end in zip(starts, ends, strict=False))

    @property
    def propagated_share(self) -> float | None:
        """The mean share of the unlabelled voxels that the fine-tuning propagated; None without a fine-tuning."""
        shares = [share for share in self.values.get("propagated_share", []) if math.isfinite(share)]
        return sum(shares) / len(shares) if shares else None

    @property
    def panels(self) -> list[dict]:
        """The curves to draw, grouped; None where a value is not finite."""
        logged = {
            key: [float(value) if math.isfinite(value) else None for value in found]
            for key, found in self.values.items()
            if key not in NOT_SHOWN and len(found) >= self.num_epochs and all(isinstance(v, Real) for v in found)
        }
        logged = {key: values for key, values in logged.items() if any(value is not None for value in values)}
        named = {key for names in PANELS.values() for key in names}
        others = {key: TERMS.get(key, key.replace("_", " ")) for key in logged if key not in named}
        panels = []
        for title, names in PANELS.items():
            lines = [{"name": name, "values": logged[key]} for key, name in (names or others).items() if key in logged]
            panels += [{"title": title, "lines": lines}] if lines else []
        return panels


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
    names = {kept: kept.stem.removeprefix("checkpoint_") for kept in fold_folder.glob("checkpoint_*.pth")}
    ends = {name: int(_load(kept)["current_epoch"]) for kept, name in names.items() if name not in OTHER_CHECKPOINTS}
    num_epochs = len(values["train_losses"])
    if ends and max(ends.values()) < num_epochs:
        ends["retrain" if (fold_folder / "pseudo_masks").is_dir() else "last phase"] = num_epochs
    ordered = sorted(ends.items(), key=lambda item: item[1])
    starts = [0, *(end for _, end in ordered)]
    phases = [(name, start, end) for (name, end), start in zip(ordered, starts, strict=False)]
    return Training(values, phases, file.stem == "checkpoint_final")


def _load(file: Path) -> Mapping:
    try:
        return load_checkpoint(file)
    except ValueError as error:
        raise UnavailableError(str(error)) from error


def training_curves(comparison: Comparison) -> dict:
    """Return the curves of every training, to be chosen from a list, and why some are missing."""
    names, data, notes, missing, propagated = [], [], {}, [], None
    for name, methods, folder in _trainings(comparison):
        try:
            training = read_training(folder)
        except UnavailableError as reason:
            missing.append(f"{name}: {reason}")
            continue
        state = "" if training.is_finished else " The training is not finished."
        share = training.propagated_share
        if propagated is None and methods[0] is comparison.main:
            propagated = share
        notes[str(len(names))] = (
            f"{methods[0]['trainer']} on {methods[0]['dataset']}; gives "
            f"{', '.join(dict.fromkeys(m['title'] for m in methods))}.{_say_propagated(share)} "
            f"{count(training.num_epochs, 'epoch')}, {duration(training.seconds)}.{state} The pseudo Dice and the "
            "validation loss are measured on patches against the labels of the dataset, which for weak labels are not "
            "the truth."
        )
        names.append(name)
        data.append({"epochs": training.num_epochs, "phases": training.phases, "panels": training.panels})
    return {"data": data, "choices": {"Training": names}, "notes": notes, "missing": missing, "propagated": propagated}


def _say_propagated(share: float | None) -> str:
    if share is None:
        return ""
    nothing = ": it changed next to nothing" if share < MIN_PROPAGATED_SHARE else ""
    return f" The fine-tuning propagated {percent(share)} of the unlabelled voxels{nothing}."


def _trainings(comparison: Comparison) -> Iterator[tuple[str, list[Mapping], Path]]:
    """Yield each training once, the main method's first: several methods may be checkpoints of one training."""
    found: dict[str, tuple[str, list[Mapping]]] = {}
    for method in comparison.main_first:
        for fold, result in method["folds"].items():
            name = f"{method['title']}, fold {fold}"
            found.setdefault(result["model_folder"], (name, []))[1].append(method)
    for folder, (name, methods) in found.items():
        yield name, methods, Path(folder)
