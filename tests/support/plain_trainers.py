"""Trainers made without data, from the smallest plans nnU-Net accepts."""

import pytest
import torch
from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name

from nnunetv2_simple.nnunet.trainer_folder import trainer_folder
from nnunetv2_simple.training.trainer import PhasedTrainer

LABELS = {"background": 0, "tumor": 1, "ignore": 2}


def plans(**configuration) -> dict:
    return {
        "dataset_name": "Dataset999_None",
        "plans_name": "plans",
        "continue_training": False,
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "image_reader_writer": "SimpleITKIO",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {},
        "configurations": {
            "3d_fullres": {
                "data_identifier": "none",
                "preprocessor_name": "DefaultPreprocessor",
                "batch_size": 2,
                "patch_size": [8, 16, 16],
                "spacing": [3.0, 1.0, 1.0],
                "normalization_schemes": ["ZScoreNormalization"],
                "use_mask_for_norm": [False],
                "batch_dice": False,
                "architecture": {
                    "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
                    "arch_kwargs": {
                        "n_stages": 3,
                        "features_per_stage": [4, 8, 8],
                        "conv_op": "torch.nn.modules.conv.Conv3d",
                        "kernel_sizes": [[1, 3, 3], [3, 3, 3], [3, 3, 3]],
                        "strides": [[1, 1, 1], [1, 2, 2], [2, 2, 2]],
                        "n_conv_per_stage": [2, 2, 2],
                        "n_conv_per_stage_decoder": [2, 2],
                        "conv_bias": True,
                        "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
                        "norm_op_kwargs": {"eps": 1e-05, "affine": True},
                        "dropout_op": None,
                        "dropout_op_kwargs": None,
                        "nonlin": "torch.nn.LeakyReLU",
                        "nonlin_kwargs": {"inplace": True},
                    },
                    "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
                },
            }
            | configuration
        },
    }


@pytest.fixture(autouse=True)
def nnunet_folders(tmp_path, monkeypatch):
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        monkeypatch.setenv(name, str(tmp_path / name))
    data = tmp_path / "nnUNet_preprocessed" / "Dataset999_None" / "none"
    data.mkdir(parents=True)
    (data / "case.b2nd").touch()  # nnU-Net infers the dataset class from the file ending
    monkeypatch.setenv("nnUNet_extTrainer", str(trainer_folder()))


def make_trainer(
    name: str = "SimPLeTrainer",
    labels: dict = LABELS,
    plans: dict | None = None,
    dataset_json: dict | None = None,
) -> PhasedTrainer:
    dataset_json = dataset_json or {"labels": dict(labels), "channel_names": {"0": "MR"}, "file_ending": ".nii.gz"}
    trainer_class = recursive_find_trainer_class_by_name(name)
    return trainer_class(plans or globals()["plans"](), "3d_fullres", 0, dataset_json, torch.device("cpu"))


def batch(labels: tuple[int, ...] = (0, 1, 2)) -> dict:
    generator = torch.Generator().manual_seed(0)
    data = torch.randn(2, 1, 8, 16, 16, generator=generator)
    choices = torch.tensor(labels)
    target = choices[torch.randint(len(labels), (2, 1, 8, 16, 16), generator=generator)]
    return {"data": data, "target": [target, target[..., ::2, ::2]], "keys": ["one", "two"]}
