"""What a training says of itself in words."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from nnunetv2_simple.training import seeding
from nnunetv2_simple.training.phases import FINETUNE, RETRAIN, TRAIN, with_iterations
from nnunetv2_simple.training.pseudo_masks import WalkerAgreement, describe_agreement
from nnunetv2_simple.training.seeding import SeededTrainer
from nnunetv2_simple.training.trainer import PhasedTrainer


def test_a_phase_is_one_line_of_words():
    assert str(TRAIN).startswith("50 epochs of 250 iterations on the labels of the dataset")
    assert "voxel contrastive loss" in str(TRAIN) and "propagated" in str(FINETUNE)
    assert "pseudo-masks" in str(RETRAIN) and "Dice + cross-entropy" in str(RETRAIN)


@pytest.mark.parametrize(("shares", "said"), [([0.0, 0.0], True), ([0.2, 0.4], False)])
def test_a_fine_tuning_that_propagates_nothing_is_called_so(monkeypatch, shares, said):
    nan = float("nan")
    accepted = {"accepted_positives": [nan, 0.5, 0.75], "accepted_negatives": [nan, nan, 0.031]}
    values = {"propagated_share": [nan, *shares]} | accepted
    monkeypatch.setattr("nnunetv2_simple.training.trainer.logged_values", lambda trainer: values)
    phases, lines = (replace(TRAIN, num_epochs=1), replace(FINETUNE, num_epochs=2)), []
    trainer = SimpleNamespace(phases=phases, print_to_log_file=lines.append)
    PhasedTrainer._say_what_was_propagated(trainer, phases[0])
    assert lines == []
    PhasedTrainer._say_what_was_propagated(trainer, phases[1])
    (line,) = lines
    assert all(share in line for share in (f"{sum(shares) / 2:.1%}", "62.5%", "3.1%"))
    assert ("changed next to nothing" in line) == said


def test_what_was_propagated_is_said_where_no_voxel_of_a_label_was_seen(monkeypatch):
    nan = float("nan")
    values = {"propagated_share": [0.0], "accepted_positives": [nan], "accepted_negatives": [0.5]}
    monkeypatch.setattr("nnunetv2_simple.training.trainer.logged_values", lambda trainer: values)
    lines, phase = [], replace(FINETUNE, num_epochs=1)
    PhasedTrainer._say_what_was_propagated(SimpleNamespace(phases=(phase,), print_to_log_file=lines.append), phase)
    (line,) = lines
    assert "0.0%" in line and "accepts" not in line


def test_how_far_pseudo_masks_moved_is_said_in_words():
    found = [WalkerAgreement("a", 0.9, 1.1), WalkerAgreement("b", 0.7, 1.3), WalkerAgreement("c", 1.0, 1.0)]
    text = describe_agreement(found, 4)
    assert all(part in text for part in ("3 of 4", "0.867", "0.700 (b)", "1.10"))
    assert describe_agreement([], 4) == ""


def test_silence_is_broken_now_and_then(monkeypatch):
    now, lines = [0.0], []
    monkeypatch.setattr(seeding.time, "monotonic", lambda: now[0])
    trainer = SimpleNamespace(_last_line_at=0.0, print_to_log_file=lines.append)
    for second in range(60):
        now[0] = second
        SeededTrainer._break_silence(trainer, f"iteration {second}")
    assert lines == ["iteration 26", "iteration 52"]


@pytest.mark.parametrize(("iterations", "per_epoch"), [(400, 100), (800, 200), (2000, 200)])
def test_short_schedules_have_as_many_iterations_as_they_say(iterations, per_epoch):
    train, finetune, retrain = with_iterations((TRAIN, FINETUNE, RETRAIN), iterations)
    for phase in (train, retrain):
        assert phase.num_iterations_per_epoch == per_epoch and phase.num_epochs * per_epoch == iterations
    assert finetune == FINETUNE
