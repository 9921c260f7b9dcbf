"""A preprocessed dataset that learns from other labels: the pseudo-masks.

Labels are made from the files of the pseudo-masks, so corrections between the phases are learned. The preprocessed
images are used as they are; only the labels are brought onto their grid.
"""

import hashlib
import os
from ast import literal_eval
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4
from zipfile import BadZipFile

import blosc2
import numpy as np
import SimpleITK as sitk
from acvl_utils.cropping_and_padding.bounding_boxes import bounding_box_to_slice
from batchgenerators.utilities.file_and_folder_operations import join, maybe_mkdir_p
from nnunetv2.configuration import default_num_processes
from nnunetv2.utilities.label_handling.label_handling import LabelManager
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager

from nnunetv2_simple.files import PARTIAL
from nnunetv2_simple.grids import on_grid_of
from nnunetv2_simple.images import image_file_ending, read_grid, read_header, read_volume
from nnunetv2_simple.nnunet.versions import annotated_labels, case_identifiers, load_preprocessed_case
from nnunetv2_simple.parallel import end_with_parent, in_background

MADE_OF = "made_of"  # what a preprocessed label is of, see _made_of


def write_preprocessed_labels(
    dataset,
    plans_manager: PlansManager,
    configuration_manager: ConfigurationManager,
    label_manager: LabelManager,
    *,
    mask_folder: str,
    weak_label_folder: str,
    file_ending: str,
    output_folder: str,
    num_processes: int = default_num_processes,
) -> None:
    """Bring pseudo-masks onto the grid of the preprocessed images, as nnU-Net's preprocessing does with labels.

    Written per case: ``<case>.b2nd``, the label (1, *spatial), and ``<case>.npz``, the locations nnU-Net's data loader
    draws foreground patches from, and what both are made of: the mask, the grid and the crop. Cases of which nothing
    has changed since are left alone.

    Args:
        dataset: The preprocessed cases, one of nnU-Net's datasets.
        plans_manager: nnU-Net's plans.
        configuration_manager: The configuration the cases were preprocessed for.
        label_manager: nnU-Net's labels.
        mask_folder: Holds the pseudo-masks in original geometry, flipped or with other axes if another program saved
            them so.
        weak_label_folder: Holds the weak labels, whose grid a pseudo-mask must have.
        file_ending: Of both, such as ``.nii.gz``.
        output_folder: Gets the labels.
        num_processes: Processes that resample; with 1 this one does.

    Raises:
        FileNotFoundError: If a case has no pseudo-mask.
        ValueError: If a pseudo-mask cannot be read whole, does not have the grid of its weak label, or holds a label
            that is none of the dataset's.
        OSError: If a label cannot be written.
    """
    maybe_mkdir_p(output_folder)
    outdated = []
    for case in case_identifiers(dataset):
        mask_file = join(mask_folder, case + file_ending)
        if not os.path.isfile(mask_file):
            raise FileNotFoundError(f"case {case} has no pseudo-mask, expected {mask_file}")
        made_of = _made_of(dataset, case, mask_file, plans_manager, configuration_manager)
        if not _is_made_of(join(output_folder, case), made_of):
            outdated.append((case, mask_file, join(weak_label_folder, case + file_ending), made_of))
    write_label = partial(
        _write_preprocessed_label, dataset, plans_manager, configuration_manager, label_manager, output_folder
    )
    in_background(write_label, outdated, num_processes=min(num_processes, len(outdated)))


def has_foreground(output_folder: str, case: str) -> bool:
    """Tell whether the preprocessed label of a case has any foreground."""
    found = _locations(join(output_folder, case + ".npz"))
    return any(len(places) for label, places in found.items() if not isinstance(label, tuple))


def _made_of(
    dataset, case: str, mask_file: str, plans_manager: PlansManager, configuration_manager: ConfigurationManager
) -> str:
    """Return what identifies everything that a preprocessed label follows from."""
    _, weak_label, properties = load_preprocessed_case(dataset, case)
    grid = (
        weak_label.shape,
        np.array(properties["bbox_used_for_cropping"]).tolist(),
        [float(spacing) for spacing in properties["spacing"]],
        [float(spacing) for spacing in configuration_manager.spacing],
        list(plans_manager.transpose_forward),
    )
    return hashlib.sha256(str(grid).encode() + Path(mask_file).read_bytes()).hexdigest()


def _is_made_of(file: str, made_of: str) -> bool:
    try:
        with np.load(file + ".npz") as content:
            found = str(content[MADE_OF])
            is_whole = all(content[name] is not None for name in content.files)
        blosc2.open(urlpath=file + ".b2nd", mode="r")[:]
    except (OSError, RuntimeError, ValueError, KeyError, EOFError, BadZipFile):  # there is none, or it is damaged
        return False
    return is_whole and found == made_of


def _locations(file: str) -> dict[int | tuple[int, ...], np.ndarray]:
    with np.load(file) as content:
        return {literal_eval(name): content[name] for name in content.files if name != MADE_OF}


def _write_preprocessed_label(
    dataset,
    plans_manager: PlansManager,
    configuration_manager: ConfigurationManager,
    label_manager: LabelManager,
    output_folder: str,
    case: str,
    mask_file: str,
    weak_label_file: str,
    made_of: str,
) -> None:
    _, weak_label, properties = load_preprocessed_case(dataset, case)
    mask = _read_mask(mask_file, weak_label_file, plans_manager)
    _check_mask(mask, mask_file, label_manager, shape=_original_shape(properties, plans_manager))
    label = _on_preprocessed_grid(mask, np.asarray(weak_label[:]), properties, plans_manager, configuration_manager)
    locations = configuration_manager.preprocessor_class._sample_foreground_locations(
        label, [*label_manager.foreground_labels, annotated_labels(label_manager)]
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
        np.savez_compressed(beside + ".npz", **found, **{MADE_OF: np.array(made_of)})
        if os.path.isfile(locations_file):
            os.remove(locations_file)  # first, as it vouches for the label
        os.replace(beside + ".b2nd", label_file)
        os.replace(beside + ".npz", locations_file)
    except (OSError, RuntimeError) as error:  # blosc2 raises the latter
        raise OSError(f"the preprocessed label {label_file} could not be written: {error}") from error


def _read_mask(mask_file: str, weak_label_file: str, plans_manager: PlansManager) -> np.ndarray:
    """Read a pseudo-mask as nnU-Net does, on the grid of the weak label.

    What has no grid in space (PNG, or two dimensions) is compared by its shape only.
    """
    reader_writer = plans_manager.image_reader_writer_class()
    ending = image_file_ending(mask_file)
    try:
        if not ending or read_header(weak_label_file).GetDimension() != 3:
            return reader_writer.read_seg(mask_file)[0]
        as_saved = read_volume(mask_file)
        mask = on_grid_of(as_saved, read_grid(weak_label_file), names=(weak_label_file, mask_file))
        if mask is as_saved:
            return reader_writer.read_seg(mask_file)[0]
        with TemporaryDirectory() as scratch:  # nnU-Net's reader must see it in the order of the label
            sitk.WriteImage(mask, join(scratch, f"mask{ending}"))
            return reader_writer.read_seg(join(scratch, f"mask{ending}"))[0]
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"pseudo-mask {mask_file} cannot be used: {error}") from error


def _original_shape(properties: dict, plans_manager: PlansManager) -> tuple[int, ...]:
    return tuple(properties["shape_before_cropping"][axis] for axis in plans_manager.transpose_backward)


def _check_mask(mask: np.ndarray, mask_file: str, label_manager: LabelManager, *, shape: Sequence[int]) -> None:
    if mask.shape[1:] != tuple(shape):
        raise ValueError(
            f"pseudo-mask {mask_file} must have the shape of its image {tuple(shape)}, got {mask.shape[1:]}"
        )
    labels = [*map(int, label_manager.all_labels), label_manager.ignore_label]
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


class WatchfulDataset:
    """A preprocessed dataset for nnU-Net's data loaders, whose worker processes end with the training.

    Offers what the data loaders use: :attr:`identifiers`, :meth:`keys` and :meth:`load_case`.

    Args:
        dataset: One of nnU-Net's datasets.
    """

    def __init__(self, dataset):
        self.dataset = dataset
        self.identifiers = case_identifiers(dataset)
        self._training = os.getpid()

    def __getitem__(self, identifier: str):
        return self.load_case(identifier)

    def keys(self) -> list[str]:
        """Return the cases, as datasets before nnU-Net 2.6 do."""
        return self.identifiers

    def load_case(self, identifier: str) -> tuple:
        """Return what nnU-Net's dataset returns of a case."""
        if os.getpid() != self._training:
            end_with_parent()
        return self.dataset.load_case(identifier)


class RelabelledDataset(WatchfulDataset):
    """A preprocessed dataset whose labels come from another folder.

    Args:
        dataset: The dataset that holds the images.
        label_folder: Written by :func:`write_preprocessed_labels`.
        has_ignored: Whether labels hold ignored voxels, so that nnU-Net draws patches around the others.
    """

    def __init__(self, dataset, label_folder: str, *, has_ignored: bool = False):
        super().__init__(dataset)
        self.has_ignored = has_ignored
        self.label_folder = Path(label_folder)

    def load_case(self, identifier: str) -> tuple:
        """Return what nnU-Net's dataset returns of a case, with label and locations of the foreground exchanged."""
        image, _, *others, properties = super().load_case(identifier)
        label = blosc2.open(urlpath=str(self.label_folder / f"{identifier}.b2nd"), mode="r", dparams={"nthreads": 1})
        found = _locations(str(self.label_folder / f"{identifier}.npz"))
        properties["class_locations"] = {
            labels: places for labels, places in found.items() if self.has_ignored or not isinstance(labels, tuple)
        }
        return image, label, *others, properties
