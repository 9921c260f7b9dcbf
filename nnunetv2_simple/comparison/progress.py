"""One progress bar over everything that is left of a comparison."""

import os
import re
import sys
import time
from pathlib import Path

from tqdm import tqdm

LINE_EVERY_S = 300  # where nobody watches, in a log
BAR = "{percentage:3.0f} %|{bar}| {elapsed} elapsed, about {remaining} left"
LINE = "{percentage:3.0f} %, {elapsed} elapsed, about {remaining} left"


class Progress:
    """Counts work in training iterations.

    On a terminal the bar stays below the messages; elsewhere a line is printed when a step begins and every five
    minutes while it lasts.

    Args:
        total: The work that is left.
    """

    def __init__(self, total: int):
        self._on_terminal = sys.stderr.isatty()
        self._stream = sys.stderr if self._on_terminal else open(os.devnull, "w")  # noqa: SIM115 (closed in close)
        bar_format = BAR if self._on_terminal else LINE
        self._bar = tqdm(total=total, file=self._stream, bar_format=bar_format, smoothing=0, disable=total == 0)
        self._work = self._reached = 0
        self._last_line = time.monotonic()

    def say(self, text: str) -> None:
        if self._on_terminal:
            tqdm.write(text, file=sys.stderr)
        else:
            print(text, file=sys.stderr, flush=True)
        self._last_line = time.monotonic()

    def begin(self, title: str, work: int) -> None:
        """Begin a step.

        Args:
            title: What it does.
            work: How many iterations it counts as.
        """
        self._work, self._reached = work, 0
        self.say(f"{title} ({self._bar.n / max(self._bar.total, 1):.0%} done)" if not self._on_terminal else title)

    def reached(self, work: int) -> None:
        """Tell how many iterations of the present step are done; it never goes back."""
        now = min(max(work, self._reached), self._work)
        self._bar.update(now - self._reached)
        self._reached = now
        if not self._on_terminal and time.monotonic() > self._last_line + LINE_EVERY_S:
            self.say(f"  {self._bar}")

    def end(self) -> None:
        self.reached(self._work)

    def close(self) -> None:
        self._bar.close()
        if not self._on_terminal:
            self._stream.close()


class EpochReader:
    """Reads the epoch a training is at from its log, from the present end of the log on.

    Args:
        log_file: What nnUNetv2_train prints.
        epoch: The epoch it begins with.
    """

    def __init__(self, log_file: Path, epoch: int):
        self.log_file = log_file
        self.epoch = epoch
        self._position = log_file.stat().st_size if log_file.exists() else 0

    def read(self) -> int:
        """Return the epoch that the training is at."""
        with self.log_file.open("rb") as log:
            log.seek(self._position)
            lines = log.read().splitlines(keepends=True)
        complete = [line for line in lines if line.endswith(b"\n")]
        self._position += sum(map(len, complete))
        for line in complete:
            if found := re.search(rb": Epoch (\d+)\s*$", line):
                self.epoch = int(found[1])
        return self.epoch
