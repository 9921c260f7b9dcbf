"""-pretrained_weights: what the train phase starts from, the retraining starts from."""

from pathlib import Path

import pytest
import torch
from nnunetv2.run.load_pretrained_weights import load_pretrained_weights
from support.plain_trainers import make_trainer, nnunet_folders  # noqa: F401

from nnunetv2_simple.training.feature_tap import unwrap


@pytest.fixture
def pretrained(tmp_path) -> Path:
    """A checkpoint as any training of nnU-Net's leaves it."""
    trainer = make_trainer()
    trainer.initialize()
    trainer.save_checkpoint(str(tmp_path / "pretrained.pth"))
    return tmp_path / "pretrained.pth"


def start(checkpoint: Path | None):
    """Do what nnUNetv2_train does of it up to the first epoch."""
    trainer = make_trainer()
    trainer.initialize()
    if checkpoint is not None:
        load_pretrained_weights(trainer.network, str(checkpoint))
    Path(trainer.output_folder).mkdir(parents=True, exist_ok=True)
    trainer._note_start()
    return trainer


def end_epoch(trainer) -> str:
    checkpoint = str(Path(trainer.output_folder) / "checkpoint_latest.pth")
    trainer.save_checkpoint(checkpoint)
    return checkpoint


def test_new_weights_are_the_pretrained_ones_but_for_the_segmentation_layers(pretrained):
    trainer = start(pretrained)
    with torch.no_grad():
        for parameter in trainer.network.parameters():
            parameter += 1  # a training
    end_epoch(trainer)
    trainer._draw_new_weights()
    expected = torch.load(pretrained, weights_only=False)["network_weights"]
    for name, tensor in unwrap(trainer.network).state_dict().items():
        if ".seg_layers." not in name:
            assert torch.equal(tensor, expected[name]), name
        elif name.endswith("weight"):
            assert not torch.equal(tensor, expected[name]), name


def test_an_interruption_does_not_lose_them(pretrained):
    checkpoint = end_epoch(start(pretrained))
    resumed = make_trainer()
    resumed.load_checkpoint(checkpoint)
    assert resumed.current_epoch == 1
    resumed._note_start()
    end_epoch(resumed)
    resumed._draw_new_weights()
    expected = torch.load(pretrained, weights_only=False)["network_weights"]
    name = next(name for name in expected if "encoder" in name)
    assert torch.equal(unwrap(resumed.network).state_dict()[name], expected[name])


def test_a_training_without_them_forgets_those_of_an_earlier_one(pretrained):
    end_epoch(start(pretrained))
    trainer = start(None)
    end_epoch(trainer)
    trainer._draw_new_weights()
    expected = torch.load(pretrained, weights_only=False)["network_weights"]
    name = next(name for name in expected if "encoder" in name and tensor_is_random(expected[name]))
    assert not torch.equal(unwrap(trainer.network).state_dict()[name], expected[name])


def tensor_is_random(tensor: torch.Tensor) -> bool:
    return len(tensor.unique()) > 2
