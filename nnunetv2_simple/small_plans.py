"""Plans for a network small enough to train on a CPU."""

from collections.abc import Sequence
from copy import deepcopy


def shrink_plans(
    plans: dict, *, name: str, features_per_stage: Sequence[int], patch_size: Sequence[int], configuration: str
) -> dict:
    """Edit nnU-Net's plans the way its documentation describes: fewer features and stages, a smaller patch.

    The preprocessed data stay valid, because spacing and data identifier do not change.

    Args:
        plans: nnU-Net's plans.
        name: ``plans_name`` of the result.
        features_per_stage: One number per stage. Stages beyond those of the plans are left out.
        patch_size: Upper limit per axis (z, y, x), made divisible by the strides.
        configuration: The configuration to shrink; the others are left out.

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
    for key in ("kernel_sizes", "strides", "n_conv_per_stage"):
        architecture[key] = architecture[key][:num_stages]
    architecture["n_conv_per_stage_decoder"] = architecture["n_conv_per_stage_decoder"][: num_stages - 1]
    for axis, limit in enumerate(patch_size):
        divisor = 1
        for stride in architecture["strides"]:
            divisor *= stride[axis]
        size = min(limit, small["patch_size"][axis])
        small["patch_size"][axis] = max(size // divisor, 1) * divisor
    return plans | {"plans_name": name, "configurations": {configuration: small}}
