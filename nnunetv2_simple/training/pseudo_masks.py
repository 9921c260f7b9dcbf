"""Dense pseudo-masks, predicted for the training cases: what the retraining learns from.

Each is written once, as an image in the case's original geometry, for people to look at and to correct.
"""

import os
from collections.abc import Callable, Sequence
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from batchgenerators.utilities.file_and_folder_operations import join, maybe_mkdir_p
from nnunetv2.configuration import default_num_processes
from nnunetv2.inference.export_prediction import convert_predicted_logits_to_segmentation_with_correct_shape
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager

from nnunetv2_simple.conversion.converted_case import kept_voxels
from nnunetv2_simple.conversion.record import read_record
from nnunetv2_simple.evaluation.metrics import dice
from nnunetv2_simple.files import written_atomically
from nnunetv2_simple.images import read_grid
from nnunetv2_simple.nnunet.class_probabilities import ClassProbabilities
from nnunetv2_simple.nnunet.versions import case_identifiers, load_preprocessed_case
from nnunetv2_simple.parallel import in_background
from nnunetv2_simple.pseudo_mask.walker_probabilities import label_digest, read_walker_mask
from nnunetv2_simple.training.feature_tap import unwrap
from nnunetv2_simple.training.second_walk import images_with_points, second_walk_mask


class WalkerAgreement(NamedTuple):
    """How a pseudo-mask agrees with the mask of the first random walk.

    Attributes:
        case: Case identifier.
        dice: Mean over the foreground labels that either mask has.
        volume: Of the pseudo-mask's foreground, the walker's is 1.
    """

    case: str
    dice: float
    volume: float


def agreement_with_walker(
    case: str, mask: np.ndarray, walker: np.ndarray, foreground_labels: Sequence[int]
) -> WalkerAgreement | None:
    """Compare two masks (z, y, x) of a case; None where the walker has found nothing."""
    num_voxels, num_of_walker, of_labels = 0, 0, []
    for label in foreground_labels:
        own, walkers = mask == label, walker == label
        num_voxels, num_of_walker = num_voxels + np.count_nonzero(own), num_of_walker + np.count_nonzero(walkers)
        if own.any() or walkers.any():
            of_labels.append(dice(own, walkers))
    return WalkerAgreement(case, float(np.mean(of_labels)), num_voxels / num_of_walker) if num_of_walker else None


def describe_agreement(agreements: Sequence[WalkerAgreement], num_cases: int) -> str:
    """Return in words how far the pseudo-masks of some of the cases have moved from the walker's; "" for no case."""
    if not agreements:
        return ""
    lowest = min(agreements, key=attrgetter("dice"))
    return (
        f"Pseudo-masks against those of the first random walk ({len(agreements)} of {num_cases} cases): mean Dice "
        f"{np.mean([agreement.dice for agreement in agreements]):.3f}, lowest {lowest.dice:.3f} ({lowest.case}), "
        f"median volume ratio {np.median([agreement.volume for agreement in agreements]):.2f}"
    )


class PseudoMaskWriter(NamedTuple):
    """Turns what a network predicts of a case into its pseudo-mask; see :func:`write_pseudo_masks`.

    Attributes:
        plans_manager: nnU-Net's plans.
        configuration_manager: The network's configuration.
        dataset_json: The dataset.
        weak_label_folder: As for :func:`write_pseudo_masks`, and so are all others.
        output_folder: See there.
        walk_again: See there.
        converted_dataset_folder: See there.
    """

    plans_manager: PlansManager
    configuration_manager: ConfigurationManager
    dataset_json: dict
    weak_label_folder: str
    output_folder: str
    walk_again: bool
    converted_dataset_folder: Path | None

    def file(self, case: str) -> str:
        return join(self.output_folder, case + self.dataset_json["file_ending"])

    def write(self, case: str, logits: torch.Tensor, properties: dict) -> WalkerAgreement | None:
        label_manager = self.plans_manager.get_label_manager(self.dataset_json)
        prediction = (logits, self.plans_manager, self.configuration_manager, label_manager, properties)
        folder, ignore_label = self.converted_dataset_folder, label_manager.ignore_label
        record = {} if folder is None else read_record(folder, case)
        images, digest = images_with_points(folder, case, record) if self.walk_again else [], record.get("label_sha256")
        if images:
            mask = second_walk_mask(images, record, ClassProbabilities(*prediction))
        else:
            mask = convert_predicted_logits_to_segmentation_with_correct_shape(*prediction)
        weak_label_file = join(self.weak_label_folder, case + self.dataset_json["file_ending"])
        reader_writer = self.plans_manager.image_reader_writer_class()
        weak_label = reader_writer.read_seg(weak_label_file)[0][0].astype(np.uint8)  # which nnU-Net reads as float
        is_corrected = digest is not None and digest != label_digest(weak_label)
        if is_corrected or self.walk_again and (digest is None or not images):
            mask = np.where(weak_label == ignore_label, mask, weak_label)
        elif not images:  # a walk knows its boxes, and what the first one called background may be lesion
            mask = np.where(weak_label == 0, 0, mask)
        kept = False  # of any voxel
        if "lesions" in record:
            kept = kept_voxels(weak_label, record, read_grid(weak_label_file), ignore_label=ignore_label)
        mask = np.where(kept, weak_label, mask).astype(np.uint8)
        self._write_mask(case, mask, properties)
        if not record.get("lesions"):
            return None
        try:
            walker = read_walker_mask(folder, case, label_manager.foreground_labels)
        except (FileNotFoundError, ValueError):  # nothing else needs it
            return None
        walker = np.where(kept, weak_label, walker)  # as in the baseline
        return agreement_with_walker(case, mask, walker, label_manager.foreground_labels)

    def _write_mask(self, case: str, mask: np.ndarray, properties: dict) -> None:
        reader_writer = self.plans_manager.image_reader_writer_class()
        try:
            with written_atomically(Path(self.file(case))) as beside:
                reader_writer.write_seg(mask, str(beside), properties)
                written = reader_writer.read_seg(str(beside))[0][0]
                if not np.array_equal(written, mask):  # SimpleITK says nothing of a full disk
                    raise OSError("what is on disk is something else, is it full?")
        except (OSError, RuntimeError) as error:  # SimpleITK raises the latter
            raise OSError(f"the pseudo-mask {self.file(case)} could not be written: {error}") from error


def predictor_of(trainer: nnUNetTrainer) -> nnUNetPredictor:
    """Return what predicts with the present network of a trainer; its deep supervision must be off."""
    predictor = nnUNetPredictor(device=trainer.device, allow_tqdm=False)
    predictor.manual_initialization(
        unwrap(trainer.network).eval(),
        trainer.plans_manager,
        trainer.configuration_manager,
        None,
        trainer.dataset_json,
        type(trainer).__name__,
        trainer.inference_allowed_mirroring_axes,
    )
    return predictor


def predict_case(predictor: nnUNetPredictor, dataset, case: str) -> tuple[torch.Tensor, dict]:
    """Return the logits (classes, *spatial) of a preprocessed case, on the CPU, and its properties."""
    image, _, properties = load_preprocessed_case(dataset, case)
    logits = predictor.predict_sliding_window_return_logits(torch.from_numpy(np.array(image[:])))
    return logits.cpu(), properties


def write_pseudo_masks(
    predictor: nnUNetPredictor,
    dataset,
    *,
    weak_label_folder: str,
    output_folder: str,
    log: Callable[[str], None],
    walk_again: bool = False,
    converted_dataset_folder: Path | None = None,
    num_processes: int = default_num_processes,
) -> list[WalkerAgreement]:
    """Predict the cases of a dataset and write dense masks; masks that exist already are kept.

    Without ``walk_again`` the network alone decides, as in the paper, but what the weak label calls background stays
    background: that is all outside the boxes of the extreme points. With it the random walker decides inside them, with
    the network's opinion as its prior (:mod:`nnunetv2_simple.training.second_walk`).

    Painted voxels stay as painted, and unannotated regions stay ignored
    (:func:`nnunetv2_simple.conversion.converted_case.kept_voxels`).

    If a label differs from the one that the conversion recorded, it was corrected: its labelled voxels stay as they
    are, and only ignored ones are decided. With ``walk_again`` the same holds for cases without images or points.

    The network predicts in this process while others resample and write, as in nnU-Net's validation.

    Args:
        predictor: With an initialised network.
        dataset: Preprocessed cases to predict, one of nnU-Net's datasets.
        weak_label_folder: Holds the weak label of each case in its original geometry.
        output_folder: Gets ``<case identifier><file ending>``.
        log: Called with one line per case.
        walk_again: Whether the random walker makes the masks.
        converted_dataset_folder: The raw dataset with images, points and records of labels; None if there is none.
        num_processes: Processes that resample and write; with 1 this one does.

    Returns:
        How each mask written agrees with the walker's, as far as there is one.

    Raises:
        OSError: If a mask cannot be written.
        ValueError: If an image cannot be read or does not have the shape of the preprocessed one, or a prediction is
            not finite.

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
        walk_again,
        converted_dataset_folder,
    )
    cases = case_identifiers(dataset)
    missing = [case for case in cases if not os.path.isfile(writer.file(case))]
    if len(missing) < len(cases):
        log(f"pseudo-masks: {len(cases) - len(missing)} of {len(cases)} are there already")

    def predictions():
        for number, case in enumerate(missing, start=1):
            log(f"pseudo-mask {number}/{len(missing)}: predicting {case}")
            logits, properties = predict_case(predictor, dataset, case)
            if not torch.isfinite(logits).all():
                raise ValueError(
                    f"the network's prediction of {case} is NaN or infinite: the training has diverged, or its "
                    f"preprocessed image is damaged. Train again with a lower learning rate"
                )
            yield case, logits, properties

    agreements = in_background(writer.write, predictions(), num_processes=min(num_processes, len(missing)))
    return [agreement for agreement in agreements if agreement is not None]
