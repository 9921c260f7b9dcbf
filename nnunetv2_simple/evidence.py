"""What another model says of a case: probabilities or a mask, as evidence for the random walker."""

from collections.abc import Mapping

import numpy as np
import SimpleITK as sitk

from nnunetv2_simple.extreme_points.annotation import error_context
from nnunetv2_simple.grids import on_grid_of
from nnunetv2_simple.images import label_array, read_volume

NPZ = ".npz"  # as nnUNetv2_predict --save_probabilities writes them


def read_evidence(file: str, labels: Mapping[str, int], image: sitk.Image) -> np.ndarray:
    """Read the probability of every class.

    Args:
        file: A mask of the labels 0..K, or, with a single class, its probabilities from 0 to 1 (or a mask of 0 and 1),
            in any format of images; or nnU-Net's ``.npz`` of probabilities.
        labels: The label of each foreground class.
        image: The image of the case.

    Returns:
        (1 + K, z, y, x) float32, background first.

    Raises:
        ValueError: If the file cannot be read, does not lie on the grid of the image, or holds anything else.
    """
    shape = (1 + len(labels), *image.GetSize()[::-1])
    if file.endswith(NPZ):
        with error_context(file):
            return _read_npz(file, shape)
    evidence = on_grid_of(read_volume(file), image, names=("the image", file), may_be_cropped=True)
    array = sitk.GetArrayFromImage(evidence)
    if len(labels) == 1 and array.min() >= 0 and array.max() <= 1:
        foreground = array.astype(np.float32)
        return np.stack((1 - foreground, foreground))
    found = label_array(evidence, file)
    known = [0, *labels.values()]
    if unknown := sorted(set(np.unique(found).tolist()) - set(known)):
        expected = "probabilities from 0 to 1" if len(labels) == 1 else f"the labels {known}"
        raise ValueError(f"{file} must hold {expected}, got {unknown[:10]}")
    return np.stack([found == label for label in known]).astype(np.float32)


def _read_npz(file: str, shape: tuple[int, ...]) -> np.ndarray:
    try:
        with np.load(file) as content:
            array = content["probabilities"].astype(np.float32)
    except Exception as error:  # a damaged archive raises anything
        raise ValueError(f"cannot read 'probabilities': {type(error).__name__}: {error}") from error
    if array.shape != shape:
        raise ValueError(f"expected probabilities of the shape {shape} (classes, z, y, x), got {array.shape}")
    if not (np.isfinite(array).all() and array.min() >= 0 and array.max() <= 1 + 1e-3):
        raise ValueError(f"expected probabilities from 0 to 1, got {array.min():g} to {array.max():g}")
    return array.clip(max=1)
