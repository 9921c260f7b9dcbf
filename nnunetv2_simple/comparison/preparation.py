"""What the datasets of a comparison lack before nnU-Net can train on them: labels, plans, splits, preprocessed images.

Everything comes from the converted dataset, so that the datasets differ in their labels alone.
"""

import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunetv2_simple.comparison.commands import (
    Command,
    baseline_command,
    fingerprint_command,
    move_plans_command,
    preprocess_command,
)
from nnunetv2_simple.comparison.datasets import SPLITS_FILE, training_cases, weak_splits
from nnunetv2_simple.comparison.settings import Comparison
from nnunetv2_simple.conversion.baselines import BASELINES
from nnunetv2_simple.files import read_json, save_json_atomically

UNFINISHED = "_unfinished"  # beside the preprocessed data of a configuration while they are written


@dataclass(frozen=True)
class Preparation:
    """One step.

    Attributes:
        dataset: Of which dataset.
        title: What it makes.
        command: What to run; None where a file is copied.
        copy: From where to where.
        marker: A file that exists as long as the command has not come to its end.
    """

    dataset: str
    title: str
    command: Command | None = None
    copy: tuple[Path, Path] | None = None
    marker: Path | None = None


def missing_preparations(comparison: Comparison) -> Iterator[Preparation]:
    """Yield, one after the other, what is missing once everything yielded before has been done."""
    weak = comparison.preprocessed / comparison.datasets["weak"]
    for labels, dataset in _one_kind_each(comparison):
        raw, preprocessed = comparison.raw / dataset, comparison.preprocessed / dataset
        plans = f"{comparison.plans}.json"
        if not (raw / "dataset.json").is_file():
            yield Preparation(dataset, f"labels of the kind {labels}", baseline_command(comparison, labels))
        if not (preprocessed / "dataset_fingerprint.json").is_file():  # which the trainer copies beside its checkpoints
            yield Preparation(dataset, "fingerprint", fingerprint_command(comparison, dataset))
        if not (preprocessed / "dataset.json").is_file():  # which otherwise nnUNetv2_plan_experiment copies
            files = raw / "dataset.json", preprocessed / "dataset.json"
            yield Preparation(dataset, "dataset.json", copy=files)
        if not (preprocessed / plans).is_file():
            yield Preparation(dataset, f"plans of {weak.name}", move_plans_command(comparison, dataset))
        if _has_folds(comparison) and not (preprocessed / SPLITS_FILE).is_file() and (weak / SPLITS_FILE).is_file():
            files = weak / SPLITS_FILE, preprocessed / SPLITS_FILE
            yield Preparation(dataset, f"splits of {weak.name}", copy=files)
        if not _is_preprocessed(comparison, dataset):
            yield Preparation(
                dataset,
                "preprocessed images and labels",
                preprocess_command(comparison, dataset),
                marker=preprocessed / (_data_identifier(comparison) + UNFINISHED),
            )


def preparation_commands(comparison: Comparison) -> list[str]:
    """Return the command lines that made the datasets from the converted one, whether or not they were run here."""
    weak = comparison.preprocessed / comparison.datasets["weak"]
    lines = []
    for labels, dataset in _one_kind_each(comparison):
        raw, preprocessed = comparison.raw / dataset, comparison.preprocessed / dataset
        if labels in BASELINES:
            lines.append(shlex.join(baseline_command(comparison, labels)))
        if labels != "weak":
            lines.append(shlex.join(fingerprint_command(comparison, dataset)))
            lines += copy_commands(raw / "dataset.json", preprocessed / "dataset.json")
            lines.append(shlex.join(move_plans_command(comparison, dataset)))
            if _has_folds(comparison):
                lines += copy_commands(weak / SPLITS_FILE, preprocessed / SPLITS_FILE)
            lines.append(shlex.join(preprocess_command(comparison, dataset)))
    return lines


def copy_commands(source: Path, target: Path) -> list[str]:
    """Return the command lines that copy a file into a folder that may not be there yet."""
    return [shlex.join(("mkdir", "-p", str(target.parent))), shlex.join(("cp", str(source), str(target)))]


def prepare(comparison: Comparison, run: Callable[[Command, str], None], say: Callable[[str], None]) -> None:
    """Do everything that is missing.

    Args:
        comparison: What is compared.
        run: Runs a command; also given the name of its log.
        say: Called with the title of each step.
    """
    splits_file = comparison.preprocessed / comparison.datasets["weak"] / SPLITS_FILE
    if _has_folds(comparison) and not splits_file.is_file():
        save_json_atomically(weak_splits(comparison), splits_file)
    for step in missing_preparations(comparison):
        say(f"{step.dataset}: {step.title}")
        if step.copy:
            source, target = step.copy
            target.parent.mkdir(parents=True, exist_ok=True)
            save_json_atomically(read_json(source), target)
            continue
        if step.marker:
            step.marker.touch()
        run(step.command, f"prepare__{step.dataset}")
        if step.marker:
            step.marker.unlink()


def _one_kind_each(comparison: Comparison) -> list[tuple[str, str]]:
    """List (kind of labels, dataset), each dataset once."""
    kinds = {dataset: kind for kind, dataset in reversed(comparison.datasets.items())}
    return [(kind, dataset) for dataset, kind in reversed(kinds.items())]


def _has_folds(comparison: Comparison) -> bool:
    return any(fold != "all" for fold in comparison.folds)


def _data_identifier(comparison: Comparison) -> str:
    """Return the name of the folder of preprocessed data."""
    plans = comparison.preprocessed / comparison.datasets["weak"] / f"{comparison.plans}.json"
    return PlansManager(str(plans)).get_configuration(comparison.configuration).data_identifier


def _is_preprocessed(comparison: Comparison, dataset: str) -> bool:
    folder = comparison.preprocessed / dataset / _data_identifier(comparison)
    if not folder.is_dir() or folder.with_name(folder.name + UNFINISHED).exists():
        return False
    there = {file.name for file in folder.iterdir()}
    return all(
        f"{case}.pkl" in there and (f"{case}.b2nd" in there or f"{case}.npz" in there)
        for case in training_cases(comparison.raw / dataset)
    )
