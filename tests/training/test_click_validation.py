"""Which checkpoint is the best one: nnU-Net's choice, or the clicks of the validation cases."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from nnunetv2.run.run_training import get_trainer_from_args
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from support.nnunet_environment import PLANS, NNUNetEnvironment, build_environment

from nnunetv2_simple.conversion.record import read_record
from nnunetv2_simple.evaluation.statistics import evenly_chosen
from nnunetv2_simple.images import read_grid
from nnunetv2_simple.nnunet.versions import logged_values
from nnunetv2_simple.training.click_validation import cases_with_clicks, score_case_by_clicks

BEST = "checkpoint_best.pth"


def test_few_cases_stand_for_many():
    cases = [f"case_{number:03d}" for number in range(101)]
    assert evenly_chosen(cases, 3) == ["case_000", "case_050", "case_100"]
    assert evenly_chosen(cases[:2], 20) == cases[:2]


@pytest.fixture(scope="module")
def environment(tmp_path_factory) -> NNUNetEnvironment:
    environment = build_environment(tmp_path_factory.mktemp("click_validation"))
    split = [{"train": [f"case_{number}" for number in range(4)], "val": ["case_4"]}]
    (environment.preprocessed / "splits_final.json").write_text(json.dumps(split))
    return environment


@pytest.fixture
def trainer(environment, monkeypatch, tmp_path):
    for name, value in environment.variables.items():
        monkeypatch.setenv(name, value)
    trainer = get_trainer_from_args("501", "3d_fullres", 0, "SimPLeTrainer_Tiny", PLANS, device=torch.device("cpu"))
    trainer.initialize()
    trainer.output_folder = str(tmp_path)
    monkeypatch.setattr(trainer, "_converted_dataset", lambda: environment.dataset)
    monkeypatch.setattr(trainer, "_try_to_plot", lambda *args: None)
    monkeypatch.setattr(nnUNetTrainer, "on_epoch_end", nnunets_epoch_end)
    return trainer


def nnunets_epoch_end(trainer):
    """To nnU-Net every epoch is the best one yet."""
    trainer.save_checkpoint(f"{trainer.output_folder}/{BEST}")
    trainer.current_epoch += 1


def best_epoch(trainer):
    return torch.load(Path(trainer.output_folder) / BEST, weights_only=False)["current_epoch"] - 1


@pytest.mark.parametrize(("choice", "best"), [("clicks", 0), ("nnunet", 1)])
def test_the_best_checkpoint_of_a_weak_phase(choice, best, trainer):
    trainer.best_by = choice
    for score in (0.5, 0.4):
        logged_values(trainer)["click_score"].append(score)
        trainer.on_epoch_end()
    assert best_epoch(trainer) == best
    if choice == "clicks":
        logged_values(trainer)["click_score"].append(0.6)
        trainer.current_epoch = 2
        is_chosen = trainer._clicks_choose_best()
        assert is_chosen and np.isfinite(trainer._click_scores()).all()


def test_until_there_is_a_click_score_the_choice_is_nnunets(trainer):
    for _ in range(2):
        logged_values(trainer)["click_score"].append(float("nan"))
        trainer.on_epoch_end()
    assert best_epoch(trainer) == 1


def test_the_end_of_a_phase_is_scored_by_the_clicks_of_the_validation_cases(trainer, environment):
    trainer.current_epoch = trainer.phases[0].num_epochs - 1
    assert np.isfinite(trainer._click_score())
    assert "Validation by clicks after phase train" in Path(trainer.log_file).read_text()
    trainer.current_epoch = 0
    assert np.isnan(trainer._click_score())


def test_clicks_of_converted_cases(environment):
    (case,) = cases_with_clicks(environment.dataset, ["case_4", "stranger"])
    record = read_record(environment.dataset, case)
    grid = read_grid(str(environment.dataset / "labelsTr" / f"{case}.nii.gz"))
    assert score_case_by_clicks(record, grid, np.zeros((20, 44, 40)))["num_lesions"] == 1
    assert cases_with_clicks(None, ["case_4"]) == []


@pytest.mark.parametrize("name", ["nnUNet_simple_best", "nnUNet_simple_stop_after"])
def test_a_setting_of_another_value_is_refused(name, environment, monkeypatch):
    for variable, value in (environment.variables | {name: "retrain"}).items():
        monkeypatch.setenv(variable, value)
    with pytest.raises(ValueError, match=f"{name} .*retrain"):
        get_trainer_from_args("501", "3d_fullres", 0, "SimPLeTrainer_Tiny", PLANS, device=torch.device("cpu"))
