"""What the trainers refuse, said before any time is spent on it."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
from batchgenerators.utilities.file_and_folder_operations import join
from nnunetv2.configuration import default_num_processes
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.label_handling.label_handling import determine_num_input_channels
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunetv2_simple.conversion.record import read_record
from nnunetv2_simple.grids import check_same_geometry
from nnunetv2_simple.images import image_file_ending, read_grid, read_header, read_volume
from nnunetv2_simple.nnunet.versions import (
    annotated_labels,
    case_identifiers,
    load_preprocessed_case,
    open_dataset,
)
from nnunetv2_simple.parallel import in_background
from nnunetv2_simple.training.second_walk import images_with_points

MAX_NAMED = 10  # files of which the same is said
CASES_PER_PROCESS = 20  # a process takes seconds to start


@contextmanager
def naming_plans_and_dataset_json(plans: dict) -> Iterator[None]:
    """Name plans and dataset.json where reading or using them fails: nnU-Net's error may be no more than a missing key.

    Nothing else belongs into this context: errors of torch or the machine would be blamed on the plans.

    Raises:
        ValueError: From the error of nnU-Net's.
        NotImplementedError: For a network that a phase cannot learn with.
    """
    names = [plans.get(key, f"(no {key})") for key in ("plans_name", "dataset_name")]
    files = f"{names[0]}.json or dataset.json of {names[1]}"
    try:
        yield
    except NotImplementedError as error:
        raise NotImplementedError(f"{error} (the network is that of {files})") from error
    except (KeyError, TypeError, AttributeError, AssertionError, ImportError) as error:
        raise ValueError(
            f"nnU-Net cannot use {files}, is one of them damaged? {type(error).__name__}: {error}"
        ) from error


def check_plans(plans: dict, configuration: str, dataset_json: dict) -> None:
    """Read all that nnU-Net's trainer needs of plans and dataset.json, except what the network is built from.

    Args:
        plans: The plans.
        configuration: Name of the configuration.
        dataset_json: The dataset.

    Raises:
        ValueError: If something is missing or cannot be used.
    """
    with naming_plans_and_dataset_json(plans):
        manager = PlansManager(plans)
        chosen = manager.get_configuration(configuration)
        determine_num_input_channels(manager, chosen, dataset_json)
        join(manager.dataset_name, manager.plans_name, chosen.data_identifier)
        np.cumprod(np.vstack(chosen.pool_op_kernel_sizes), axis=0)
        chosen.spacing[-len(chosen.patch_size) :]
        _ = chosen.batch_size, chosen.batch_dice


def check_supported(trainer: nnUNetTrainer) -> None:
    """Refuse what nnU-Net can do and weak labels cannot.

    Raises:
        NotImplementedError: For cascades and region-based labels.
        ValueError: For a dataset without an ignore label.
    """
    name = type(trainer).__name__
    if trainer.is_cascaded:
        raise NotImplementedError(f"{name} cannot train cascades, use the configuration 3d_fullres or 3d_lowres")
    if trainer.label_manager.has_regions:
        raise NotImplementedError(f"{name} cannot train region-based labels, declare each label as one integer")
    if not trainer.label_manager.has_ignore_label:
        raise ValueError(
            f"{name} needs a dataset with an 'ignore' label for the unlabelled voxels, but the labels of "
            f"{trainer.plans_manager.dataset_name} are {trainer.dataset_json['labels']}; nnUNetv2_simple_convert "
            f"writes such datasets"
        )


def check_preprocessed_labels(trainer: nnUNetTrainer, cases: Sequence[str]) -> None:
    """Check that cases were preprocessed with their present labels; nnU-Net's data loader would raise a KeyError.

    Raises:
        ValueError: Naming the case and the command that helps.
    """
    folder = trainer.preprocessed_dataset_folder
    dataset = open_dataset(folder, cases)
    for case in case_identifiers(dataset):
        try:
            *_, properties = load_preprocessed_case(dataset, case)
        except Exception as error:  # noqa: BLE001 (damaged files raise anything)
            raise ValueError(
                f"case {case} in {folder} cannot be read, {type(error).__name__}: {error}; preprocess it again"
            ) from error
        # only with an ignore label does nnU-Net note where any label is, under a tuple of all others
        if annotated_labels(trainer.label_manager) not in properties["class_locations"]:
            raise ValueError(
                f"case {case} in {folder} was preprocessed when its labels were others or had no 'ignore' (they are "
                f"{trainer.dataset_json['labels']} now), or by nnU-Net before 2.6: run nnUNetv2_preprocess "
                f"-d {trainer.plans_manager.dataset_name} -plans_name {trainer.plans_manager.plans_name} "
                f"-c {trainer.configuration_name} again"
            )


def classes_without_foreground(trainer: nnUNetTrainer, cases: Sequence[str]) -> list[str]:
    """Return the classes that no voxel of any of some cases is labelled with."""
    dataset = open_dataset(trainer.preprocessed_dataset_folder, cases)
    missing = {label: name for name, label in trainer.dataset_json["labels"].items()}
    missing = {label: name for label, name in missing.items() if label in trainer.label_manager.foreground_labels}
    for case in case_identifiers(dataset):
        *_, properties = load_preprocessed_case(dataset, case)
        missing = {
            label: name for label, name in missing.items() if not len(properties["class_locations"].get(label, ()))
        }
    return list(missing.values())


def check_labels_readable(trainer: nnUNetTrainer, label_file: Callable[[str], str], cases: Sequence[str]) -> None:
    """Read the label of every case whole: nnU-Net would need those for validation only after the last epoch.

    Raises:
        ValueError: Naming all files that are missing or cannot be read.
    """
    problems = list(filter(None, map(partial(_why_unreadable, trainer), map(label_file, cases))))
    if problems:
        raise ValueError(f"the labels of {len(problems)} cases cannot be used: {'; '.join(problems[:MAX_NAMED])}")


def _why_unreadable(trainer: nnUNetTrainer, file: str) -> str | None:
    try:
        if image_file_ending(file) and read_header(file).GetDimension() == 3:
            read_volume(file)
        else:
            trainer.plans_manager.image_reader_writer_class().read_seg(file)
    except (ValueError, OSError, RuntimeError) as error:
        return str(error)
    return None


def cases_without_points(folder: Path, cases: Sequence[str], label_file: Callable[[str], str]) -> list[str]:
    """Return the cases without images or points for a second walk, and check that the images can be used.

    Args:
        folder: ``DatasetXXX_Name`` in nnUNet_raw.
        cases: Case identifiers.
        label_file: Returns the label of a case.

    Raises:
        ValueError: If an image cannot be read whole or does not have the grid of the label, or a record cannot be read.
    """
    images = {case: images_with_points(folder, case, read_record(folder, case)) for case in cases}
    found = [(case, files, label_file(case)) for case, files in images.items() if files]
    num_processes = min(default_num_processes, len(found) // CASES_PER_PROCESS)
    in_background(_check_images, found, num_processes=num_processes)
    return [case for case, files in images.items() if not files]


def _check_images(case: str, files: Sequence[Path], label_file: str) -> None:
    for file in files:
        try:
            check_same_geometry(read_grid(label_file), read_volume(str(file)), names=(label_file, str(file)))
        except ValueError as error:
            raise ValueError(
                f"case {case} cannot use its image {file} for its pseudo-mask: {error}. Convert and preprocess the "
                f"dataset again"
            ) from error


def check_label_range(batch: dict, highest_label: int, *, folder: str) -> None:
    """Refuse a batch with labels that are none of the dataset's.

    Raises:
        ValueError: Naming the cases.
    """
    target = batch["target"][0] if isinstance(batch["target"], list) else batch["target"]
    if target.min() < 0 or target.max() > highest_label:
        raise ValueError(
            f"the labels of a case must be 0 to {highest_label}, but one of {', '.join(batch['keys'])} in {folder} has "
            f"{target.min():.0f} to {target.max():.0f}; nnUNetv2_plan_and_preprocess --verify_dataset_integrity finds "
            f"the file"
        )
