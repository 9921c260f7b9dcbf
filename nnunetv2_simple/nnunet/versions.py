"""What differs between the versions of nnU-Net this package runs with (2.5.2 to 2.8.1), in one place.

The other difference, where nnU-Net looks for trainers, is :mod:`nnunetv2_simple.nnunet.trainer_folder`'s.
"""

import inspect
from collections.abc import Sequence
from pathlib import Path

import nnunetv2
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.find_class_by_name import recursive_find_python_class
from nnunetv2.utilities.label_handling.label_handling import LabelManager
from torch import nn

try:
    from nnunetv2.training.dataloading.nnunet_dataset import infer_dataset_class

    OUTSIDE = (-1,)  # nnU-Net's mark for voxels outside the non-zero region, which the data loader counts as annotated
except ImportError:  # before 2.6 there is one kind of dataset, and it is a mapping
    from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDataset

    OUTSIDE = ()

    def infer_dataset_class(folder: str) -> type:
        return nnUNetDataset


def find_trainer_class(name: str) -> type[nnUNetTrainer] | None:
    """Return the trainer that nnU-Net finds under a name, None if it finds none."""
    try:
        from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name
    except ImportError:  # before 2.8
        folder = Path(nnunetv2.__path__[0]) / "training" / "nnUNetTrainer"
        return recursive_find_python_class(str(folder), name, "nnunetv2.training.nnUNetTrainer")
    try:
        return recursive_find_trainer_class_by_name(name)
    except RuntimeError:
        return None


def logged_values(trainer: nnUNetTrainer) -> dict[str, list]:
    """Return what nnU-Net's own logger has noted: one value per epoch under each key."""
    logger = trainer.logger  # since 2.7 one of several behind a MetaLogger
    return getattr(logger, "local_logger", logger).my_fantastic_logging


def open_dataset(folder: str, case_identifiers: Sequence[str]):
    """Return nnU-Net's dataset of some preprocessed cases."""
    return infer_dataset_class(folder)(folder, list(case_identifiers))


def all_case_identifiers(folder: str) -> list[str]:
    """Return the cases preprocessed in a folder."""
    return case_identifiers(infer_dataset_class(folder)(folder))


def case_identifiers(dataset) -> list[str]:
    """Return the cases of one of nnU-Net's datasets."""
    return list(dataset.identifiers if hasattr(dataset, "identifiers") else dataset.keys())


def load_preprocessed_case(dataset, case_identifier: str) -> tuple:
    """Return image (channels, *spatial), label (1, *spatial) and properties of a case of one of nnU-Net's datasets."""
    image, label, *_, properties = dataset.load_case(case_identifier)  # since 2.6 with a label of a previous stage
    return image, label, properties


def annotated_labels(label_manager: LabelManager) -> tuple[int, ...]:
    """Return the key of a case's class_locations under which the data loader looks for voxels of any label."""
    return (*OUTSIDE, *label_manager.all_labels)


def build_network(trainer: nnUNetTrainer) -> nn.Module:
    """Return a new network of a trainer's architecture, with weights as nnU-Net draws them."""
    configuration = trainer.configuration_manager
    plans = (trainer.plans_manager, configuration)
    if "plans_manager" not in inspect.signature(trainer.build_network_architecture).parameters:  # before 2.7
        plans = (
            configuration.network_arch_class_name,
            configuration.network_arch_init_kwargs,
            configuration.network_arch_init_kwargs_req_import,
        )
    return trainer.build_network_architecture(
        *plans,
        trainer.num_input_channels,
        trainer.label_manager.num_segmentation_heads,
        trainer.enable_deep_supervision,
    )
