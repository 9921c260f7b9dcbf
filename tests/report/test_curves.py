"""Training curves."""

import numpy as np
import pytest
import torch
from support.report_example import write_checkpoint, write_comparison

from nnunetv2_simple.report.curves import read_training, training_curves
from nnunetv2_simple.report.data import UnavailableError, read_comparison


def test_phases_end_where_their_checkpoints_were_written(tmp_path):
    for name, num_epochs in (("train", 4), ("finetune", 6), ("final", 9), ("best", 8)):
        write_checkpoint(tmp_path, name, num_epochs)
    (tmp_path / "pseudo_masks").mkdir()
    training = read_training(tmp_path)
    assert training.phases == [("train", 0, 4), ("finetune", 4, 6), ("retrain", 6, 9)]
    assert training.is_finished
    panels = {panel["title"]: panel["lines"] for panel in training.panels}
    assert {title: [line["name"] for line in lines] for title, lines in panels.items()} == {
        "loss": ["training", "validation"],
        "loss terms": ["contrastive"],
        "share propagated": ["propagated share"],
        "pseudo Dice": ["pseudo Dice"],
        "learning rate": ["learning rate"],
    }
    np.testing.assert_allclose(panels["loss"][0]["values"], 1 / np.arange(1, 10), rtol=1e-6)
    assert panels["loss terms"][0]["values"] == [0.5] * 4 + [None] * 5


def test_training_of_one_phase_that_still_runs(tmp_path):
    write_checkpoint(tmp_path, "latest", 3)
    training = read_training(tmp_path)
    assert training.phases == [] and not training.is_finished


def test_training_is_shown_once_with_all_methods_it_gives(tmp_path):
    found = training_curves(read_comparison(write_comparison(tmp_path)))
    assert found["choices"] == {"Training": ["L_pce + L_ctr + SimPLe, fold 0"]}
    assert "9 epochs, 9 min" in found["notes"]["0"]  # 60 s each
    assert [(training["epochs"], len(training["phases"])) for training in found["data"]] == [(9, 3)]
    assert len(found["missing"]) == 2 and all("no checkpoint in" in reason for reason in found["missing"])


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", {"network_weights": 1}, {"current_epoch": 1}])
def test_broken_checkpoints_are_named(tmp_path, content):
    file = tmp_path / "checkpoint_final.pth"
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        torch.save(content, file)
    with pytest.raises(UnavailableError, match="checkpoint_final.pth"):
        read_training(tmp_path)
