"""A preprocessed dataset that learns from other labels: the pseudo-masks.

What is learned is derived from the files of the pseudo-masks, so a mask somebody corrects between the phases is learned
as corrected. The preprocessed images are used as they are; only the labels are brought onto their grid.
"""

import os
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from uuid import uuid4

import blosc2
import numpy as np
from acvl_utils.cropping_and_padding.bounding_boxes import bounding_box_to_slice
from batchgenerators.utilities.file_and_folder_operations import join, maybe_mkdir_p
from nnunetv2.configuration import default_num_processes
from nnunetv2.utilities.label_handling.label_handling import LabelManager
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager

from nnunetv2_simple.files import PARTIAL
from nnunetv2_simple.nnunet.versions import case_identifiers, load_preprocessed_case
from nnunetv2_simple.parallel import in_background

MASK_STATE = "mask_state"  # when it was written, and its size


def write_preprocessed_labels(
    dataset,
    plans_manager: PlansManager,
    configuration_manager: ConfigurationManager,
    label_manager: LabelManager,
    *,
    mask_folder: str,
    mask_file_ending: str,
    output_folder: str,
    num_processes: int = default_num_processes,
) -> None:
    """Bring pseudo-masks onto the grid of the preprocessed images, as nnU-Net's preprocessing does with labels.

    Written per case: ``<case>.b2nd``, the label (1, *spatial), and ``<case>.npz``, the locations nnU-Net's data loader
    draws foreground patches from, and which state of the mask both are of. Cases whose mask has not changed since are
    left alone.

    Args:
        dataset: The preprocessed cases, one of nnU-Net's datasets.
        plans_manager: nnU-Net's plans.
        configuration_manager: The configuration the cases were preprocessed for.
        label_manager: nnU-Net's labels.
        mask_folder: Holds the pseudo-masks in original geometry.
        mask_file_ending: Such as ``.nii.gz``.
        output_folder: Gets the labels.
        num_processes: Processes that resample; with 1 this one does.

    Raises:
        FileNotFoundError: If a case has no pseudo-mask.
        ValueError: If a pseudo-mask cannot be read, does not have the shape of its image, or holds a label that is
            none of the dataset's.
        OSError: If a label cannot be written.
    """
    maybe_mkdir_p(output_folder)
    outdated = []
    for case in case_identifiers(dataset):
        mask_file = join(mask_folder, case + mask_file_ending)
        if not os.path.isfile(mask_file):
            raise FileNotFoundError(f"case {case} has no pseudo-mask, expected {mask_file}")
        if not _is_of_mask(join(output_folder, case + ".npz"), mask_file):
            outdated.append((case, mask_file))
    write_label = partial(
        _write_preprocessed_label, dataset, plans_manager, configuration_manager, label_manager, output_folder
    )
    in_background(write_label, outdated, num_processes=min(num_processes, len(outdated)))


def wait_for_labels(cases: Sequence[str], *, mask_folder: str, mask_file_ending: str, output_folder: str) -> None:
    """Return once other processes have written the preprocessed labels of some cases.

    Files are waited for, and not a message, because a process group gives up on members that work for longer than
    its timeout.
    """
    for case in cases:
        while not _is_of_mask(join(output_folder, case + ".npz"), join(mask_folder, case + mask_file_ending)):
            time.sleep(0.1)


def _is_of_mask(locations_file: str, mask_file: str) -> bool:
    """Tell whether a preprocessed label is that of a pseudo-mask as it is now."""
    if not (os.path.isfile(locations_file) and os.path.isfile(mask_file)):
        return False
    with np.load(locations_file) as content:
        return MASK_STATE in content and content[MASK_STATE].tolist() == _state(mask_file)


def _state(file: str) -> list[int]:
    found = os.stat(file)
    return [found.st_mtime_ns, found.st_size]


def _write_preprocessed_label(
    dataset,
    plans_manager: PlansManager,
    configuration_manager: ConfigurationManager,
    label_manager: LabelManager,
    output_folder: str,
    case: str,
    mask_file: str,
) -> None:
    _, weak_label, properties = load_preprocessed_case(dataset, case)
    state = _state(mask_file)
    try:
        mask, _ = plans_manager.image_reader_writer_class().read_seg(mask_file)
    except RuntimeError as error:
        raise ValueError(f"pseudo-mask {mask_file} cannot be read: {error}") from error
    _check_mask(mask, mask_file, label_manager, shape=_original_shape(properties, plans_manager))
    label = _on_preprocessed_grid(mask, np.asarray(weak_label[:]), properties, plans_manager, configuration_manager)
    locations = configuration_manager.preprocessor_class._sample_foreground_locations(
        label, list(label_manager.foreground_labels)
    )
    patch_size = (1, 1, *configuration_manager.patch_size)[-4:]
    label_file, locations_file = join(output_folder, case + ".b2nd"), join(output_folder, case + ".npz")
    beside = join(output_folder, f"{case}{PARTIAL}{uuid4().hex}")
    try:
        blosc2.asarray(
            np.ascontiguousarray(label),
            urlpath=beside + ".b2nd",
            mode="w",
            chunks=tuple(np.minimum(patch_size, label.shape).tolist()),
        )
        found = {str(label): found for label, found in locations.items()}
        np.savez_compressed(beside + ".npz", **found, **{MASK_STATE: np.array(state)})
        if os.path.isfile(locations_file):
            os.remove(locations_file)  # first, as it vouches for the label
        os.replace(beside + ".b2nd", label_file)
        os.replace(beside + ".npz", locations_file)
    except (OSError, RuntimeError) as error:  # blosc2 raises the latter
        raise OSError(f"the preprocessed label {label_file} could not be written: {error}") from error


def _original_shape(properties: dict, plans_manager: PlansManager) -> tuple[int, ...]:
    return tuple(properties["shape_before_cropping"][axis] for axis in plans_manager.transpose_backward)


def _check_mask(mask: np.ndarray, mask_file: str, label_manager: LabelManager, *, shape: Sequence[int]) -> None:
    if mask.shape[1:] != tuple(shape):
        raise ValueError(
            f"pseudo-mask {mask_file} must have the shape of its image {tuple(shape)}, got {mask.shape[1:]}"
        )
    labels = [int(label) for label in label_manager.all_labels]
    unknown = sorted(set(np.unique(mask).tolist()) - set(labels))
    if unknown:
        raise ValueError(f"pseudo-mask {mask_file} may hold the labels {labels}, got {unknown}")


def _on_preprocessed_grid(
    mask: np.ndarray,
    weak_label: np.ndarray,
    properties: dict,
    plans_manager: PlansManager,
    configuration_manager: ConfigurationManager,
) -> np.ndarray:
    """Transpose, crop and resample as nnU-Net's preprocessing did with the weak label of the same case."""
    mask = mask.transpose([0, *(axis + 1 for axis in plans_manager.transpose_forward)])
    mask = mask[(slice(None), *bounding_box_to_slice(properties["bbox_used_for_cropping"]))]
    spacing = [properties["spacing"][axis] for axis in plans_manager.transpose_forward]
    target_spacing = list(configuration_manager.spacing)
    if len(target_spacing) < len(spacing):  # the 2d configuration keeps the distance between slices
        target_spacing = [spacing[0], *target_spacing]
    label = configuration_manager.resampling_fn_seg(mask.astype(np.int8), weak_label.shape[1:], spacing, target_spacing)
    label[(weak_label == -1) & (label == 0)] = -1  # nnU-Net's mark for voxels outside the non-zero region
    return label.astype(np.int8)


class RelabelledDataset:
    """A preprocessed dataset whose labels come from another folder.

    Offers what nnU-Net's data loaders use: :attr:`identifiers`, :meth:`keys` and :meth:`load_case`.

    Args:
        dataset: The dataset that holds the images.
        label_folder: Written by :func:`write_preprocessed_labels`.
    """

    def __init__(self, dataset, label_folder: str):
        self.dataset = dataset
        self.label_folder = Path(label_folder)
        self.identifiers = case_identifiers(dataset)

    def __getitem__(self, identifier: str):
        return self.load_case(identifier)

    def keys(self) -> list[str]:
        """Return the cases, as datasets before nnU-Net 2.6 do."""
        return self.identifiers

    def load_case(self, identifier: str) -> tuple:
        """Return what nnU-Net's dataset returns of a case, with label and locations of the foreground exchanged."""
        image, _, *others, properties = self.dataset.load_case(identifier)
        label = blosc2.open(urlpath=str(self.label_folder / f"{identifier}.b2nd"), mode="r", dparams={"nthreads": 1})
        with np.load(self.label_folder / f"{identifier}.npz") as locations:
            labels = [name for name in locations.files if name != MASK_STATE]
            properties["class_locations"] = {int(label): locations[label] for label in labels}
        return image, label, *others, properties
