"""Kills a training again and again, at random moments and while files are being written, and continues it.

Once it has come to its end, another one begins.

    python training_killer.py NUM_KILLS SEED OUTPUT.json

Checkpoints are saved every epoch, so that trainings are resumed inside of every phase. Kills hit the process alone or
one of its workers, as the system's do where memory runs out, or all of its process group: all others must end as well.

Every attempt is a fork of this process, which has imported everything, so that it starts at once. Files are written
with a pause in their middle: otherwise hardly a kill would find one half-written.
"""

import json
import os
import re
import shutil
import sys
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
from nnunetv2.paths import nnUNet_results
from nnunetv2.run.run_training import run_training

from nnunetv2_simple.training.trainer import PhasedTrainer
from support.processes import WHOM, kill

TRAINER, PLANS = "SimPLeTrainer_Tiny", "nnUNetPlans_tiny"
LONGEST_ATTEMPT_S, PAUSE_S = 10.0, 0.25
GIVEN_UP_S = 120.0  # the file waited for is never written, say because all of that kind are there
HALF_WRITTEN = (".partial_*_checkpoint_latest.pth", ".partial_*.pth", "pseudo_masks/.partial_*")


def write_with_a_pause() -> None:
    save, write_image = torch.save, sitk.WriteImage

    def write_half(file: str) -> None:
        content = Path(file).read_bytes()
        Path(file).write_bytes(content[: len(content) // 2])
        time.sleep(PAUSE_S)
        Path(file).write_bytes(content)

    def slow_save(checkpoint, file, *options, **more_options):
        save(checkpoint, file, *options, **more_options)
        write_half(file)

    def slow_write(image, file, *options, **more_options):
        write_image(image, file, *options, **more_options)
        write_half(file)

    torch.save, sitk.WriteImage = slow_save, slow_write


def save_every_epoch() -> None:
    initialize = PhasedTrainer.initialize

    def initialize_and_save_often(trainer) -> None:
        initialize(trainer)
        trainer.save_every = 1

    PhasedTrainer.initialize = initialize_and_save_often


def attempt(log: Path, work: Callable[[], None], *, is_over: Callable[[], bool], whom: str) -> tuple[bool, int]:
    """Work until it is over; whether the work came to its end before, and how many processes outlived the kill."""
    log.touch()
    child = os.fork()
    if child == 0:
        os.setsid()
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        status = 1
        try:
            work()
            status = 0
        except SystemExit as end:
            status = end.code
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    while os.getpgid(child) != child:  # its session is not its own yet
        time.sleep(0.001)
    gives_up = after(GIVEN_UP_S)
    while not is_over() and not gives_up():
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            assert status == 0, log.read_text()[-5000:]
            return True, 0
        time.sleep(0.01)
    return False, kill(child, whom)


def after(seconds: float) -> Callable[[], bool]:
    deadline = time.monotonic() + seconds
    return lambda: time.monotonic() > deadline


def when_half_written(fold: Path, pattern: str) -> Callable[[], bool]:
    """Wait for a file that is being written; those of the attempts before do not count."""
    left_over = {file: modified(file) for file in fold.glob(pattern)}
    return lambda: any(modified(file) not in (None, left_over.get(file)) for file in fold.glob(pattern))


def modified(file: Path) -> float | None:
    try:
        return file.stat().st_mtime
    except FileNotFoundError:  # it has just been moved into place
        return None


def train(*, go_on: bool, trainer: str = TRAINER) -> None:
    run_training("501", "3d_fullres", 0, trainer, PLANS, continue_training=go_on, device=torch.device("cpu"))


def train_slowly(*, go_on: bool) -> None:
    write_with_a_pause()
    save_every_epoch()
    train(go_on=go_on)


def readable_epoch(checkpoint: Path) -> int | None:
    return torch.load(checkpoint, weights_only=False)["current_epoch"] if checkpoint.exists() else None


def main(num_kills: str, seed: str, output: str) -> None:
    generator = np.random.default_rng(int(seed))
    fold = Path(nnUNet_results) / "Dataset501_Tiny" / f"{TRAINER}__{PLANS}__3d_fullres" / "fold_0"
    report = []
    for number in range(int(num_kills)):
        log = Path(output).with_name(f"kill_{number}.log")
        moments = (
            after(generator.uniform(0.1, LONGEST_ATTEMPT_S)),
            when_half_written(fold, HALF_WRITTEN[generator.integers(len(HALF_WRITTEN))]),
        )
        starts_anew = number == 0 or report[-1]["finished"]
        if starts_anew:
            shutil.rmtree(fold, ignore_errors=True)
        work = partial(train_slowly, go_on=not starts_anew)
        finished, orphans = attempt(log, work, is_over=moments[number % 2], whom=WHOM[number // 2 % 3])
        report.append(
            {
                "starts_anew": starts_anew,
                "finished": finished,
                "orphans": orphans,
                "epochs": [int(epoch) for epoch in re.findall(r": Epoch (\d+) *\n", log.read_text())],
                "half_written": sorted(str(file.relative_to(fold)) for file in fold.rglob("*partial*")),
                "latest": readable_epoch(fold / "checkpoint_latest.pth"),
                "final": readable_epoch(fold / "checkpoint_final.pth"),
            }
        )
        Path(output).write_text(json.dumps(report))


if __name__ == "__main__":
    main(*sys.argv[1:])
