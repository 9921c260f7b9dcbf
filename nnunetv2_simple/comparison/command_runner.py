"""Running nnU-Net's commands one at a time, each in a process group of its own that never outlives this process."""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

try:
    import fcntl
except ImportError:  # on Windows
    fcntl = None

WATCHED_EVERY_S = 1.0
LOCK_AWAITED_S = 5.0
NUM_LINES_SHOWN = 25


class CommandError(RuntimeError):
    """A command came to no good end."""


@dataclass(frozen=True)
class CommandRunner:
    """Runs commands and keeps their output.

    Attributes:
        log_folder: Gets one file per command, to which repeated runs append.
        extra_environment: Added to the environment of this process.
        lock: File descriptor the commands keep open, see :func:`locked`.
    """

    log_folder: Path
    extra_environment: dict[str, str]
    lock: int | None = None

    def log_file(self, name: str) -> Path:
        return self.log_folder / f"{name}.log"

    def run(
        self,
        command: Sequence[str],
        name: str,
        *,
        watch: Callable[[], None] = lambda: None,
        costs_file: Path | None = None,
    ) -> None:
        """Run a command to its end.

        Args:
            command: A console script, or ``python -m module``, and its arguments.
            name: Of the log.
            watch: Called every second while it runs.
            costs_file: Gets its peak memory.

        Raises:
            CommandError: With the last lines of its output, if its exit status is not 0.
        """
        self.log_folder.mkdir(parents=True, exist_ok=True)
        measured = [sys.executable, "-m", "nnunetv2_simple.comparison.measured_command", "--parent", str(os.getpid())]
        if costs_file:
            measured += ["--costs", str(costs_file)]
        with self.log_file(name).open("a") as log:
            log.write(f"\n{datetime.now():%Y-%m-%d %H:%M:%S} $ {shlex.join(command)}\n")
            log.flush()
            begin = log.tell()
            process = subprocess.Popen(
                [*measured, *command],
                env=os.environ | {"PYTHONUNBUFFERED": "1"} | self.extra_environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=[] if self.lock is None else [self.lock],
            )
        try:
            while process.poll() is None:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(WATCHED_EVERY_S)
                watch()
        except BaseException:
            _kill(process)
            raise
        if process.returncode:
            raise CommandError(_describe_failure(command, process.returncode, self.log_file(name), begin))


def _kill(process: subprocess.Popen) -> None:
    if hasattr(os, "killpg"):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.wait()


def _describe_failure(command: Sequence[str], status: int, log_file: Path, begin: int) -> str:
    how = f"failed with status {status}" if status > 0 else f"was killed by signal {-status} (9: out of memory?)"
    with log_file.open("rb") as log:
        log.seek(begin)
        # a progress bar writes over what stands before the carriage return
        lines = [line.rpartition("\r")[2][:300] for line in log.read().decode(errors="replace").rstrip().split("\n")]
    # once nnU-Net fails its background threads fail as well, and hide the cause
    cause = next((line for line in lines if re.match(r"[\w.]*(Error|Exception)\b", line)), None)
    shown = [f"The first error: {cause}"] if cause else []
    shown += [f"The last lines of {log_file}:", *(f"    {line}" for line in lines[-NUM_LINES_SHOWN:])]
    return "\n".join([shlex.join(command), how, *shown])


@contextmanager
def locked(file: Path) -> Iterator[int | None]:
    """Hold a lock on a file, which is set free when this process and all that keep the descriptor open have ended.

    Where the platform has no such locks (Windows) nothing is locked.

    Yields:
        The descriptor of the file.

    Raises:
        ValueError: If somebody else holds the lock.
    """
    if fcntl is None:
        yield None
        return
    with file.open("w") as stream:
        give_up = time.monotonic() + LOCK_AWAITED_S
        while True:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:  # commands of a run that was killed end within a second
                if time.monotonic() > give_up:
                    raise ValueError(f"another run is at work in {file.parent}: wait until it has ended") from error
                time.sleep(0.2)
        yield stream.fileno()
