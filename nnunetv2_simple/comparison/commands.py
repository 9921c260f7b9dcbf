"""The commands a comparison consists of: nnU-Net's own, as a user would type them."""

import os
from pathlib import Path

from nnunetv2_simple.comparison.methods import Method
from nnunetv2_simple.comparison.settings import Comparison, Fold, Training, dataset_id
from nnunetv2_simple.nnunet.trainer_folder import trainer_folder

TRAINER_FOLDERS_VARIABLE = "nnUNet_extTrainer"

Command = tuple[str, ...]


def searched_trainer_folders() -> str:
    """Return nnUNet_extTrainer as it is set, with the folder of this package's trainers added."""
    folders = [folder for folder in os.environ.get(TRAINER_FOLDERS_VARIABLE, "").split(os.pathsep) if folder.strip()]
    if trainer_folder() not in [Path(folder).resolve() for folder in folders]:
        folders.append(str(trainer_folder()))
    return os.pathsep.join(folders)


def train_command(comparison: Comparison, training: Training, *, resume: bool = False) -> Command:
    return (
        *("nnUNetv2_train", str(dataset_id(training.dataset)), comparison.configuration, str(training.fold)),
        *("-tr", training.trainer, "-p", comparison.plans, "-device", comparison.device),
        *(["--c"] if resume else []),
    )


def predict_command(comparison: Comparison, method: Method, fold: Fold, output_folder: Path) -> Command:
    training = comparison.training(method, fold)
    processes = str(comparison.num_processes)
    return (
        *("nnUNetv2_predict", "-d", str(dataset_id(training.dataset)), "-i", str(comparison.images)),
        *("-o", str(output_folder), "-c", comparison.configuration, "-f", str(fold), "-tr", training.trainer),
        *("-p", comparison.plans, "-chk", method.checkpoint, "-device", comparison.device),
        *("-npp", processes, "-nps", processes, "--continue_prediction"),
        *([] if comparison.mirror else ["--disable_tta"]),
    )


def fingerprint_command(comparison: Comparison, dataset: str) -> Command:
    processes = str(max(comparison.num_processes, 1))
    return ("nnUNetv2_extract_fingerprint", "-d", str(dataset_id(dataset)), "-np", processes)


def move_plans_command(comparison: Comparison, dataset: str) -> Command:
    source, target = (str(dataset_id(name)) for name in (comparison.datasets["weak"], dataset))
    return (
        *("nnUNetv2_move_plans_between_datasets", "-s", source, "-t", target),
        *("-sp", comparison.plans, "-tp", comparison.plans),
    )


def preprocess_command(comparison: Comparison, dataset: str) -> Command:
    return (
        *("nnUNetv2_preprocess", "-d", str(dataset_id(dataset)), "-plans_name", comparison.plans),
        *("-c", comparison.configuration, "-np", str(max(comparison.num_processes, 1))),
    )


def baseline_command(comparison: Comparison, kind: str) -> Command:
    weak, baseline = (str(dataset_id(comparison.datasets[labels])) for labels in ("weak", kind))
    return (
        *("nnUNetv2_simple_convert", "-d", weak, "-baseline", kind, "-baseline_id", baseline),
        *("-np", str(max(comparison.num_processes, 1))),
    )
