"""Dense pseudo-masks: predicted for the training cases, kept for people, and learned from.

A pseudo-mask is written once, as an image in the case's original geometry. What the retraining learns is derived from
that file, so a mask somebody corrects between the phases is learned as corrected. The preprocessed images are used
as they are; only the labels are brought onto their grid.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import blosc2
import numpy as np
import torch
from acvl_utils.cropping_and_padding.bounding_boxes import bounding_box_to_slice
from batchgenerators.utilities.file_and_folder_operations import join, maybe_mkdir_p
from nnunetv2.inference.export_prediction import convert_predicted_logits_to_segmentation_with_correct_shape
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.training.dataloading.nnunet_dataset import comp_blosc2_params, nnUNetBaseDataset, nnUNetDatasetBlosc2
from nnunetv2.utilities.label_handling.label_handling import LabelManager
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager

from nnunetv2_simple.walker_evidence import read_walker_probabilities, weigh_evidence


def write_pseudo_masks(
    predictor: nnUNetPredictor,
    dataset: nnUNetBaseDataset,
    *,
    weak_label_folder: str,
    output_folder: str,
    log: Callable[[str], None],
    network_weight: float | None = None,
    walker_dataset_folder: Path | None = None,
) -> None:
    """Predict the cases of a dataset and write dense masks; masks that exist already are kept.

    What the weak label calls background, which is all that lies outside the box of the extreme points, is background.
    Elsewhere the network decides, alone (as in the paper) or, with a ``network_weight``, together with the random
    walker (:mod:`nnunetv2_simple.walker_evidence`). Without the walker's probabilities what the weak label calls
    foreground then stays foreground.

    Args:
        predictor: With an initialised network.
        dataset: Preprocessed cases to predict.
        weak_label_folder: Holds the weak label of each case in its original geometry.
        output_folder: Gets ``<case identifier><file ending>``.
        log: Called with one line per case.
        network_weight: How much the network's opinion counts beside the walker's; None: it alone decides.
        walker_dataset_folder: Where the walker's probabilities are; None where there are none.

    Reference:
        Zhong & Wang, SimPLe, MICCAI 2023, section 2.3.
    """
    maybe_mkdir_p(output_folder)
    plans_manager = predictor.plans_manager
    reader_writer = plans_manager.image_reader_writer_class()
    label_manager = plans_manager.get_label_manager(predictor.dataset_json)
    file_ending = predictor.dataset_json["file_ending"]
    for number, case in enumerate(dataset.identifiers, start=1):
        mask_file = join(output_folder, case + file_ending)
        if os.path.isfile(mask_file):
            log(f"pseudo-mask {number}/{len(dataset.identifiers)}: {case} is there already")
            continue
        log(f"pseudo-mask {number}/{len(dataset.identifiers)}: predicting {case}")
        data, _, _, properties = dataset.load_case(case)
        logits = predictor.predict_sliding_window_return_logits(torch.from_numpy(np.array(data[:]))).cpu()
        mask, probabilities = convert_predicted_logits_to_segmentation_with_correct_shape(
            logits,
            plans_manager,
            predictor.configuration_manager,
            label_manager,
            properties,
            return_probabilities=True,
        )
        weak_label = reader_writer.read_seg(join(weak_label_folder, case + file_ending))[0][0]
        if network_weight is not None and walker_dataset_folder is not None:
            walker = read_walker_probabilities(walker_dataset_folder, case, label_manager.foreground_labels)
            mask = weigh_evidence(walker, probabilities, network_weight=network_weight)
        elif network_weight is not None:
            mask = np.where(weak_label == label_manager.ignore_label, mask, weak_label).astype(np.uint8)
        mask[weak_label == 0] = 0
        partial = join(output_folder, "partial_" + case + file_ending)
        reader_writer.write_seg(mask, partial, properties)
        os.replace(partial, mask_file)


def write_preprocessed_labels(
    dataset: nnUNetBaseDataset,
    plans_manager: PlansManager,
    configuration_manager: ConfigurationManager,
    label_manager: LabelManager,
    *,
    mask_folder: str,
    mask_file_ending: str,
    output_folder: str,
) -> None:
    """Bring pseudo-masks onto the grid of the preprocessed images, as nnU-Net's preprocessing does with labels.

    Written per case: ``<case>.b2nd``, the label (1, *spatial), and ``<case>.npz``, the locations nnU-Net's data loader
    draws foreground patches from. Cases whose mask has not changed since are left alone.

    Args:
        dataset: The preprocessed cases.
        plans_manager: nnU-Net's plans.
        configuration_manager: The configuration the cases were preprocessed for.
        label_manager: nnU-Net's labels.
        mask_folder: Holds the pseudo-masks in original geometry.
        mask_file_ending: Such as ``.nii.gz``.
        output_folder: Gets the labels.

    Raises:
        FileNotFoundError: If a case has no pseudo-mask.
        ValueError: If a pseudo-mask does not have the shape of its image or holds a label that is none of the
            dataset's.
    """
    maybe_mkdir_p(output_folder)
    reader_writer = plans_manager.image_reader_writer_class()
    for case in dataset.identifiers:
        mask_file = join(mask_folder, case + mask_file_ending)
        locations_file = join(output_folder, case + ".npz")
        if not os.path.isfile(mask_file):
            raise FileNotFoundError(f"case {case} has no pseudo-mask, expected {mask_file}")
        if os.path.isfile(locations_file) and os.path.getmtime(locations_file) > os.path.getmtime(mask_file):
            continue
        _, weak_label, _, properties = dataset.load_case(case)
        mask, _ = reader_writer.read_seg(mask_file)
        _check_mask(mask, mask_file, label_manager, shape=_original_shape(properties, plans_manager))
        label = _on_preprocessed_grid(mask, np.asarray(weak_label[:]), properties, plans_manager, configuration_manager)
        locations = configuration_manager.preprocessor_class._sample_foreground_locations(
            label, list(label_manager.foreground_labels)
        )
        blocks, chunks = comp_blosc2_params(label.shape, tuple(configuration_manager.patch_size), label.itemsize)
        nnUNetDatasetBlosc2.save_seg(label, join(output_folder, case), chunks_seg=chunks, blocks_seg=blocks)
        partial = join(output_folder, f"partial_{case}.npz")
        np.savez_compressed(partial, **{str(label): found for label, found in locations.items()})
        os.replace(partial, locations_file)


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

    Offers what nnU-Net's data loader uses: :attr:`identifiers` and :meth:`load_case`.

    Args:
        dataset: The dataset that holds the images.
        label_folder: Written by :func:`write_preprocessed_labels`.
    """

    def __init__(self, dataset: nnUNetBaseDataset, label_folder: str):
        self.dataset = dataset
        self.label_folder = Path(label_folder)
        self.identifiers = dataset.identifiers

    def __getitem__(self, identifier: str):
        return self.load_case(identifier)

    def load_case(self, identifier: str):
        """Return data, label, None and properties of a case, as nnU-Net's datasets do."""
        data, _, seg_prev, properties = self.dataset.load_case(identifier)
        label = blosc2.open(urlpath=str(self.label_folder / f"{identifier}.b2nd"), mode="r", dparams={"nthreads": 1})
        with np.load(self.label_folder / f"{identifier}.npz") as locations:
            properties["class_locations"] = {int(label): locations[label] for label in locations.files}
        return data, label, seg_prev, properties
