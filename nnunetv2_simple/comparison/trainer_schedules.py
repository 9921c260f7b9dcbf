"""How many iterations each epoch of a trainer has: asked of the trainers themselves.

    python -m nnunetv2_simple.comparison.trainer_schedules -d 501 -c 3d_fullres -p nnUNetPlans SimPLeTrainer

A trainer sets its schedule when nnU-Net makes it, which leaves a log in nnUNet_results; so this runs in a process of
its own, whose results go to a folder that is removed.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import redirect_stdout

Schedule = list[list[int]]  # [number of epochs, iterations of each of them], one after the other


def trainer_schedules(
    trainers: Sequence[str], *, dataset: int, configuration: str, plans: str, environment: dict[str, str]
) -> dict[str, Schedule]:
    """Return the schedule of each trainer.

    Args:
        trainers: Names of trainer classes.
        dataset: Id of a planned dataset that all of them can train on.
        configuration: nnU-Net's configuration.
        plans: Name of the plans.
        environment: Added to the environment of this process.

    Raises:
        ValueError: If a trainer cannot be found, or refuses the dataset.
    """
    command = [
        *("-m", "nnunetv2_simple.comparison.trainer_schedules", "-d", str(dataset), "-c", configuration, "-p", plans)
    ]
    with tempfile.TemporaryDirectory() as results:
        process = subprocess.run(
            [sys.executable, *command, *trainers],
            env=os.environ | environment | {"nnUNet_results": results, "nnUNet_wandb_enabled": "0"},
            capture_output=True,
            text=True,
        )
    if process.returncode:
        raise ValueError(process.stderr.strip().splitlines()[-1])
    return json.loads(process.stdout)


def schedule_of(trainer) -> Schedule:
    """Return the schedule of an nnU-Net trainer."""
    if hasattr(trainer, "phases"):
        return [[phase.num_epochs, phase.num_iterations_per_epoch] for phase in trainer.phases]
    return [[trainer.num_epochs, trainer.num_iterations_per_epoch]]


def iterations_until(schedule: Schedule, epoch: int) -> int:
    """Return the number of iterations before an epoch, counted from 0."""
    iterations = 0
    for num_epochs, iterations_per_epoch in schedule:
        iterations += min(epoch, num_epochs) * iterations_per_epoch
        epoch = max(epoch - num_epochs, 0)
    return iterations


def num_iterations(schedule: Schedule) -> int:
    """Return the iterations of a whole training."""
    return sum(num_epochs * iterations_per_epoch for num_epochs, iterations_per_epoch in schedule)


def main() -> None:
    import torch  # only this process needs what follows, which takes seconds to import
    from nnunetv2.run.run_training import get_trainer_from_args

    parser = argparse.ArgumentParser(description="Print the schedules of trainers as JSON.")
    parser.add_argument("-d", required=True, help="Id of a planned dataset")
    parser.add_argument("-c", required=True, help="Configuration")
    parser.add_argument("-p", required=True, help="Name of the plans")
    parser.add_argument("trainers", nargs="+", help="Class names")
    args = parser.parse_args()
    schedules = {}
    for name in args.trainers:
        try:
            with redirect_stdout(sys.stderr):
                trainer = get_trainer_from_args(args.d, args.c, 0, name, args.p, device=torch.device("cpu"))
        except (RuntimeError, ValueError, NotImplementedError) as error:
            sys.exit(f"{name}: {error}")
        schedules[name] = schedule_of(trainer)
    print(json.dumps(schedules))


if __name__ == "__main__":
    main()
