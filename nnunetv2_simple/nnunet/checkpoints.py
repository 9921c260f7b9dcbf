"""Loading nnU-Net's checkpoints without running code they may hold."""

import re
from pathlib import Path

import numpy as np
import torch


def load_checkpoint(file: Path) -> dict:
    """Load a checkpoint on the CPU.

    torch before 2.6 cannot restrict what a checkpoint may hold: there it is loaded as nnU-Net itself loads it.

    Raises:
        ValueError: If it is none or damaged, naming it.
    """
    try:
        if torch.__version__ < (2, 6):
            checkpoint = torch.load(str(file), map_location="cpu", weights_only=False, mmap=True)
        else:
            with torch.serialization.safe_globals(_numpy_numbers()):  # in nnU-Net's log
                checkpoint = torch.load(str(file), map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # noqa: BLE001 (a damaged pickle raises anything)
        refused = re.search(r"GLOBAL (\S+)", str(error))
        reason = f"got {refused[1]}" if refused else f"{type(error).__name__} {str(error)[:300]}"
        raise ValueError(f"{file} cannot be read: it must hold tensors, numbers and text, {reason}") from error
    if not isinstance(checkpoint, dict) or "current_epoch" not in checkpoint:
        raise ValueError(f"{file} is not a checkpoint of nnU-Net")
    return checkpoint


def _numpy_numbers() -> list:
    numbers = [np.float32(0), np.float64(0), np.int64(0)]
    scalar = numbers[0].__reduce__()[0]
    names = ("numpy._core.multiarray.scalar", "numpy.core.multiarray.scalar")  # of NumPy 2, and before
    return [np.dtype, *(type(number.dtype) for number in numbers), *((scalar, name) for name in names)]
