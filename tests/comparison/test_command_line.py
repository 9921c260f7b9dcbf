"""Wrong input, told before any work is done."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from support.comparison_files import (
    DENSE,
    PLANS,
    WEAK,
    environment_variables,
    write_environment,
    write_json,
    write_plans,
)

from nnunetv2_simple.comparison.command_line import find_comparison, main, parse_arguments, remember_settings
from nnunetv2_simple.comparison.run import run_command


@pytest.fixture
def folder(tmp_path, monkeypatch):
    write_environment(tmp_path)
    for name, value in environment_variables(tmp_path).items():
        monkeypatch.setenv(name, value)
    return tmp_path


def words(folder, *options) -> list[str]:
    required = ("-weak", 501, "-i", folder / "images", "-ref", folder / "references", "-o", folder / "out")
    return [str(word) for word in (*required, "-device", "cpu", *options)]


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (["-methods", "simpel"], "the methods are pce_crf"),
        (["-methods", "full"], "-dense"),
        (["-dense", "777"], "one dataset of the id 777"),
        (["-methods", "pce", "-p", "otherPlans"], "otherPlans.json is missing, plan the dataset first"),
        (["-methods", "pce", "-c", "2d"], "not 2d"),
        (["-methods", "pce", "-f", "0", "first"], "folds must be integers or 'all'"),
        (["-methods", "pce", "-np", "-1"], "at least 0, got -1"),
        (["-methods", "pce", "-tolerance_mm", "-1"], "-tolerance_mm must be at least 0 and finite, got -1"),
    ],
)
def test_wrong_input(folder, capsys, options, error):
    assert main(words(folder, *options)) == 2
    assert error in capsys.readouterr().err
    assert not (folder / "out").exists()


def test_missing_reference(folder, capsys):
    (folder / "references" / "test_b.nii.gz").unlink()
    assert main(words(folder, "-methods", "pce")) == 2
    assert "test case test_b lacks its reference" in capsys.readouterr().err


def test_unset_folders(folder, capsys, monkeypatch):
    monkeypatch.delenv("nnUNet_results")
    assert main(words(folder, "-methods", "pce")) == 2
    assert "got none for nnUNet_results" in capsys.readouterr().err


def test_differing_plans(folder, capsys):
    write_plans(folder, DENSE, patch_size=(8, 8, 8))
    assert main(words(folder, "-dense", "502", "-methods", "full")) == 2
    assert f"{DENSE}/{PLANS}.json must be the same" in capsys.readouterr().err


def test_an_output_folder_of_another_comparison_is_refused(folder):
    (folder / "out" / "predictions").mkdir(parents=True)
    remember_settings(find_comparison(parse_arguments(words(folder, "-methods", "pce", "-length", "5epochs"))))
    same = words(folder, "-methods", "pce", "full", "-dense", "502", "-length", "5epochs", "-f", "0", "1")
    remember_settings(find_comparison(parse_arguments(same)))
    other = find_comparison(parse_arguments(words(folder, "-methods", "pce", "-length", "50epochs")))
    with pytest.raises(ValueError, match="another length, 5epochs instead of 50epochs"):
        remember_settings(other)


def test_trainings_in_another_folder_are_another_comparison(folder, monkeypatch):
    (folder / "out" / "predictions").mkdir(parents=True)
    comparison = find_comparison(parse_arguments(words(folder, "-methods", "pce")))
    remember_settings(comparison)
    with pytest.raises(ValueError, match="another nnUNet_results, .*/results instead of /elsewhere"):
        remember_settings(replace(comparison, results=Path("/elsewhere")))


def test_a_mistyped_setting_does_not_outlast_its_error(folder):
    (folder / "out").mkdir()
    remember_settings(find_comparison(parse_arguments(words(folder, "-methods", "pce", "-length", "51epochs"))))
    corrected = find_comparison(parse_arguments(words(folder, "-methods", "pce", "-length", "50epochs")))
    remember_settings(corrected)
    (folder / "out" / "predictions").mkdir()
    remember_settings(corrected)


def test_a_dataset_without_unlabelled_voxels_is_not_weak(folder, capsys):
    write_plans(folder, DENSE)
    assert main([*words(folder, "-methods", "ignore"), "-weak", "502"]) == 2
    assert f"{DENSE} has no label 'ignore'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("file", "key"), [("dataset.json", "file_ending"), ("dataset.json", "labels"), ("provenance.json", "parameters")]
)
def test_an_incomplete_file_is_named(folder, capsys, file, key):
    path = folder / "raw" / WEAK / file
    write_json(path, {name: value for name, value in json.loads(path.read_text()).items() if name != key})
    assert main(words(folder, "-methods", "pce")) == 2
    assert f"ERROR: {path} lacks {key}" in capsys.readouterr().err


def test_options_cannot_be_abbreviated(folder, capsys):
    with pytest.raises(SystemExit):
        parse_arguments(words(folder, "--print-com"))
    assert "unrecognized arguments: --print-com" in capsys.readouterr().err


@pytest.mark.slow
def test_a_trainer_that_nnunet_does_not_find(folder, capsys):
    assert (
        main(words(folder, "-methods", "pce", "full", "-dense", "502", "-length", "17epochs", "--print-commands")) == 2
    )
    errors = capsys.readouterr().err
    assert "nnUNetTrainerPartialCE_17epochs, nnUNetTrainer_17epochs" in errors


def test_a_failing_command_ends_the_comparison(folder, capsys, monkeypatch):
    def fail(comparison, *, report_only):
        run_command(("python", "-m", "nnunetv2_simple.no_such_module"), folder / "logs" / "broken.log")

    monkeypatch.setattr("nnunetv2_simple.comparison.command_line.compare", fail)
    assert main(words(folder, "-methods", "pce")) == 1
    errors = capsys.readouterr().err
    assert errors.startswith("FAILED: python -m nnunetv2_simple.no_such_module")
    assert "resume" in errors


def test_two_runs_cannot_write_to_one_folder(folder, capsys, monkeypatch):
    monkeypatch.setattr("nnunetv2_simple.files.LOCK_AWAITED_S", 0.5)
    (folder / "out").mkdir()
    holder = "import sys, time; from filelock import FileLock\n"
    holder += "with FileLock(sys.argv[1]): print('locked', flush=True); time.sleep(60)"
    command = [sys.executable, "-c", holder, folder / "out" / ".lock"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "locked\n"
        assert main(words(folder, "-methods", "pce", "--report-only")) == 2
        assert "is in use by another process" in capsys.readouterr().err
    finally:
        process.kill()
        process.communicate()
    assert main(words(folder, "-methods", "pce", "--report-only")) == 2
    assert "no predictions" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--c", "--f", "--p"])
def test_options_of_one_letter_have_one_dash(option, folder, capsys):
    """To nnU-Net, ``--c`` means to continue."""
    with pytest.raises(SystemExit):
        parse_arguments(words(folder, option, "2d"))
    assert f"unrecognized arguments: {option}" in capsys.readouterr().err
