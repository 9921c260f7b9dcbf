"""What else nnU-Net's trainer does, through its command line: configurations, architectures, flags, ensembles."""

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from support.nnunet_environment import NNUNetEnvironment, build_environment

from nnunetv2_simple.nnunet.small_plans import shrink_plans

TRAINER, PLANS = "SimPLeTrainer_Brief", "nnUNetPlans_all"
RESENC = ("M", "L")  # nnU-Net's sizes of the residual encoder
CHECKPOINTS = {"checkpoint_train.pth", "checkpoint_finetune.pth", "checkpoint_final.pth", "checkpoint_best.pth"}


@pytest.fixture(scope="module")
def environment(tmp_path_factory) -> NNUNetEnvironment:
    """Plans with 2d, 3d_lowres and 3d_fullres, and plans with residual encoders."""
    environment = build_environment(tmp_path_factory.mktemp("configurations"))
    tiny = {"features_per_stage": (4, 8, 8)}
    plans = json.loads((environment.preprocessed / "nnUNetPlans.json").read_text())
    plans["configurations"]["3d_lowres"] = plans["configurations"]["3d_fullres"]
    chosen = {
        "2d": {"patch_size": (24, 24)},
        "3d_lowres": {"patch_size": (12, 16, 16), "spacing_mm": (4.0, 2.2, 2.2)},
        "3d_fullres": {"patch_size": (12, 24, 24)},
    }
    configurations = {
        name: shrink_plans(plans, name=PLANS, configuration=name, **tiny, **options)["configurations"][name]
        for name, options in chosen.items()
    }
    save(environment, plans | {"plans_name": PLANS, "configurations": configurations})
    for size in RESENC:
        environment.run("nnUNetv2_plan_experiment", "-d", 501, "-pl", f"nnUNetPlannerResEnc{size}")
        resenc = json.loads((environment.preprocessed / f"nnUNetResEncUNet{size}Plans.json").read_text())
        name = f"nnUNetPlans_resenc{size}"
        save(environment, shrink_plans(resenc, name=name, configuration="3d_fullres", **tiny, **chosen["3d_fullres"]))
    environment.run(
        *("nnUNetv2_preprocess", "-d", 501, "-plans_name", PLANS, "-c", "2d", "3d_lowres", "-np", 1, 1),
    )
    return environment


def save(environment: NNUNetEnvironment, plans: dict) -> None:
    (environment.preprocessed / f"{plans['plans_name']}.json").write_text(json.dumps(plans))


def train(environment, configuration: str, *flags: str, plans: str = PLANS, fold: int | str = 0) -> Path:
    """Return the folder of the fold."""
    environment.run(
        *("nnUNetv2_train", 501, configuration, fold, "-tr", TRAINER, "-p", plans, "-device", "cpu", *flags)
    )
    return environment.fold_folder(TRAINER).parents[1] / f"{TRAINER}__{plans}__{configuration}" / f"fold_{fold}"


def checkpoints(fold: Path) -> set[str]:
    return {file.name for file in fold.glob("*.pth*")}


def check_pseudo_masks(environment: NNUNetEnvironment, fold: Path, cases: list[str]) -> None:
    """One mask per case, in the geometry of its image."""
    assert sorted(file.name for file in (fold / "pseudo_masks").iterdir()) == sorted(f"{c}.nii.gz" for c in cases)
    for case in cases:
        mask = sitk.ReadImage(str(fold / "pseudo_masks" / f"{case}.nii.gz"))
        image = sitk.ReadImage(str(environment.dataset / "imagesTr" / f"{case}_0000.nii.gz"))
        assert mask.GetSize() == image.GetSize()
        assert mask.GetSpacing() == image.GetSpacing()


@pytest.fixture(scope="module")
def fold_2d(environment) -> Path:
    return train(environment, "2d", "--npz")


@pytest.fixture(scope="module")
def fold_3d(environment) -> Path:
    return train(environment, "3d_fullres", "--npz")


def test_2d(environment, fold_2d):
    assert checkpoints(fold_2d) == CHECKPOINTS
    check_pseudo_masks(environment, fold_2d, environment.splits["train"])


def test_3d_lowres(environment):
    fold = train(environment, "3d_lowres")
    assert checkpoints(fold) == CHECKPOINTS
    check_pseudo_masks(environment, fold, environment.splits["train"])


@pytest.mark.parametrize("size", RESENC)
def test_residual_encoder(environment, size):
    fold = train(environment, "3d_fullres", plans=f"nnUNetPlans_resenc{size}")
    assert checkpoints(fold) == CHECKPOINTS


def test_fold_all_learns_from_pseudo_masks_of_every_case(environment):
    fold = train(environment, "3d_fullres", fold="all")
    assert checkpoints(fold) == CHECKPOINTS
    check_pseudo_masks(environment, fold, [f"case_{number}" for number in range(5)])


def test_npz_keeps_the_validation_probabilities(environment, fold_3d):
    probabilities = np.load(next((fold_3d / "validation").glob("*.npz")))["probabilities"]
    assert probabilities.shape[0] == 2


@pytest.mark.parametrize("flag", ["--val", "--val_best"])
def test_validation_alone(environment, fold_3d, flag):
    summary = fold_3d / "validation" / "summary.json"
    summary.unlink(missing_ok=True)
    before = {file: (fold_3d / file).read_bytes() for file in CHECKPOINTS}
    train(environment, "3d_fullres", "--val", *([flag] if flag != "--val" else []))
    assert summary.is_file()
    assert {file: (fold_3d / file).read_bytes() for file in CHECKPOINTS} == before


def test_disabled_checkpointing_writes_none(environment):
    fold = train(environment, "3d_fullres", "--disable_checkpointing", fold=1)
    assert checkpoints(fold) == set()
    assert (fold / "validation" / "summary.json").is_file()


def test_nnunet_finds_the_best_configuration_and_ensembles(environment, fold_2d, fold_3d):
    environment.run(
        *("nnUNetv2_find_best_configuration", 501, "-p", PLANS, "-c", "2d", "3d_fullres", "-tr", TRAINER),
        *("-f", 0, "-np", 1),
    )
    results = environment.fold_folder(TRAINER).parents[1]
    assert (results / "inference_instructions.txt").is_file()
    folders = [
        predict(environment, configuration, environment.folder / name)
        for configuration, name in (("2d", "predicted_2d"), ("3d_fullres", "predicted_3d"))
    ]
    environment.run("nnUNetv2_ensemble", "-i", *folders, "-o", environment.folder / "ensemble", "-np", 1)
    assert len(list((environment.folder / "ensemble").glob("*.nii.gz"))) == 5


def predict(environment: NNUNetEnvironment, configuration: str, output: Path) -> Path:
    environment.run(
        *("nnUNetv2_predict", "-d", 501, "-i", environment.folder / "images", "-o", output, "-c", configuration),
        *("-f", 0, "-tr", TRAINER, "-p", PLANS, "-device", "cpu", "-npp", 1, "-nps", 1, "--save_probabilities"),
        "--disable_tta",
    )
    return output
