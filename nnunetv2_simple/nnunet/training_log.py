"""What this package writes to, or reads from, nnU-Net's training logs and debug.json, in one place."""

import re
from collections.abc import Iterable
from datetime import datetime

SEED_IN_LOG = "Seed of all random numbers:"
PHASE_IN_LOG = "Phase"
EPOCHS_IN_LOG = "Epochs in all:"
MIN_PROPAGATED_SHARE = 0.001  # below, a fine-tuning changes nothing that can be seen
TIME = r"\d{4}-\d\d-\d\d [\d:.]+"  # nnU-Net puts it before every line


def last_seed(logs: Iterable[str]) -> int | None:
    """Return the seed that the logs of a training name last; None if they name none."""
    seeds = re.findall(rf"{re.escape(SEED_IN_LOG)} (\d+)", "".join(logs))
    return int(seeds[-1]) if seeds else None


def noted_phases(attributes: str) -> list[tuple[int, int]]:
    """Return the epochs of each phase of a training, and its iterations per epoch; none of a trainer without phases.

    Args:
        attributes: What nnU-Net notes of the trainer in debug.json. Half of it tells half of the phases.

    Example:
        >>> noted_phases("(Phase(name='train', num_epochs=2, num_iterations_per_epoch=4, num_val_iterations_per")
        [(2, 4)]
    """
    found = re.findall(r"num_epochs=(\d+),.*?num_iterations_per_epoch=(\d+),", attributes)
    return [(int(num_epochs), int(num_iterations)) for num_epochs, num_iterations in found]


def progress_line(text: str) -> str | None:
    """Return how far a training is, from its log: epoch, loss, time of its epoch and time left; None before the first.

    Example:
        >>> progress_line(
        ...     "2026-01-01 10:00:00.0: Epochs in all: 4 \\n2026-01-01 10:00:00.0: Epoch 0 \\n"
        ...     "2026-01-01 10:00:20.0: train_loss 0.3142 \\n2026-01-01 10:00:20.0: Epoch 1 \\n"
        ... )
        'epoch 2 of 4, loss 0.3142, about 1 min left'
    """
    epochs = re.findall(rf"^({TIME}): Epoch (\d+) *$", text, re.MULTILINE)
    if not epochs:
        return None
    numbers = [int(number) for _, number in epochs]
    found = [f"epoch {numbers[-1] + 1}"]
    in_all = re.findall(rf"{re.escape(EPOCHS_IN_LOG)} (\d+)", text)
    if in_all:
        found[0] += f" of {in_all[-1]}"
    if losses := re.findall(r": train_loss (\S+)", text):
        found.append(f"loss {losses[-1]}")
    if iterations := re.findall(r": (iteration \d+ of \d+)", text[text.rindex(f"Epoch {numbers[-1]}") :]):
        found.append(iterations[-1])
    if in_all and numbers[-1] > numbers[0]:
        begin, end = (datetime.fromisoformat(epochs[place][0]) for place in (0, -1))
        per_epoch_s = (end - begin).total_seconds() / (numbers[-1] - numbers[0])
        left_s = per_epoch_s * (int(in_all[-1]) - numbers[-1])
        found.append(f"about {left_s:.0f} s left" if left_s < 50 else f"about {left_s / 60:.0f} min left")
    return ", ".join(found)


def between_phases_s(logs: Iterable[str], num_epochs: int) -> float:
    """Return the time from the announcement of each phase to its first epoch, up to an epoch.

    Args:
        logs: The logs of a training, one for each time that it was started.
        num_epochs: How many epochs count.
    """
    total_s = 0.0
    for log in logs:
        announced = None
        pattern = rf"^({TIME}): (?:({PHASE_IN_LOG}) \w+: .*|Epoch (\d+) *)$"
        for when, phase, epoch in re.findall(pattern, log, re.MULTILINE):
            now = datetime.fromisoformat(when)
            if phase:
                announced = now
            elif announced is not None:
                total_s += (now - announced).total_seconds() if int(epoch) < num_epochs else 0
                announced = None
    return total_s
