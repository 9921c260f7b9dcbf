"""Checking a whole dataset without writing anything."""

import os

import numpy as np
import pytest
import SimpleITK as sitk
from support.conversion_cases import (
    channels_of,
    files_below,
    oblique_image,
    run,
    tumor_mask,
    write,
    write_points,
    write_single_channel_case,
)

CLICKS = np.array([[3, 7, 6], [6, 7, 6], [4, 4, 6], [5, 10, 6], [4, 7, 4], [4, 8, 8]])
FLAT_CLICKS = np.array([[4, 7, 6], [4, 7, 6], [4, 4, 6], [4, 10, 6], [4, 7, 4], [4, 8, 8]])


@pytest.fixture
def folder(tmp_path):
    for seed in range(2):
        write_single_channel_case(tmp_path, f"sound_{seed}", seed=seed)
    (tmp_path / "clicks").mkdir()
    return tmp_path


def dry_run(folder, monkeypatch, *options, spelling="--dry-run"):
    sources = ["-i", folder / "images", "-m", folder / "masks"]
    sources += ["-a", folder / "clicks"] if any((folder / "clicks").iterdir()) else []
    return run(monkeypatch, folder / "raw", *sources, "-d", 5, "-n", "Dry", *options, spelling)


@pytest.mark.parametrize("spelling", ["--dry-run", "--dry_run", "-dry_run"])
def test_a_sound_dataset_passes_and_nothing_is_written(spelling, folder, monkeypatch, capsys):
    before = files_below(folder)
    assert dry_run(folder, monkeypatch, spelling=spelling) == 0
    assert "2 cases checked, 0 with problems, 0 with warnings" in capsys.readouterr().out
    assert files_below(folder) == before
    assert not (folder / "raw").exists()


def test_every_problem_of_every_case_is_printed(folder, monkeypatch, capsys):
    images, masks = folder / "images", folder / "masks"
    for identifier in ("broken", "constant", "moved", "outside"):
        write_single_channel_case(folder, identifier)
    (images / "broken_0000.nii.gz").write_bytes(b"no image")
    write(oblique_image(channels_of()[0]), images / "broken_0001.nii.gz")
    write(sitk.ReadImage(str(images / "constant_0000.nii.gz")) * 0 + 3, images / "constant_0000.nii.gz")
    moved = oblique_image(tumor_mask().astype(np.uint8))
    moved.SetSpacing((1, 1, 1))
    write(moved, masks / "moved.nii.gz")
    write_points(folder / "clicks" / "moved.json", CLICKS + (0, 20, 0))
    write_points(folder / "clicks" / "outside.json", CLICKS + (0, 0, 9))
    assert dry_run(folder, monkeypatch) == 1
    lines = capsys.readouterr().out.splitlines()
    expected = [
        ("broken", "expected 1 channels, found 2"),
        ("broken", "broken_0000.nii.gz as an image"),
        ("constant", "constant_0000.nii.gz"),
        ("moved", "moved.nii.gz"),
        ("moved", "moved.json"),
        ("outside", "outside.json"),
    ]
    problems = [line for line in lines if line.startswith("PROBLEM")]
    assert len(problems) == len(expected)
    for line, (identifier, part) in zip(problems, expected, strict=True):
        assert line.startswith(f"PROBLEM {identifier}: ")
        assert part in line
    assert "6 cases checked, 4 with problems" in lines[-1]
    assert not (folder / "raw").exists()


def test_warnings_alone_let_it_pass(folder, monkeypatch, capsys):
    write_single_channel_case(folder, "thin")
    write_points(folder / "clicks" / "thin.json", FLAT_CLICKS)
    assert dry_run(folder, monkeypatch) == 0
    warnings = [line for line in capsys.readouterr().out.splitlines() if line.startswith("WARNING")]
    for number in range(2):  # where some cases are annotated, it may be a mistake that others are not
        mask = folder / "masks" / f"sound_{number}.nii.gz"
        assert warnings[number].startswith(f"WARNING sound_{number}: no annotation was found")
        assert warnings[number].endswith(f"its clicks are simulated from {mask}")
    (warning,) = warnings[2:]
    assert warning.startswith("WARNING thin: thin.json: ")
    assert "one voxel thick" in warning


def test_upper_and_lower_case_of_file_endings_make_no_difference(folder, monkeypatch, capsys):
    write_single_channel_case(folder, "LOUD")
    for file in (folder / "images" / "LOUD_0000.nii.gz", folder / "masks" / "LOUD.nii.gz"):
        file.rename(file.with_name(file.name.replace(".nii.gz", ".NII.GZ")))
    write_points(folder / "clicks" / "LOUD.JSON", CLICKS)
    (folder / "images" / "._LOUD_0000.nii.gz").write_bytes(b"what some file systems leave")
    assert dry_run(folder, monkeypatch, "-dense", 6) == 0
    out = capsys.readouterr().out
    assert "3 cases checked, 0 with problems" in out
    assert "WARNING LOUD" not in out


@pytest.mark.parametrize("dataset_id", [-5, 0, 1000])
def test_an_id_nnunet_does_not_know_is_refused(dataset_id, folder, monkeypatch, capsys):
    assert dry_run(folder, monkeypatch, "-d", dataset_id) == 1
    assert f"dataset ids are the numbers 1 to 999, got {dataset_id}" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["-jitter_mm", "-beta"])
def test_infinite_options_are_refused(option, folder, monkeypatch, capsys):
    assert dry_run(folder, monkeypatch, "--recipe", "paper", option, "inf") == 1
    assert "finite" in capsys.readouterr().err


def test_what_a_conversion_would_refuse_is_said(folder, monkeypatch, capsys):
    assert dry_run(folder, monkeypatch, spelling="--overwrite") == 0  # no dry run
    before = files_below(folder)
    image = folder / "images" / "sound_1_0000.nii.gz"
    content, times = image.read_bytes(), image.stat()
    image.write_bytes(b"broken")
    assert dry_run(folder, monkeypatch, "-jitter_mm", 60) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("PROBLEM sound_1: cannot read")]
    assert [line for line in lines if line.startswith("PROBLEM with the dataset: ") and "jitter_mm" in line]
    image.write_bytes(content)
    os.utime(image, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert dry_run(folder, monkeypatch) == 0
    (folder / "images" / "no suffix.nii.gz").write_bytes(b"")
    assert dry_run(folder, monkeypatch) == 1
    assert "no suffix.nii.gz" in capsys.readouterr().err
    (folder / "images" / "no suffix.nii.gz").unlink()
    assert files_below(folder) == before


def test_it_runs_in_worker_processes_and_in_parts(folder, monkeypatch, capsys):
    (folder / "images" / "sound_1_0000.nii.gz").write_bytes(b"no image")
    assert dry_run(folder, monkeypatch, "-np", 2) == 1
    assert "PROBLEM sound_1" in capsys.readouterr().out
    assert dry_run(folder, monkeypatch, "-num_parts", 2, "-part_id", 0) == 0
    assert "1 cases checked" in capsys.readouterr().out


def test_images_of_unknown_formats_are_not_left_out_silently(folder, monkeypatch, capsys):
    (folder / "images" / "other_0000.tif").write_bytes(b"a picture")
    assert dry_run(folder, monkeypatch) == 1
    assert "other_0000.tif" in capsys.readouterr().err


def test_a_channel_less_itself_is_refused_before_any_work(folder, monkeypatch, capsys):
    assert dry_run(folder, monkeypatch, "-walker_subtract", 0) == 1
    assert "channel 0 less itself" in capsys.readouterr().err
