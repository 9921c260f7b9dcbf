"""Running what is missing of a comparison: trainings, predictions, scores. What is done is left alone."""

import os
import shutil
from collections.abc import Callable, Sequence

from nnunetv2_simple.comparison.command_runner import CommandRunner
from nnunetv2_simple.comparison.commands import predict_command, searched_trainer_folders, train_command
from nnunetv2_simple.comparison.methods import Method
from nnunetv2_simple.comparison.predictions import (
    is_predicted,
    keep_complete_predictions,
    num_predicted,
    running_folder,
    what_is_wrong,
)
from nnunetv2_simple.comparison.preparation import prepare
from nnunetv2_simple.comparison.progress import EpochReader, Progress
from nnunetv2_simple.comparison.scores import score_predictions
from nnunetv2_simple.comparison.settings import Comparison, Fold, Training, dataset_id
from nnunetv2_simple.comparison.trainer_schedules import Schedule, iterations_until, num_iterations, trainer_schedules
from nnunetv2_simple.comparison.training_state import (
    is_done,
    note_costs,
    num_epochs_done,
    prepare_to_resume,
    read_costs,
)
from nnunetv2_simple.comparison.versions import versions_here

ITERATIONS_PER_CASE = 30  # what predicting a case takes, roughly, mirrored and with a sliding window


def run_missing(comparison: Comparison, say: Callable[[str], None], *, lock: int | None = None) -> None:
    """Train, predict and score whatever is missing.

    Args:
        comparison: What is compared.
        say: Called with the title of each step that prepares a dataset.
        lock: See :func:`nnunetv2_simple.comparison.command_runner.locked`.

    Raises:
        CommandError: If one of nnU-Net's commands fails. What is done stays done.
        ValueError: If a trainer cannot be found, or a prediction does not fit its reference.
    """
    environment = {"nnUNet_extTrainer": searched_trainer_folders()}
    runner = CommandRunner(comparison.output_folder / "logs", environment, lock)
    done = {training: is_done(training) for training in comparison.trainings()}
    note_schedules(comparison)
    schedules = ask_for_schedules(comparison, [training for training, is_done in done.items() if not is_done])
    prepare(comparison, runner.run, say)
    progress = Progress(_work_left(comparison, done, schedules))
    try:
        for fold in comparison.folds:
            for method in comparison.methods:
                training = comparison.training(method, fold)
                if not done[training]:
                    _train(comparison, training, schedules[training], runner, progress)
                    done[training] = True
                if not is_predicted(comparison, method, fold):
                    _predict(comparison, method, fold, runner, progress)
                score_predictions(comparison, method, fold)
    finally:
        progress.close()


def score_existing(comparison: Comparison, say: Callable[[str], None]) -> None:
    """Score the predictions that are there; tell of those that are incomplete or older than their checkpoint.

    Args:
        comparison: What is compared.
        say: Called with one line per method and fold that is left out.
    """
    for fold in comparison.folds:
        for method in comparison.methods:
            if problem := what_is_wrong(comparison, method, fold):
                say(f"{method.key}, fold {fold} is left out: {problem}")
            else:
                score_predictions(comparison, method, fold)


def note_schedules(comparison: Comparison) -> None:
    """Note the schedules of trainings that are done but that somebody else started."""
    trainings = [t for t in comparison.trainings() if is_done(t) and not read_costs(t).get("schedule")]
    for training, schedule in ask_for_schedules(comparison, trainings).items():
        note_costs(training, read_costs(training) | {"schedule": schedule})


def ask_for_schedules(comparison: Comparison, trainings: Sequence[Training]) -> dict[Training, Schedule]:
    """Return the schedule of each training, as its trainer sets it.

    Raises:
        ValueError: If a trainer cannot be found, or cannot train on the converted dataset.
    """
    if not trainings:
        return {}
    schedules = trainer_schedules(
        list(dict.fromkeys(training.trainer for training in trainings)),
        dataset=dataset_id(comparison.datasets["weak"]),
        configuration=comparison.configuration,
        plans=comparison.plans,
        environment={"nnUNet_extTrainer": searched_trainer_folders()},
    )
    return {training: schedules[training.trainer] for training in trainings}


def _work_left(comparison: Comparison, done: dict[Training, bool], schedules: dict[Training, Schedule]) -> int:
    work = sum(_iterations_left(training, schedule) for training, schedule in schedules.items())
    for fold in comparison.folds:
        for method in comparison.methods:
            if not (done[comparison.training(method, fold)] and is_predicted(comparison, method, fold)):
                work += ITERATIONS_PER_CASE * len(comparison.cases)
    return work


def _iterations_left(training: Training, schedule: Schedule) -> int:
    return num_iterations(schedule) - iterations_until(schedule, num_epochs_done(training))


def _train(
    comparison: Comparison, training: Training, schedule: Schedule, runner: CommandRunner, progress: Progress
) -> None:
    resume = prepare_to_resume(training)
    known = read_costs(training) if resume else {}
    note_costs(training, known | {"schedule": schedule, "versions": versions_here(comparison.device)})
    epoch = num_epochs_done(training)
    title = f"training {training.trainer} on {training.dataset}, fold {training.fold}"
    progress.begin(f"{title}, going on with epoch {epoch}" if resume else title, _iterations_left(training, schedule))
    reader = EpochReader(runner.log_file(f"train__{training.name}"), epoch)
    first = iterations_until(schedule, epoch)
    runner.run(
        train_command(comparison, training, resume=resume),
        f"train__{training.name}",
        watch=lambda: progress.reached(iterations_until(schedule, reader.read()) - first),
        costs_file=training.costs_file,
    )
    progress.end()


def _predict(comparison: Comparison, method: Method, fold: Fold, runner: CommandRunner, progress: Progress) -> None:
    """Predict into a folder beside the place of the predictions, which is renamed once it is complete."""
    checkpoint, folder = comparison.checkpoint(method, fold), comparison.predictions(method, fold)
    if not checkpoint.is_file():
        raise ValueError(
            f"{checkpoint} is missing although the training is done; to train again, remove {checkpoint.parent}"
        )
    running = running_folder(folder)
    keep_complete_predictions(comparison, checkpoint, folder)
    progress.begin(f"predicting {method.key}, fold {fold}", ITERATIONS_PER_CASE * len(comparison.cases))
    runner.run(
        predict_command(comparison, method, fold, running),
        f"predict__{method.key}__fold_{fold}",
        watch=lambda: progress.reached(ITERATIONS_PER_CASE * num_predicted(comparison, running)),
    )
    if missing := [file.name for file in comparison.prediction_files(running) if not file.is_file()]:
        raise ValueError(f"nnUNetv2_predict wrote no {', '.join(missing)} to {running}")
    if folder.is_dir():
        shutil.rmtree(folder)
    os.replace(running, folder)
    progress.end()
