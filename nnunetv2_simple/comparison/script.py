"""The commands of what is missing of a comparison, as a shell script for a scheduler."""

import os
import shlex
from pathlib import Path

from nnunetv2_simple.comparison.commands import predict_command, searched_trainer_folders, train_command
from nnunetv2_simple.comparison.predictions import is_predicted, running_folder
from nnunetv2_simple.comparison.preparation import copy_commands, missing_preparations
from nnunetv2_simple.comparison.runs import ask_for_schedules
from nnunetv2_simple.comparison.settings import Comparison, Training
from nnunetv2_simple.comparison.training_state import FINAL, INTERMEDIATE, is_done, num_epochs_done
from nnunetv2_simple.training.seeding import SEED_VARIABLE


def shell_script(comparison: Comparison, report_command: list[str]) -> str:
    """Return the script.

    Args:
        comparison: What is compared.
        report_command: The command that scores the predictions and writes tables and report.

    Raises:
        ValueError: If a trainer cannot be found.
    """
    ask_for_schedules(comparison, [training for training in comparison.trainings() if not is_done(training)])
    environment = {
        "nnUNet_raw": str(comparison.raw),
        "nnUNet_preprocessed": str(comparison.preprocessed),
        "nnUNet_results": str(comparison.results),
        "nnUNet_extTrainer": searched_trainer_folders(),
    }
    if SEED_VARIABLE in os.environ:
        environment[SEED_VARIABLE] = os.environ[SEED_VARIABLE]
    lines = ["#!/bin/sh", "set -e", f"cd {shlex.quote(os.getcwd())}"]  # one command a line: after && -e would not hold
    lines += [f"export {name}={shlex.quote(value)}" for name, value in environment.items()]
    lines += ["", "# datasets: the same cases, plans and splits", *_preparation_lines(comparison)]
    for training in comparison.trainings():
        commands = _training_lines(comparison, training)
        if commands:
            lines += ["", f"# {training.trainer} on {training.dataset}, fold {training.fold}", *commands]
    return "\n".join([*lines, "", "# scores, tables and report", shlex.join(report_command), ""])


def _training_lines(comparison: Comparison, training: Training) -> list[str]:
    """Return what is missing of a training and of the predictions of its checkpoints."""
    lines, done = [], is_done(training)
    if not done:
        lines += _leftover_lines(training.folder)
        lines.append(shlex.join(train_command(comparison, training, resume=num_epochs_done(training) > 0)))
    for method in comparison.methods:
        is_its = comparison.training(method, training.fold) == training
        if is_its and not (done and is_predicted(comparison, method, training.fold)):
            folder = comparison.predictions(method, training.fold)
            running = running_folder(folder)
            leftovers = [shlex.quote(str(f)) for f in (running, folder) if f.exists()]
            if leftovers:
                lines.append(f"rm -r {' '.join(leftovers)}")
            lines.append(shlex.join(predict_command(comparison, method, training.fold, running)))
            lines.append(f"mv {shlex.quote(str(running))} {shlex.quote(str(folder))}")
    return lines


def _preparation_lines(comparison: Comparison) -> list[str]:
    lines = []
    for step in missing_preparations(comparison):
        if step.copy:
            lines += copy_commands(*step.copy)
        else:
            lines.append(shlex.join(step.command))
    return lines or ["# (nothing to do)"]


def _leftover_lines(folder: Path) -> list[str]:
    """Tell of checkpoints that nnU-Net must not go on with."""
    stale = folder / FINAL
    if stale.is_file() and any((folder / name).is_file() for name in INTERMEDIATE):
        return [f"mv {shlex.quote(str(stale))} {shlex.quote(str(stale) + '.set_aside')}  # of an earlier training"]
    return []
