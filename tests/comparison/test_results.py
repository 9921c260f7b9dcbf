"""Results, tables and scores of predictions that lie there, without nnU-Net."""

import csv
import json
import os
import re
from dataclasses import replace

import numpy as np
import pytest
from support.comparison_files import (
    DENSE,
    TEST_CASES,
    WEAK,
    age,
    make_comparison,
    write_checkpoint,
    write_environment,
    write_json,
    write_volume,
)

from nnunetv2_simple.comparison.methods import METHODS, choose_methods
from nnunetv2_simple.comparison.results import collect_results, score_predictions, scores_of
from nnunetv2_simple.comparison.tables import markdown_table, write_tables
from nnunetv2_simple.comparison.training_state import save_costs

VOXEL_ML = 0.7 * 1.5 * 3.0 / 1000


@pytest.fixture
def comparison(tmp_path, monkeypatch):
    """Full supervision meets test_a (8 voxels) and a half of test_b (12 voxels), the weak method the other half."""
    write_environment(tmp_path)
    monkeypatch.setenv("nnUNet_results", str(tmp_path / "results"))
    comparison = make_comparison(tmp_path, "pce_ctr", "full", folds=[0, 1])
    for method in comparison.methods:
        for fold in comparison.folds:
            test_a, test_b = np.zeros((2, 4, 6, 8))
            test_a[1:3, 1:3, 1 : (3 if method.key == "full" else 2)] = 1
            test_b[1, 1:3, 1:4] = 1
            for case, mask in zip(TEST_CASES, (test_a, test_b), strict=True):
                write_volume(comparison.predictions(method, fold) / f"{case}.nii.gz", mask)
    return comparison


@pytest.fixture
def results(comparison):
    method = comparison.methods[0]
    age(write_checkpoint(comparison.checkpoint(method, 0), num_epochs=2), 100)
    training = comparison.training(method, 0)
    write_json(training.folder / "debug.json", {"num_epochs": "4", "num_iterations_per_epoch": "50"})
    save_costs(training, {"peak_memory_mb": 10.5, "peak_memory_of": "GPU"})
    said = []
    scores = score_predictions(comparison, said.append)
    assert not said
    return collect_results(comparison, scores)


def by_key(results: dict) -> dict:
    return {method["key"]: method for method in results["methods"]}


def test_results_by_hand(results):
    weak, full = by_key(results)["pce_ctr"], by_key(results)["full"]
    dice_b = 2 * 6 / (6 + 12)
    assert full["summary"]["dice"]["mean"] == pytest.approx((1 + dice_b) / 2)
    assert weak["summary"]["dice"]["mean"] == pytest.approx((2 * 4 / (4 + 8) + dice_b) / 2)
    assert weak["folds"]["1"]["dice_ratio_to_full"] == pytest.approx((2 / 3 + 2 / 3) / (1 + 2 / 3))
    assert full["folds"]["0"]["dice_ratio_to_full"] == 1
    case = weak["folds"]["0"]["cases"]["test_a"]
    # of the 2 x 2 x 2 reference the half along x is met: every surface element lies within 0.7 mm
    assert case["nsd"] == 1
    assert case["volume_ml"] == pytest.approx(4 * VOXEL_ML, rel=1e-5)
    assert case["reference_volume_ml"] == pytest.approx(8 * VOXEL_ML, rel=1e-5)
    assert list(case["per_label"]) == ["tumor"]
    assert weak["wilcoxon_vs_full"]["num_pairs"] == 2
    assert full["wilcoxon_vs_full"] is None


def test_results_tell_how_they_came_about(comparison, results):
    weak = by_key(results)["pce_ctr"]
    assert results["settings"]["weak"] == 501 and results["settings"]["dense"] == 502
    assert results["settings"]["folds"] == [0, 1] and results["settings"]["labels"] == {"tumor": 1}
    assert weak["dataset"] == "Dataset501_Toy" and weak["paper_dice"] == [0.6939, 0.2409]
    fold = weak["folds"]["0"]
    assert fold["commands"][0] == "nnUNetv2_train 501 3d_fullres 0 -tr SimPLeTrainer -p nnUNetPlans -device cpu"
    assert "-chk checkpoint_train.pth" in fold["commands"][1]
    assert fold["predictions"] == str(comparison.predictions(comparison.methods[0], 0))
    assert fold["cost"] == {
        **{"training_s": 20.0, "num_iterations": 100, "peak_memory_mb": 10.5, "peak_memory_of": "GPU"},
        "seed": None,
    }
    weak_folder, dense = (comparison.preprocessed / name for name in (WEAK, DENSE))
    assert results["preparation"] == [
        "nnUNetv2_extract_fingerprint -d 502 -np 1",
        f"mkdir -p {dense}",
        f"cp {comparison.raw / DENSE}/dataset.json {dense}/dataset.json",
        "nnUNetv2_move_plans_between_datasets -s 501 -t 502 -sp nnUNetPlans -tp nnUNetPlans",
        f"mkdir -p {dense}",
        f"cp {weak_folder}/splits_final.json {dense}/splits_final.json",
        "nnUNetv2_preprocess -d 502 -plans_name nnUNetPlans -c 3d_fullres -np 1",
    ]
    assert json.loads(json.dumps(results)) == results


def test_tables(comparison, results):
    write_tables(results, comparison.output_folder)
    assert json.loads((comparison.output_folder / "comparison.json").read_text()) == results
    rows = list(csv.DictReader((comparison.output_folder / "comparison.csv").open()))
    assert len(rows) == 2 * 2 * 2
    assert rows[0]["method"] == "pce_ctr" and rows[0]["case"] == "test_a" and rows[0]["fold"] == "0"
    assert float(rows[0]["dice"]) == pytest.approx(2 / 3)
    assert rows[0]["nsd"] == "1.0"
    table = (comparison.output_folder / "comparison.md").read_text()
    weak, full = (line for line in table.splitlines() if line.startswith(("| L_pce", "| full")))
    assert re.search(r"\| 66\.67 ± 0\.00 \| 66\.67 \| 66\.67 ± 0\.00 \| 50\.00 ± 0\.00 ", weak)
    assert "| 91.61 ± 8.39 | 100.0 | 0.00 | 0.800, 0.800 |" in weak and "| 0.3 min |" in weak
    assert weak.endswith("| *69.39 ± 24.09* | *57.36 ± 23.31* |")
    assert full.endswith("| – | – |")
    for stated in (
        "of the population",
        "larger of the two directed 95th percentiles",
        "paper's own numbers",
        "diagonal",
        "within 2 mm",
    ):
        assert stated in re.sub(r"\s+", " ", table)
    assert "2 test cases of each of 2 folds" in table


def scores_file(comparison):
    return comparison.output_folder / "scores" / "pce_ctr" / "fold_0.json"


def test_scores_are_kept_until_something_changes(comparison):
    method = comparison.methods[0]
    file = scores_file(comparison)

    def are_kept() -> bool:
        before = file.stat().st_mtime_ns
        scores_of(comparison, method, 0)
        return file.stat().st_mtime_ns == before

    scores_of(comparison, method, 0)
    assert are_kept()
    for changed in (comparison.predictions(method, 0) / "test_a.nii.gz", comparison.references / "test_b.nii.gz"):
        age(file, 10)
        os.utime(changed)
        assert not are_kept()
        assert are_kept()


def test_another_tolerance_scores_again(comparison):
    method = comparison.methods[0]
    assert scores_of(comparison, method, 0)["test_a"]["nsd"] == 1
    assert scores_of(replace(comparison, tolerance_mm=0.5), method, 0)["test_a"]["nsd"] < 1


def test_scores_of_earlier_versions_are_made_anew(comparison):
    method, file = comparison.methods[0], scores_file(comparison)
    expected = scores_of(comparison, method, 0)
    content = json.loads(file.read_text())
    write_json(file, {key: content[key] for key in ("references", "labels")} | {"cases": dict.fromkeys(TEST_CASES)})
    assert scores_of(comparison, method, 0) == expected


def test_predictions_on_another_grid_are_refused_naming_both_files(comparison):
    method = comparison.methods[0]
    write_volume(comparison.predictions(method, 0) / "test_a.nii.gz", np.ones((4, 6, 8)), origin=(0, 0, 1))
    with pytest.raises(ValueError, match=r"origin differs.*pce_ctr/fold_0/test_a\.nii\.gz.*references/test_a\.nii\.gz"):
        scores_of(comparison, method, 0)


def test_outdated_predictions_are_left_out(comparison):
    write_checkpoint(comparison.checkpoint(comparison.methods[1], 0), num_epochs=1)
    said = []
    scores = score_predictions(comparison, said.append)
    assert len(said) == 1 and said[0].startswith("full, fold 0 is left out") and "older than" in said[0]
    results = collect_results(comparison, scores)
    assert list(by_key(results)["full"]["folds"]) == ["1"]
    table = markdown_table(results)
    assert "| full supervision (fold 1 only) |" in table and "| L_pce + L_ctr |" in table


def test_the_papers_table_is_the_papers():
    rows = {
        method.key: (*method.paper_dice, *method.paper_jaccard) for method in METHODS if method.paper_dice is not None
    }
    assert rows == {
        "pce_crf": (0.6497, 0.2866, 0.5383, 0.2726),
        "pce_ctr": (0.6939, 0.2409, 0.5736, 0.2331),
        "simple_crf": (0.7971, 0.1772, 0.6899, 0.1884),
        "simple": (0.8120, 0.1328, 0.7001, 0.1502),
        "full_ce": (0.8152, 0.1940, 0.7210, 0.2045),
    }
    assert len({method.key for method in METHODS}) == len(METHODS)


def test_methods_are_chosen_in_the_order_of_the_table():
    keys = [method.key for method in choose_methods(["full", "pce_ctr"], has_dense=True)]
    assert keys == ["pce_ctr", "full"]
    assert "full" not in [method.key for method in choose_methods(None, has_dense=False)]
    assert choose_methods(None, has_dense=True) == METHODS


def test_unknown_methods_are_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="the methods are pce_crf, .*full; got simpel"):
        choose_methods(["simple", "simpel"], has_dense=True)


def test_dense_methods_need_a_dense_dataset():
    with pytest.raises(ValueError, match="full learn from dense masks.*-dense"):
        choose_methods(["full", "pce_ctr"], has_dense=False)
