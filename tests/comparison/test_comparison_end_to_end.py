"""The comparison through its command line: killed in a training, gone on with, and found complete."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import SimpleITK as sitk
import torch
from support.nnunet_environment import DENSE_DATASET, PLANS, NNUNetEnvironment, build_environment

EXTRA_VARIABLES = {
    "nnUNet_extTrainer": str(Path(__file__).parents[1] / "support" / "minimal_trainers"),
    "OMP_WAIT_POLICY": "PASSIVE",  # where cores are shared, threads that wait for each other must not keep them busy
}
METHODS = ("pce_ctr", "simple", "full")
CASES = ("test_1", "test_2")
TRAININGS = (
    "SimPLeTrainer_Minimal__Dataset501_Tiny__fold_0",
    "nnUNetTrainer_Minimal__Dataset502_Tiny_dense__fold_0",
)


@pytest.fixture(scope="module")
def environment(tmp_path_factory) -> NNUNetEnvironment:
    environment = build_environment(tmp_path_factory.mktemp("nnunet"))
    for folder in ("test_images", "test_masks"):
        (environment.folder / folder).mkdir()
    for number, case in enumerate(CASES, start=1):  # under other names: training cases are refused
        os.symlink(
            environment.folder / "images" / f"case_{number}_0000.nii.gz",
            environment.folder / "test_images" / f"{case}_0000.nii.gz",
        )
        os.symlink(
            environment.folder / "masks" / f"case_{number}.nii.gz",
            environment.folder / "test_masks" / f"{case}.nii.gz",
        )
    return environment


def command(environment: NNUNetEnvironment, *options: str) -> list[str]:
    folder = environment.folder
    words = [
        *(sys.executable, "-m", "nnunetv2_simple.comparison.command_line", "-weak", "501", "-dense", "502"),
        *("-methods", *METHODS),
        *("-i", folder / "test_images", "-ref", folder / "test_masks", "-o", folder / "out", "-p", PLANS),
        *("-length", "Minimal", "-device", "cpu", "-np", "1", "-disable_tta", *options),
    ]
    return [str(word) for word in words]


def start(environment: NNUNetEnvironment, *options: str) -> subprocess.Popen:
    return subprocess.Popen(
        command(environment, *options),
        env=os.environ | environment.variables | EXTRA_VARIABLES,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def run(environment: NNUNetEnvironment, *options: str) -> str:
    process = start(environment, *options)
    output, errors = process.communicate()
    assert process.returncode == 0, errors
    return output + errors


def wait_for(text: str, log: Path, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 600
    while text not in (log.read_text() if log.exists() else ""):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, f"{text!r} did not appear"
        time.sleep(0.02)


def log_of(environment: NNUNetEnvironment, name: str) -> Path:
    return environment.folder / "out" / "logs" / f"{name}.log"


@pytest.fixture(scope="module")
def script(environment) -> str:
    """What is printed before anything has been run."""
    return run(environment, "--print-commands")


@pytest.fixture(scope="module")
def killed_at(environment, script) -> int:
    """Kill the comparison, and nothing else, in the middle of the first training; the size of the training's log."""
    log = log_of(environment, f"train__{TRAININGS[0]}")
    process = start(environment)
    wait_for("Epoch 4", log, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    time.sleep(3)
    return log.stat().st_size


@pytest.fixture(scope="module")
def output(environment, killed_at) -> Path:
    run(environment)
    return environment.folder / "out"


@pytest.fixture(scope="module")
def results(output) -> dict:
    return json.loads((output / "comparison.json").read_text())


def test_printed_commands_are_a_shell_script_that_runs_nothing(environment, script):
    lines = [line for line in script.splitlines() if line and not line.startswith(("#", "set", "cd", "export"))]
    assert [line.split()[0] for line in lines] == [
        *("nnUNetv2_extract_fingerprint", "mkdir", "cp", "nnUNetv2_move_plans_between_datasets"),
        *("touch", "nnUNetv2_preprocess", "rm"),
        *("nnUNetv2_train", "nnUNetv2_predict", "mv", "nnUNetv2_predict", "mv"),
        *("nnUNetv2_train", "nnUNetv2_predict", "mv", "nnUNetv2_simple_compare"),
    ]
    assert "&&" not in script  # after which set -e does not stop at what fails
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results", "nnUNet_extTrainer"):
        assert f"\nexport {name}=/" in script
    assert f"nnUNetv2_train 502 3d_fullres 0 -tr nnUNetTrainer_Minimal -p {PLANS} -device cpu" in lines
    assert lines[-1].endswith("--report-only") and "--print-commands" not in lines[-1]
    assert subprocess.run(["sh", "-n"], input=script, text=True).returncode == 0


def test_a_training_ends_with_the_comparison_that_started_it(environment, killed_at, output):
    """Nothing was added to its log between the kill and the restart, which appends its own command line."""
    log = log_of(environment, f"train__{TRAININGS[0]}").read_bytes()
    assert b"$ nnUNetv2_train" in log[killed_at : killed_at + 100]
    assert b"Epoch 7" not in log[:killed_at]


def test_the_interrupted_training_is_gone_on_with(environment, output):
    log = log_of(environment, f"train__{TRAININGS[0]}").read_text()
    starts = [line for line in log.splitlines() if "$ nnUNetv2_train" in line]
    assert [line.endswith("--c") for line in starts] == [False, True]
    assert log.count("Phase train:") == 1


def test_every_step_is_done_once(environment, output):
    for method in METHODS:
        assert log_of(environment, f"predict__{method}__fold_0").read_text().count("$ nnUNetv2_predict") == 1
    assert log_of(environment, f"train__{TRAININGS[1]}").read_text().count("$ nnUNetv2_train") == 1
    assert log_of(environment, f"prepare__{DENSE_DATASET}").read_text().count("$ nnUNetv2_preprocess") == 1
    for training, checkpoint, num_epochs in (
        (TRAININGS[0], "checkpoint_train.pth", 4),
        (TRAININGS[0], "checkpoint_final.pth", 8),
        (TRAININGS[1], "checkpoint_final.pth", 2),
    ):
        trainer, dataset, fold = training.split("__")
        folder = environment.folder / "results" / dataset / f"{trainer}__{PLANS}__3d_fullres" / fold
        logged = torch.load(folder / checkpoint, weights_only=False)["logging"]
        assert len(logged["train_losses"]) == num_epochs


def test_the_output_folder_holds_everything_and_no_leftovers(output):
    files = {str(file.relative_to(output)) for file in output.rglob("*") if file.is_file()}
    files -= {name for name in files if name.startswith("logs") or "predict_from_raw" in name}
    expected = {"comparison.json", "comparison.csv", "comparison.md", "report.html", "settings.json", ".lock"}
    expected |= {f"costs/{training}.json" for training in TRAININGS}
    for method in METHODS:
        expected |= {f"scores/{method}/fold_0.json"}
        expected |= {f"predictions/{method}/fold_0/{case}.nii.gz" for case in CASES}
        expected |= {f"predictions/{method}/fold_0/{name}.json" for name in ("dataset", "plans")}
    assert files == expected


def test_the_dense_dataset_has_plans_and_splits_of_the_weak_one(environment):
    weak, dense = (environment.folder / "preprocessed" / name for name in (environment.dataset.name, DENSE_DATASET))
    assert (weak / "splits_final.json").read_bytes() == (dense / "splits_final.json").read_bytes()
    plans, dense_plans = (json.loads((folder / f"{PLANS}.json").read_text()) for folder in (weak, dense))
    assert dense_plans.pop("dataset_name") == DENSE_DATASET
    assert plans.pop("dataset_name") == environment.dataset.name
    assert plans == dense_plans


def test_scores_are_those_of_the_predictions(environment, output, results):
    for method in results["methods"]:
        for case, scores in method["folds"]["0"]["cases"].items():
            prediction, reference = (
                sitk.GetArrayFromImage(sitk.ReadImage(str(folder / f"{case}.nii.gz"))) == 1
                for folder in (output / "predictions" / method["key"] / "fold_0", environment.folder / "test_masks")
            )
            expected = 2 * (prediction & reference).sum() / (prediction.sum() + reference.sum())
            assert scores["dice"] == pytest.approx(expected)
    rows = list(csv.DictReader((output / "comparison.csv").open()))
    assert len(rows) == len(METHODS) * len(CASES)
    assert {row["label"] for row in rows} == {"tumor"}


def test_costs_are_those_of_the_checkpoint_that_predicts(results):
    costs = {method["key"]: method["folds"]["0"]["cost"] for method in results["methods"]}
    assert [costs[key]["num_iterations"] for key in METHODS] == [4 * 2, 2 * 4 * 2, 2 * 2]
    assert 0 < costs["pce_ctr"]["training_s"] < costs["simple"]["training_s"]
    for cost in costs.values():
        assert cost["peak_memory_of"] == "process"
        assert 100 < cost["peak_memory_mb"] < 4000


def test_the_second_run_does_nothing(environment, output):
    kept = {
        file: file.stat().st_mtime_ns
        for folder in (output, environment.folder / "results", environment.folder / "preprocessed")
        for file in folder.rglob("*")
        if file.is_file() and file.parent != output
    }
    run(environment)
    assert {file: file.stat().st_mtime_ns for file in kept if file.exists()} == kept


def test_report_only_leaves_out_what_is_not_predicted(environment, output):
    shutil.move(output / "predictions" / "simple", output / "set_aside")
    try:
        printed = run(environment, "--report-only")
    finally:
        shutil.move(output / "set_aside", output / "predictions" / "simple")
    assert "simple, fold 0 is left out: 2 of 2 test cases have no prediction" in printed
    keys = [method["key"] for method in json.loads((output / "comparison.json").read_text())["methods"]]
    assert keys == ["pce_ctr", "full"]
