"""Copied and damaged datasets, corrected labels, two conversions at once: nothing of others is removed or lost."""

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
from support.conversion_cases import files_below, run, tumor_mask, write_points, write_single_channel_case
from support.full_disk import full_disk
from support.processes import members

from nnunetv2_simple import files
from nnunetv2_simple.conversion.dataset_files import locked
from nnunetv2_simple.extreme_points.points import extreme_points_from_mask

WEAK, DENSE, CASE = "Dataset005_Again", "Dataset006_Again_dense", "case_0"
TWIN = ("-dense", 6)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """One case, converted with a twin."""
    monkeypatch.setattr(files, "LOCK_AWAITED_S", 0.2)
    write_single_channel_case(tmp_path, CASE)
    assert convert(tmp_path, monkeypatch, *TWIN) == 0
    return tmp_path


def convert(folder, monkeypatch, *options, dataset=5):
    sources = ("-i", folder / "images", "-m", folder / "masks")
    return run(monkeypatch, folder / "raw", *sources, "-d", dataset, "-n", "Again", "-recipe", "paper", *options)


def record_file(folder, dataset=WEAK) -> Path:
    return folder / "raw" / dataset / "provenance" / f"{CASE}.json"


def copy_dataset(folder) -> None:
    shutil.copytree(folder / "raw" / WEAK, folder / "raw" / "Dataset015_Again")


# ------------------------------------------------------------------------------------------------- whose files they are


def test_overwriting_a_copied_dataset_leaves_the_twin_of_the_original(folder, monkeypatch):
    copy_dataset(folder)
    before = files_below(folder / "raw" / DENSE)
    assert convert(folder, monkeypatch, "--overwrite", dataset=15) == 0
    assert files_below(folder / "raw" / DENSE) == before


def test_a_copied_dataset_does_not_take_over_the_twin_of_the_original(folder, monkeypatch, capsys):
    copy_dataset(folder)
    before = files_below(folder / "raw" / DENSE)
    assert convert(folder, monkeypatch, "--overwrite", "-dense", 16, dataset=15) == 0
    shutil.rmtree(folder / "raw" / "Dataset016_Again_dense")
    shutil.move(folder / "raw" / DENSE, folder / "raw" / "Dataset016_Again_dense")
    record = json.loads(record_file(folder, "Dataset015_Again").read_text())
    record_file(folder, "Dataset015_Again").write_text(json.dumps(record | {"dataset": WEAK}))
    assert convert(folder, monkeypatch, "--overwrite", "-dense", 16, dataset=15) == 2
    assert f"Dataset016_Again_dense/labelsTr/{CASE}.nii.gz" in capsys.readouterr().err
    assert files_below(folder / "raw" / "Dataset016_Again_dense") == before


def test_a_dataset_overwritten_without_its_twin_leaves_that_alone(folder, monkeypatch):
    before = files_below(folder / "raw" / DENSE)
    assert convert(folder, monkeypatch, "--overwrite") == 0
    assert files_below(folder / "raw" / DENSE) == before


@pytest.mark.parametrize("name", ["../../mine.txt", "../mine.txt", "labelsTr/case_1.nii.gz", "imagesTr/case_0.txt"])
def test_a_record_cannot_have_other_files_removed(name, folder, monkeypatch):
    mine = folder / "raw" / WEAK / name
    mine.write_text("mine")
    record = json.loads(record_file(folder).read_text())
    record["files"][name] = 4
    record_file(folder).write_text(json.dumps(record))
    convert(folder, monkeypatch, *TWIN, "--overwrite")
    assert mine.read_text() == "mine"


def test_a_baseline_writes_no_files_of_cases_that_no_conversion_names(folder, monkeypatch, capsys):
    file = folder / "raw" / WEAK / "provenance.json"
    content = json.loads(file.read_text())
    content["cases"] = {"../../mine": content["cases"][CASE]}
    file.write_text(json.dumps(content))
    assert run(monkeypatch, folder / "raw", "-d", 5, "-baseline", "walker", "-baseline_id", 7) == 1
    assert "../../mine" in capsys.readouterr().err
    assert not list(folder.glob("**/mine*"))


# ---------------------------------------------------------------------------------------------- damaged and corrected


def test_an_emptied_file_is_written_again(folder, monkeypatch):
    before = files_below(folder / "raw")
    for name in ("imagesTr/case_0_0000.nii.gz", "walkerTr/case_0_0001.nii.gz", f"../{DENSE}/labelsTr/case_0.nii.gz"):
        (folder / "raw" / WEAK / name).write_bytes(b"")
    assert convert(folder, monkeypatch, *TWIN) == 0
    assert files_below(folder / "raw") == before


def test_a_file_cut_to_half_is_written_again(folder, monkeypatch):
    before = files_below(folder / "raw")
    file = folder / "raw" / WEAK / "imagesTr" / "case_0_0000.nii.gz"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    assert convert(folder, monkeypatch, *TWIN) == 0
    assert files_below(folder / "raw") == before


@pytest.mark.parametrize("content", ["", "{", "[]", '{"inputs": {}}'])
@pytest.mark.parametrize("options", [[], ["--overwrite"]])
def test_a_record_that_cannot_be_read_is_that_of_an_unfinished_case(content, options, folder, monkeypatch):
    before = files_below(folder / "raw")
    record_file(folder).write_text(content)
    assert convert(folder, monkeypatch, *TWIN, *options) == 0
    assert files_below(folder / "raw") == before


def test_a_case_that_is_gone_and_has_no_readable_record_is_not_removed_unasked(folder, monkeypatch, capsys):
    write_single_channel_case(folder, "case_1", seed=1)
    for file in (*folder.glob("images/case_0*"), *folder.glob("masks/case_0*")):
        file.unlink()
    record_file(folder).write_text("")
    before = files_below(folder / "raw")
    assert convert(folder, monkeypatch, *TWIN) == 2
    assert CASE in capsys.readouterr().err
    assert files_below(folder / "raw") == before
    assert convert(folder, monkeypatch, *TWIN, "--overwrite") == 0
    assert not [file for file in files_below(folder / "raw") if CASE in file]


def correct(file: Path) -> bytes:
    """Save a label anew with other voxels."""
    image = sitk.ReadImage(str(file))
    array = sitk.GetArrayFromImage(image)
    array[:, ::2] = 1
    corrected = sitk.GetImageFromArray(array)
    corrected.CopyInformation(image)
    sitk.WriteImage(corrected, str(file))
    return file.read_bytes()


def test_a_corrected_label_is_kept_and_said(folder, monkeypatch, capsys):
    label = folder / "raw" / WEAK / "labelsTr" / "case_0.nii.gz"
    corrected = correct(label)
    assert convert(folder, monkeypatch, *TWIN) == 0
    assert f"WARNING case_0: {label} was changed" in capsys.readouterr().err
    assert label.read_bytes() == corrected


def test_a_corrected_label_of_a_damaged_case_is_not_overwritten(folder, monkeypatch, capsys):
    label, image = (folder / "raw" / WEAK / name for name in ("labelsTr/case_0.nii.gz", "imagesTr/case_0_0000.nii.gz"))
    corrected = correct(label)
    image.unlink()
    assert convert(folder, monkeypatch, *TWIN) == 2
    message = capsys.readouterr().err
    assert str(label) in message
    assert str(image) in message
    assert label.read_bytes() == corrected


# ------------------------------------------------------------------------------------------------------ two at once


def test_a_second_conversion_is_refused_and_says_who_is_at_work(folder, monkeypatch, capsys):
    before = files_below(folder / "raw" / WEAK)
    with locked([folder / "raw" / WEAK]):
        assert convert(folder, monkeypatch, *TWIN, "--overwrite") == 2
        assert f"{folder / 'raw' / WEAK} is in use by process {os.getpid()} on" in capsys.readouterr().err
        assert convert(folder, monkeypatch, *TWIN, "--overwrite", "-num_parts", 2) == 2
    assert files_below(folder / "raw" / WEAK) == before
    assert convert(folder, monkeypatch, *TWIN, "--overwrite") == 0


def test_a_conversion_to_the_same_twin_is_refused(folder, monkeypatch, capsys):
    with locked([folder / "raw" / DENSE]):
        assert convert(folder, monkeypatch, *TWIN, "--overwrite") == 2
    assert f"{DENSE} is in use by" in capsys.readouterr().err


def test_parts_work_together_but_not_with_themselves_the_whole_or_another_division(folder, monkeypatch):
    place = [folder / "raw" / WEAK]
    with locked(place, part_id=0, num_parts=3):
        with locked(place, part_id=1, num_parts=3):
            pass
        for part_id, num_parts in ((0, 3), (0, 1), (1, 2)):
            with pytest.raises(BlockingIOError), locked(place, part_id=part_id, num_parts=num_parts):
                pass
    with locked(place):
        pass


def test_a_file_system_without_locks_is_warned_of(folder, monkeypatch):
    def no_locks(*_, **__):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(files.FileLock, "acquire", no_locks)
    with pytest.warns(RuntimeWarning, match="is not protected"):
        assert convert(folder, monkeypatch, *TWIN, "--overwrite") == 0


@pytest.mark.slow
def test_workers_end_with_a_killed_conversion_and_its_rerun_begins_at_once(folder, monkeypatch):
    """Annotations that nobody finishes reading keep both workers busy until they are killed."""
    annotations = [folder / "clicks" / f"case_{number}.json" for number in (1, 2)]
    annotations[0].parent.mkdir()
    for number, file in enumerate(annotations, start=1):
        write_single_channel_case(folder, f"case_{number}", seed=number)
        os.mkfifo(file)
    words = ["-i", folder / "images", "-m", folder / "masks", "-a", folder / "clicks", "-d", 5, "-n", "Again"]
    words += ["-recipe", "paper", *TWIN]
    process = subprocess.Popen(
        [sys.executable, "-m", "nnunetv2_simple.conversion.command_line", *map(str, words), "-np", "2"],
        env=os.environ | {"nnUNet_raw": str(folder / "raw")},
        start_new_session=True,
    )
    try:
        wait_until(lambda: len(workers_of(process.pid)) >= 2)
        workers = workers_of(process.pid)
        os.kill(process.pid, signal.SIGKILL)  # the process alone, as the system does when memory runs out
        process.wait(timeout=60)
        wait_until(lambda: not any(Path(f"/proc/{worker}").exists() for worker in workers), timeout_s=20)
    finally:
        if members := workers_of(process.pid):
            os.killpg(process.pid, signal.SIGKILL)
            print("killed", members)
    for number, file in enumerate(annotations, start=1):
        file.unlink()
        write_points(file, extreme_points_from_mask(tumor_mask(number)))
    assert convert(folder, monkeypatch, "-a", folder / "clicks", *TWIN) == 0


@pytest.mark.slow
def test_a_conversion_killed_at_a_random_moment_goes_on_to_the_same_dataset(tmp_path):
    """Forty kills are a matter of minutes: python tests/support/conversion_killer.py 40 SEED FOLDER."""
    script = Path(__file__).parents[1] / "support" / "conversion_killer.py"
    environment = os.environ | {"PYTHONPATH": str(script.parents[1])}
    subprocess.run([sys.executable, script, "3", "0", tmp_path], env=environment, check=True, timeout=600)
    kills = json.loads((tmp_path / "kills.json").read_text())
    assert [(kill["orphans"], kill["status"], kill["is_whole"]) for kill in kills] == [(0, 0, True)] * 3


def workers_of(group: int) -> list[int]:
    return [process for process in members(group) if process != group]


def wait_until(condition, timeout_s=120):
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


# ---------------------------------------------------------------------------------- full, read-only and other systems


@pytest.mark.parametrize("num_bytes", [50, 500, 1500])
def test_a_full_disk_fails_the_conversion_and_a_rerun_completes_it(num_bytes, folder, monkeypatch, capsys):
    """The record does not fit, an image does not, the page of the quality control does not."""
    expected = files_below(folder / "raw")
    shutil.rmtree(folder / "raw")
    with full_disk(num_bytes):
        assert convert(folder, monkeypatch, *TWIN) != 0
    assert capsys.readouterr().err
    assert not (folder / "raw" / WEAK / "dataset.json").exists()
    assert convert(folder, monkeypatch, *TWIN) == 0
    assert files_below(folder / "raw") == expected


def test_a_finished_dataset_is_not_written_to(folder, monkeypatch):
    """So it may be read-only."""

    def refuse(*_, **__):
        raise PermissionError("read-only")

    monkeypatch.setattr(files, "written_atomically", refuse)
    monkeypatch.setattr(files.FileLock, "acquire", refuse)
    monkeypatch.setattr(Path, "unlink", refuse)
    assert convert(folder, monkeypatch, *TWIN) == 0


def test_a_class_without_a_lesion_is_warned_of(folder, monkeypatch, capsys):
    assert convert(folder, monkeypatch, *TWIN, "--overwrite", "-labels", "tumor=1", "node=2") == 0
    assert "no training case has a lesion of the class node\n" in capsys.readouterr().err


def test_folders_may_lie_on_another_file_system(tmp_path, monkeypatch):
    elsewhere = Path("/dev/shm")
    if not elsewhere.is_dir() or elsewhere.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("needs a second file system")
    write_single_channel_case(tmp_path, CASE)
    assert convert(tmp_path, monkeypatch, *TWIN) == 0
    other = tmp_path / "other"
    for name in ("images", "masks"):
        shutil.copytree(tmp_path / name, other / name)
        for file in (tmp_path / name).iterdir():
            shutil.copystat(file, other / name / file.name)
    linked = Path(str(elsewhere), f"nothing_lost_{os.getpid()}")
    try:
        (linked / "imagesTr").mkdir(parents=True)
        (other / "raw" / WEAK).mkdir(parents=True)
        (other / "raw" / WEAK / "imagesTr").symlink_to(linked / "imagesTr")
        assert convert(other, monkeypatch, *TWIN) == 0
        name = f"{WEAK}/imagesTr/{CASE}_0000.nii.gz"
        assert (other / "raw" / name).read_bytes() == (tmp_path / "raw" / name).read_bytes()
    finally:
        shutil.rmtree(linked, ignore_errors=True)
