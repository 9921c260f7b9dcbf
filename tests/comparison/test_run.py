"""Commands that fail, and progress without spoiling logs."""

import pytest
from support.comparison_files import make_comparison, write_checkpoint, write_environment

from nnunetv2_simple import files
from nnunetv2_simple.comparison import run
from nnunetv2_simple.comparison.run import CommandError, Progress, run_command, run_step
from nnunetv2_simple.comparison.steps import steps


def test_a_failing_command_tells_its_last_lines_and_where_the_rest_is(tmp_path):
    with pytest.raises(CommandError) as caught:
        run_command(("python", "-m", "nnunetv2_simple.no_such_module"), tmp_path / "broken.log")
    message = str(caught.value)
    assert "failed with status 1" in message
    assert "The first error: ImportError: No module named nnunetv2_simple.no_such_module" in message
    assert str(tmp_path / "broken.log") in message


def test_how_far_a_training_is_is_shown(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "WATCHED_EVERY_S", 0.05)
    log, shown = tmp_path / "train.log", []
    log.write_text("2026-01-01 00:00:00.0: Epoch 99 \n")  # of an earlier attempt
    (tmp_path / "prints.py").write_text(
        "print('2026-01-01 00:00:01.0: Epoch 4 \\n2026-01-01 00:00:01.1: train_loss 1')"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    run_command(("python", "-m", "prints"), log, show=shown.append)
    assert set(shown) - {"at work"} == {"epoch 5, loss 1"}


def test_a_step_that_leaves_nothing_is_an_error(tmp_path, monkeypatch):
    write_environment(tmp_path)
    monkeypatch.setenv("nnUNet_results", str(tmp_path / "results"))
    comparison, ran = make_comparison(tmp_path, "full"), []
    monkeypatch.setattr(run, "run_command", lambda command, log_file, **options: ran.append(command))
    step = next(step for step in steps(comparison) if step.training)
    with pytest.raises(CommandError, match="training nnUNetTrainer on .*output is missing"):
        run_step(step, comparison, print)
    write_checkpoint(step.training.folder / "checkpoint_latest.pth", num_epochs=1)
    monkeypatch.setattr(
        run,
        "run_command",
        lambda command, *_, **__: (
            ran.append(command) or write_checkpoint(step.training.folder / "checkpoint_final.pth", num_epochs=2)
        ),
    )
    run_step(step, comparison, print)
    assert [command[-1] for command in ran] == ["cpu", "--c"]


def test_a_training_that_another_comparison_runs_is_not_begun(tmp_path, monkeypatch):
    write_environment(tmp_path)
    monkeypatch.setenv("nnUNet_results", str(tmp_path / "results"))
    monkeypatch.setattr(files, "LOCK_AWAITED_S", 0.1)
    monkeypatch.setattr(run, "check_trainers", lambda comparison: None)
    monkeypatch.setattr(run, "run_step", lambda *_: pytest.fail("a step was run"))
    comparison = make_comparison(tmp_path, "full")
    folder = next(step.training.folder for step in steps(comparison) if step.training)
    folder.mkdir(parents=True)
    with files.only_one(folder / ".comparison.lock", "it"), pytest.raises(BlockingIOError, match=f"{folder} is in use"):
        run.run_missing(comparison)


def test_logs_get_one_line_per_step_and_one_every_so_often(capsys, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(run.time, "monotonic", lambda: now[0])
    with Progress(2, 250) as progress:
        progress.begin("training")
        for second in range(600):
            now[0] = second
            progress.show(f"Epoch {second}")
        progress.begin("predicting")
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["training (step 1 of 2)", "  251 s: Epoch 251", "  502 s: Epoch 502", "predicting (step 2 of 2)"]
