"""Same cases, classes, plans and splits, or a clear word on what differs."""

import numpy as np
import pytest
from support.comparison_files import (
    DENSE,
    PLANS,
    SPLITS,
    TEST_CASES,
    TRAINING_CASES,
    WEAK,
    make_comparison,
    write_dataset,
    write_environment,
    write_json,
    write_plans,
    write_volume,
)

from nnunetv2_simple.comparison.datasets import (
    check_datasets,
    dataset_json,
    find_datasets,
    find_test_cases,
    walker_channel,
    weak_splits,
)
from nnunetv2_simple.nnunet.datasets import find_dataset


@pytest.fixture
def folder(tmp_path, monkeypatch):
    write_environment(tmp_path)
    monkeypatch.setenv("nnUNet_results", str(tmp_path / "results"))
    return tmp_path


def find(folder, *kinds: str) -> dict[str, str]:
    folders = [folder / name for name in ("raw", "preprocessed", "results")]
    return find_datasets(kinds, weak=WEAK, dense=DENSE, folders=folders)


def test_datasets_are_found_by_id(folder):
    assert find_dataset(501, folder / "raw").name == WEAK
    with pytest.raises(ValueError, match=r"one dataset of the id 777 .*got none"):
        find_dataset(777, folder / "raw")
    (folder / "raw" / "Dataset501_Other").mkdir()
    with pytest.raises(ValueError, match="Dataset501_Other"):
        find_dataset(501, folder / "raw")


def test_baselines_to_be_written_get_the_smallest_free_ids(folder):
    (folder / "results" / "Dataset504_Somebody").mkdir()
    assert find(folder, "weak", "paper", "walker") == {
        "weak": WEAK,
        "walker": "Dataset503_Toy_walker",
        "paper": "Dataset505_Toy_paper",
    }


def test_only_datasets_that_are_learned_from_are_prepared(folder):
    assert find(folder, "dense") == {"weak": WEAK, "dense": DENSE}
    assert find(folder, "weak") == {"weak": WEAK}


def test_baselines_that_are_there_keep_their_ids(folder):
    for name in ("Dataset520_Toy_walker", "Dataset521_Other_Toy_walker", "Dataset522_Toy_walker_old"):
        (folder / "raw" / name).mkdir()
    assert find(folder, "walker")["walker"] == "Dataset520_Toy_walker"


def test_two_baselines_of_a_kind_are_refused(folder):
    for name in ("Dataset520_Toy_walker", "Dataset530_Toy_walker"):
        (folder / "raw" / name).mkdir()
    with pytest.raises(ValueError, match="Dataset520_Toy_walker.*Dataset530_Toy_walker"):
        find(folder, "walker")


def test_labels_of_the_papers_recipe_are_the_weak_ones_where_those_are(tmp_path):
    write_environment(tmp_path, recipe="paper")
    assert find(tmp_path, "paper")["paper"] == WEAK


def test_baselines_need_a_converted_dataset(folder):
    (folder / "raw" / WEAK / "provenance.json").unlink()
    with pytest.raises(ValueError, match="not written by nnUNetv2_simple_convert"):
        find(folder, "walker")
    assert walker_channel(folder / "raw" / WEAK) == 0


def test_regions_are_refused(folder):
    file = folder / "raw" / WEAK / "dataset.json"
    write_json(file, dataset_json(file.parent) | {"labels": {"background": 0, "whole": [1, 2], "ignore": 3}})
    with pytest.raises(ValueError, match=f"{WEAK} .*region-based"):
        dataset_json(file.parent)


def test_every_test_case_needs_its_reference_and_all_channels(folder):
    content = dataset_json(folder / "raw" / WEAK)
    images, references = folder / "images", folder / "references"
    assert find_test_cases(images, references, content) == list(TEST_CASES)
    with pytest.raises(ValueError, match="test case test_a lacks .*test_a_0001"):
        find_test_cases(images, references, content | {"channel_names": {"0": "pre", "1": "post"}})
    (references / "test_b.nii.gz").unlink()
    with pytest.raises(ValueError, match="test case test_b lacks its reference .*test_b.nii.gz"):
        find_test_cases(images, references, content)
    with pytest.raises(ValueError, match="no test images"):
        find_test_cases(references, references, content | {"file_ending": ".nrrd"})


def test_references_on_another_grid_are_refused_before_anything_is_trained(folder):
    write_volume(folder / "references" / "test_b.nii.gz", np.ones((4, 6, 8)), origin=(0, 0, 5))
    with pytest.raises(ValueError, match=r"origin differs.*test_b_0000\.nii\.gz.*references/test_b\.nii\.gz"):
        find_test_cases(folder / "images", folder / "references", dataset_json(folder / "raw" / WEAK))


def test_equal_datasets_pass(folder):
    write_plans(folder, DENSE)
    write_json(folder / "preprocessed" / DENSE / "splits_final.json", SPLITS)
    check_datasets(make_comparison(folder, "full"))


def test_an_unplanned_dataset_is_refused_with_the_command_that_plans_it(folder):
    (folder / "preprocessed" / WEAK / f"{PLANS}.json").unlink()
    with pytest.raises(ValueError, match="nnUNetv2_plan_and_preprocess -d 501 -c 3d_fullres"):
        check_datasets(make_comparison(folder, "full"))


def test_a_configuration_that_is_not_planned_is_refused(folder):
    with pytest.raises(ValueError, match=r"\['3d_fullres'\], not 3d_lowres"):
        check_datasets(make_comparison(folder, "full", configuration="3d_lowres"))


def test_other_plans_are_refused_naming_both_files(folder):
    write_plans(folder, DENSE, patch_size=(8, 16, 24))
    with pytest.raises(ValueError, match=rf"{DENSE}/{PLANS}.json must be the same as .*{WEAK}/{PLANS}.json"):
        check_datasets(make_comparison(folder, "full"))


def test_other_splits_are_refused_naming_both_files(folder):
    write_json(folder / "preprocessed" / DENSE / "splits_final.json", SPLITS[::-1])
    with pytest.raises(ValueError, match=rf"{DENSE}/splits_final.json must be the same as .*{WEAK}/splits_final.json"):
        check_datasets(make_comparison(folder, "full"))


def test_other_cases_are_refused(folder):
    content = dataset_json(folder / "raw" / DENSE)
    del content["dataset"]["train_3"]
    write_json(folder / "raw" / DENSE / "dataset.json", content)
    with pytest.raises(ValueError, match=r"same training cases.*\['train_3'\]"):
        check_datasets(make_comparison(folder, "full"))


def test_training_cases_test_nothing(folder):
    with pytest.raises(ValueError, match=f"training cases .*{TRAINING_CASES[0]}"):
        check_datasets(make_comparison(folder, "simple", "full", cases=[*TEST_CASES, TRAINING_CASES[0]]))


def test_weak_labels_are_no_full_supervision(folder):
    with pytest.raises(ValueError, match="-dense must be a dataset of dense masks.*unlabelled voxels"):
        check_datasets(make_comparison(folder, "full", datasets={"weak": WEAK, "dense": WEAK}))
    write_json(folder / "raw" / DENSE / "provenance.json", {"kind": "walker"})
    with pytest.raises(ValueError, match=f"-dense must be .*{DENSE} has labels of the kind walker"):
        check_datasets(make_comparison(folder, "full"))


def test_other_classes_are_refused(folder):
    write_dataset(folder, DENSE, {"background": 0, "tumor": 1, "node": 2})
    with pytest.raises(ValueError, match=r"classes {'tumor': 1}.*'node': 2"):
        check_datasets(make_comparison(folder, "full"))


def test_splits_are_nnunets_own(folder):
    comparison = make_comparison(folder, "full")
    assert weak_splits(comparison) == SPLITS
    content = dataset_json(folder / "raw" / WEAK)
    content["dataset"] = {case: content["dataset"][case] for case in TRAINING_CASES[:4]}
    write_json(folder / "raw" / WEAK / "dataset.json", content)
    with pytest.raises(ValueError, match="at least 5 cases.*got 4.*-f all"):
        weak_splits(comparison)
