"""A training that a scheduler ends by SIGTERM, or that is killed, leaves no process behind."""

import os
import signal
import time

import pytest
from support.nnunet_environment import NNUNetEnvironment, build_environment
from support.processes import members


@pytest.fixture(scope="module")
def environment(tmp_path_factory) -> NNUNetEnvironment:
    return build_environment(tmp_path_factory.mktemp("sigterm"))


@pytest.mark.parametrize(
    ("seed", "ending"),
    [("", signal.SIGTERM), ("1", signal.SIGTERM), ("", signal.SIGKILL)],
    ids=["not seeded", "seeded", "killed"],
)
def test_the_workers_of_the_data_loaders_end_with_the_training(environment, seed, ending):
    log = environment.folder / f"ended{seed}_{ending}.log"
    variables = {"nnUNet_n_proc_DA": "2", "nnUNet_simple_seed": seed}
    process = environment.start(*environment.train_command("SimPLeTrainer_Tiny"), log=log, variables=variables)
    try:
        # the training and, from its first batch on, two workers for it; nnU-Net starts one for the validation as well
        while "Epoch 0" not in log.read_text() or len(members(process.pid)) < 3:
            assert process.poll() is None, log.read_text()[-3000:]
            time.sleep(0.1)
        os.kill(process.pid, ending)  # the process alone
        assert process.wait(timeout=60) == -ending
        end = time.monotonic() + 20
        while members(process.pid) and time.monotonic() < end:
            time.sleep(0.1)
        assert members(process.pid) == []
    finally:
        if left := members(process.pid):
            os.killpg(process.pid, signal.SIGKILL)
            print("killed", left)
