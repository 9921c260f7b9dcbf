"""Plans for a network small enough to train on a CPU.

nnUNetv2_simple_small_plans -d 501 502 -features 8 16 32 -patch 16 32 32
"""

import argparse
import sys
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path

import numpy as np
from batchgenerators.utilities.file_and_folder_operations import save_json
from nnunetv2.paths import nnUNet_preprocessed
from nnunetv2.utilities.dataset_name_id_conversion import convert_id_to_dataset_name

from nnunetv2_simple.files import read_json

SMALL_PLANS = "nnUNetPlans_small"


def shrink_plans(
    plans: dict,
    *,
    name: str,
    configuration: str,
    features_per_stage: Sequence[int],
    patch_size: Sequence[int],
    spacing_mm: Sequence[float] | None = None,
) -> dict:
    """Edit nnU-Net's plans the way its documentation describes: fewer features and stages, a smaller patch.

    Without ``spacing_mm`` the preprocessed data stay valid; with it they are preprocessed anew, in their own folder.

    Args:
        plans: nnU-Net's plans.
        name: ``plans_name`` of the result.
        configuration: The configuration to shrink; the others are left out.
        features_per_stage: One number per stage. Stages beyond those of the plans are left out.
        patch_size: Upper limit per axis (z, y, x), made divisible by the strides.
        spacing_mm: Voxel size (z, y, x) to resample to.

    Returns:
        New plans.

    Raises:
        ValueError: If fewer than three stages are asked for.
    """
    if len(features_per_stage) < 3:
        raise ValueError(
            f"nnU-Net's deep supervision needs at least three stages, got features_per_stage {features_per_stage}"
        )
    small = deepcopy(plans["configurations"][configuration])
    architecture = small["architecture"]["arch_kwargs"]
    num_stages = min(len(features_per_stage), architecture["n_stages"])
    architecture["n_stages"] = num_stages
    architecture["features_per_stage"] = list(features_per_stage[:num_stages])
    for key in ("kernel_sizes", "strides", "n_conv_per_stage", "n_blocks_per_stage"):
        if key in architecture:
            architecture[key] = architecture[key][:num_stages]
    architecture["n_conv_per_stage_decoder"] = architecture["n_conv_per_stage_decoder"][: num_stages - 1]
    divisors = np.prod(architecture["strides"], axis=0)
    sizes = np.minimum(patch_size, small["patch_size"])
    small["patch_size"] = (np.maximum(sizes // divisors, 1) * divisors).tolist()
    if spacing_mm is not None:
        small["spacing"] = list(spacing_mm)
        small["data_identifier"] = f"{name}_{configuration}"
    return plans | {"plans_name": name, "configurations": {configuration: small}}


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=f"Write {SMALL_PLANS}.json beside nnUNetPlans.json: 3d_fullres for a small network. Datasets named "
        "together get the plans of the first one.",
        allow_abbrev=False,
    )
    parser.add_argument("-d", type=int, nargs="+", required=True, help="Dataset ids")
    parser.add_argument("-features", type=int, nargs="+", default=[8, 16, 32], help="Features per stage")
    parser.add_argument("-patch", type=int, nargs=3, default=[16, 32, 32], help="Patch size (z, y, x)")
    parser.add_argument("-spacing", type=float, nargs=3, help="[OPTIONAL] Voxel size in mm (z, y, x) to resample to")
    args = parser.parse_args(argv)
    folders = [Path(nnUNet_preprocessed) / convert_id_to_dataset_name(dataset) for dataset in args.d]
    plans = read_json(folders[0] / "nnUNetPlans.json")
    for folder in folders:
        small = shrink_plans(
            plans | {"dataset_name": folder.name},
            name=SMALL_PLANS,
            configuration="3d_fullres",
            features_per_stage=args.features,
            patch_size=args.patch,
            spacing_mm=args.spacing,
        )
        save_json(small, str(folder / f"{SMALL_PLANS}.json"), sort_keys=False)
        print(f"wrote {folder / SMALL_PLANS}.json")


if __name__ == "__main__":
    sys.exit(main())
