from dataclasses import replace

import numpy as np
from PIL import Image

from nnunetv2_simple.training.phases import FINETUNE, RETRAIN, TRAIN
from nnunetv2_simple.training.progress_plot import plot_phases
from nnunetv2_simple.training.trainer import LOGGED_TERMS


def test_phases_without_a_term_and_the_first_epoch_can_be_plotted(tmp_path):
    phases = [replace(phase, num_epochs=2) for phase in (TRAIN, FINETUNE, RETRAIN)]
    keys = ("train_losses", "val_losses", "mean_fg_dice", *LOGGED_TERMS)
    for num_epochs in (1, 6):
        values = {key: [0.1] * (num_epochs - 1) + [np.nan] for key in keys} | {"lrs": [0.01] * num_epochs}
        plot_phases(phases, values, str(tmp_path))
        with Image.open(tmp_path / "simple_progress.png") as image:
            assert image.size == (800, 960)
