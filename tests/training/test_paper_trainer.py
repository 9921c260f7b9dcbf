"""SimPLeTrainer_Paper: what the published code does, in nnU-Net's terms."""

import json

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name
from support.nnunet_environment import PLANS, build_environment
from support.plain_trainers import make_trainer, nnunet_folders  # noqa: F401

from nnunetv2_simple.training.phases import first_epoch
from nnunetv2_simple.training.voxel_terms import ContrastiveTerm, PropagationTerm

PHASES = ("train", "finetune", "retrain")
IGNORE = 2


def in_phase(name: str, trainer: str = "SimPLeTrainer_Paper"):
    trainer = make_trainer(trainer)
    phase = next(phase for phase in trainer.phases if phase.name == name)
    trainer.current_epoch = first_epoch(trainer.phases, phase)
    torch.manual_seed(0)
    trainer.initialize()
    return trainer


def half_foreground_batch() -> dict:
    """Two background patches full of labels, then two foreground patches with few: none is left out by chance."""
    generator = torch.Generator().manual_seed(0)
    target = torch.randint(0, 3, (4, 1, 8, 16, 16), generator=generator)
    target[2:] = IGNORE
    target[2:, :, 3, 4, 4:12] = 1
    target[2:, :, 5, 8, 2:12] = 0
    return {
        "data": torch.randn(4, 1, 8, 16, 16, generator=generator),
        "target": [target, target[..., ::2, ::2]],
        "keys": ["a", "b", "c", "d"],
    }


def cross_entropy(outputs: list[torch.Tensor], targets: list[torch.Tensor], weights: np.ndarray, part: slice):
    """Of each resolution the mean over the labelled voxels of some patches."""
    return sum(
        weight * F.cross_entropy(output[part], target[part, 0].long(), ignore_index=IGNORE)
        for weight, output, target in zip(weights, outputs, targets, strict=True)
        if weight
    )


def features_and_output(trainer, data: torch.Tensor):
    """Z is what enters the last LeakyReLU, copied before nnU-Net overwrites it."""
    seen = []
    nonlinearity = trainer.network.decoder.stages[-1].convs[-1].nonlin
    hook = nonlinearity.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach().clone()))
    trainer.loss.image = data
    with torch.no_grad():
        output = trainer.network(data)
    hook.remove()
    return seen[0].movedim(1, -1), output


def test_phases_are_those_of_the_published_code():
    train, finetune, retrain = recursive_find_trainer_class_by_name("SimPLeTrainer_Paper").phases
    assert [phase.num_epochs * phase.num_iterations_per_epoch for phase in (train, finetune, retrain)] == [
        *(2000, 100, 2000)
    ]
    assert [phase.labels for phase in (train, finetune, retrain)] == ["weak", "weak", "pseudo_masks"]
    assert [phase.initial_lr for phase in (train, finetune, retrain)] == [1e-2, 1e-4, 1e-2]
    assert train.voxel_term == ContrastiveTerm(num_samples=100, temperature=0.1, pull_negatives=False)
    assert finetune.voxel_term == PropagationTerm(0.1, 100, 0.96, 0.96)
    assert not retrain.walks_again


@pytest.mark.parametrize("num_iterations", [800, 2000])
def test_iteration_variants_have_epochs_of_200_iterations(num_iterations):
    train, finetune, retrain = recursive_find_trainer_class_by_name(
        f"SimPLeTrainer_Paper_{num_iterations}iterations"
    ).phases
    for phase in (train, retrain):
        assert (phase.num_epochs, phase.num_iterations_per_epoch) == (num_iterations // 200, 200)
    assert finetune.num_epochs * finetune.num_iterations_per_epoch == 100


def test_epoch_variants_have_nnunets_epochs():
    train, finetune, retrain = recursive_find_trainer_class_by_name("SimPLeTrainer_Paper_50epochs").phases
    stock = make_trainer("nnUNetTrainer_50epochs")
    assert (train.num_epochs, retrain.num_epochs) == (10, stock.num_epochs)
    for phase in (train, retrain):
        assert phase.num_iterations_per_epoch == stock.num_iterations_per_epoch
        assert phase.num_val_iterations_per_epoch == stock.num_val_iterations_per_epoch
    assert finetune.num_epochs * finetune.num_iterations_per_epoch == 100


@pytest.mark.parametrize("phase", PHASES)
def test_optimiser_and_batch_of_every_phase(phase):
    trainer = in_phase(phase)
    (group,) = trainer.optimizer.param_groups
    assert (group["weight_decay"], group["momentum"], group["nesterov"]) == (1e-4, 0.99, True)
    assert trainer.batch_size == 2 * trainer.configuration_manager.batch_size
    assert trainer.oversample_foreground_percent == 0.5


@pytest.mark.parametrize("phase", PHASES)
def test_other_trainers_keep_nnunets_batch_and_weight_decay(phase):
    trainer, stock = in_phase(phase, "SimPLeTrainer"), make_trainer("nnUNetTrainer")
    assert trainer.batch_size == trainer.configuration_manager.batch_size
    assert trainer.oversample_foreground_percent == stock.oversample_foreground_percent
    assert trainer.optimizer.param_groups[0]["weight_decay"] == stock.weight_decay


@pytest.mark.parametrize("rank", [0, 1])
def test_each_gpu_gets_patches_of_both_kinds(monkeypatch, rank):
    trainer = make_trainer("SimPLeTrainer_Paper")
    monkeypatch.setattr(dist, "get_world_size", lambda: 2)
    monkeypatch.setattr(dist, "get_rank", lambda: rank)
    trainer.is_ddp = True
    for _ in range(2):  # once by nnU-Net, once by every phase
        trainer._set_batch_size_and_oversample()
        assert (trainer.batch_size, trainer.oversample_foreground_percent) == (2, 0.5)


def test_train_loss_is_that_of_both_kinds_of_patches_and_the_pairs_of_the_foreground_patches():
    trainer, batch = in_phase("train"), half_foreground_batch()
    z, output = features_and_output(trainer, batch["data"])
    loss = trainer.loss(output, batch["target"])

    weights = trainer.loss.segmentation_loss.weight_factors
    halves = [cross_entropy(output, batch["target"], weights, part) for part in (slice(2), slice(2, 4))]
    labels = batch["target"][0][:, 0]
    positives, negatives = z[2:][labels[2:] == 1], z[2:][labels[2:] == 0]
    assert (len(positives), len(negatives)) == (16, 20)
    terms = []
    for i, first in enumerate(positives):
        for second in positives[i + 1 :]:
            terms.append(F.softplus(-F.cosine_similarity(first, second, dim=0) / 0.1))
        for second in negatives:
            terms.append(F.softplus(F.cosine_similarity(first, second, dim=0) / 0.1))
    torch.testing.assert_close(loss, sum(halves) + torch.stack(terms).mean())


def test_fine_tuning_propagates_from_and_to_foreground_patches_only():
    trainer, batch = in_phase("finetune"), half_foreground_batch()
    z, output = features_and_output(trainer, batch["data"])
    trainer.loss.voxel_term = PropagationTerm(similarity_threshold=0.0, vote_fraction=0.5)
    loss = trainer.loss(output, batch["target"])

    weights = trainer.loss.segmentation_loss.weight_factors
    halves = [cross_entropy(output, batch["target"], weights, part) for part in (slice(2), slice(2, 4))]
    labels = batch["target"][0][2:, 0]
    unit = F.normalize(z[2:], dim=-1)
    agrees = unit[labels == IGNORE] @ unit[labels == 1].T > 0
    accepted = agrees.sum(dim=1) > 0.5 * 16
    assert 0 < accepted.sum() < len(accepted)
    log_p = output[0][2:].log_softmax(dim=1)[:, 1][labels == IGNORE][accepted]
    torch.testing.assert_close(loss, sum(halves) - 0.1 * log_p.mean())


def test_retraining_learns_cross_entropy_of_both_kinds_of_patches():
    trainer, batch = in_phase("retrain"), half_foreground_batch()
    dense = [target.clamp(max=1) for target in batch["target"]]
    trainer.loss.image = batch["data"]
    with torch.no_grad():
        output = trainer.network(batch["data"])
    weights = trainer.loss.segmentation_loss.weight_factors
    halves = [cross_entropy(output, dense, weights, part) for part in (slice(2), slice(2, 4))]
    torch.testing.assert_close(trainer.loss(output, dense), sum(halves))


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    return build_environment(tmp_path_factory.mktemp("paper"))


def test_the_second_half_of_every_batch_shows_foreground(environment, monkeypatch):
    for name, value in (environment.variables | {"nnUNet_n_proc_DA": "0"}).items():
        monkeypatch.setenv(name, value)
    plans = json.loads((environment.preprocessed / f"{PLANS}.json").read_text()) | {"continue_training": False}
    dataset_json = json.loads((environment.preprocessed / "dataset.json").read_text())
    trainer = recursive_find_trainer_class_by_name("SimPLeTrainer_Paper")(
        plans, "3d_fullres", 0, dataset_json, torch.device("cpu")
    )
    trainer.initialize()
    np.random.seed(0)
    _, without_augmentation = trainer.get_dataloaders()
    shows_foreground = []
    for _ in range(20):
        target = next(without_augmentation)["target"][0]
        assert len(target) == 2 * trainer.configuration_manager.batch_size
        shows_foreground.append((target == 1).flatten(1).any(dim=1))
    share = torch.stack(shows_foreground).float().mean(dim=0)
    half = len(share) // 2
    assert (share[half:] == 1).all()
    assert (share[:half] < 1).all()


def test_all_phases_run_through_nnunets_command_line(environment):
    # seeded: so short a training may end with a network that finds nothing, which is refused
    environment.run(*environment.train_command("SimPLeTrainer_PaperBrief"), variables={"nnUNet_simple_seed": "1"})
    fold = environment.fold_folder("SimPLeTrainer_PaperBrief")
    log = torch.load(fold / "checkpoint_final.pth", weights_only=False)["logging"]
    for key, known in (("segmentation_loss", [1, 1, 1]), ("contrastive", [1, 0, 0]), ("propagation", [0, 1, 0])):
        assert np.isfinite(log[key]).tolist() == [bool(value) for value in known], key
