import pytest
from support.plain_trainers import plans

from nnunetv2_simple.nnunet.small_plans import shrink_plans


def test_plans_get_fewer_features_and_a_patch_that_the_strides_divide():
    small = shrink_plans(
        plans(), name="small", configuration="3d_fullres", features_per_stage=(2, 4, 6), patch_size=(7, 13, 99)
    )
    configuration = small["configurations"]["3d_fullres"]
    assert small["plans_name"] == "small"
    assert configuration["architecture"]["arch_kwargs"]["features_per_stage"] == [2, 4, 6]
    assert [int(size) for size in configuration["patch_size"]] == [6, 12, 16]  # strides 2, 4, 4 in all; 16 as before


def test_deep_supervision_needs_three_stages():
    with pytest.raises(ValueError, match=r"\(2, 4\)"):
        shrink_plans(plans(), name="small", configuration="3d_fullres", features_per_stage=(2, 4), patch_size=(8, 8, 8))
