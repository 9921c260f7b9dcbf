"""The steps of a comparison, in order. This one list is what is run, printed (--print-commands) and reported.

Every command is nnU-Net's or the shell's own, as a user would type it. Datasets are prepared from the converted one, so
that they differ in their labels alone.
"""

import os
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunetv2_simple.comparison.datasets import training_cases
from nnunetv2_simple.comparison.methods import Method
from nnunetv2_simple.comparison.predictions import commands_to_resume, problem_of, running_folder, unreadable
from nnunetv2_simple.comparison.settings import Command, Comparison, Fold, Training, dataset_id
from nnunetv2_simple.comparison.training_state import is_trained, not_to_resume_from, num_epochs_done
from nnunetv2_simple.conversion.baselines import BASELINES
from nnunetv2_simple.nnunet.datasets import SPLITS_FILE
from nnunetv2_simple.nnunet.trainer_folder import TRAINER_FOLDERS_VARIABLE, named_trainer_folders, trainer_folder
from nnunetv2_simple.training.seeding import SEED_VARIABLE

UNFINISHED = "_unfinished"  # beside the preprocessed data of a configuration while they are written


@dataclass(frozen=True)
class Step:
    """One step.

    Attributes:
        title: What it does.
        log: Name of its log.
        commands: What does it from scratch.
        is_done: Whether that is done.
        commands_now: What does it now: an earlier attempt may have left something.
        training: The training that it runs; None for other steps.
        shared_folder: What it writes to and other comparisons may write to as well; None if nothing.
        half_written: Tells, when nnU-Net's command has ended well, which of its files are not whole all the same.
    """

    title: str
    log: str
    commands: tuple[Command, ...]
    is_done: Callable[[], bool]
    commands_now: Callable[[], list[Command]]
    training: Training | None = None
    shared_folder: Path | None = None
    half_written: Callable[[], list[Path]] = list


def steps(comparison: Comparison) -> list[Step]:
    """Return all steps: prepare each dataset, then run each training and predict with its checkpoints."""
    found = preparations(comparison)
    for training in comparison.trainings():
        found.append(_training_step(comparison, training))
        for method in comparison.methods:
            if comparison.training(method, training.fold) == training:
                found.append(_prediction_step(comparison, method, training.fold))
    return found


def shell_script(comparison: Comparison, report_command: Command) -> str:
    """Return what is missing as a shell script for a scheduler; ``report_command`` scores what it leaves."""
    environment = {f"nnUNet_{name}": str(getattr(comparison, name)) for name in ("raw", "preprocessed", "results")}
    environment[TRAINER_FOLDERS_VARIABLE] = searched_trainer_folders()
    if SEED_VARIABLE in os.environ:
        environment[SEED_VARIABLE] = os.environ[SEED_VARIABLE]
    lines = ["#!/bin/sh", "set -e", f"cd {shlex.quote(os.getcwd())}"]  # one command a line: after && -e would not hold
    lines += [f"export {name}={shlex.quote(value)}" for name, value in environment.items()]
    for step in steps(comparison):
        if not step.is_done():
            lines += ["", f"# {step.title}", *map(shlex.join, step.commands_now())]
    return "\n".join([*lines, "", "# scores, tables and report", shlex.join(report_command), ""])


def searched_trainer_folders() -> str:
    """Return nnUNet_extTrainer as it is set, with the folder of this package's trainers added."""
    return os.pathsep.join(map(str, dict.fromkeys([*named_trainer_folders(), trainer_folder()])))


# ---- datasets -------------------------------------------------------------------------------------------------------


def preparations(comparison: Comparison, *, of_converted: bool = True) -> list[Step]:
    """Return what gives every dataset its labels, plans, splits and preprocessed images.

    Without ``of_converted`` the converted dataset is left out, which its user has planned.
    """
    kinds = {}
    for kind, dataset in comparison.datasets.items():
        kinds.setdefault(dataset, kind)
    return [
        step
        for dataset, kind in kinds.items()
        for step in _preparations_of(comparison, dataset, kind)
        if of_converted or kind != "weak"
    ]


def _preparations_of(comparison: Comparison, dataset: str, kind: str) -> Iterator[Step]:
    def step(title: str, *commands: Command, is_done: Callable[[], bool]) -> Step:
        title, log = f"{dataset}: {title}", f"prepare__{dataset}"
        return Step(title, log, commands, is_done, lambda: list(commands), shared_folder=preprocessed)

    def copy(source: Path, target: Path, is_done: Callable[[], bool]) -> Step:
        commands = ("mkdir", "-p", str(target.parent)), ("cp", str(source), str(target))
        return step(target.name, *commands, is_done=is_done)

    weak, processes = comparison.datasets["weak"], ("-np", str(max(comparison.num_processes, 1)))
    raw, preprocessed = comparison.raw / dataset, comparison.preprocessed / dataset
    number, weak_number, plans = str(dataset_id(dataset)), str(dataset_id(weak)), comparison.plans
    if kind in BASELINES:
        options = ("-d", weak_number, "-baseline", kind, "-baseline_id", number)
        command = ("nnUNetv2_simple_convert", *options, *processes)
        yield step(f"labels of the baseline {kind}", command, is_done=(raw / "dataset.json").is_file)
    fingerprint = ("nnUNetv2_extract_fingerprint", "-d", number, *processes)
    # which trainers copy beside their checkpoints
    yield step("fingerprint", fingerprint, is_done=(preprocessed / "dataset_fingerprint.json").is_file)
    description = preprocessed / "dataset.json"  # which otherwise nnUNetv2_plan_experiment copies
    yield copy(raw / "dataset.json", description, description.is_file)
    if kind != "weak":
        move = ("nnUNetv2_move_plans_between_datasets", "-s", weak_number, "-t", number, "-sp", plans, "-tp", plans)
        yield step(f"plans of {weak}", move, is_done=(preprocessed / f"{plans}.json").is_file)
        if comparison.has_folds:
            splits, weak_splits = (comparison.preprocessed / name / SPLITS_FILE for name in (dataset, weak))
            # where there are none, nnU-Net draws the same ones for every dataset
            yield copy(weak_splits, splits, lambda: splits.is_file() or not weak_splits.is_file())
    yield _preprocessing_step(comparison, dataset, processes)


def _preprocessing_step(comparison: Comparison, dataset: str, processes: Command) -> Step:
    number, configuration, plans = str(dataset_id(dataset)), comparison.configuration, comparison.plans
    command = ("nnUNetv2_preprocess", "-d", number, "-plans_name", plans, "-c", configuration, *processes)
    plans_file = comparison.preprocessed / comparison.datasets["weak"] / f"{plans}.json"
    identifier = PlansManager(str(plans_file)).get_configuration(configuration).data_identifier
    folder = comparison.preprocessed / dataset / identifier
    marker = folder.with_name(folder.name + UNFINISHED)

    def is_done() -> bool:
        if not folder.is_dir() or marker.exists():
            return False
        there = {file.name for file in folder.iterdir()}
        return all(
            f"{case}.pkl" in there and (f"{case}.b2nd" in there or f"{case}.npz" in there)
            for case in training_cases(comparison.raw / dataset)
        )

    return Step(
        f"{dataset}: preprocessed images and labels",
        f"prepare__{dataset}",
        (command,),
        is_done,
        lambda: [("touch", str(marker)), command, ("rm", str(marker))],
        shared_folder=folder.parent,
    )


# ---- trainings and predictions --------------------------------------------------------------------------------------


def _training_step(comparison: Comparison, training: Training) -> Step:
    command = (
        *("nnUNetv2_train", str(dataset_id(training.dataset)), comparison.configuration, str(training.fold)),
        *("-tr", training.trainer, "-p", comparison.plans, "-device", comparison.device),
    )

    def commands_now() -> list[Command]:
        aside = [("mv", str(file), f"{file}.set_aside") for file in not_to_resume_from(training)]
        return [*aside, (*command, "--c") if num_epochs_done(training) else command]

    return Step(
        f"training {training.trainer} on {training.dataset}, fold {training.fold}",
        f"train__{training.name}",
        (command,),
        partial(is_trained, training),
        commands_now,
        training,
        training.folder,
    )


def _prediction_step(comparison: Comparison, method: Method, fold: Fold) -> Step:
    training, folder = comparison.training(method, fold), comparison.predictions(method, fold)
    processes = str(comparison.num_processes)

    def command(output_folder: Path) -> Command:
        return (
            *("nnUNetv2_predict", "-d", str(dataset_id(training.dataset)), "-i", str(comparison.images)),
            *("-o", str(output_folder), "-c", comparison.configuration, "-f", str(fold), "-tr", training.trainer),
            *("-p", comparison.plans, "-chk", method.checkpoint, "-device", comparison.device),
            *("-npp", processes, "-nps", processes, "--continue_prediction"),
            *([] if comparison.mirror else ["--disable_tta"]),
        )

    def is_done() -> bool:
        is_current = comparison.checkpoint(method, fold).is_file() and problem_of(comparison, method, fold) is None
        return is_current and is_trained(training)

    def commands_now() -> list[Command]:
        if is_trained(training) and not (training.folder / method.checkpoint).is_file():
            raise ValueError(
                f"{training.folder / method.checkpoint} is missing although the training is done; to train again, "
                f"remove {training.folder}"
            )
        running = running_folder(folder)
        leftovers = commands_to_resume(comparison, method, fold)
        return [*leftovers, command(running), ("mv", str(running), str(folder))]

    title = f"predicting {method.key}, fold {fold}"
    half_written = partial(unreadable, comparison, running_folder(folder))
    log = f"predict__{method.key}__fold_{fold}"
    return Step(title, log, (command(folder),), is_done, commands_now, half_written=half_written)


def method_commands(comparison: Comparison, method: Method, fold: Fold) -> list[Command]:
    """Return the commands that train and predict with a method from scratch."""
    training = _training_step(comparison, comparison.training(method, fold))
    return [*training.commands, *_prediction_step(comparison, method, fold).commands]
