"""A training that cannot go on says so at once, and to all of its processes; two do not share a folder."""

import json
import os
import re
import subprocess
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk
import torch
import torch.distributed as dist
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2
from support.full_disk import full_disk
from support.plain_trainers import make_trainer, nnunet_folders, plans  # noqa: F401

from nnunetv2_simple import files
from nnunetv2_simple.files import PARTIAL
from nnunetv2_simple.training import pseudo_mask_trainer
from nnunetv2_simple.training.checks import (
    check_labels_readable,
    check_preprocessed_labels,
    classes_without_foreground,
)
from nnunetv2_simple.training.pseudo_masks import write_pseudo_masks

SHAPE = (4, 6, 8)


@pytest.fixture
def trainer():
    trainer = make_trainer()
    trainer.initialize()
    return trainer


def log_of(trainer) -> str:
    return Path(trainer.log_file).read_text()


# ------------------------------------------------------------------------------------------------------- divergence


def test_weights_that_are_nan_end_the_training_and_are_not_saved(trainer):
    with torch.no_grad():
        next(trainer.network.parameters()).fill_(torch.nan)
    with pytest.raises(FloatingPointError, match="phase train has diverged in epoch 0: its weights"):
        trainer.on_train_epoch_end([{"loss": np.array(0.3)}])
    assert not list(Path(trainer.output_folder).glob("*.pth"))


def test_an_epoch_of_nothing_but_nan_ends_the_training(trainer):
    with pytest.raises(FloatingPointError, match="its loss"):
        trainer.on_train_epoch_end([{"loss": np.array(np.nan)}, {"loss": np.array(np.inf)}])


def test_single_lost_steps_are_counted(trainer):
    trainer.on_train_epoch_end([{"loss": np.array(value)} for value in (0.3, np.nan, 0.2)])
    assert "in 1 of 3 steps" in log_of(trainer)


def preprocessed(folder: Path, *cases: str, locations: dict) -> None:
    properties = {"class_locations": locations}
    layout = dict.fromkeys(("chunks", "blocks", "chunks_seg", "blocks_seg"), (1, *SHAPE))
    for case in cases:
        image, label = np.zeros((1, *SHAPE), np.float32), np.zeros((1, *SHAPE), np.int8)
        nnUNetDatasetBlosc2.save_case(image, label, properties, str(folder / case), **layout)


def test_a_prediction_that_is_nan_ends_the_training_before_any_mask_is_written(tmp_path):
    preprocessed(tmp_path, "one", locations={})
    predictor = SimpleNamespace(
        plans_manager=None,
        configuration_manager=None,
        dataset_json={"file_ending": ".nii.gz"},
        predict_sliding_window_return_logits=lambda image: torch.full((2, *SHAPE), torch.nan),
    )
    dataset = nnUNetDatasetBlosc2(str(tmp_path), ["one"])
    folders = {"weak_label_folder": "", "output_folder": str(tmp_path / "masks")}
    with pytest.raises(ValueError, match="prediction of one is NaN"):
        write_pseudo_masks(predictor, dataset, **folders, log=lambda line: None, num_processes=1)
    assert list((tmp_path / "masks").iterdir()) == []


@pytest.fixture
def three_cases(tmp_path, monkeypatch):
    """Whose labels have foreground; ``empty`` names those whose pseudo-masks have none."""
    empty = set()
    preprocessed(tmp_path / "nnUNet_preprocessed", "a", "b", "c", locations={1: [[0, 1, 1, 1]]})
    monkeypatch.setattr(pseudo_mask_trainer, "has_foreground", lambda folder, case: case not in empty)
    return nnUNetDatasetBlosc2(str(tmp_path / "nnUNet_preprocessed"), ["a", "b", "c"]), empty


def test_an_empty_pseudo_mask_is_named(trainer, three_cases):
    dataset, empty = three_cases
    empty.add("b")
    trainer._check_pseudo_masks_not_empty(dataset, "")
    assert re.search(r"WARNING: 1 of 3 pseudo-masks .*: b\.", log_of(trainer))


def test_a_network_that_finds_no_lesion_ends_the_training(trainer, three_cases):
    dataset, empty = three_cases
    empty.update("ac")
    with pytest.raises(ValueError, match="2 of 3 pseudo-masks have no foreground .*: a, c"):
        trainer._check_pseudo_masks_not_empty(dataset, "")


def test_files_that_nobody_reads_are_named(trainer, monkeypatch):
    monkeypatch.setattr(trainer, "_training_cases", lambda: ["case_4"])
    folder = Path(trainer.pseudo_mask_folder)
    folder.mkdir()
    for name in ("case_4.nii.gz", "case_4.seg.nrrd", "case_4 (copy).nii.gz"):
        (folder / name).touch()
    trainer._warn_of_unread_files()
    assert f"case_4 (copy).nii.gz, case_4.seg.nrrd in {folder}" in log_of(trainer)


def test_a_class_that_no_case_has_is_named(trainer, tmp_path):
    preprocessed(tmp_path, "a", "b", locations={1: [[0, 1, 1, 1]], 2: []})
    fake = SimpleNamespace(
        preprocessed_dataset_folder=str(tmp_path),
        dataset_json={"labels": {"background": 0, "tumor": 1, "node": 2, "ignore": 3}},
        label_manager=SimpleNamespace(foreground_labels=[1, 2]),
    )
    assert classes_without_foreground(fake, "ab") == ["node"]


def test_a_plot_that_cannot_be_written_does_not_end_a_training(trainer):
    def fail(*_):
        raise OSError("no room for a plot")

    trainer._try_to_plot(fail)
    Path(trainer.output_folder, "progress.png").mkdir()
    trainer.logger.plot_progress_png(trainer.output_folder)
    assert "no room for a plot" in log_of(trainer)
    assert "progress.png" in log_of(trainer)


@pytest.fixture
def splits_file(trainer) -> Path:
    """Of a dataset with one case."""
    return Path(trainer.preprocessed_dataset_folder_base) / "splits_final.json"


def test_too_few_cases_for_five_folds_are_said(trainer, splits_file):
    with pytest.raises(ValueError, match="samples=1.. With fewer than five cases train fold 'all'"):
        trainer.run_training()
    assert not splits_file.exists()


def test_the_folds_are_those_that_nnunet_draws_and_are_written_whole(trainer, splits_file, monkeypatch):
    for number in range(6):
        (Path(trainer.preprocessed_dataset_folder) / f"case_{number}.b2nd").touch()
    drawn, whole = trainer.do_split(), splits_file.read_bytes()
    splits_file.unlink()
    trainer._draw_folds(splits_file)
    assert splits_file.read_bytes() == whole
    assert trainer.do_split() == drawn
    splits_file.unlink()
    monkeypatch.setattr(trainer, "print_to_log_file", lambda *_: None)  # it needs the disk, too
    with full_disk(10), pytest.raises(OSError, match=str(splits_file)):
        trainer._draw_folds(splits_file)
    assert not splits_file.exists()


def test_folds_that_nnunet_left_half_written_are_named(trainer, splits_file):
    splits_file.write_text('[{"train": ["case"')
    with pytest.raises(ValueError, match=f"{splits_file} is not valid JSON"):
        trainer.run_training()


# ---------------------------------------------------------------------------------------------------- damaged files


def test_labels_that_are_missing_or_end_early_are_named_before_the_first_epoch(tmp_path):
    generator = np.random.default_rng(0)
    for case in "abc":
        label = sitk.GetImageFromArray(generator.integers(3, size=(20, 30, 30)).astype(np.uint8))
        sitk.WriteImage(label, str(tmp_path / f"{case}.nii.gz"))
    (tmp_path / "a.nii.gz").unlink()
    content = (tmp_path / "c.nii.gz").read_bytes()
    (tmp_path / "c.nii.gz").write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"labels of 2 cases .*a\.nii\.gz.*c\.nii\.gz"):
        check_labels_readable(None, lambda case: str(tmp_path / f"{case}.nii.gz"), "abc")
    check_labels_readable(None, lambda case: str(tmp_path / f"{case}.nii.gz"), "b")


@pytest.mark.parametrize("name", ["b.b2nd", "b_seg.b2nd", "b.pkl"])
@pytest.mark.parametrize("share", [0, 0.5])
def test_preprocessed_files_that_end_early_are_named(name, share, tmp_path):
    preprocessed(tmp_path, "a", "b", locations={(-1, 0, 1): []})
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: int(share * len(content))])
    trainer = SimpleNamespace(
        preprocessed_dataset_folder=str(tmp_path), label_manager=SimpleNamespace(all_labels=[0, 1]), dataset_json={}
    )
    check_preprocessed_labels(trainer, "a")
    with pytest.raises(ValueError, match=f"case b in {tmp_path} cannot be read"):
        check_preprocessed_labels(trainer, "ab")


# --------------------------------------------------------------------------------------------------- several at once


def test_a_second_training_of_a_fold_is_refused_and_changes_nothing(trainer, monkeypatch):
    monkeypatch.setattr(files, "LOCK_AWAITED_S", 0.1)
    checkpoint = Path(trainer.output_folder) / "checkpoint_latest.pth"
    checkpoint.write_text("of the first")
    with ExitStack() as trainer._held:
        trainer._hold_folder()
        holder = json.loads((Path(trainer.output_folder) / ".lock.json").read_text())["process"]
        with pytest.raises(BlockingIOError, match=f"{trainer.output_folder} is in use by process {holder} on"):
            make_trainer().run_training()
    assert checkpoint.read_text() == "of the first"


@pytest.fixture
def one_of_two(trainer, monkeypatch):
    """The first of two processes that train together; the other one has ended."""

    def gather(processes, own):
        processes[:] = [own, ended.pid]

    ended = subprocess.Popen(["true"])
    ended.wait()
    trainer.is_ddp = True
    monkeypatch.setattr(dist, "get_world_size", lambda: 2)
    monkeypatch.setattr(dist, "barrier", lambda: None)
    monkeypatch.setattr(dist, "all_gather_object", gather)
    return trainer


def note_of(trainer, rank: int) -> Path:
    return Path(trainer.output_folder) / f".share_{os.getpid()}_1_{rank}"


def test_a_process_ends_with_the_error_of_another(one_of_two):
    note_of(one_of_two, 1).write_text("ValueError: the disk is full")
    with pytest.raises(RuntimeError, match="process 1 of this training failed: ValueError: the disk is full"):
        one_of_two._share_work(lambda: None)


def test_a_process_that_fails_tells_the_others(one_of_two):
    note_of(one_of_two, 1).write_text("")

    def fail():
        raise ValueError("out of order")

    with pytest.raises(ValueError, match="out of order"):
        one_of_two._share_work(fail)
    assert note_of(one_of_two, 0).read_text() == "ValueError: out of order"


def test_a_process_ends_when_another_was_killed(one_of_two):
    with pytest.raises(RuntimeError, match="process 1 of this training was killed"):
        one_of_two._share_work(lambda: None)


def test_the_notes_of_other_processes_survive_the_removal_of_left_over_ones(one_of_two):
    note = note_of(one_of_two, 1)
    note.write_text("")
    being_written = note.with_name(f"{PARTIAL}0_{note.name}")
    left_over = note.with_name(".share_7_1_1")
    for file in (being_written, left_over):
        file.write_text("")
    one_of_two._share_work(one_of_two._remove_half_written_files)
    assert being_written.exists()
    assert not left_over.exists()


def test_processes_that_have_done_their_share_go_on(one_of_two):
    note_of(one_of_two, 1).write_text("")
    one_of_two._share_work(lambda: None)
    assert not note_of(one_of_two, 0).exists()
