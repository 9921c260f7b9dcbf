"""Running the steps of a comparison that are not done, one command at a time.

Each command has a process group of its own that never outlives this process.
"""

import os
import platform
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

import torch
from tqdm import tqdm

from nnunetv2_simple import __version__
from nnunetv2_simple.comparison.datasets import weak_splits
from nnunetv2_simple.comparison.settings import Command, Comparison
from nnunetv2_simple.comparison.steps import Step, searched_trainer_folders, steps
from nnunetv2_simple.comparison.training_state import is_trained, num_epochs_done, read_costs, save_costs
from nnunetv2_simple.files import only_one, save_json_atomically, written_atomically
from nnunetv2_simple.nnunet.datasets import SPLITS_FILE
from nnunetv2_simple.nnunet.trainer_folder import TRAINER_FOLDERS_VARIABLE
from nnunetv2_simple.nnunet.training_log import progress_line

WATCHED_EVERY_S = 1.0
HEAD, TAIL = 20_000, 20_000  # bytes of a log that tell how far a training is
NUM_LINES_SHOWN = 25
FULL_BYTES = 2**20  # a disk with less room is full
PACKAGES = ("torch", "nnunetv2", "batchgenerators", "numpy", "scipy", "scikit-image", "SimpleITK")
FIND_TRAINERS = """
import sys
from nnunetv2_simple.nnunet.versions import find_trainer_class
missing = [name for name in sys.argv[1:] if find_trainer_class(name) is None]
sys.exit(f"nnU-Net finds no trainer {', '.join(missing)}" if missing else 0)
"""


class CommandError(RuntimeError):
    """A command failed, or did not do what it should."""


def run_missing(comparison: Comparison) -> None:
    """Do every step that is not done.

    Raises:
        CommandError: If one of nnU-Net's commands fails. What is done stays done.
        ValueError: If a trainer cannot be found.
        BlockingIOError: If another comparison runs one of the trainings or prepares one of the datasets.
    """
    check_trainers(comparison)
    splits_file = comparison.preprocessed / comparison.datasets["weak"] / SPLITS_FILE
    if comparison.has_folds and not splits_file.is_file():
        save_json_atomically(weak_splits(comparison), splits_file)
    missing = [step for step in steps(comparison) if not step.is_done()]
    with ExitStack() as held:
        for folder in sorted({step.shared_folder for step in missing if step.shared_folder}):
            folder.mkdir(parents=True, exist_ok=True)
            held.enter_context(only_one(folder / ".comparison.lock", str(folder)))
        missing = [step for step in missing if not step.is_done()]
        progress = held.enter_context(Progress(len(missing), comparison.line_every_s))
        for step in missing:
            progress.begin(step.title)
            run_step(step, comparison, progress.show)


def run_step(step: Step, comparison: Comparison, show: Callable[[str], None]) -> None:
    """Run the commands of a step; ``show`` is called every second with what tells how far they are."""
    log_file, costs_file = comparison.output_folder / "logs" / f"{step.log}.log", None
    commands = step.commands_now()
    if step.training:
        known = read_costs(step.training) if num_epochs_done(step.training) else {}
        save_costs(step.training, known | {"versions": versions_here(comparison.device)})
        costs_file = step.training.costs_file
    for command in commands:
        if command[0] in FILE_COMMANDS:
            FILE_COMMANDS[command[0]](*(Path(word) for word in command[1:] if not word.startswith("-")))
        else:
            run_command(command, log_file, show=show, costs_file=costs_file)
            if half_written := step.half_written():
                _remove(*half_written)
                names = ", ".join(map(str, half_written))
                raise CommandError(f"{step.title}: {names} could not be read whole and were removed. Is the disk full?")
    if not step.is_done():
        raise CommandError(f"{step.title}: its commands succeeded, but part of its output is missing; see {log_file}")


def check_trainers(comparison: Comparison) -> None:
    """Make sure that nnU-Net finds every trainer that is still to be run.

    Raises:
        ValueError: Naming the one it does not find.
    """
    trainers = {training.trainer for training in comparison.trainings() if not is_trained(training)}
    if not trainers:
        return
    command = [sys.executable, "-c", FIND_TRAINERS, *sorted(trainers)]  # the look-up imports all of nnU-Net's trainers
    process = subprocess.run(command, env=_environment(), capture_output=True, text=True)
    if process.returncode:
        raise ValueError(process.stderr.strip().splitlines()[-1])


def run_command(
    command: Command,
    log_file: Path,
    *,
    show: Callable[[str], None] = lambda line: None,
    costs_file: Path | None = None,
) -> None:
    """Run a console script to its end; its log gets what it prints, the costs file its peak memory.

    Raises:
        CommandError: With the last lines of its output, if its exit status is not 0.
    """
    log_file.parent.mkdir(parents=True, exist_ok=True)
    measured = [sys.executable, "-m", "nnunetv2_simple.comparison.measured_command", "--parent", str(os.getpid())]
    measured += ["--costs", str(costs_file)] if costs_file else []
    with log_file.open("a") as log:
        log.write(f"\n{datetime.now():%Y-%m-%d %H:%M:%S} $ {shlex.join(command)}\n")
        log.flush()
        begin = log.tell()
        options = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": subprocess.STDOUT}
        process = subprocess.Popen([*measured, *command], env=_environment(), start_new_session=True, **options)
    try:
        while process.poll() is None:
            with suppress(subprocess.TimeoutExpired):
                process.wait(WATCHED_EVERY_S)
            show(progress_line(_ends_of(log_file, begin)) or "at work")
    finally:
        if process.returncode != 0:
            _kill(process)  # what is left of its process group
    if process.returncode:
        raise CommandError(_describe_failure(command, process.returncode, log_file, begin))


def _environment() -> dict[str, str]:
    return os.environ | {"PYTHONUNBUFFERED": "1", TRAINER_FOLDERS_VARIABLE: searched_trainer_folders()}


def _kill(process: subprocess.Popen) -> None:
    if hasattr(os, "killpg"):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.wait()


def _read_from(file: Path, position: int) -> str:
    with file.open("rb") as stream:
        stream.seek(position)
        return stream.read().decode(errors="replace")


def _ends_of(log_file: Path, begin: int) -> str:
    """Return the first and the last lines from a position."""
    text = _read_from(log_file, begin)
    return text if len(text) <= HEAD + TAIL else f"{text[:HEAD].rpartition(chr(10))[0]}\n{text[-TAIL:]}"


def _describe_failure(command: Sequence[str], status: int, log_file: Path, begin: int) -> str:
    how = f"failed with status {status}" if status > 0 else f"was killed by signal {-status} (9: out of memory?)"
    # a progress bar writes over what stands before the carriage return
    lines = [line.rpartition("\r")[2][:300] for line in _read_from(log_file, begin).rstrip().split("\n")]
    # once nnU-Net fails its background threads fail as well, and hide the cause
    cause = next((line for line in lines if re.match(r"[\w.]*(Error|Exception)\b", line)), None)
    shown = [f"The first error: {cause}"] if cause else []
    if shutil.disk_usage(log_file.parent).free < FULL_BYTES:
        shown.append(f"The disk of {log_file.parent} is full")
    shown += [f"The last lines of {log_file}:", *(f"    {line}" for line in lines[-NUM_LINES_SHOWN:])]
    return "\n".join([shlex.join(command), how, *shown])


def _copy(source: Path, target: Path) -> None:
    with written_atomically(target) as beside:
        shutil.copyfile(source, beside)


def _remove(*places: Path) -> None:
    for place in places:
        shutil.rmtree(place) if place.is_dir() else place.unlink()


FILE_COMMANDS = {  # run here, so that they work on every platform
    "mkdir": lambda folder: folder.mkdir(parents=True, exist_ok=True),
    "cp": _copy,
    "mv": os.replace,
    "rm": _remove,
    "touch": Path.touch,
}


class Progress:
    """A bar over the steps, and under it the last line of the running one; off a terminal, a line now and then."""

    def __init__(self, num_steps: int, line_every_s: float):
        self._line_every_s, self._step_began = line_every_s, time.monotonic()
        self._on_terminal, self._num_steps, self._begun = sys.stderr.isatty(), num_steps, 0
        options = {"file": sys.stderr, "disable": not (self._on_terminal and num_steps)}
        self._bar = tqdm(total=num_steps, unit="step", **options)
        self._line = tqdm(bar_format="{desc}", position=1, leave=False, **options)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *error) -> None:
        self._bar.update(self._begun - self._bar.n if error[0] is None else 0)
        self._line.close()
        self._bar.close()

    def begin(self, title: str) -> None:
        """Begin a step; the one before is done."""
        self._bar.update(self._begun - self._bar.n)
        self._begun += 1
        self._step_began = time.monotonic()
        self._print(f"{title} (step {self._begun} of {self._num_steps})")

    def show(self, line: str) -> None:
        """Show how far the step is; called every second."""
        self._line.set_description_str(line)
        now = time.monotonic()
        if not self._on_terminal and now > self._last_print + self._line_every_s:
            self._print(f"  {now - self._step_began:.0f} s: {line}")

    def _print(self, text: str) -> None:
        tqdm.write(text, file=sys.stderr)
        self._last_print = time.monotonic()


def versions_here(device: str) -> dict[str, str]:
    """Return the versions of the packages that matter, and the name of the device ("cuda", "cpu" or "mps")."""
    device_name = f"{device} ({platform.processor() or platform.machine()}, {os.cpu_count()} cores)"
    if device == "cuda" and torch.cuda.is_available():
        device_name = torch.cuda.get_device_name()
    packages = {package: version(package) for package in PACKAGES}
    here = {"python": platform.python_version(), "platform": platform.platform(), "device_name": device_name}
    return {"nnunetv2_simple": __version__} | packages | here
