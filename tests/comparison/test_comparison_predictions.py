"""Which predictions are kept after an interruption."""

import os

import pytest
from support.comparison_files import DENSE, TEST_CASES, age, make_comparison, write_checkpoint, write_environment

from nnunetv2_simple.comparison.predictions import (
    is_predicted,
    keep_complete_predictions,
    running_folder,
    what_is_wrong,
)
from nnunetv2_simple.comparison.settings import Comparison


@pytest.fixture
def comparison(tmp_path, monkeypatch) -> Comparison:
    write_environment(tmp_path)
    monkeypatch.setenv("nnUNet_results", str(tmp_path / "results"))
    comparison = make_comparison(tmp_path, "full")
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


def test_predictions_of_all_cases_newer_than_the_checkpoint_are_complete(comparison):
    method, _, folder = state(comparison)
    assert not is_predicted(comparison, method, 0)
    predict(folder, TEST_CASES[0])
    assert "1 of 2 test cases have no prediction" in what_is_wrong(comparison, method, 0)
    predict(folder, *TEST_CASES)
    assert is_predicted(comparison, method, 0)


def test_predictions_older_than_the_checkpoint_are_outdated(comparison):
    method, checkpoint, folder = state(comparison)
    predict(folder, *TEST_CASES)
    os.utime(checkpoint)
    assert not is_predicted(comparison, method, 0)
    assert "are older than" in what_is_wrong(comparison, method, 0)


def test_the_prediction_of_an_image_that_was_replaced_is_outdated(comparison):
    method, checkpoint, folder = state(comparison)
    predict(folder, *TEST_CASES)
    os.utime(comparison.images / f"{TEST_CASES[1]}_0000.nii.gz")
    assert f"older than their images in {comparison.images}: {TEST_CASES[1]}" in what_is_wrong(comparison, method, 0)
    keep_complete_predictions(comparison, checkpoint, folder)
    assert [file.name for file in running_folder(folder).iterdir()] == [f"{TEST_CASES[0]}.nii.gz"]


def test_predictions_without_their_checkpoint_can_be_reported_but_are_not_taken_for_done(comparison):
    method, checkpoint, folder = state(comparison)
    predict(folder, *TEST_CASES)
    checkpoint.unlink()
    assert what_is_wrong(comparison, method, 0) is None
    assert not is_predicted(comparison, method, 0)


def test_what_may_be_half_written_is_predicted_again(comparison):
    _, checkpoint, folder = state(comparison)
    running = running_folder(folder)
    predict(running, *TEST_CASES)
    keep_complete_predictions(comparison, checkpoint, folder)
    assert [file.name for file in running.iterdir()] == [f"{TEST_CASES[0]}.nii.gz"]


def test_predictions_of_fewer_cases_are_gone_on_with(comparison):
    _, checkpoint, folder = state(comparison)
    predict(folder, TEST_CASES[0])
    keep_complete_predictions(comparison, checkpoint, folder)
    assert [file.name for file in running_folder(folder).iterdir()] == [f"{TEST_CASES[0]}.nii.gz"]
    assert not folder.exists()


def test_predictions_of_an_earlier_training_are_removed(comparison):
    _, checkpoint, folder = state(comparison)
    predict(running_folder(folder), *TEST_CASES)
    os.utime(checkpoint)
    keep_complete_predictions(comparison, checkpoint, folder)
    assert not running_folder(folder).exists()


def test_the_checkpoint_is_that_of_the_methods_dataset(comparison):
    assert DENSE in str(state(comparison)[1])
