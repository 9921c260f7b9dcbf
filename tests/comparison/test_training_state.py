"""What nnU-Net's folders tell of a training, whatever moment it was interrupted at."""

import pytest
from support.comparison_files import make_comparison, truncate, write_checkpoint, write_environment, write_json

from nnunetv2_simple.comparison.settings import Training
from nnunetv2_simple.comparison.training_state import cost, is_trained, not_to_resume_from, num_epochs_done, save_costs
from nnunetv2_simple.nnunet.training_log import SEED_IN_LOG


@pytest.fixture
def training(tmp_path, monkeypatch) -> Training:
    write_environment(tmp_path)
    monkeypatch.setenv("nnUNet_results", str(tmp_path / "results"))
    comparison = make_comparison(tmp_path, "full")
    return comparison.training(comparison.methods[0], 0)


def write(training: Training, name: str, **content) -> None:
    write_checkpoint(training.folder / f"checkpoint_{name}.pth", **content)


def names(files) -> list[str]:
    return [file.stem.removeprefix("checkpoint_") for file in files]


def test_the_folder_is_the_one_nnunet_trains_in(training, tmp_path):
    expected = tmp_path / "results" / "Dataset502_Toy_dense" / "nnUNetTrainer__nnUNetPlans__3d_fullres" / "fold_0"
    assert training.folder == expected


def test_nothing_is_there(training):
    assert not is_trained(training)
    assert num_epochs_done(training) == 0
    assert not_to_resume_from(training) == []


def test_a_final_checkpoint_is_the_end(training):
    write(training, "best", num_epochs=4)
    write(training, "final", num_epochs=5)
    assert is_trained(training)


def test_a_leftover_of_the_same_training_is_no_new_one(training):
    """Killed after checkpoint_final.pth was written and before checkpoint_latest.pth was removed."""
    write(training, "latest", num_epochs=4)
    write(training, "final", num_epochs=5)
    assert is_trained(training)


@pytest.mark.parametrize("name", ["latest", "best"])
def test_an_interrupted_training_goes_on(training, name):
    write(training, name, num_epochs=3)
    assert not is_trained(training)
    assert num_epochs_done(training) == 3
    assert not_to_resume_from(training) == []


def test_nnunet_goes_on_with_the_latest_rather_than_the_best(training):
    write(training, "latest", num_epochs=3)
    write(training, "best", num_epochs=2)
    assert num_epochs_done(training) == 3


def test_a_half_written_final_checkpoint_is_set_aside(training):
    """nnU-Net's --c would prefer it."""
    write(training, "best", num_epochs=4)
    write(training, "final", num_epochs=5)
    truncate(training.folder / "checkpoint_final.pth")
    assert not is_trained(training)
    assert names(not_to_resume_from(training)) == ["final"]


def test_a_half_written_latest_checkpoint_is_set_aside(training):
    write(training, "best", num_epochs=2)
    write(training, "latest", num_epochs=4)
    truncate(training.folder / "checkpoint_latest.pth")
    assert num_epochs_done(training) == 2
    assert names(not_to_resume_from(training)) == ["latest"]


def test_a_training_begun_anew_over_a_finished_one_is_not_done(training):
    write(training, "final", num_epochs=5, start=100)
    write(training, "best", num_epochs=1, start=900)
    assert not is_trained(training)
    assert names(not_to_resume_from(training)) == ["final"]


def test_a_half_written_checkpoint_alone_is_no_start(training):
    write(training, "best", num_epochs=1)
    truncate(training.folder / "checkpoint_best.pth")
    assert num_epochs_done(training) == 0
    assert names(not_to_resume_from(training)) == ["best"]


def test_cost_counts_the_epochs_until_the_checkpoint(training):
    """Three epochs of 10 s each with a pause of 1 s; two of them have 4 iterations, the third 6."""
    write(training, "train", num_epochs=3)
    phases = "(Phase(name='train', num_epochs=2, num_iterations_per_epoch=4, num_val_iterations_per_epoch=1), "
    phases += "Phase(name='finetune', num_epochs=7, num_iterations_per_epoch=6, num_val_iterations_per_epoch=1))"
    debug = {"num_epochs": "9", "num_iterations_per_epoch": "4", "phases": phases}
    write_json(training.folder / "debug.json", debug)
    save_costs(training, {"peak_memory_mb": 123.0, "peak_memory_of": "GPU"})
    assert cost(training, training.folder / "checkpoint_train.pth") == {
        "training_s": 30.0,
        "num_iterations": 14,
        "peak_memory_mb": 123.0,
        "peak_memory_of": "GPU",
        "seed": None,
    }


def test_cost_counts_what_lies_between_a_phase_and_its_first_epoch(training):
    write(training, "finetune", num_epochs=3, epoch_s=10)
    write(training, "final", num_epochs=5, epoch_s=10)
    log = """
2026-11-23 07:10:00.000000: Phase train: Phase(name='train')
2026-11-23 07:10:02.500000: Epoch 0 
2026-11-23 07:18:00.000000: Phase retrain: Phase(name='retrain')
2026-11-23 07:18:30.000000: pseudo-mask 1/9: predicting case_1
"""  # killed there, and continued
    (training.folder / "training_log_1.txt").write_text(log)
    (training.folder / "training_log_2.txt").write_text("""
2026-11-23 08:00:00.000000: Phase retrain: Phase(name='retrain')
2026-11-23 08:01:40.000000: Epoch 3 
2026-11-23 08:02:00.000000: Epoch 4 
""")
    assert cost(training, training.folder / "checkpoint_finetune.pth")["training_s"] == pytest.approx(30 + 2.5)
    assert cost(training, training.folder / "checkpoint_final.pth")["training_s"] == pytest.approx(50 + 2.5 + 100)


def test_cost_of_what_is_not_there_is_unknown(training):
    assert set(cost(training, training.folder / "checkpoint_final.pth").values()) == {None}


def test_the_seed_is_what_the_trainer_logged_last(training):
    write(training, "final", num_epochs=1)
    log = training.folder / "training_log_2026_1_1_00_00_00.txt"
    log.write_text(f"\n2026-01-01 00:00:00: {SEED_IN_LOG} 3 \n2026-01-01 00:00:01: {SEED_IN_LOG} 7 \n")
    assert cost(training, training.folder / "checkpoint_final.pth")["seed"] == 7
