"""Interrupted, repeated, changed and divided conversions."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import SimpleITK as sitk
from nnunetv2.experiment_planning.verify_dataset_integrity import verify_dataset_integrity
from support.conversion_cases import (
    dies_after,
    files_below,
    names_in,
    run,
    write,
    write_single_channel_case,
)

CLICKS = np.array([[3, 7, 6], [6, 7, 6], [4, 4, 6], [5, 10, 6], [4, 7, 4], [4, 8, 8]])
WEAK, DENSE = "Dataset005_Again", "Dataset006_Again_dense"


@pytest.fixture
def folder(tmp_path):
    """Three cases, the clicks of the first two in one CSV file."""
    for seed in range(3):
        write_single_channel_case(tmp_path, f"case_{seed}", seed=seed)
    write_clicks(tmp_path, ["case_0", "case_1"])
    return tmp_path


def write_clicks(folder, cases, points=CLICKS):
    lines = ["case,x,y,z"] + [f"{case},{x},{y},{z}" for case in cases for z, y, x in points]
    (folder / "clicks.csv").write_text("\n".join(lines))


def arguments_of(folder):
    sources = ["-i", folder / "images", "-m", folder / "masks", "-a", folder / "clicks.csv"]
    return [*sources, "-d", 5, "-n", "Again", "-dense", 6, "-recipe", "paper"]


def again(folder, monkeypatch, *options, raw=None):
    return run(monkeypatch, raw or folder / "raw", *arguments_of(folder), *options)


def times_below(folder):
    return {str(file): file.stat().st_mtime_ns for file in folder.rglob("*.nii.gz")}


def rewrite(file, change):
    image = sitk.ReadImage(str(file))
    array = sitk.GetArrayFromImage(image)
    changed = sitk.GetImageFromArray(change(array))
    changed.CopyInformation(image)
    write(changed, file)


# ----------------------------------------------------------------------------------------------------- interruptions


def keep_only_the_first_case(folder):
    for file in [*(folder / "images").iterdir(), *(folder / "masks").iterdir()]:
        if not file.name.startswith("case_0"):
            file.unlink()


@pytest.mark.slow
def test_killed_at_any_step_it_goes_on_to_the_same_dataset(folder, monkeypatch):
    keep_only_the_first_case(folder)
    assert again(folder, monkeypatch, raw=folder / "expected") == 0
    expected, num_kills = files_below(folder / "expected"), 0
    while dies_after(4 * num_kills + 3, raw := folder / f"raw_{num_kills}", *arguments_of(folder)):
        assert not (raw / WEAK / "dataset.json").exists()
        assert again(folder, monkeypatch, raw=raw) == 0
        assert files_below(raw) == expected
        num_kills += 1
    assert num_kills > 5


@pytest.mark.slow
def test_killed_while_overwriting_it_goes_on_without_a_second_overwrite(folder, monkeypatch):
    keep_only_the_first_case(folder)
    assert again(folder, monkeypatch, "-beta", 60, raw=folder / "expected") == 0
    expected, num_kills = files_below(folder / "expected"), 0
    assert again(folder, monkeypatch) == 0
    while dies_after(8 * num_kills + 6, folder / "raw", *arguments_of(folder), "-beta", 60, "--overwrite"):
        assert not (folder / "raw" / WEAK / "dataset.json").exists()
        assert again(folder, monkeypatch, "-beta", 60) == 0
        assert files_below(folder / "raw") == expected
        assert again(folder, monkeypatch, "--overwrite") == 0
        num_kills += 1
    assert num_kills > 1


@pytest.mark.slow
def test_killed_with_its_workers_it_keeps_what_was_finished(folder, monkeypatch):
    """A case that nobody finishes reading keeps the run busy until it is killed."""
    assert again(folder, monkeypatch, raw=folder / "expected") == 0
    endless = folder / "images" / "case_2_0000.nii.gz"
    content, times = endless.read_bytes(), endless.stat()
    endless.unlink()
    os.mkfifo(endless)
    words = [sys.executable, "-m", "nnunetv2_simple.conversion.command_line", *arguments_of(folder), "-np", 2]
    process = subprocess.Popen(
        [str(word) for word in words], env=os.environ | {"nnUNet_raw": str(folder / "raw")}, start_new_session=True
    )
    try:
        records = [folder / "raw" / WEAK / "provenance" / f"case_{number}.json" for number in (0, 1)]
        wait_until(lambda: all(r.exists() and "inputs" in json.loads(r.read_text()) for r in records))
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    before = times_below(folder / "raw")
    assert len(before) == 2 * 5
    assert not (folder / "raw" / WEAK / "dataset.json").exists()

    endless.unlink()
    endless.write_bytes(content)
    os.utime(endless, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert again(folder, monkeypatch) == 0
    assert files_below(folder / "raw") == files_below(folder / "expected")
    assert before.items() <= times_below(folder / "raw").items()


def wait_until(condition, timeout_s=120):
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


# -------------------------------------------------------------------------------------------------------- repetitions


def test_a_rerun_touches_no_finished_case(folder, monkeypatch):
    assert again(folder, monkeypatch) == 0
    files, times = files_below(folder / "raw"), times_below(folder / "raw")
    assert again(folder, monkeypatch) == 0
    assert files_below(folder / "raw") == files
    assert times_below(folder / "raw") == times


def test_overwrite_converts_all_cases_again(folder, monkeypatch):
    assert again(folder, monkeypatch) == 0
    times = times_below(folder / "raw")
    assert again(folder, monkeypatch, "-beta", 60, "--overwrite") == 0
    assert not times.items() & times_below(folder / "raw").items()
    assert json.loads((folder / "raw" / WEAK / "provenance.json").read_text())["parameters"]["beta"] == 60


@pytest.mark.slow
def test_a_case_whose_file_was_removed_is_converted_again(folder, monkeypatch):
    assert again(folder, monkeypatch) == 0
    files, times = files_below(folder / "raw"), times_below(folder / "raw")
    (folder / "raw" / WEAK / "labelsTr" / "case_1.nii.gz").unlink()
    assert again(folder, monkeypatch) == 0
    assert files_below(folder / "raw") == files
    changed = {file for file, time_ns in times_below(folder / "raw").items() if times[file] != time_ns}
    assert changed
    assert all("case_1" in file for file in changed)


@pytest.mark.slow
def test_dataset_folders_may_be_symbolic_links(folder, monkeypatch):
    keep_only_the_first_case(folder)
    (folder / "raw").mkdir()
    for number, name in enumerate((WEAK, DENSE)):
        (folder / f"elsewhere_{number}" / "deep").mkdir(parents=True)
        (folder / "raw" / name).symlink_to(folder / f"elsewhere_{number}" / "deep")
    assert again(folder, monkeypatch) == 0
    assert again(folder, monkeypatch, "--overwrite") == 0
    assert again(folder, monkeypatch) == 0
    verify_dataset_integrity(str(folder / "raw" / DENSE), num_processes=1)


def test_hidden_files_do_not_matter(folder, monkeypatch):
    keep_only_the_first_case(folder)
    hidden = folder / "raw" / WEAK / "imagesTr" / ".DS_Store"
    hidden.parent.mkdir(parents=True)
    hidden.touch()
    assert again(folder, monkeypatch) == 0
    assert hidden.exists()


@pytest.mark.slow
def test_failed_cases_are_tried_again(folder, monkeypatch):
    good = (folder / "images" / "case_1_0000.nii.gz").read_bytes()
    (folder / "images" / "case_1_0000.nii.gz").write_bytes(b"not yet downloaded")
    assert again(folder, monkeypatch) == 1
    assert json.loads((folder / "raw" / WEAK / "dataset.json").read_text())["numTraining"] == 2
    times = times_below(folder / "raw")
    (folder / "images" / "case_1_0000.nii.gz").write_bytes(good)
    assert again(folder, monkeypatch) == 0
    assert times.items() <= times_below(folder / "raw").items()
    assert json.loads((folder / "raw" / WEAK / "dataset.json").read_text())["numTraining"] == 3
    assert json.loads((folder / "raw" / WEAK / "provenance.json").read_text())["failed"] == {}
    verify_dataset_integrity(str(folder / "raw" / WEAK), num_processes=1)


@pytest.mark.slow
def test_a_case_that_fails_when_overwritten_leaves_nothing(folder, monkeypatch):
    assert again(folder, monkeypatch) == 0
    (folder / "images" / "case_1_0000.nii.gz").write_bytes(b"broken")
    assert again(folder, monkeypatch, "--overwrite") == 1
    left = [file for file in files_below(folder / "raw") if "case_1" in file]
    assert left == [f"{WEAK}/provenance/case_1.json"]
    assert sorted(json.loads((folder / "raw" / DENSE / "dataset.json").read_text())["dataset"]) == ["case_0", "case_2"]
    verify_dataset_integrity(str(folder / "raw" / WEAK), num_processes=1)


def test_new_cases_join_a_finished_dataset(folder, monkeypatch):
    """The clicks of all cases lie in one file, which grows too."""
    assert again(folder, monkeypatch) == 0
    times = times_below(folder / "raw")
    write_single_channel_case(folder, "case_3", seed=3)
    write_clicks(folder, ["case_0", "case_1", "case_3"])
    assert again(folder, monkeypatch) == 0
    assert times.items() <= times_below(folder / "raw").items()
    assert names_in(folder / "raw" / WEAK / "labelsTr") == [f"case_{number}.nii.gz" for number in range(4)]
    assert json.loads((folder / "raw" / WEAK / "dataset.json").read_text())["numTraining"] == 4


def test_the_same_files_elsewhere_are_the_same_cases(folder, monkeypatch):
    assert again(folder, monkeypatch) == 0
    times = times_below(folder / "raw")
    moved = folder / "moved"
    moved.mkdir()
    for name in ("images", "masks", "clicks.csv"):
        (folder / name).rename(moved / name)
    for file in (moved / "images").iterdir():
        os.utime(file)
    assert run(monkeypatch, folder / "raw", *arguments_of(moved)) == 0
    assert times_below(folder / "raw") == times


# ------------------------------------------------------------------------------------------------- changed meanwhile

CHANGED_OPTIONS = [
    ("recipe", ["-recipe", "robust"]),
    ("beta", ["-beta", 60]),
    ("labels", ["-labels", "lesion=1"]),
    ("channel_names", ["-channels", "CT"]),
    ("jitter_mm", ["-jitter_mm", 1]),
    ("is_test", ["-num_test", 2]),
]


@pytest.mark.parametrize(("named", "options"), CHANGED_OPTIONS)
def test_other_options_are_refused_before_any_work(named, options, folder, monkeypatch, capsys):
    keep_only_the_first_case(folder)
    write_single_channel_case(folder, "case_1", seed=1)
    assert again(folder, monkeypatch) == 0
    write_single_channel_case(folder, "case_3")  # there would be work
    before = files_below(folder / "raw")
    assert again(folder, monkeypatch, *options) == 2
    message = capsys.readouterr().err
    assert named in message
    assert "--overwrite" in message
    assert "case_" in message
    assert files_below(folder / "raw") == before


def other_points(folder):
    write_clicks(folder, ["case_0", "case_1"], points=CLICKS + (0, 1, 0))


def no_points(folder):
    write_clicks(folder, ["case_1"])


def other_image(folder):
    rewrite(folder / "images" / "case_0_0000.nii.gz", lambda array: array + np.eye(*array.shape[1:], dtype=array.dtype))


def other_mask(folder):
    rewrite(folder / "masks" / "case_0.nii.gz", lambda array: array * 0 + 1)


@pytest.mark.parametrize(
    ("change", "named"),
    [(other_points, "lesions"), (no_points, "lesions"), (other_image, "images"), (other_mask, "dense mask")],
)
@pytest.mark.slow
def test_other_input_is_refused_before_any_work(change, named, folder, monkeypatch, capsys):
    keep_only_the_first_case(folder)
    assert again(folder, monkeypatch) == 0
    before = files_below(folder / "raw")
    change(folder)
    assert again(folder, monkeypatch) == 2
    message = capsys.readouterr().err
    assert named in message
    assert "case_0" in message
    assert "--overwrite" in message
    assert files_below(folder / "raw") == before
    assert again(folder, monkeypatch, "--overwrite") == 0
    verify_dataset_integrity(str(folder / "raw" / WEAK), num_processes=1)


def test_a_twin_that_is_wanted_later_is_not_left_incomplete(folder, monkeypatch, capsys):
    keep_only_the_first_case(folder)
    without_twin = [word for word in arguments_of(folder) if word not in ("-dense", 6)]
    assert run(monkeypatch, folder / "raw", *without_twin) == 0
    assert again(folder, monkeypatch) == 2
    assert "twin" in capsys.readouterr().err
    assert again(folder, monkeypatch, "--overwrite") == 0
    assert names_in(folder / "raw" / DENSE / "labelsTr") == ["case_0.nii.gz"]


# --------------------------------------------------------------------------------- cases no longer among the input


def without_case_1(folder):
    for name in ("images/case_1_0000", "masks/case_1"):
        (folder / f"{name}.nii.gz").unlink()


def test_a_case_no_longer_in_the_list_is_refused(folder, monkeypatch, capsys):
    assert again(folder, monkeypatch) == 0
    before = files_below(folder / "raw")
    without_case_1(folder)
    for options in ([], ["--overwrite", "-num_parts", 2], ["--dry-run"]):
        assert again(folder, monkeypatch, *options) != 0
        message = "".join(capsys.readouterr())
        assert "case_1" in message
        assert "--overwrite" in message
        assert files_below(folder / "raw") == before


@pytest.mark.slow
def test_overwrite_removes_cases_no_longer_in_the_list(folder, monkeypatch, capsys):
    assert again(folder, monkeypatch) == 0
    foreign = [folder / "raw" / WEAK / name for name in ("notes.txt", "elsewhere/case_1.nii.gz")]
    foreign.append(folder / "raw" / DENSE / "imagesTs" / ".hidden")
    for file in foreign:
        file.parent.mkdir(exist_ok=True)
        file.write_text("somebody's")
    without_case_1(folder)
    before = files_below(folder / "raw")
    assert again(folder, monkeypatch, "--dry-run", "--overwrite") == 0
    assert "WARNING case_1: would be removed" in capsys.readouterr().out
    assert files_below(folder / "raw") == before
    assert again(folder, monkeypatch, "--overwrite") == 0
    assert "no longer in the input: case_1\n" in capsys.readouterr().out
    assert all(file.read_text() == "somebody's" for file in foreign)
    for file in foreign:
        file.unlink()
    assert again(folder, monkeypatch, raw=folder / "expected") == 0
    assert files_below(folder / "raw") == files_below(folder / "expected")
    verify_dataset_integrity(str(folder / "raw" / DENSE), num_processes=1)


@pytest.mark.slow
def test_killed_while_removing_it_goes_on_without_a_second_overwrite(folder, monkeypatch):
    assert again(folder, monkeypatch, raw=folder / "converted") == 0
    without_case_1(folder)
    assert again(folder, monkeypatch, raw=folder / "expected") == 0
    expected, raw = files_below(folder / "expected"), folder / "raw"
    for num_steps in (1, 4, 7, 12, 13):  # after the first case is reopened, dataset.json, some files, all, the record
        shutil.rmtree(raw, ignore_errors=True)
        shutil.copytree(folder / "converted", raw)
        assert dies_after(num_steps, raw, *arguments_of(folder), "--overwrite")
        assert (raw / WEAK / "dataset.json").exists() == (num_steps == 1)
        assert (raw / WEAK / "provenance" / "case_1.json").exists() == (num_steps < 13)
        assert again(folder, monkeypatch, raw=raw) == 0
        assert files_below(raw) == expected


@pytest.mark.slow
def test_files_of_a_dropped_case_that_are_not_recorded_stay(folder, monkeypatch, capsys):
    assert again(folder, monkeypatch) == 0
    without_case_1(folder)
    file = folder / "raw" / WEAK / "imagesTr" / "case_1_0001.nii.gz"
    file.write_text("somebody's")
    before = files_below(folder / "raw")
    assert again(folder, monkeypatch, "--overwrite") == 2
    assert str(file) in capsys.readouterr().err
    assert files_below(folder / "raw") == before


@pytest.mark.parametrize("options", [[], ["--overwrite"]])
def test_a_failed_case_that_is_gone_leaves_no_record(options, folder, monkeypatch):
    (folder / "images" / "case_1_0000.nii.gz").write_bytes(b"broken")
    assert again(folder, monkeypatch) == 1
    without_case_1(folder)
    assert again(folder, monkeypatch, *options) == 0
    assert names_in(folder / "raw" / WEAK / "provenance") == ["case_0.json", "case_2.json"]


# ---------------------------------------------------------------------------------------------------- files of others


@pytest.mark.parametrize(
    "file",
    [
        f"{WEAK}/imagesTr/case_0_0000.nii.gz",
        f"{WEAK}/labelsTr/case_0.nii.gz",
        f"{WEAK}/labelsTr/somebody.nii.gz",
        f"{WEAK}/walkerTr/case_0_0001.nii.gz",
        f"{WEAK}/quality_control/case_0.png",
        f"{WEAK}/dataset.json",
        f"{WEAK}/provenance.json",
        f"{DENSE}/labelsTr/case_0.nii.gz",
        f"{DENSE}/dataset.json",
    ],
)
@pytest.mark.parametrize("options", [[], ["--overwrite"]])
def test_files_of_others_are_neither_removed_nor_overwritten(file, options, folder, monkeypatch, capsys):
    file = folder / "raw" / file
    file.parent.mkdir(parents=True)
    file.write_text("{}")
    assert again(folder, monkeypatch, *options) == 2
    assert str(file) in capsys.readouterr().err
    assert [path for path in (folder / "raw").rglob("*") if path.is_file()] == [file]


def test_a_file_that_joins_the_dataset_of_a_finished_conversion_is_left_alone(folder, monkeypatch, capsys):
    keep_only_the_first_case(folder)
    assert again(folder, monkeypatch) == 0
    file = folder / "raw" / WEAK / "imagesTr" / "case_0_0001.nii.gz"  # a case's own name does not make it ours
    file.write_text("somebody's")
    assert again(folder, monkeypatch, "--overwrite") == 2
    assert str(file) in capsys.readouterr().err
    assert file.read_text() == "somebody's"


# -------------------------------------------------------------------------------------------------------------- parts


@pytest.mark.slow
def test_parts_make_the_dataset_that_one_run_makes(folder, monkeypatch):
    assert again(folder, monkeypatch, raw=folder / "expected") == 0
    assert again(folder, monkeypatch, "-num_parts", 2, "-part_id", 1) == 0
    assert names_in(folder / "raw" / WEAK / "labelsTr") == ["case_1.nii.gz"]
    assert not (folder / "raw" / WEAK / "dataset.json").exists()
    assert again(folder, monkeypatch, "-num_parts", 2, "-part_id", 0) == 0
    assert files_below(folder / "raw") == files_below(folder / "expected")


@pytest.mark.slow
def test_a_part_with_a_failed_case_does_not_hold_the_others_up(folder, monkeypatch, capsys):
    (folder / "images" / "case_1_0000.nii.gz").write_bytes(b"broken")
    assert again(folder, monkeypatch, "-num_parts", 2, "-part_id", 1) == 1
    assert "FAILED case_1" in capsys.readouterr().err
    assert again(folder, monkeypatch, "-num_parts", 2, "-part_id", 0) == 0
    assert json.loads((folder / "raw" / WEAK / "dataset.json").read_text())["numTraining"] == 2
    assert list(json.loads((folder / "raw" / WEAK / "provenance.json").read_text())["failed"]) == ["case_1"]
    verify_dataset_integrity(str(folder / "raw" / WEAK), num_processes=1)


@pytest.mark.slow
def test_parts_that_overwrite_do_not_mix_old_and_new(folder, monkeypatch):
    assert again(folder, monkeypatch) == 0
    options = ["-beta", 60, "--overwrite", "-num_parts", 2, "-part_id"]
    assert again(folder, monkeypatch, *options, 0) == 0
    assert not (folder / "raw" / WEAK / "dataset.json").exists()
    assert again(folder, monkeypatch, *options, 1) == 0
    assert (folder / "raw" / WEAK / "dataset.json").exists()


@pytest.mark.slow
def test_a_part_that_overwrites_does_not_pass_off_old_labels_of_another_part(folder, monkeypatch):
    assert again(folder, monkeypatch) == 0
    shutil.copy(folder / "images" / "case_0_0000.nii.gz", folder / "images" / "case_1_0000.nii.gz")
    shutil.copy(folder / "masks" / "case_0.nii.gz", folder / "masks" / "case_1.nii.gz")
    assert again(folder, monkeypatch, "--overwrite", "-num_parts", 2, "-part_id", 0) == 0
    assert not (folder / "raw" / WEAK / "dataset.json").exists()
    assert again(folder, monkeypatch, "--overwrite", "-num_parts", 2, "-part_id", 1) == 0
    assert (folder / "raw" / WEAK / "dataset.json").exists()


@pytest.mark.parametrize(("num_parts", "part_id"), [(2, 2), (2, -1), (0, 0)])
def test_parts_that_do_not_exist_are_refused(num_parts, part_id, folder, monkeypatch, capsys):
    assert again(folder, monkeypatch, "-num_parts", num_parts, "-part_id", part_id) == 2
    assert "part" in capsys.readouterr().err
    assert not (folder / "raw").exists()


def test_more_parts_than_cases(folder, monkeypatch):
    keep_only_the_first_case(folder)
    assert again(folder, monkeypatch, "-num_parts", 2, "-part_id", 1) == 0
    assert not (folder / "raw" / WEAK / "dataset.json").exists()
    assert again(folder, monkeypatch, "-num_parts", 2, "-part_id", 0) == 0
    assert (folder / "raw" / WEAK / "dataset.json").exists()
