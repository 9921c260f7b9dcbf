"""The lines of nnU-Net's training logs that this package writes or reads, in one place."""

import re
from collections.abc import Iterable
from datetime import datetime

SEED_IN_LOG = "Seed of all random numbers:"
PHASE_IN_LOG = "Phase"
TIME = r"\d{4}-\d\d-\d\d [\d:.]+"  # nnU-Net puts it before every line


def last_seed(logs: Iterable[str]) -> int | None:
    """Return the seed that the logs of a training name last; None if they name none."""
    seeds = re.findall(rf"{re.escape(SEED_IN_LOG)} (\d+)", "".join(logs))
    return int(seeds[-1]) if seeds else None


def last_epoch_line(text: str) -> str | None:
    """Return the last line of a log that announces an epoch, without line end; None if there is none.

    Example:
        >>> last_epoch_line("2026-01-01 10:00:00.0: Epoch 7 \\n2026-01-01 10:00:09.0: train_loss 0.3 \\n")
        '2026-01-01 10:00:00.0: Epoch 7'
    """
    found = re.findall(rf"^({TIME}: Epoch \d+) *$", text, re.MULTILINE)
    return found[-1] if found else None


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
