"""What nnU-Net's checkpoints tell of a training: whether it is done, how far it is, what it took."""

import os
import re
import zipfile
from datetime import datetime
from pathlib import Path

from nnunetv2_simple.comparison.settings import Training
from nnunetv2_simple.comparison.trainer_schedules import iterations_until
from nnunetv2_simple.files import read_json, save_json_atomically
from nnunetv2_simple.nnunet.checkpoints import load_checkpoint

FINAL, INTERMEDIATE = "checkpoint_final.pth", ("checkpoint_latest.pth", "checkpoint_best.pth")


def read_checkpoint(file: Path) -> dict | None:
    """Return a checkpoint; None if there is none or only the beginning of one, left by an interruption."""
    if not file.is_file() or not zipfile.is_zipfile(file):  # the end of a zip file holds its table of contents
        return None
    return load_checkpoint(file)


def is_done(training: Training) -> bool:
    """Tell whether a training came to its end, and no later one has been begun in the same folder."""
    final = read_checkpoint(training.folder / FINAL)
    return final is not None and not any(
        _start(checkpoint) > _start(final) for checkpoint in map(read_checkpoint, _intermediate_files(training))
    )


def num_epochs_done(training: Training) -> int:
    """Return the epoch with which an interrupted training goes on."""
    for file in _intermediate_files(training):
        checkpoint = read_checkpoint(file)
        if checkpoint is not None:
            return checkpoint["current_epoch"]
    return 0


def prepare_to_resume(training: Training) -> bool:
    """Move checkpoints out of nnU-Net's way that an interrupted training must not go on with.

    These are half-written ones, and the final one of an earlier training in the same folder, which ``--c`` prefers.

    Returns:
        Whether there is a checkpoint to go on with.
    """
    for file in (training.folder / FINAL, *_intermediate_files(training)):
        if file.is_file() and (file.name == FINAL or read_checkpoint(file) is None):
            os.replace(file, file.with_name(file.name + ".set_aside"))
    return any(file.is_file() for file in _intermediate_files(training))


def cost(training: Training, checkpoint_file: Path) -> dict:
    """Return what a training took until a checkpoint.

    ``training_s`` is the sum of its epochs, and of the prediction of pseudo-masks between them, as nnU-Net logged them;
    whatever was lost by interruptions is left out. ``seed`` is None where none was set.
    """
    noted = read_costs(training)
    checkpoint = read_checkpoint(checkpoint_file)
    epochs = [] if checkpoint is None else _epochs(checkpoint)
    schedule = noted.get("schedule")
    return {
        "training_s": sum(end - start for start, end in epochs) + _between_phases_s(training, len(epochs))
        if epochs
        else None,
        "num_iterations": iterations_until(schedule, len(epochs)) if schedule and epochs else None,
        "peak_memory_mb": noted.get("peak_memory_mb"),
        "peak_memory_of": noted.get("peak_memory_of"),
        "seed": _seed(training),
    }


def read_costs(training: Training) -> dict:
    """Return what the comparison noted of a training."""
    return read_json(training.costs_file) if training.costs_file.is_file() else {}


def note_costs(training: Training, costs: dict) -> None:
    training.costs_file.parent.mkdir(parents=True, exist_ok=True)
    save_json_atomically(costs, training.costs_file)


def _seed(training: Training) -> int | None:
    """Return the seed that the logs of a training name last."""
    seeds = re.findall(r"Seed of all random numbers: (\d+)", "".join(_logs(training)))
    return int(seeds[-1]) if seeds else None


def _between_phases_s(training: Training, num_epochs: int) -> float:
    """Return the time from the announcement of each phase to its first epoch, of the epochs so far."""
    total_s = 0.0
    for log in _logs(training):
        announced = None
        for when, phase, epoch in re.findall(r"^(\S+ \S+): (?:(Phase) \w+: .*|Epoch (\d+) *)$", log, re.MULTILINE):
            now = datetime.fromisoformat(when)
            if phase:
                announced = now
            elif announced is not None:
                total_s += (now - announced).total_seconds() if int(epoch) < num_epochs else 0
                announced = None
    return total_s


def _logs(training: Training) -> list[str]:
    return [file.read_text() for file in sorted(training.folder.glob("training_log*.txt"))]


def _intermediate_files(training: Training) -> list[Path]:
    return [training.folder / name for name in INTERMEDIATE]


def _epochs(checkpoint: dict) -> list[tuple[float, float]]:
    logging = checkpoint["logging"]
    return list(zip(logging["epoch_start_timestamps"], logging["epoch_end_timestamps"], strict=False))


def _start(checkpoint: dict | None) -> float:
    """Return when the training of a checkpoint began."""
    epochs = [] if checkpoint is None else _epochs(checkpoint)
    return epochs[0][0] if epochs else float("-inf")
