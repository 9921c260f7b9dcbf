"""Dense pseudo-masks: predicted for the training cases, kept for people, and learned from.

A pseudo-mask is written once, as an image in the case's original geometry. What the retraining learns is derived from
that file, so a mask somebody corrects between the phases is learned as corrected. The preprocessed images are used
as they are; only the labels are brought onto their grid.
"""

import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import blosc2
import numpy as np
import torch
from acvl_utils.cropping_and_padding.bounding_boxes import bounding_box_to_slice
from batchgenerators.utilities.file_and_folder_operations import join, maybe_mkdir_p
from nnunetv2.configuration import default_num_processes
from nnunetv2.inference.export_prediction import convert_predicted_logits_to_segmentation_with_correct_shape
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.utilities.label_handling.label_handling import LabelManager
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager

from nnunetv2_simple.nnunet_versions import case_identifiers, load_preprocessed_case
from nnunetv2_simple.walker_evidence import read_walker_probabilities, weigh_evidence
from nnunetv2_simple.whole_files import PARTIAL

PARTIAL_PSEUDO_MASK = "partial_"  # before the name, as the file ending tells nnU-Net's writers the format


class PseudoMaskWriter(NamedTuple):
    """Turns what a network predicts of a case into its pseudo-mask; see :func:`write_pseudo_masks`.

    Attributes:
        plans_manager: nnU-Net's plans.
        configuration_manager: The network's configuration.
        dataset_json: The dataset.
        weak_label_folder: As for :func:`write_pseudo_masks`, and so are all others.
        output_folder: See there.
        network_weight: See there.
        walker_dataset_folder: See there.
    """

    plans_manager: PlansManager
    configuration_manager: ConfigurationManager
    dataset_json: dict
    weak_label_folder: str
    output_folder: str
    network_weight: float | None
    walker_dataset_folder: Path | None

    def file(self, case: str) -> str:
        return join(self.output_folder, case + self.dataset_json["file_ending"])

    def write(self, case: str, logits: torch.Tensor, properties: dict) -> None:
        label_manager = self.plans_manager.get_label_manager(self.dataset_json)
        reader_writer = self.plans_manager.image_reader_writer_class()
        mask, probabilities = convert_predicted_logits_to_segmentation_with_correct_shape(
            logits,
            self.plans_manager,
            self.configuration_manager,
            label_manager,
            properties,
            return_probabilities=True,
        )
        weak_label = reader_writer.read_seg(join(self.weak_label_folder, case + self.dataset_json["file_ending"]))[0][0]
        if self.network_weight is not None and self.walker_dataset_folder is not None:
            walker = read_walker_probabilities(self.walker_dataset_folder, case, label_manager.foreground_labels)
            mask = weigh_evidence(walker, probabilities, network_weight=self.network_weight)
        elif self.network_weight is not None:
            mask = np.where(weak_label == label_manager.ignore_label, mask, weak_label).astype(np.uint8)
        mask[weak_label == 0] = 0
        beside = join(self.output_folder, PARTIAL_PSEUDO_MASK + os.path.basename(self.file(case)))
        try:
            reader_writer.write_seg(mask, beside, properties)
            written = reader_writer.read_seg(beside)[0][0]
            if not np.array_equal(written, mask):  # SimpleITK says nothing of a full disk
                raise OSError("what is on disk is something else, is it full?")
        except (OSError, RuntimeError) as error:  # SimpleITK raises the latter
            raise OSError(f"the pseudo-mask {self.file(case)} could not be written: {error}") from error
        os.replace(beside, self.file(case))


def write_pseudo_masks(
    predictor: nnUNetPredictor,
    dataset,
    *,
    weak_label_folder: str,
    output_folder: str,
    log: Callable[[str], None],
    network_weight: float | None = None,
    walker_dataset_folder: Path | None = None,
    num_processes: int = default_num_processes,
) -> None:
    """Predict the cases of a dataset and write dense masks; masks that exist already are kept.

    What the weak label calls background, which is all that lies outside the box of the extreme points, is background.
    Elsewhere the network decides, alone (as in the paper) or, with a ``network_weight``, together with the random
    walker (:mod:`nnunetv2_simple.walker_evidence`). Without the walker's probabilities what the weak label calls
    foreground then stays foreground.

    The network predicts in this process while others resample and write, as in nnU-Net's validation.

    Args:
        predictor: With an initialised network.
        dataset: Preprocessed cases to predict, one of nnU-Net's datasets.
        weak_label_folder: Holds the weak label of each case in its original geometry.
        output_folder: Gets ``<case identifier><file ending>``.
        log: Called with one line per case.
        network_weight: How much the network's opinion counts beside the walker's; None: it alone decides.
        walker_dataset_folder: Where the walker's probabilities are; None where there are none.
        num_processes: Processes that resample and write; with 1 this one does.

    Raises:
        OSError: If a mask cannot be written.

    Reference:
        Zhong & Wang, SimPLe, MICCAI 2023, section 2.3.
    """
    maybe_mkdir_p(output_folder)
    writer = PseudoMaskWriter(
        predictor.plans_manager,
        predictor.configuration_manager,
        predictor.dataset_json,
        weak_label_folder,
        output_folder,
        network_weight,
        walker_dataset_folder,
    )
    cases = case_identifiers(dataset)
    missing = [case for case in cases if not os.path.isfile(writer.file(case))]
    if len(missing) < len(cases):
        log(f"pseudo-masks: {len(cases) - len(missing)} of {len(cases)} are there already")

    def predictions():
        for number, case in enumerate(missing, start=1):
            log(f"pseudo-mask {number}/{len(missing)}: predicting {case}")
            image, _, properties = load_preprocessed_case(dataset, case)
            logits = predictor.predict_sliding_window_return_logits(torch.from_numpy(np.array(image[:])))
            yield case, logits.cpu(), properties

    _in_background(writer.write, predictions(), num_processes=min(num_processes, len(missing)))


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
    draws foreground patches from. Cases whose mask has not changed since are left alone.

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
    """
    maybe_mkdir_p(output_folder)
    outdated = []
    for case in case_identifiers(dataset):
        mask_file = join(mask_folder, case + mask_file_ending)
        if not os.path.isfile(mask_file):
            raise FileNotFoundError(f"case {case} has no pseudo-mask, expected {mask_file}")
        if not _is_newer(join(output_folder, case + ".npz"), mask_file):
            outdated.append((case, mask_file))
    write_label = partial(
        _write_preprocessed_label, dataset, plans_manager, configuration_manager, label_manager, output_folder
    )
    _in_background(write_label, outdated, num_processes=min(num_processes, len(outdated)))


def wait_for_labels(cases: Sequence[str], *, mask_folder: str, mask_file_ending: str, output_folder: str) -> None:
    """Return once other processes have written the preprocessed labels of some cases.

    Files are waited for, and not a message, because a process group gives up on members that work for longer than
    its timeout.
    """
    for case in cases:
        while not _is_newer(join(output_folder, case + ".npz"), join(mask_folder, case + mask_file_ending)):
            time.sleep(0.1)


def _is_newer(file: str, other: str) -> bool:
    return os.path.isfile(file) and os.path.isfile(other) and os.path.getmtime(file) >= os.path.getmtime(other)


def _in_background(function: Callable, arguments, *, num_processes: int) -> None:
    """Call a function with each of some arguments, in other processes while the next arguments are worked out."""
    if num_processes <= 1:
        for arguments_of_call in arguments:
            function(*arguments_of_call)
        return
    with ProcessPoolExecutor(num_processes, mp_context=get_context("spawn")) as pool:
        pending = set()
        for arguments_of_call in arguments:
            pending.add(pool.submit(function, *arguments_of_call))
            is_queue_full = len(pending) > 2 * num_processes
            done, pending = wait(pending, timeout=None if is_queue_full else 0, return_when=FIRST_COMPLETED)
            for future in done:
                future.result()
        for future in pending:
            future.result()


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
    if os.path.isfile(locations_file):
        os.remove(locations_file)  # first, as it vouches for the label
    blosc2.asarray(
        np.ascontiguousarray(label),
        urlpath=label_file,
        mode="w",
        chunks=tuple(np.minimum(patch_size, label.shape).tolist()),
    )
    beside = join(output_folder, f"{case}{PARTIAL}.npz")
    np.savez_compressed(beside, **{str(label): found for label, found in locations.items()})
    os.replace(beside, locations_file)


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
            properties["class_locations"] = {int(label): locations[label] for label in locations.files}
        return image, label, *others, properties
