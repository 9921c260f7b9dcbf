"""Checkpoints that nnU-Net's own trainer stands for, whichever trainer wrote them."""

import io
from contextlib import redirect_stdout
from pathlib import Path

import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from nnunetv2_simple.nnunet.checkpoints import load_checkpoint
from nnunetv2_simple.nnunet.export_cross_validation import without_cases
from nnunetv2_simple.nnunet.trainer_folder import trainer_classes
from nnunetv2_simple.nnunet.versions import find_trainer_class

STOCK_TRAINER = nnUNetTrainer.__name__
PREDICTION_KEYS = ("network_weights", "init_args", "inference_allowed_mirroring_axes")


def check_architecture(trainer: str) -> None:
    """Refuse a trainer whose network nnU-Net's own trainer would not build, even where the weights would fit it.

    Raises:
        ValueError: If it is such a trainer, or cannot be found.
    """
    trainer_class = find_trainer(trainer)
    if trainer_class.build_network_architecture is not nnUNetTrainer.build_network_architecture:
        raise ValueError(
            f"{trainer} builds a network of its own, in {trainer_class.build_network_architecture.__module__}: such a "
            f"model cannot be used without its trainer"
        )


def find_trainer(name: str) -> type[nnUNetTrainer]:
    """Return a trainer of this package, or one that nnU-Net finds.

    Raises:
        ValueError: If there is none of that name.
    """
    found = trainer_classes().get(name) or find_trainer_class(name)
    if found is None:
        raise ValueError(f"there is no trainer {name}, neither in nnunetv2_simple nor where nnU-Net searches")
    return found


def stock_checkpoint(file: Path, *, trainer: str, configuration: str) -> dict:
    """Return what nnU-Net needs of a checkpoint to predict, naming nnU-Net's own trainer. The weights are untouched.

    Args:
        file: The checkpoint.
        trainer: The class that wrote it.
        configuration: nnU-Net's configuration it was trained for.

    Raises:
        ValueError: If it cannot be read, or is not one of this trainer and configuration.
    """
    checkpoint = load_checkpoint(file)
    try:
        found = {"trainer": checkpoint["trainer_name"], "configuration": checkpoint["init_args"]["configuration"]}
        exported = {key: checkpoint[key] for key in PREDICTION_KEYS}
    except (KeyError, TypeError) as error:
        raise ValueError(f"{file} is not a checkpoint of nnU-Net: {type(error).__name__} {error}") from error
    expected = {"trainer": trainer, "configuration": configuration}
    if found != expected:
        raise ValueError(f"{file} must be a checkpoint of {expected}, got one of {found}")
    dataset_json = without_cases(exported["init_args"].get("dataset_json", {}))
    exported["init_args"] = exported["init_args"] | {"dataset_json": dataset_json}
    return exported | {"trainer_name": STOCK_TRAINER}


def check_nnunet_loads(model_folder: Path, fold: int | str, checkpoint: str) -> None:
    """Let nnU-Net build the network of a model folder and load the weights of a fold, as its prediction does.

    Raises:
        ValueError: If they do not fit, or plans.json or dataset.json is damaged.
    """
    try:
        with redirect_stdout(io.StringIO()):  # it remarks that there is no GPU
            predictor = nnUNetPredictor(device=torch.device("cpu"), allow_tqdm=False)
            predictor.initialize_from_trained_model_folder(str(model_folder), (fold,), checkpoint)
    except Exception as error:  # noqa: BLE001 (damaged files make nnU-Net raise anything)
        raise ValueError(
            f"the weights do not fit the network that {STOCK_TRAINER} builds from plans.json and dataset.json: "
            f"{type(error).__name__} {error}"
        ) from error
