"""A checkpoint on its way out: from a network without training to the zip file."""

import json
import zipfile
from pathlib import Path

import pytest
import torch
from support.full_disk import full_disk
from support.plain_trainers import make_trainer, nnunet_folders, plans  # noqa: F401

from nnunetv2_simple import files
from nnunetv2_simple.nnunet.export import export_model

DATASET, TRAINER = "Dataset999_None", "nnUNetTrainerPartialCE"


@pytest.fixture
def trainer(tmp_path):
    """Its checkpoint, and what nnUNetv2_find_best_configuration left, in nnUNet_results."""
    trainer = make_trainer(TRAINER)
    trainer.initialize()
    model = tmp_path / "nnUNet_results" / DATASET / f"{TRAINER}__plans__3d_fullres"
    for folder in (model / "fold_0", model / "crossval_results_folds_0"):
        folder.mkdir(parents=True, exist_ok=True)
    (model / "plans.json").write_text(json.dumps(plans()))
    trainer.my_init_kwargs["dataset_json"] = trainer.dataset_json | {"dataset": {"SMITH_JOHN": {}}}
    for place in (model, model / "crossval_results_folds_0"):
        (place / "dataset.json").write_text(json.dumps(trainer.my_init_kwargs["dataset_json"]))
    (model / "fold_0" / "validation").mkdir()
    for place in (model / "crossval_results_folds_0", model / "fold_0" / "validation"):
        (place / "summary.json").write_text('{"metric_per_case": [{"reference_file": "/home/me/SMITH_JOHN.nii.gz"}]}')
    trainer.save_checkpoint(str(model / "fold_0" / "checkpoint_final.pth"))
    return trainer


def export(tmp_path, **options):
    return export_model(DATASET, tmp_path / "model.zip", **{"trainer": TRAINER, "plans": "plans"} | options)


def test_the_exported_checkpoint_is_one_of_nnunets_trainer_with_the_same_weights(trainer, tmp_path):
    export(tmp_path)
    stock = f"{DATASET}/nnUNetTrainer__plans__3d_fullres"
    with zipfile.ZipFile(tmp_path / "model.zip") as archive:
        assert {f"{stock}/{name}" for name in ("plans.json", "crossval_results_folds_0/dataset.json")} < set(
            archive.namelist()
        )
        with archive.open(f"{stock}/fold_0/checkpoint_final.pth") as content:
            exported = torch.load(content, weights_only=True)
    assert exported["trainer_name"] == "nnUNetTrainer"
    assert "optimizer_state" not in exported
    for name, weights in trainer.network.state_dict().items():
        torch.testing.assert_close(exported["network_weights"][name], weights, rtol=0, atol=0)


def test_the_export_names_no_case_unless_asked_for(trainer, tmp_path):
    export(tmp_path)
    with zipfile.ZipFile(tmp_path / "model.zip") as archive:
        names = archive.namelist()
        assert not [name for name in names if name.endswith("summary.json") or b"SMITH" in archive.read(name)]
    export(tmp_path, overwrite=True, with_validation=True)
    with zipfile.ZipFile(tmp_path / "model.zip") as archive:
        scores = sorted(name for name in archive.namelist() if name.endswith("summary.json"))
    assert [Path(name).parent.name for name in scores] == ["crossval_results_folds_0", "validation"]


def test_a_full_disk_leaves_the_export_before(trainer, tmp_path):
    export(tmp_path)
    before = (tmp_path / "model.zip").read_bytes()
    with full_disk(1000), pytest.raises(OSError, match="model.zip"):
        export(tmp_path, overwrite=True)
    assert (tmp_path / "model.zip").read_bytes() == before
    assert not list(tmp_path.glob(f"*{files.PARTIAL}*"))


def test_an_export_leaves_one_that_is_at_work_alone(trainer, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "LOCK_AWAITED_S", 0.1)
    at_work, left = (tmp_path / f"model.zip{files.PARTIAL}{name}" for name in ("at_work", "left"))
    for folder in (at_work, left):
        folder.mkdir()
        (folder / "work").touch()
    with files.only_one(at_work / ".lock", "it"):
        with pytest.raises(BlockingIOError, match="model.zip is in use by process"):
            export(tmp_path)
        assert (at_work / "work").exists()
    export(tmp_path)
    assert not at_work.exists()
    assert not left.exists()


def test_a_checkpoint_of_another_trainer_is_refused(trainer, tmp_path):
    folder = tmp_path / "nnUNet_results" / DATASET
    (folder / f"{TRAINER}__plans__3d_fullres").rename(folder / "SimPLeTrainer__plans__3d_fullres")
    with pytest.raises(ValueError, match=f"checkpoint_final.pth must be .*SimPLeTrainer.* got one of .*{TRAINER}"):
        export(tmp_path, trainer="SimPLeTrainer")
    assert not (tmp_path / "model.zip").exists()


def test_a_fold_that_was_not_trained_is_refused(trainer, tmp_path):
    with pytest.raises(FileNotFoundError, match="fold_3"):
        export(tmp_path, folds=[0, 3])
