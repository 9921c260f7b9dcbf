"""What the random walker found of every voxel, kept by the conversion beside the labels.

    nnUNet_raw/DatasetXXX_Name/walkerTr/<case>_<label:04d>.nii.gz      uint8, 255 is probability 1

The initial pseudo-mask keeps of the probabilities only what is certain; made dense they are the baseline "walker".
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from nnunetv2_simple.images import read_volume

WALKER_FOLDER = "walkerTr"


def walker_file(dataset_folder: Path, case: str, label: int) -> Path:
    """Return where the walker's probabilities of one case and foreground label are kept."""
    return dataset_folder / WALKER_FOLDER / f"{case}_{label:04d}.nii.gz"


def as_stored(probability: np.ndarray) -> np.ndarray:
    """Return probabilities (z, y, x) in [0, 1] as uint8: to the nearest of 255 steps, 127.5 down.

    So what exceeds 0.5 does so when read back, and what does not does not.
    """
    return np.ceil(255 * probability - 0.5).astype(np.uint8)


def label_digest(label: np.ndarray) -> str:
    """Return what identifies the voxels of a label image (z, y, x), however its file is compressed or typed."""
    return hashlib.sha256(f"{label.shape}".encode() + label.astype(np.uint8).tobytes()).hexdigest()


def read_walker_mask(dataset_folder: Path, case: str, foreground_labels: Sequence[int]) -> np.ndarray:
    """Return the most probable label of every voxel according to the random walker; ties go to the lower label.

    The probability of background is that no lesion of any label claims the voxel: the product of 1 - p.

    Args:
        dataset_folder: ``DatasetXXX_Name`` in nnUNet_raw.
        case: Case identifier.
        foreground_labels: 1..K.

    Returns:
        (z, y, x) uint8 in 0..K.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file cannot be read whole.
    """
    files = [walker_file(dataset_folder, case, label) for label in foreground_labels]
    if missing := [file for file in files if not file.is_file()]:
        raise FileNotFoundError(
            f"the random walker's probabilities of case {case} are missing, expected {missing[0]}: convert it again"
        )
    stored = [sitk.GetArrayFromImage(read_volume(str(file))) for file in files]
    mask = np.zeros(stored[0].shape, dtype=np.uint8)
    claimed = np.logical_or.reduce(stored)  # few voxels: all others are background
    foreground = np.stack([probability[claimed] for probability in stored]) / np.float32(255)
    background = (1 - foreground).prod(axis=0, keepdims=True)
    mask[claimed] = np.concatenate((background, foreground)).argmax(axis=0)
    return mask
