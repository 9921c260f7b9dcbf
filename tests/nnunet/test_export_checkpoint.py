"""A checkpoint on its way out: from a network without training to the zip file."""

import json
import zipfile

import pytest
import torch
from support.plain_trainers import make_trainer, nnunet_folders, plans  # noqa: F401

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
    (model / "dataset.json").write_text(json.dumps(trainer.dataset_json))
    (model / "crossval_results_folds_0" / "summary.json").write_text("{}")
    trainer.save_checkpoint(str(model / "fold_0" / "checkpoint_final.pth"))
    return trainer


def export(tmp_path, **options):
    return export_model(DATASET, tmp_path / "model.zip", **{"trainer": TRAINER, "plans": "plans"} | options)


def test_the_exported_checkpoint_is_one_of_nnunets_trainer_with_the_same_weights(trainer, tmp_path):
    export(tmp_path)
    stock = f"{DATASET}/nnUNetTrainer__plans__3d_fullres"
    with zipfile.ZipFile(tmp_path / "model.zip") as archive:
        assert {f"{stock}/{name}" for name in ("plans.json", "crossval_results_folds_0/summary.json")} < set(
            archive.namelist()
        )
        with archive.open(f"{stock}/fold_0/checkpoint_final.pth") as content:
            exported = torch.load(content, weights_only=True)
    assert exported["trainer_name"] == "nnUNetTrainer"
    assert "optimizer_state" not in exported
    for name, weights in trainer.network.state_dict().items():
        torch.testing.assert_close(exported["network_weights"][name], weights, rtol=0, atol=0)


def test_a_checkpoint_of_another_trainer_is_refused(trainer, tmp_path):
    folder = tmp_path / "nnUNet_results" / DATASET
    (folder / f"{TRAINER}__plans__3d_fullres").rename(folder / "SimPLeTrainer__plans__3d_fullres")
    with pytest.raises(ValueError, match=f"checkpoint_final.pth must be .*SimPLeTrainer.* got one of .*{TRAINER}"):
        export(tmp_path, trainer="SimPLeTrainer")
    assert not (tmp_path / "model.zip").exists()


def test_a_fold_that_was_not_trained_is_refused(trainer, tmp_path):
    with pytest.raises(FileNotFoundError, match="fold_3"):
        export(tmp_path, folds=[0, 3])
