import json

import pytest
from support.plain_trainers import plans

from nnunetv2_simple.nnunet import small_plans
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


def test_a_dataset_that_was_not_planned_is_named_and_nothing_is_written(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(small_plans, "nnUNet_preprocessed", str(tmp_path))
    planned = tmp_path / "Dataset501_A"
    planned.mkdir()
    (planned / "nnUNetPlans.json").write_text(json.dumps(plans()))
    assert small_plans.main(["-d", "501", "502"]) == 2
    error = capsys.readouterr().err
    assert "502" in error and str(tmp_path) in error and "nnUNetv2_plan_and_preprocess" in error
    assert [file.name for file in planned.iterdir()] == ["nnUNetPlans.json"]
    assert small_plans.main(["-d", "501", "-features", "8", "16"]) == 2
    assert "[8, 16]" in capsys.readouterr().err
    assert small_plans.main(["-d", "501", "-features", "2", "4", "6"]) == 0
    assert json.loads((planned / "nnUNetPlans_small.json").read_text())["plans_name"] == "nnUNetPlans_small"
