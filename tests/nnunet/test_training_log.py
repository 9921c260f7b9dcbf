from nnunetv2_simple.nnunet.training_log import progress_line

LOG = """
2026-01-01 10:00:00.0: Epochs in all: 18
2026-01-01 10:00:10.0: Epoch 0
2026-01-01 10:00:20.0: train_loss 0.9
2026-01-01 10:00:30.0: Epoch 1
2026-01-01 10:00:50.0: train_loss 0.5
2026-01-01 10:00:50.0: Epoch 2
2026-01-01 10:01:15.0: iteration 120 of 250
"""


def test_progress_names_epoch_loss_iteration_and_the_time_left():
    # 20 s an epoch, 16 epochs left
    assert progress_line(LOG) == "epoch 3 of 18, loss 0.5, iteration 120 of 250, about 5 min left"


def test_iterations_of_an_earlier_epoch_do_not_count():
    assert "iteration" not in progress_line(LOG + "2026-01-01 10:01:20.0: Epoch 3 \n")


def test_without_an_epoch_there_is_nothing_to_say_and_without_a_length_no_time_left():
    assert progress_line("2026-01-01 10:00:00.0: Epochs in all: 18\n") is None
    assert progress_line(LOG.replace("Epochs in all: 18", "")) == "epoch 3, loss 0.5, iteration 120 of 250"
