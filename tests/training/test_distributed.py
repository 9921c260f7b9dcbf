"""Trainings on several GPUs, here two processes with gloo on the CPU."""

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from support.nnunet_environment import NNUNetEnvironment, build_environment

SCRIPT = Path(__file__).parents[1] / "support" / "distributed_training.py"
TRAINER = "SimPLeTrainer_Brief"


@pytest.fixture(scope="module")
def environment(tmp_path_factory) -> NNUNetEnvironment:
    return build_environment(tmp_path_factory.mktemp("distributed"))


def run(environment: NNUNetEnvironment, what: str, *, world_size: int, status: int = 0) -> list[Path]:
    """Return the files with what each process reports; all must end with a status."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    outputs = [environment.folder / f"{what}_{rank}_of_{world_size}.json" for rank in range(world_size)]
    processes = [
        subprocess.Popen(
            [sys.executable, SCRIPT, str(rank), str(world_size), str(port), what, output],
            env=os.environ | environment.variables | {"OMP_NUM_THREADS": "1"},
            stdout=output.with_suffix(".log").open("w"),
            stderr=subprocess.STDOUT,
        )
        for rank, output in enumerate(outputs)
    ]
    for process, output in zip(processes, outputs, strict=True):
        assert process.wait(timeout=900) == status, output.with_suffix(".log").read_text()[-5000:]
    return outputs


def reports(outputs: list[Path]) -> list[dict]:
    return [json.loads(output.read_text()) for output in outputs]


@pytest.fixture(scope="module")
def steps(environment) -> list[dict]:
    """One process alone, then the two that share the work."""
    return reports(run(environment, "steps", world_size=1) + run(environment, "steps", world_size=2))


@pytest.mark.parametrize("phase", ["train", "finetune"])
def test_losses_and_steps_agree_with_one_process_on_the_same_batch(steps, phase):
    alone, *shared = (result[phase] for result in steps)
    for result in shared:
        np.testing.assert_allclose(result["loss"], alone["loss"], rtol=1e-5)
        np.testing.assert_allclose(result["weights"], alone["weights"], rtol=1e-4, atol=1e-5)


def test_sampled_voxels_differ_by_rank(steps):
    alone, first, second = (result["train"]["sampled"] for result in steps)
    assert first == alone
    assert first != second


@pytest.fixture(scope="module")
def trained(environment) -> list[dict]:
    return reports(run(environment, "train", world_size=2))


def test_both_processes_end_with_the_same_weights(trained):
    assert trained[0]["weights"] == trained[1]["weights"]


def test_one_process_splits_the_cases(environment, trained):
    printed = "".join(file.read_text() for file in environment.folder.glob("train_*_of_2.log"))
    assert printed.count("Creating new 5-fold cross-validation split") == 1


def test_every_pseudo_mask_is_predicted_by_one_process(environment, trained):
    cases = sorted(environment.splits["train"])
    shares = [result["share"] for result in trained]
    assert sorted(sum(shares, [])) == cases
    log = "".join(file.read_text() for file in environment.fold_folder(TRAINER).glob("training_log*"))
    predicted_first = re.findall(r"pseudo-mask \d+/\d+: predicting (\S+)", log)  # the log is the first process's
    assert predicted_first == shares[0]
    masks = environment.fold_folder(TRAINER) / "pseudo_masks"
    assert sorted(file.name for file in masks.iterdir()) == [f"{case}.nii.gz" for case in cases]


def test_checkpoints_of_every_phase_are_written_once(environment, trained):
    fold = environment.fold_folder(TRAINER)
    names = {file.name for file in fold.glob("*.pth*")}
    assert names == {"checkpoint_train.pth", "checkpoint_finetune.pth", "checkpoint_final.pth", "checkpoint_best.pth"}
    weights = torch.load(fold / "checkpoint_final.pth", weights_only=False)["network_weights"]
    sums = [tensor.double().abs().sum().item() for tensor in weights.values()]
    np.testing.assert_allclose(sums, trained[0]["weights"], rtol=1e-12)


def test_all_processes_end_with_the_error_of_the_one_that_fails(environment):
    outputs = run(environment, "fail", world_size=2, status=1)
    logs = [output.with_suffix(".log").read_text() for output in outputs]
    assert "RuntimeError: process 1 of this training failed: ZeroDivisionError" in logs[0]
    assert "ZeroDivisionError" in logs[1]
