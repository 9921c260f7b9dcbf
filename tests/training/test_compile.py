"""torch.compile, which is nnU-Net's default on GPUs: the phases compiled and eager, step by step."""

import shutil
from functools import partial

import numpy as np
import pytest
import torch
from support.plain_trainers import batch, make_trainer, nnunet_folders  # noqa: F401
from torch._dynamo.utils import counters

from nnunetv2_simple.training.feature_tap import unwrap
from nnunetv2_simple.training.phases import first_epoch

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="inductor needs a C++ compiler")
BACKENDS = ["aot_eager", pytest.param("inductor", marks=needs_compiler)]
NUM_STEPS = 4


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


def take_steps(phase_name: str, *, backend: str | None, monkeypatch) -> tuple[list[float], list[np.ndarray], list[int]]:
    """Return the losses, the weights at the end and how many graphs had been compiled after each step."""
    trainer = make_trainer()
    trainer.seed = 1
    trainer.current_epoch = next(first_epoch(trainer.phases, p) for p in trainer.phases if p.name == phase_name)
    if backend is not None:  # nnU-Net compiles on GPUs only
        monkeypatch.setattr(trainer, "_do_i_compile", lambda: True)
        monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    trainer.initialize()
    trainer.network.train()
    trainer._seed_random_numbers()
    losses, num_graphs = [], []
    for _ in range(NUM_STEPS):
        losses.append(float(trainer.train_step(batch())["loss"]))
        num_graphs.append(counters["stats"]["unique_graphs"])
    return losses, [tensor.numpy() for tensor in unwrap(trainer.network).state_dict().values()], num_graphs


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("phase_name", ["train", "finetune", "retrain"])
@pytest.mark.slow
def test_compiled_phases_equal_eager_ones(phase_name, backend, monkeypatch):
    eager_losses, eager_weights, _ = take_steps(phase_name, backend=None, monkeypatch=monkeypatch)
    losses, weights, num_graphs = take_steps(phase_name, backend=backend, monkeypatch=monkeypatch)
    np.testing.assert_allclose(losses, eager_losses, rtol=1e-4)
    for compiled, eager in zip(weights, eager_weights, strict=True):
        np.testing.assert_allclose(compiled, eager, rtol=1e-3, atol=1e-4)
    assert num_graphs[0] > 0, "nothing was compiled"
    assert not counters["graph_break"]
    assert num_graphs[-1] == num_graphs[0], "compiled anew at a later step"


@pytest.mark.slow
def test_a_new_phase_taps_the_compiled_network(monkeypatch):
    """The hook of the phase before is compiled into the graph: a graph kept would feed the wrong tap."""
    trainer = make_trainer()
    monkeypatch.setattr(trainer, "_do_i_compile", lambda: True)
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    trainer.initialize()
    trainer.network.train()
    assert "contrastive" in trainer.train_step(batch())
    trainer.current_epoch = first_epoch(trainer.phases, trainer.phases[1])
    trainer._set_up_phase()
    assert "propagated_share" in trainer.train_step(batch())
