"""What nnU-Net's folders tell of a training: whether it is done, how far it is, what it took."""

import zipfile
from pathlib import Path

from nnunetv2_simple.comparison.settings import Training
from nnunetv2_simple.files import read_json, save_json_atomically
from nnunetv2_simple.nnunet.checkpoints import load_checkpoint
from nnunetv2_simple.nnunet.training_log import between_phases_s, last_seed, noted_phases

FINAL, INTERMEDIATE = "checkpoint_final.pth", ("checkpoint_latest.pth", "checkpoint_best.pth")


def read_checkpoint(file: Path) -> dict | None:
    """Return a checkpoint; None if there is none or only the beginning of one, left by an interruption."""
    if not file.is_file() or not zipfile.is_zipfile(file):  # the end of a zip file holds its table of contents
        return None
    return load_checkpoint(file)


def is_trained(training: Training) -> bool:
    """Tell whether a training is finished, and no later one has been begun in the same folder."""
    final = read_checkpoint(training.folder / FINAL)
    return final is not None and not any(
        _start(read_checkpoint(file)) > _start(final) for file in _intermediate_files(training)
    )


def num_epochs_done(training: Training) -> int:
    """Return the epoch at which an interrupted training resumes."""
    checkpoints = map(read_checkpoint, _intermediate_files(training))
    return next((checkpoint["current_epoch"] for checkpoint in checkpoints if checkpoint is not None), 0)


def not_to_resume_from(training: Training) -> list[Path]:
    """Return the checkpoints that an unfinished training must not resume from.

    These are half-written ones, and the final one of an earlier training in the same folder, which ``--c`` prefers.
    """
    final = training.folder / FINAL
    broken = [file for file in _intermediate_files(training) if file.is_file() and read_checkpoint(file) is None]
    return ([final] if final.is_file() else []) + broken


def cost(training: Training, checkpoint_file: Path) -> dict:
    """Return what a training took until a checkpoint.

    ``training_s`` is the sum of its epochs, and of the prediction of pseudo-masks between them, as nnU-Net logged them;
    whatever was lost by interruptions is left out. ``seed`` is None where none was set.
    """
    checkpoint, noted = read_checkpoint(checkpoint_file), read_costs(training)
    epochs = [] if checkpoint is None else _epochs(checkpoint)
    logs = [file.read_text() for file in sorted(training.folder.glob("training_log*.txt"))]
    training_s = sum(end - start for start, end in epochs) + between_phases_s(logs, len(epochs))
    return {
        "training_s": training_s if epochs else None,
        "num_iterations": _num_iterations(training, len(epochs)) if epochs else None,
        "peak_memory_mb": noted.get("peak_memory_mb"),
        "peak_memory_of": noted.get("peak_memory_of"),
        "seed": last_seed(logs),
    }


def read_costs(training: Training) -> dict:
    """Return what the comparison noted of a training."""
    return read_json(training.costs_file) if training.costs_file.is_file() else {}


def save_costs(training: Training, costs: dict) -> None:
    training.costs_file.parent.mkdir(parents=True, exist_ok=True)
    save_json_atomically(costs, training.costs_file)


def _num_iterations(training: Training, num_epochs: int) -> int | None:
    """Return the iterations of the first epochs, from the attributes of the trainer that nnU-Net writes down."""
    file = training.folder / "debug.json"
    if not file.is_file():
        return None
    noted = read_json(file)
    all_in_one = int(noted["num_epochs"]), int(noted["num_iterations_per_epoch"])
    iterations = 0
    for length, iterations_per_epoch in noted_phases(noted.get("phases", "")) or [all_in_one]:
        iterations += min(num_epochs, length) * iterations_per_epoch
        num_epochs = max(num_epochs - length, 0)
    return iterations


def _intermediate_files(training: Training) -> list[Path]:
    return [training.folder / name for name in INTERMEDIATE]


def _epochs(checkpoint: dict) -> list[tuple[float, float]]:
    logging = checkpoint["logging"]
    return list(zip(logging["epoch_start_timestamps"], logging["epoch_end_timestamps"], strict=False))


def _start(checkpoint: dict | None) -> float:
    """Return when the training of a checkpoint began."""
    epochs = [] if checkpoint is None else _epochs(checkpoint)
    return epochs[0][0] if epochs else float("-inf")
