"""Kills conversions in two worker processes at random moments; what the rerun leaves must be whole.

    python conversion_killer.py NUM_KILLS SEED FOLDER

Every attempt is a fork of this process, which has imported everything. Kills hit the process alone or one of its
workers, as the system's do where memory runs out, or all of its process group. FOLDER/kills.json gets, for each kill,
whether the attempt had finished, how many processes were left after some seconds, and whether the rerun ended with what
an undisturbed one leaves, byte by byte.
"""

import json
import os
import shutil
import sys
import time
import traceback
from pathlib import Path

import numpy as np

from nnunetv2_simple.conversion.command_line import main as convert
from support.conversion_cases import files_below, write_single_channel_case
from support.processes import WHOM, kill

NUM_CASES = 4


def start(folder: Path, raw: Path) -> int:
    """Return the process id of a conversion, which leads a group of its own."""
    child = os.fork()
    if child == 0:
        os.setsid()
        output = os.open(folder / "conversion.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.environ.update(nnUNet_raw=str(raw))
        sources = ["-i", str(folder / "images"), "-m", str(folder / "masks")]
        status = 1
        try:
            status = convert([*sources, "-d", "5", "-n", "Killed", "-dense", "6", "-np", "2"])
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
    while os.getpgid(child) != child:  # its session is not its own yet
        time.sleep(0.001)
    return child


def status_of(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main(num_kills: str, seed: str, place: str) -> None:
    folder, generator = Path(place), np.random.default_rng(int(seed))
    for number in range(NUM_CASES):
        write_single_channel_case(folder, f"case_{number}", seed=number)
    begin = time.monotonic()
    assert status_of(start(folder, folder / "expected")) == 0
    duration_s, expected, report = time.monotonic() - begin, files_below(folder / "expected"), []
    for number in range(int(num_kills)):
        raw = folder / "raw"
        child = start(folder, raw)
        time.sleep(generator.uniform(0, 1.1 * duration_s))
        finished = os.waitpid(child, os.WNOHANG)[0] == child
        orphans = 0 if finished else kill(child, WHOM[number % 3])
        num_files = len(files_below(raw)) if raw.is_dir() else 0
        status = status_of(start(folder, raw))
        is_whole = files_below(raw) == expected
        report.append(
            {"finished": finished, "orphans": orphans, "files": num_files, "status": status, "is_whole": is_whole}
        )
        shutil.rmtree(raw, ignore_errors=True)
        (folder / "kills.json").write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main(*sys.argv[1:])
