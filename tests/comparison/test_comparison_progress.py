"""Progress from what trainings print, without spoiling logs."""

from support.comparison_files import TEST_CASES

from nnunetv2_simple.comparison import progress as comparison_progress
from nnunetv2_simple.comparison.progress import EpochReader, Progress
from nnunetv2_simple.comparison.trainer_schedules import iterations_until, num_iterations

SCHEDULE = [[2, 10], [3, 4]]


def test_iterations_before_each_epoch():
    assert [iterations_until(SCHEDULE, epoch) for epoch in range(7)] == [0, 10, 20, 24, 28, 32, 32]
    assert num_iterations(SCHEDULE) == 32


def test_epochs_are_read_from_what_nnunet_prints(tmp_path):
    log = tmp_path / "train.log"
    log.write_text("2026-01-01 00:00:00.0: Epoch 7 \n")  # of an earlier attempt
    reader = EpochReader(log, 3)
    assert reader.read() == 3
    with log.open("a") as stream:
        stream.write("2026-01-01 00:00:01.0: Epoch 4 \n2026-01-01 00:00:01.1: Epoch time: 12.5 s\n: Epo")
        stream.flush()
        assert reader.read() == 4
        stream.write("ch 5 \n")
    assert reader.read() == 5


def test_a_log_that_is_not_there_yet_tells_nothing(tmp_path):
    reader = EpochReader(tmp_path / "train.log", 2)
    (tmp_path / "train.log").write_text(": Epoch 3 \n")
    assert reader.read() == 3


def test_logs_get_one_line_per_step_and_one_every_five_minutes(capsys, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(comparison_progress.time, "monotonic", lambda: now[0])
    progress = Progress(100 * len(TEST_CASES))
    progress.begin("training", 100)
    for second in range(600):
        now[0] = second
        progress.reached(second // 10)
    progress.end()
    progress.begin("predicting", 100)
    progress.close()
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "training (0% done)"
    assert lines[-1] == "predicting (50% done)"
    assert len(lines) == 3 and "15 %" in lines[1] and "left" in lines[1]


def test_progress_never_goes_back_nor_beyond_a_step(capsys):
    progress = Progress(30)
    progress.begin("training", 20)
    for reached in (5, 3, 50):
        progress.reached(reached)
    progress.begin("predicting", 10)
    progress.close()
    assert "predicting (67% done)" in capsys.readouterr().err
