"""Plans for a network small enough to train on a CPU.

nnUNetv2_simple_small_plans -d 501 502 -features 8 16 32 -patch 16 32 32
"""

import sys
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path

import numpy as np
from nnunetv2.paths import nnUNet_preprocessed

from nnunetv2_simple.arguments import add_option, command_parser
from nnunetv2_simple.files import read_json, save_json_atomically

PLANS, SMALL_PLANS, CONFIGURATION = "nnUNetPlans", "nnUNetPlans_small", "3d_fullres"


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


def write_small_plans(
    datasets: Sequence[int],
    *,
    features_per_stage: Sequence[int],
    patch_size: Sequence[int],
    spacing_mm: Sequence[float] | None = None,
) -> list[Path]:
    """Write the small plans of the first dataset beside the plans of each.

    Raises:
        ValueError: If nnU-Net's folder is not set, a dataset was not planned, or the sizes make no network.
    """
    if not nnUNet_preprocessed:
        raise ValueError("nnUNet_preprocessed must be set to the folder of nnU-Net's preprocessed datasets")
    if min(features_per_stage) < 1 or min(patch_size) < 1 or min(spacing_mm or [1]) <= 0:
        raise ValueError(
            f"features, patch size and spacing must be positive, got {list(features_per_stage)}, {list(patch_size)} "
            f"and {spacing_mm}"
        )
    folders = [_planned_folder(dataset) for dataset in datasets]
    plans = read_json(folders[0] / f"{PLANS}.json")
    if CONFIGURATION not in plans["configurations"]:
        raise ValueError(f"{folders[0] / PLANS}.json has the configurations {list(plans['configurations'])} only")
    files = [folder / f"{SMALL_PLANS}.json" for folder in folders]
    for folder, file in zip(folders, files, strict=True):
        small = shrink_plans(
            plans | {"dataset_name": folder.name},
            name=SMALL_PLANS,
            configuration=CONFIGURATION,
            features_per_stage=features_per_stage,
            patch_size=patch_size,
            spacing_mm=spacing_mm,
        )
        save_json_atomically(small, file)
    return files


def _planned_folder(dataset: int) -> Path:
    found = sorted(Path(nnUNet_preprocessed).glob(f"Dataset{dataset:03d}_*/{PLANS}.json"))
    if len(found) != 1:
        raise ValueError(
            f"expected {PLANS}.json of exactly one dataset of the id {dataset} in {nnUNet_preprocessed}, got "
            f"{[str(file) for file in found] or 'none'}: plan it first, with "
            f"nnUNetv2_plan_and_preprocess -d {dataset} -c {CONFIGURATION}"
        )
    return found[0].parent


def main(argv: Sequence[str] | None = None) -> int:
    parser = command_parser(
        f"Write {SMALL_PLANS}.json beside {PLANS}.json: {CONFIGURATION} for a network small enough to train on a CPU. "
        "Datasets named together get the plans of the first one.",
        "# after nnUNetv2_plan_and_preprocess -d 501 -c 3d_fullres",
        "nnUNetv2_simple_small_plans -d 501",
        f"nnUNetv2_train 501 {CONFIGURATION} 0 -tr SimPLeTrainer_800iterations -p {SMALL_PLANS} -device cpu",
        "# coarser voxels: preprocess again",
        "nnUNetv2_simple_small_plans -d 501 -spacing 3 2 2",
        f"nnUNetv2_preprocess -d 501 -plans_name {SMALL_PLANS} -c {CONFIGURATION}",
    )
    parser.add_argument("-d", type=int, nargs="+", required=True, help="Dataset ids")
    add_option(parser, "features", "Features per stage, at least three", type=int, nargs="+", default=[8, 16, 32])
    add_option(parser, "patch", "Largest patch size (z, y, x)", type=int, nargs=3, default=[16, 32, 32])
    add_option(parser, "spacing", "Voxel size in mm (z, y, x) to resample to", type=float, nargs=3)
    args = parser.parse_args(argv)
    try:
        files = write_small_plans(
            args.d, features_per_stage=args.features, patch_size=args.patch, spacing_mm=args.spacing
        )
    except (ValueError, OSError) as error:
        print(f"ERROR: {error}", file=sys.stderr)
        return 2
    for file in files:
        print(f"wrote {file}; train with -p {SMALL_PLANS}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
