"""Trainings that can be repeated."""

import numpy as np
import pytest
import torch
from support.nnunet_environment import NNUNetEnvironment, build_environment
from support.plain_trainers import make_trainer, nnunet_folders  # noqa: F401

from nnunetv2_simple.training.seeding import SEED_VARIABLE, SeededBatches, SeededTrainer, seed_process


@pytest.fixture(scope="module")
def environment(tmp_path_factory) -> NNUNetEnvironment:
    return build_environment(tmp_path_factory.mktemp("seeding"))


def train(environment, seed: int, *, num_workers: int = 2) -> dict[str, torch.Tensor]:
    """Go through all phases on worker processes; the weights of every checkpoint."""
    fold = environment.fold_folder("SimPLeTrainer_Brief")
    for file in fold.glob("checkpoint*"):
        file.unlink()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(SEED_VARIABLE, str(seed))
        environment.run(
            *environment.train_command("SimPLeTrainer_Brief"), variables={"nnUNet_n_proc_DA": str(num_workers)}
        )
    return {
        f"{phase} {name}": tensor
        for phase in ("train", "finetune", "final")
        for name, tensor in torch.load(fold / f"checkpoint_{phase}.pth", weights_only=False)["network_weights"].items()
    }


def test_trainings_with_one_seed_end_with_identical_weights(environment):
    first, second, other = train(environment, 5), train(environment, 5), train(environment, 6)
    for name, weights in first.items():
        assert torch.equal(weights, second[name]), name
    assert any(not torch.equal(weights, other[name]) for name, weights in first.items() if name.startswith("train"))


def test_the_class_attribute_alone_repeats_the_first_weights(monkeypatch):
    def first_weights(seed: int | None) -> torch.Tensor:
        monkeypatch.setattr(SeededTrainer, "seed", seed)
        trainer = make_trainer()
        trainer.initialize()
        return next(trainer.network.parameters()).detach()

    assert torch.equal(first_weights(3), first_weights(3))
    assert not torch.equal(first_weights(3), first_weights(4))
    assert not torch.equal(first_weights(None), first_weights(None))


def test_the_environment_variable_comes_before_the_class_attribute(monkeypatch):
    assert make_trainer().seed is None
    monkeypatch.setattr(SeededTrainer, "seed", 5)
    assert make_trainer().seed == 5
    monkeypatch.setenv(SEED_VARIABLE, "12")
    assert make_trainer().seed == 12
    monkeypatch.setenv(SEED_VARIABLE, "-1")
    with pytest.raises(ValueError, match=f"{SEED_VARIABLE} must be a natural number, got '-1'"):
        make_trainer()


class Numbers:
    """Stands for a data loader: its batches are random numbers."""

    def set_thread_id(self, thread_id: int) -> None:
        self.thread_id = thread_id

    def __next__(self) -> tuple[int, float, float]:
        return self.thread_id, np.random.random(), torch.rand(1).item()


def test_every_worker_draws_numbers_of_its_own():
    def draw(entropy: list[int], thread_id: int) -> tuple:
        batches = SeededBatches(Numbers(), entropy)
        num_threads = torch.get_num_threads()
        batches.set_thread_id(thread_id)
        torch.set_num_threads(num_threads)
        return next(iter(batches))[1:]

    drawn = [draw(entropy, thread_id) for entropy in ([1, 0], [2, 0], [1, 1]) for thread_id in (0, 1)]
    assert len(set(drawn)) == len(drawn)
    assert draw([1, 0], 1) == drawn[1]


def test_seeding_covers_torch_and_numpy():
    def draw() -> tuple:
        return torch.rand(1).item(), np.random.random()

    seed_process([1, 2])
    first = draw()
    assert draw() != first
    seed_process([1, 2])
    assert draw() == first
