"""What is to be run next, whatever moment an earlier run was interrupted at."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from support.comparison_files import (
    DENSE,
    PLANS,
    SPLITS,
    TEST_CASES,
    TRAINING_CASES,
    WEAK,
    age,
    make_comparison,
    methods,
    write_checkpoint,
    write_environment,
    write_json,
    write_plans,
)

from nnunetv2_simple.comparison import run
from nnunetv2_simple.comparison.datasets import dataset_json
from nnunetv2_simple.comparison.predictions import commands_to_resume, problem_of, running_folder
from nnunetv2_simple.comparison.settings import Comparison
from nnunetv2_simple.comparison.steps import (
    preparations,
    searched_trainer_folders,
    shell_script,
    steps,
)
from nnunetv2_simple.nnunet.trainer_folder import trainer_folder


@pytest.fixture
def folder(tmp_path, monkeypatch):
    write_environment(tmp_path)
    monkeypatch.setenv("nnUNet_results", str(tmp_path / "results"))
    return tmp_path


@pytest.fixture
def comparison(folder) -> Comparison:
    """A finished training, whose checkpoint is younger than the images."""
    comparison = make_comparison(folder, "full")
    for image in comparison.images.iterdir():
        age(image, 200)
    age(write_checkpoint(comparison.checkpoint(comparison.methods[0], 0), num_epochs=1), 100)
    return comparison


def predict(folder, *cases: str) -> None:
    """Write predictions one second after the other, the first one 10 seconds ago."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, case in enumerate(cases):
        (folder / f"{case}.nii.gz").write_text(case)
        age(folder / f"{case}.nii.gz", 10 - number)


def state(comparison) -> tuple:
    method = comparison.methods[0]
    return method, comparison.checkpoint(method, 0), comparison.predictions(method, 0)


def is_predicted(comparison) -> bool:
    return steps(comparison)[-1].is_done()


def resume(comparison) -> list[str]:
    """Do what is done before a prediction is resumed; return the names of the predictions that are kept."""
    method, _, folder = state(comparison)
    for name, *words in commands_to_resume(comparison, method, 0):
        run.FILE_COMMANDS[name](*(Path(word) for word in words if word != "-r"))
    assert not folder.exists()
    return [file.name for file in running_folder(folder).iterdir()] if running_folder(folder).exists() else []


def test_predictions_of_all_cases_newer_than_the_checkpoint_are_complete(comparison):
    method, _, folder = state(comparison)
    assert not is_predicted(comparison)
    predict(folder, TEST_CASES[0])
    assert "1 of 2 test cases have no prediction" in problem_of(comparison, method, 0)
    predict(folder, *TEST_CASES)
    assert is_predicted(comparison)


def test_predictions_older_than_the_checkpoint_are_outdated(comparison):
    method, checkpoint, folder = state(comparison)
    predict(folder, *TEST_CASES)
    os.utime(checkpoint)
    assert not is_predicted(comparison)
    assert "are older than" in problem_of(comparison, method, 0)


def test_the_prediction_of_an_image_that_was_replaced_is_outdated(comparison):
    method, checkpoint, folder = state(comparison)
    predict(folder, *TEST_CASES)
    os.utime(comparison.images / f"{TEST_CASES[1]}_0000.nii.gz")
    assert f"older than their images in {comparison.images}: {TEST_CASES[1]}" in problem_of(comparison, method, 0)
    assert resume(comparison) == [f"{TEST_CASES[0]}.nii.gz"]


def test_predictions_without_their_checkpoint_can_be_reported_but_are_not_taken_for_done(comparison):
    method, checkpoint, folder = state(comparison)
    predict(folder, *TEST_CASES)
    checkpoint.unlink()
    assert problem_of(comparison, method, 0) is None
    assert not is_predicted(comparison)


def test_what_may_be_half_written_is_predicted_again(comparison):
    predict(running_folder(state(comparison)[2]), *TEST_CASES)
    assert resume(comparison) == [f"{TEST_CASES[0]}.nii.gz"]


def test_predictions_of_fewer_cases_are_gone_on_with(comparison):
    predict(state(comparison)[2], TEST_CASES[0])
    assert resume(comparison) == [f"{TEST_CASES[0]}.nii.gz"]


def test_predictions_of_an_earlier_training_are_removed(comparison):
    _, checkpoint, folder = state(comparison)
    predict(running_folder(folder), *TEST_CASES)
    os.utime(checkpoint)
    assert resume(comparison) == []


def test_predictions_of_a_training_begun_anew_are_removed(comparison):
    method, checkpoint, folder = state(comparison)
    predict(folder, *TEST_CASES)
    assert is_predicted(comparison)
    write_checkpoint(checkpoint.with_name("checkpoint_best.pth"), num_epochs=1, start=900)
    assert not is_predicted(comparison)
    assert resume(comparison) == []


def test_old_and_new_predictions_side_by_side(comparison):
    """Killed between the prediction of more cases and the renaming: the running folder is the newer one."""
    folder = state(comparison)[2]
    predict(folder, TEST_CASES[0])
    predict(running_folder(folder), *TEST_CASES)
    assert resume(comparison) == [f"{TEST_CASES[0]}.nii.gz"]


def test_a_finished_training_without_the_checkpoint_that_predicts_is_named(comparison):
    method = methods("pce_ctr")[0]
    comparison = replace(comparison, methods=[method])
    write_checkpoint(comparison.training(method, 0).folder / "checkpoint_final.pth", num_epochs=2)
    with pytest.raises(ValueError, match="checkpoint_train.pth is missing although the training is done"):
        steps(comparison)[-1].commands_now()


def test_the_checkpoint_is_that_of_the_methods_dataset(comparison):
    assert DENSE in str(state(comparison)[1])


def preprocess(folder, dataset: str) -> None:
    """Leave the files that planning and preprocessing leave."""
    for name in ("dataset.json", "dataset_fingerprint.json"):
        if not (folder / "preprocessed" / dataset / name).exists():
            write_json(folder / "preprocessed" / dataset / name, {})
    for case in TRAINING_CASES:
        for ending in ("b2nd", "pkl"):
            file = folder / "preprocessed" / dataset / "nnUNetPlans_3d_fullres" / f"{case}.{ending}"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()


def prepare(comparison, monkeypatch, run_command) -> None:
    monkeypatch.setattr(run, "run_command", run_command)
    for step in preparations(comparison):
        if not step.is_done():
            run.run_step(step, comparison, print)


def test_what_is_missing_is_made_once_in_this_order(folder, monkeypatch):
    comparison = make_comparison(folder, "full", datasets={"weak": WEAK, "dense": DENSE})
    preprocess(folder, WEAK)
    write_json(folder / "preprocessed" / WEAK / "splits_final.json", SPLITS)
    commands = []

    def do(command, log_file, **options):
        commands.append(" ".join(command))
        if command[0] == "nnUNetv2_extract_fingerprint":
            write_json(folder / "preprocessed" / DENSE / "dataset_fingerprint.json", {})
        elif command[0] == "nnUNetv2_move_plans_between_datasets":
            write_plans(folder, DENSE)
        else:
            assert (folder / "preprocessed" / DENSE / "nnUNetPlans_3d_fullres_unfinished").exists()
            preprocess(folder, DENSE)

    prepare(comparison, monkeypatch, do)
    assert commands == [
        "nnUNetv2_extract_fingerprint -d 502 -np 1",
        f"nnUNetv2_move_plans_between_datasets -s 501 -t 502 -sp {PLANS} -tp {PLANS}",
        f"nnUNetv2_preprocess -d 502 -plans_name {PLANS} -c 3d_fullres -np 1",
    ]
    preprocessed = folder / "preprocessed"
    assert json.loads((preprocessed / DENSE / "dataset.json").read_text()) == dataset_json(folder / "raw" / DENSE)
    for dataset in (WEAK, DENSE):
        assert json.loads((preprocessed / dataset / "splits_final.json").read_text()) == SPLITS
    assert all(step.is_done() for step in preparations(comparison))


def test_preprocessing_that_was_interrupted_is_done_again(folder, monkeypatch):
    comparison = make_comparison(folder, "pce_ctr", datasets={"weak": WEAK}, folds=["all"])
    preprocess(folder, WEAK)

    def die(command, log_file, **options):
        preprocess(folder, WEAK)
        raise KeyboardInterrupt

    data = folder / "preprocessed" / WEAK / "nnUNetPlans_3d_fullres"
    (data / "train_2.pkl").unlink()
    with pytest.raises(KeyboardInterrupt):
        prepare(comparison, monkeypatch, die)
    (missing,) = (step for step in preparations(comparison) if not step.is_done())
    assert missing.commands[0][0] == "nnUNetv2_preprocess"
    prepare(comparison, monkeypatch, lambda command, log_file, **options: None)
    assert all(step.is_done() for step in preparations(comparison))
    assert not (data.parent / "splits_final.json").exists()


def test_baselines_are_written_by_their_command(folder):
    datasets = {"weak": WEAK, "walker": "Dataset503_Toy_walker"}
    comparison = make_comparison(folder, "walker", datasets=datasets)
    preprocess(folder, WEAK)
    lines = shell_script(comparison, ("report",)).splitlines()
    commands = [line for line in lines if line.startswith("nnUNetv2")]
    assert commands[0] == "nnUNetv2_simple_convert -d 501 -baseline walker -baseline_id 503 -np 1"
    assert commands[1] == "nnUNetv2_extract_fingerprint -d 503 -np 1"
    assert commands[2].startswith("nnUNetv2_move_plans_between_datasets -s 501 -t 503")
    assert not any(line.startswith("cp") and "splits" in line for line in lines)  # nobody has drawn them yet


def test_own_trainers_join_those_that_are_searched_already(monkeypatch, tmp_path):
    monkeypatch.delenv("nnUNet_extTrainer", raising=False)
    assert searched_trainer_folders() == str(trainer_folder())
    monkeypatch.setenv("nnUNet_extTrainer", str(tmp_path))
    assert searched_trainer_folders() == os.pathsep.join((str(tmp_path), str(trainer_folder())))
    monkeypatch.setenv("nnUNet_extTrainer", searched_trainer_folders())
    assert searched_trainer_folders() == os.pathsep.join((str(tmp_path), str(trainer_folder())))
