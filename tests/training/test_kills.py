"""kill -9 at random moments: --c always goes on, and ends with a complete result."""

import json
import os
import subprocess
import sys
from pathlib import Path

import blosc2
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from support.nnunet_environment import NNUNetEnvironment, build_environment

SUPPORT = Path(__file__).parents[1] / "support"
TRAINER = "SimPLeTrainer_Tiny"
NUM_KILLS, NUM_STAGES, SEED = 12, 3, 0
BOUNDARIES = (3, 6)  # the epochs at which the second and third phase start


@pytest.fixture(scope="module")
def environment(tmp_path_factory) -> NNUNetEnvironment:
    return build_environment(tmp_path_factory.mktemp("kills"))


def run_killer(environment: NNUNetEnvironment, name: str, num_kills: int, **variables: str) -> list[dict]:
    output = environment.folder / f"{name}.json"
    variables |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(SUPPORT.parent)}
    process = subprocess.run(
        [sys.executable, SUPPORT / f"{name}.py", str(num_kills), str(SEED), output],
        env=os.environ | environment.variables | variables,
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr[-5000:]
    return json.loads(output.read_text())


@pytest.fixture(scope="module")
def kills(environment) -> list[dict]:
    return run_killer(environment, "training_killer", NUM_KILLS)


@pytest.fixture(scope="module")
def fold(environment, kills) -> Path:
    """Where the last training lies, brought to its end."""
    environment.run(*environment.train_command(TRAINER, "--c"))
    return environment.fold_folder(TRAINER)


def test_kills_find_files_half_written(kills):
    """Otherwise the other tests say little."""
    half_written = [file for kill in kills for file in kill["half_written"]]
    assert [file for file in half_written if file.endswith(".pth")]
    assert [file for file in half_written if file.startswith("pseudo_masks/")]


def test_no_process_outlives_its_training(kills):
    assert [kill["orphans"] for kill in kills] == [0] * NUM_KILLS


def test_every_attempt_goes_on_where_the_last_checkpoint_left_off(kills):
    for before, after in zip(kills, kills[1:], strict=False):
        if after["starts_anew"]:
            assert before["finished"]
        elif before["final"] is not None:
            assert not after["epochs"], "a finished training was trained again"
        elif after["epochs"] and before["latest"] is not None:
            assert after["epochs"][0] == before["latest"]


def test_no_phase_runs_twice_or_is_skipped(kills):
    reached = 0
    for kill in kills:
        reached = 0 if kill["starts_anew"] else reached
        if kill["epochs"]:
            assert kill["epochs"][0] >= reached
            assert kill["epochs"] == list(range(kill["epochs"][0], kill["epochs"][-1] + 1))
        reached = max([reached, *(b for b in BOUNDARIES if kill["latest"] is not None and kill["latest"] >= b)])


def test_the_result_is_complete(environment, fold):
    names = {file.name for file in fold.glob("*.pth*")}
    assert names == {"checkpoint_train.pth", "checkpoint_finetune.pth", "checkpoint_final.pth", "checkpoint_best.pth"}
    checkpoint = torch.load(fold / "checkpoint_final.pth", weights_only=False)
    assert checkpoint["current_epoch"] == 9
    assert len(checkpoint["logging"]["train_losses"]) == 9
    assert (fold / "validation" / "summary.json").is_file()


def test_every_pseudo_mask_is_whole(environment, fold):
    cases = environment.splits["train"]
    assert sorted(file.name for file in (fold / "pseudo_masks").iterdir()) == sorted(f"{c}.nii.gz" for c in cases)
    for case in cases:
        mask = sitk.GetArrayFromImage(sitk.ReadImage(str(fold / "pseudo_masks" / f"{case}.nii.gz")))
        assert set(np.unique(mask)) <= {0, 1}
        assert blosc2.open(str(fold / "pseudo_masks_preprocessed" / f"{case}.b2nd"))[:].max() <= 1


def test_what_is_killed_after_the_epochs_ends_with_the_same_content(environment, fold):
    """So the masks of a training that was killed are those of an undisturbed one."""
    stages = run_killer(environment, "stage_killer", NUM_STAGES, nnUNet_def_n_proc="2")
    assert [stage["stage"] for stage in stages] == ["masks", "validation", "export"]
    assert [(stage["orphans"], stage["is_whole"]) for stage in stages] == [(0, True)] * NUM_STAGES
