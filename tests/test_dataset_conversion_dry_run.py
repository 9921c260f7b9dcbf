"""Checking a whole dataset without writing anything."""

import os

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from conversion_cases import (
    channels_of,
    files_below,
    oblique_image,
    run,
    tumour_mask,
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
    sources = ["-i", folder / "images", "-m", folder / "masks", "-a", folder / "clicks"]
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
    moved = oblique_image(tumour_mask().astype(np.uint8))
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
    (warning,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("WARNING")]
    assert warning.startswith("WARNING thin: ")
    assert "one voxel thick" in warning


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
