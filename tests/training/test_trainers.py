"""The trainers as nnU-Net sees them: found by its finder, set up by its plans."""

import json
import os
import subprocess
import sys
from functools import wraps
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

import numpy as np
import pytest
import torch
from nnunetv2.training.logging import nnunet_logger
from nnunetv2.training.loss.compound_losses import DC_and_CE_loss
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from nnunetv2.training.lr_scheduler.polylr import PolyLRScheduler
from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name
from support.plain_trainers import LABELS, batch, make_trainer, nnunet_folders, plans  # noqa: F401

from nnunetv2_simple.comparison.methods import METHODS
from nnunetv2_simple.nnunet.trainer_folder import trainer_folder
from nnunetv2_simple.training.feature_tap import FeatureTap
from nnunetv2_simple.training.phase_loss import PartialCrossEntropyLoss, PhaseLoss
from nnunetv2_simple.training.phases import FINETUNE, RETRAIN, TRAIN, first_epoch, phase_at
from nnunetv2_simple.training.trainer import PhasePolyLRScheduler
from nnunetv2_simple.training.voxel_terms import ContrastiveTerm, PropagationTerm


def test_console_script_prints_the_folder_of_the_trainers():
    script = Path(sys.executable).parent / "nnUNetv2_simple_trainers"
    printed = subprocess.run([script], capture_output=True, text=True, check=True).stdout.strip()
    assert (Path(printed) / "SimPLeTrainer.py").is_file()
    assert os.path.samefile(printed, trainer_folder())


def test_simple_trainer_has_the_papers_phases():
    phases = recursive_find_trainer_class_by_name("SimPLeTrainer").phases
    assert [phase.name for phase in phases] == ["train", "finetune", "retrain"]
    train, finetune, retrain = phases
    assert (train.num_epochs, train.initial_lr, train.voxel_term) == (50, 0.01, ContrastiveTerm(100, 0.1, True))
    assert finetune.num_epochs * finetune.num_iterations_per_epoch == 100
    assert (finetune.initial_lr, finetune.voxel_term) == (1e-4, PropagationTerm(0.1, 100, 0.96, 0.96))
    assert (retrain.num_epochs, retrain.num_iterations_per_epoch, retrain.initial_lr) == (1000, 250, 0.01)


@pytest.mark.parametrize("num_epochs", [5, 50, 250])
def test_length_variants_retrain_as_long_as_nnunets(num_epochs):
    retrain = recursive_find_trainer_class_by_name(f"SimPLeTrainer_{num_epochs}epochs").phases[-1]
    stock = make_trainer(f"nnUNetTrainer_{num_epochs}epochs")
    assert (retrain.num_epochs, retrain.num_iterations_per_epoch) == (stock.num_epochs, stock.num_iterations_per_epoch)


@pytest.mark.parametrize("num_iterations", [800, 2000])
def test_short_variants_train_and_retrain_as_long_as_every_method_they_are_compared_with(num_iterations):
    suffix = f"_{num_iterations}iterations"
    schedules = {
        (phase.num_epochs, phase.num_iterations_per_epoch, phase.num_val_iterations_per_epoch)
        for base in {method.trainer for method in METHODS if method.labels in ("weak", "paper")} - {"nnUNetTrainer"}
        for phase in recursive_find_trainer_class_by_name(base + suffix).phases
        if phase.name != "finetune"
    }
    for stock in map(make_trainer, ("nnUNetTrainer" + suffix, "nnUNetTrainerCELoss" + suffix)):
        schedules.add((stock.num_epochs, stock.num_iterations_per_epoch, stock.num_val_iterations_per_epoch))
    assert schedules == {(num_iterations // 200, 200, 5)}


def test_phase_at_every_epoch():
    phases = (TRAIN, FINETUNE, RETRAIN)
    assert [first_epoch(phases, phase) for phase in phases] == [0, 50, 60]
    assert [phase_at(phases, e).name for e in (0, 49, 50, 59, 60, 1059, 1060)] == [
        *("train", "train", "finetune", "finetune", "retrain", "retrain", "retrain")
    ]


def test_learning_rate_of_a_phase_is_nnunets_counted_from_its_first_epoch():
    parameters = [torch.nn.Parameter(torch.zeros(1))]
    phase = PhasePolyLRScheduler(torch.optim.SGD(parameters, 0.01), 0.01, 1000, first_epoch=210)
    stock = PolyLRScheduler(torch.optim.SGD(parameters, 0.01), 0.01, 1000)
    for epoch in (0, 1, 499, 999):
        phase.step(210 + epoch)
        stock.step(epoch)
        assert phase.get_last_lr() == stock.get_last_lr()


def test_fine_tuning_lowers_the_learning_rate_at_every_iteration():
    trainer = make_trainer()
    trainer.initialize()
    trainer.current_epoch = 50 + 3
    trainer._set_up_phase()
    learning_rates = []
    trainer._iteration = 0
    for _ in range(3):
        trainer.train_step(batch())
        learning_rates.append(trainer.optimizer.param_groups[0]["lr"])
    np.testing.assert_allclose(learning_rates, [1e-4 * (1 - i / 100) ** 0.9 for i in (30, 31, 32)])


def test_weak_phases_keep_nnunets_deep_supervision_weights():
    trainer = make_trainer()
    trainer.initialize()
    stock = make_trainer("nnUNetTrainer")
    stock.initialize()
    assert isinstance(trainer.loss, PhaseLoss)
    wrapper = trainer.loss.segmentation_loss
    assert isinstance(wrapper, DeepSupervisionWrapper)
    assert isinstance(wrapper.loss, PartialCrossEntropyLoss)
    assert wrapper.weight_factors == stock.loss.weight_factors


def test_retraining_uses_nnunets_own_loss_and_full_supervisions_value():
    trainer = make_trainer()
    trainer.initialize()
    trainer.current_epoch = 60
    trainer._set_up_phase()
    dense = make_trainer("nnUNetTrainer", labels={"background": 0, "tumor": 1})
    dense.initialize()
    assert isinstance(trainer.loss.segmentation_loss.loss, DC_and_CE_loss)
    dense_batch = batch(labels=(0, 1))
    output = trainer.network(dense_batch["data"])
    torch.testing.assert_close(trainer.loss(output, dense_batch["target"]), dense.loss(output, dense_batch["target"]))


def test_train_step_learns_the_sum_of_its_terms():
    trainer = make_trainer()
    trainer.initialize()
    output = trainer.train_step(batch())
    assert output["loss"] == pytest.approx(output["segmentation_loss"] + output["contrastive"], rel=1e-5)


def test_the_terms_of_the_loss_reach_weights_and_biases(monkeypatch):
    wandb_run = MagicMock(step=0)
    monkeypatch.setattr(nnunet_logger, "wandb", SimpleNamespace(init=lambda **_: wandb_run), raising=False)
    monkeypatch.setenv("nnUNet_wandb_enabled", "1")
    trainer = make_trainer()
    if not hasattr(trainer.logger, "local_logger"):
        pytest.skip("nnU-Net logs to Weights & Biases since 2.7")
    trainer.initialize()
    trainer.on_train_epoch_end([trainer.train_step(batch())])
    logged = {key: value for call in wandb_run.log.call_args_list for key, value in call.args[0].items()}
    assert logged.keys() >= {"train_losses", "segmentation_loss", "contrastive", "propagated_share"}
    assert np.isfinite(logged["contrastive"])
    assert np.isnan(logged["propagated_share"])  # the train phase has none


@pytest.mark.parametrize("epoch", [0, 50])
@pytest.mark.parametrize("labels", [(2,), (0, 2), (1, 2), (0,), (1,), (0, 1)])
def test_no_patch_makes_the_loss_or_the_weights_not_finite(epoch, labels):
    trainer = make_trainer()
    trainer.initialize()
    trainer.current_epoch = epoch
    trainer._set_up_phase()
    trainer._iteration = 0
    for _ in range(2):
        output = trainer.train_step(batch(labels))
        assert np.isfinite(output["loss"])
    assert all(torch.isfinite(parameter).all() for parameter in trainer.network.parameters())


def test_tapped_features_are_the_input_of_the_last_segmentation_layer():
    trainer = make_trainer()
    trainer.initialize()
    tap = FeatureTap(trainer.network, "after_nonlinearity")
    logits = trainer.network(batch()["data"])[0]
    features = tap.pop()
    assert features.shape == (2, 4, 8, 16, 16)
    torch.testing.assert_close(trainer.network.decoder.seg_layers[-1](features), logits)


@pytest.mark.parametrize("name", ["SimPLeTrainer", "SimPLeTrainer_Paper"])
def test_features_are_tapped_before_the_nonlinearity(name):
    trainer = make_trainer(name)
    trainer.initialize()
    network, data = trainer.network, batch()["data"]
    seen = []
    nonlinearity = network.decoder.stages[-1].convs[-1].nonlin
    nonlinearity.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].detach().clone()))
    network(data)
    features = trainer._feature_tap.pop()
    assert torch.equal(features, seen[0])
    assert (features < -0.5).any()


def test_the_network_is_as_before_once_the_tap_is_closed():
    trainer = make_trainer()
    trainer.initialize()
    trainer._close_feature_tap()
    nonlinearity = trainer.network.decoder.stages[-1].convs[-1].nonlin
    assert nonlinearity.inplace
    tap = FeatureTap(trainer.network, "before_nonlinearity")
    assert not nonlinearity.inplace
    tap.close()
    assert nonlinearity.inplace


def test_the_gradient_of_the_contrastive_loss_fits_into_half_precision():
    """Scaled as nnU-Net's GradScaler does at the start of a training."""
    torch.manual_seed(0)
    trainer = make_trainer()
    trainer.initialize()
    data, gradients = batch(), []
    target = torch.full_like(data["target"][0], 2)
    target[0, 0, 2, :3], target[0, 0, 5, :3] = 0, 1
    trainer.network.half()
    trainer.loss.image = data["data"].half()
    output = trainer.network(trainer.loss.image)
    trainer._feature_tap._features.register_hook(gradients.append)
    (65536 * trainer.loss(output, [target, target[..., ::2, ::2]])).backward()
    (gradient,) = gradients
    assert gradient.dtype == torch.float16
    assert torch.isfinite(gradient).all()
    assert 100 * gradient.float().abs().max() > torch.finfo(torch.float16).max  # what undoing a LeakyReLU would ask for


@pytest.mark.parametrize("name", ["SimPLeTrainer", "nnUNetTrainerPartialCE"])
def test_a_network_without_nnunets_decoder_is_refused_at_the_start(name, monkeypatch):
    trainer = make_trainer(name)
    monkeypatch.setattr(type(trainer), "build_network_architecture", lambda *_, **__: torch.nn.Conv3d(1, 2, 1))
    with pytest.raises(NotImplementedError, match="Conv3d has no decoder with seg_layers"):
        trainer.initialize()


def test_a_network_a_later_phase_cannot_tap_is_refused_at_the_start(monkeypatch):
    trainer = make_trainer("SimPLeTrainer_CRF")
    build = trainer.build_network_architecture

    @wraps(build)  # nnU-Net looks at its parameters
    def without_leaky_relu(*args, **kwargs):
        network = build(*args, **kwargs)
        for module in list(network.modules()):
            for name, child in list(module.named_children()):
                if isinstance(child, torch.nn.LeakyReLU):
                    setattr(module, name, torch.nn.ReLU())
        return network

    monkeypatch.setattr(type(trainer), "build_network_architecture", staticmethod(without_leaky_relu))
    with pytest.raises(NotImplementedError, match="LeakyReLU"):
        trainer.initialize()


def test_a_network_without_leaky_relu_cannot_be_tapped_before_it():
    network = torch.nn.Module()
    network.decoder = torch.nn.Module()
    network.decoder.seg_layers = network.decoder.stages = torch.nn.ModuleList([torch.nn.Conv3d(1, 1, 1)])
    with pytest.raises(NotImplementedError, match="LeakyReLU"):
        FeatureTap(network, "before_nonlinearity")


def test_a_single_phase_trainer_has_no_feature_tap_without_a_voxel_term():
    trainer = make_trainer("nnUNetTrainerPartialCE")
    trainer.initialize()
    assert trainer._feature_tap is None
    assert set(trainer.train_step(batch())) == {"loss", "segmentation_loss"}


def test_new_weights_are_drawn_in_place():
    trainer = make_trainer()
    trainer.initialize()
    network, before = trainer.network, trainer.network.decoder.seg_layers[-1].weight.detach().clone()
    trainer._draw_new_weights()
    assert trainer.network is network
    assert not torch.equal(trainer.network.decoder.seg_layers[-1].weight, before)


def test_dataset_without_ignore_label_is_refused():
    with pytest.raises(ValueError, match="needs a dataset with an 'ignore' label"):
        make_trainer(labels={"background": 0, "tumor": 1})


def test_regions_are_refused():
    labels = {"background": 0, "whole": [1, 2], "core": 2, "ignore": 3}
    with pytest.raises(NotImplementedError, match="region"):
        trainer_class = recursive_find_trainer_class_by_name("SimPLeTrainer")
        dataset_json = {"labels": labels, "regions_class_order": [1, 2], "channel_names": {"0": "MR"}}
        trainer_class(plans(), "3d_fullres", 0, dataset_json, torch.device("cpu"))


def test_cascades_are_refused():
    cascade = plans()
    cascade["configurations"]["lowres"] = json.loads(json.dumps(cascade["configurations"]["3d_fullres"]))
    cascade["configurations"]["3d_fullres"]["previous_stage"] = "lowres"
    with pytest.raises(NotImplementedError, match="cascade"):
        make_trainer(plans=cascade)


def test_a_network_without_nnunets_decoder_is_refused():
    with pytest.raises(NotImplementedError, match="decoder"):
        FeatureTap(torch.nn.Linear(1, 1))
