"""Runs one command of nnU-Net in this process, notes its peak memory, and ends when its parent process does.

    python -m nnunetv2_simple.comparison.measured_command --parent 4711 --costs FILE nnUNetv2_train 501 3d_fullres 0

calls the function behind ``nnUNetv2_train`` with these arguments. A training whose parent is killed would otherwise go
on unseen and be started a second time.
"""

import argparse
import os
import re
import runpy
import signal
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from importlib.metadata import entry_points
from pathlib import Path

try:
    import resource
except ImportError:  # on Windows
    resource = None

from nnunetv2_simple.files import read_json, save_json_atomically
from nnunetv2_simple.parallel import ends_with_killed_workers

PARENT_CHECKED_EVERY_S, PEAK_NOTED_EVERY_S = 0.5, 20


def peak_memory() -> dict:
    """Return the peak memory of this process so far in MB: on the GPU where it uses one, else its resident set."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        return {"peak_memory_mb": torch.cuda.max_memory_allocated() / 2**20, "peak_memory_of": "GPU"}
    status, peak = Path("/proc/self/status"), None
    if status.is_file():  # Linux, whose ru_maxrss starts with that of the process that started this one
        peak = int(re.search(r"VmHWM:\s*(\d+) kB", status.read_text())[1]) / 1024
    elif resource:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # macOS counts bytes
    return {"peak_memory_mb": peak, "peak_memory_of": "process"}


def note_peak_memory(costs_file: Path) -> None:
    """Raise the peak memory noted in a file to that of this process; a training may consist of several.

    A full disk, on which nothing can be noted, must not end the command.
    """
    with suppress(OSError):
        noted = read_json(costs_file) if costs_file.exists() else {}
        now = peak_memory()
        if (now["peak_memory_mb"] or 0) > (noted.get("peak_memory_mb") or 0):
            save_json_atomically(noted | now, costs_file)


def run(command: Sequence[str]) -> None:
    """Run ``python -m module ...`` or a console script in this process."""
    if command[:2] == ["python", "-m"]:
        sys.argv = list(command[2:])
        runpy.run_module(command[2], run_name="__main__", alter_sys=True)
        return
    (script,) = entry_points(group="console_scripts", name=command[0])
    sys.argv = list(command)
    sys.exit(script.load()())


def _watch(parent: int, costs_file: Path | None) -> None:
    next_note = time.monotonic() + PEAK_NOTED_EVERY_S
    while os.getppid() == parent:
        time.sleep(PARENT_CHECKED_EVERY_S)
        if costs_file and time.monotonic() > next_note:
            note_peak_memory(costs_file)
            next_note += PEAK_NOTED_EVERY_S
    os.killpg(0, signal.SIGKILL)  # this process and all its workers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parent", type=int, required=True, help="Process id of the parent")
    parser.add_argument("--costs", type=Path, help="[OPTIONAL] JSON file that gets the peak memory")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="What to run")
    args = parser.parse_args()
    threading.Thread(target=_watch, args=(args.parent, args.costs), daemon=True).start()
    advice = "Run the comparison again to resume, with a lower nnUNet_def_n_proc"
    try:
        with ends_with_killed_workers(partial(print, flush=True), args.command[0], advice):
            run(args.command)
    finally:
        if args.costs:
            note_peak_memory(args.costs)


if __name__ == "__main__":
    main()
