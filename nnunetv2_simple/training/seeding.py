"""Trainings that can be repeated: one seed for weights, patches, augmentation and sampled voxels."""

import os
import time
from functools import wraps

import numpy as np
import torch
from batchgenerators.dataloading.multi_threaded_augmenter import MultiThreadedAugmenter
from batchgenerators.dataloading.nondet_multi_threaded_augmenter import NonDetMultiThreadedAugmenter
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from nnunetv2_simple.nnunet.training_log import EPOCHS_IN_LOG, SEED_IN_LOG

SEED_VARIABLE = "nnUNet_simple_seed"
SILENCE_S = 25.0


class SeededTrainer(nnUNetTrainer):
    """nnU-Net's trainer; with a seed, two trainings on CPUs with equally many workers end with the same weights.

    A training resumed with ``--c`` is not bit-identical to an uninterrupted one.

    Attributes:
        seed: A natural number, or None for random numbers that cannot be repeated, as in nnU-Net. The environment
            variable nnUNet_simple_seed takes precedence.
    """

    seed: int | None = None

    @wraps(nnUNetTrainer.__init__)  # nnU-Net looks up the names of the parameters, which differ between its versions
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._num_steps, self._last_line_at = 0, time.monotonic()
        self.seed = _seed_in_use(self.seed)
        if self.seed is not None:
            self.print_to_log_file(f"{SEED_IN_LOG} {self.seed}")

    def initialize(self) -> None:
        self._seed_random_numbers()
        super().initialize()

    def on_train_start(self) -> None:
        if not self.was_initialized:
            self.initialize()
        self._seed_random_numbers()
        self.print_to_log_file(f"{EPOCHS_IN_LOG} {self.num_epochs}")
        super().on_train_start()

    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        self._num_steps, self._last_line_at = 0, time.monotonic()

    def train_step(self, batch: dict) -> dict:
        output = super().train_step(batch)
        self._num_steps += 1
        self._break_silence(f"iteration {self._num_steps} of {self.num_iterations_per_epoch}")
        return output

    def on_validation_epoch_start(self) -> None:
        super().on_validation_epoch_start()
        self._num_steps = 0

    def validation_step(self, batch: dict) -> dict:
        output = super().validation_step(batch)
        self._num_steps += 1
        self._break_silence(f"validation, iteration {self._num_steps} of {self.num_val_iterations_per_epoch}")
        return output

    def _break_silence(self, line: str) -> None:
        """Say how far an epoch is, if nothing has been said for a while."""
        if time.monotonic() > self._last_line_at + SILENCE_S:
            self.print_to_log_file(line)
            self._last_line_at = time.monotonic()

    def _seed_random_numbers(self) -> None:
        if self.seed is not None:
            seed_process(self._entropy())

    def _entropy(self) -> list[int]:
        """What the random numbers follow from: never the same on two GPUs, or after an interruption."""
        return [self.seed, self.current_epoch, self.local_rank]

    def get_dataloaders(self) -> tuple:
        """As nnU-Net; with a seed, every worker has its own, and batches come in a fixed order."""
        loaders = super().get_dataloaders()
        if self.seed is None:
            return loaders
        return tuple(
            _repeatable(loader, [*self._entropy(), number], pin_memory=self.device.type == "cuda")
            for number, loader in enumerate(loaders)
        )


class SeededBatches:
    """A data loader that seeds whichever worker process it finds itself in.

    Args:
        loader: One of nnU-Net's data loaders.
        entropy: Natural numbers from which, with the worker's, all random numbers follow.
    """

    def __init__(self, loader, entropy: list[int]):
        self.loader = loader
        self.entropy = entropy

    def set_thread_id(self, thread_id: int) -> None:
        """Called by batchgenerators at the start of a worker process."""
        torch.set_num_threads(1)
        seed_process([*self.entropy, thread_id])
        self.loader.set_thread_id(thread_id)

    def __iter__(self):
        return self

    def __next__(self):
        return next(self.loader)


def seed_process(entropy: list[int]) -> None:
    """Seed torch and numpy in this process."""
    for_torch, for_numpy = np.random.SeedSequence(entropy).generate_state(2)
    torch.manual_seed(int(for_torch))
    np.random.seed(int(for_numpy))


def finish(loader) -> None:
    """End the worker processes of one of nnU-Net's data loaders, if it has any."""
    if isinstance(loader, NonDetMultiThreadedAugmenter | MultiThreadedAugmenter):
        loader._finish()


def _repeatable(augmenter, entropy: list[int], *, pin_memory: bool):
    """Replace nnU-Net's workers, whose batches come in the order in which they are ready."""
    if not isinstance(augmenter, NonDetMultiThreadedAugmenter):
        seed_process(entropy)
        return augmenter
    finish(augmenter)
    return MultiThreadedAugmenter(
        SeededBatches(augmenter.generator, entropy),
        None,
        augmenter.num_processes,
        num_cached_per_queue=2,
        pin_memory=pin_memory,
        wait_time=0.002,
    )


def _seed_in_use(seed: int | None) -> int | None:
    text = os.environ.get(SEED_VARIABLE, "").strip()
    if not text:
        return seed
    if not text.isdigit():
        raise ValueError(f"{SEED_VARIABLE} must be a natural number, got {text!r}")
    return int(text)
