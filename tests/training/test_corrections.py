"""A mixed cohort through all phases, corrected by hand on the way: docs/corrections.md, end to end."""

import json
from pathlib import Path

import blosc2
import numpy as np
import pytest
import SimpleITK as sitk
from support.nnunet_environment import PLANS, NNUNetEnvironment

from nnunetv2_simple.demo.phantom import generate_phantom, write_phantom
from nnunetv2_simple.extreme_points.points import extreme_points_from_mask
from nnunetv2_simple.nnunet.small_plans import shrink_plans

TRAINER = "SimPLeTrainer_Brief"
CLICKED, PAINTED, HEALTHY, INDEX_LESION, VALIDATION = (f"case_{number}" for number in range(5))
IGNORE = 2
CORNER = (slice(0, 3), slice(0, 3), slice(0, 3))  # far from every lesion
MARGIN_MM = 6


def read(file: Path) -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.ReadImage(str(file)))


def correct(file: Path) -> None:
    """Paint a corner of a mask."""
    image = sitk.ReadImage(str(file))
    array = sitk.GetArrayFromImage(image)
    array[CORNER] = 1
    corrected = sitk.GetImageFromArray(array)
    corrected.CopyInformation(image)
    sitk.WriteImage(corrected, str(file))


def click(folder: Path, case: str, *, grown: int = 0) -> None:
    points = extreme_points_from_mask(read(folder / "masks" / f"{case}.nii.gz"))
    points[::2] -= grown * np.eye(3, dtype=int)
    content = {"coordinates": "voxel", "points": points[:, ::-1].tolist()}
    (folder / "clicks" / f"{case}.json").write_text(json.dumps(content))


@pytest.fixture(scope="module")
def environment(tmp_path_factory) -> NNUNetEnvironment:
    """Images and what there is of annotations; converted, one label corrected, one case clicked anew; preprocessed."""
    folder = tmp_path_factory.mktemp("corrections")
    environment = NNUNetEnvironment(folder)
    for name in ("raw", "preprocessed", "results", "clicks", "painted"):
        (folder / name).mkdir()
    for number in range(5):
        options = {"shape": (20, 44, 40), "spacing_mm": (3.0, 1.6, 1.6)}
        write_phantom(
            generate_phantom(np.random.default_rng([1, number]), **options),
            folder,
            f"case_{number}",
            channels=("post_contrast",),
        )
    for case in (CLICKED, INDEX_LESION, VALIDATION):
        click(folder, case)
    (folder / "masks" / f"{PAINTED}.nii.gz").rename(folder / "painted" / f"{PAINTED}.nii.gz")
    (folder / "healthy.txt").write_text(HEALTHY)
    (folder / "index_lesion_only.txt").write_text(INDEX_LESION)
    convert = ("nnUNetv2_simple_convert", "-i", folder / "images", "-a", folder / "clicks", "-p", folder / "painted")
    convert += ("-negative", folder / "healthy.txt", "-unannotated", "ignore", "-margin_mm", MARGIN_MM)
    convert += ("-unannotated_cases", folder / "index_lesion_only.txt", "-d", 501, "-n", "Tiny", "-np", 1)
    environment.run(*convert)
    correct(environment.dataset / "labelsTr" / f"{CLICKED}.nii.gz")
    before = label_times(environment)
    click(folder, INDEX_LESION, grown=1)
    environment.run(*convert, "--changed")
    after = label_times(environment)
    assert {case for case in before if before[case] != after[case]} == {INDEX_LESION}
    environment.run("nnUNetv2_plan_and_preprocess", "-d", 501, "-c", "3d_fullres", "-npfp", 1, "-np", 1)
    plans = json.loads((environment.preprocessed / "nnUNetPlans.json").read_text())
    sizes = {"features_per_stage": (4, 8, 8), "patch_size": (12, 24, 24)}
    tiny = shrink_plans(plans, name=PLANS, configuration="3d_fullres", **sizes)
    (environment.preprocessed / f"{PLANS}.json").write_text(json.dumps(tiny))
    split = {"train": [CLICKED, PAINTED, HEALTHY, INDEX_LESION], "val": [VALIDATION]}
    (environment.preprocessed / "splits_final.json").write_text(json.dumps([split]))
    return environment


def label_times(environment: NNUNetEnvironment) -> dict[str, int]:
    files = (environment.dataset / "labelsTr").glob("*.nii.gz")
    return {file.name.removesuffix(".nii.gz"): file.stat().st_mtime_ns for file in files}


@pytest.fixture(scope="module")
def stopped(environment) -> dict[str, np.ndarray]:
    """The pseudo-masks at which the training stops."""
    variables = {"nnUNet_simple_stop_after": "finetune"}
    output = environment.run(*environment.train_command(TRAINER), variables=variables)
    fold = environment.fold_folder(TRAINER)
    assert not (fold / "checkpoint_final.pth").exists()
    assert all(f"Validation by clicks after phase {phase}: " in output for phase in ("train", "finetune"))
    return {case: read(fold / "pseudo_masks" / f"{case}.nii.gz") for case in environment.splits["train"]}


def test_what_is_known_of_a_case_is_its_pseudo_mask(environment, stopped):
    np.testing.assert_array_equal(stopped[PAINTED], read(environment.folder / "painted" / f"{PAINTED}.nii.gz"))
    assert not stopped[HEALTHY].any()


def test_a_label_corrected_before_the_training_is_kept(stopped):
    assert (stopped[CLICKED][CORNER] == 1).all()


def test_what_nobody_annotated_stays_ignored(environment, stopped):
    label = read(environment.dataset / "labelsTr" / f"{INDEX_LESION}.nii.gz")
    mask = stopped[INDEX_LESION]
    assert (mask[CORNER] == IGNORE).all() and (label[CORNER] == IGNORE).all()
    assert {0, 1} <= set(np.unique(mask).tolist())
    assert not (mask[label == 0] == IGNORE).any()


def test_a_corrected_pseudo_mask_is_learned_when_the_training_goes_on(environment, stopped):
    fold = environment.fold_folder(TRAINER)
    correct(fold / "pseudo_masks" / f"{INDEX_LESION}.nii.gz")
    environment.run(*environment.train_command(TRAINER, "--c"))
    assert (fold / "checkpoint_final.pth").is_file()
    label = blosc2.open(str(fold / "pseudo_masks_preprocessed" / f"{INDEX_LESION}.b2nd"))[:]
    assert (label == 1).any() and (label == IGNORE).any() and label[0, 1, 1, 1] == 1
    scores = json.loads((fold / "validation" / "click_scores.json").read_text())
    assert scores["all"]["num_lesions"] == 1 and list(scores["cases"]) == [VALIDATION]
