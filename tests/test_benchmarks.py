"""The benchmarks run, at a tiny size, and report what they should; nothing here is timed."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))  # as when a benchmark is run; processes it starts inherit it

import device_waits  # noqa: E402
import learning_curve  # noqa: E402
import measuring  # noqa: E402
import propagation  # noqa: E402
import propagation_speed  # noqa: E402
import pseudo_mask_memory  # noqa: E402
import training_cost  # noqa: E402

from nnunetv2_simple.training.phases import FINETUNE, RETRAIN, TRAIN  # noqa: E402

CPU = torch.device("cpu")
PLANS = training_cost.default_plans([16, 32, 32], 2, spacing_mm=[2.5, 1.0, 1.0], base_features=2)


@pytest.fixture(autouse=True)
def nnunet_variables(monkeypatch):
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        monkeypatch.setenv(name, "set by the benchmark, restored after the test")


def allocate(num_mb: int) -> float:
    """Return by how much the peak memory grows while an array is there."""
    measuring.reset_peak_memory(CPU)
    before = measuring.peak_memory_mb(CPU)
    np.ones(num_mb * 2**20, dtype=np.uint8)
    return measuring.peak_memory_mb(CPU) - before


@pytest.mark.slow
def test_peak_memory_is_that_of_the_call_in_a_process_of_its_own():
    assert measuring.in_own_process(allocate, 100) == pytest.approx(100, abs=2)
    allocate(200)
    assert allocate(50) == pytest.approx(50, abs=2)  # an earlier peak is forgotten


def test_broadcast_propagation_decides_by_the_formula():
    features, target = propagation_speed.make_input(300, 120, 60, CPU)
    assert [(target == label).sum().item() for label in (1, 2)] == [60, 120]
    accepted = propagation_speed.broadcast(features, target)
    vectors, labels = features[0, :, 0, 0].double().numpy().T, target.flatten().numpy()
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = unit @ unit[labels == 1].T  # 60 positives: all are references
    expected = (labels == 2) & ((cosines > 0.96).sum(axis=1) > 0.96 * 60)
    np.testing.assert_array_equal(accepted.flatten().numpy(), expected)
    assert 20 < expected.sum() < 100


def test_propagation_speed_reports_both_sides_and_every_patch_size(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(propagation_speed, "in_own_process", lambda function, *args: calls.append(args) or 8.0)
    propagation_speed.main(["-unlabelled", "400", "-rounds", "1", "-sizes", "6", "8", "-o", str(tmp_path / "b.md")])
    report = (tmp_path / "b.md").read_text()
    assert "decisions that differ: 0 of 400" in report
    assert 0.2 < float(re.search(r"\((0\.\d+) propagated\)", report)[1]) < 0.8
    assert "share of the extra memory: **1.000**" in report  # both 8 MB: bold, as it misses its mark
    assert re.search(r"\| 6 x 6 x 6 \| 432 \| 64 \| .* \| 8 \| 0 \|", report)
    assert re.search(r"\| 8 x 8 x 8 \| 1024 \| 153 \| .* \| 8 \| 0 \|", report)
    assert len(calls) == 4


def test_extra_memory_of_propagation_counts_the_broadcast_tensor():
    extra_mb = propagation_speed.extra_memory_mb(propagation_speed.broadcast, (20_000, 10_000, 1_000), "cpu")
    assert extra_mb > 10_000 * 100 * 32 * 4 / 2**20


def test_default_plans_are_nnunets_with_six_stages():
    network = training_cost.default_plans([128, 128, 96], 2, spacing_mm=[1.0] * 3, base_features=32)
    architecture = network["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"]
    assert architecture["features_per_stage"] == [32, 64, 128, 256, 320, 320]
    assert np.prod(architecture["strides"], axis=0).tolist() == [32, 32, 16]
    small = training_cost.default_plans([40, 80, 80], 2, spacing_mm=[1.0] * 3, base_features=32)
    strides = small["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"]["strides"]
    assert (len(strides), np.prod(strides, axis=0).tolist()) == (6, [8, 16, 16])
    with pytest.raises(ValueError, match=r"patch_size must be .* got \[40, 80, 81\]"):
        training_cost.default_plans([40, 80, 81], 2, spacing_mm=[1.0] * 3, base_features=32)


def test_batch_has_the_shares_of_the_robust_recipe():
    plans = training_cost.default_plans([32, 64, 64], 1, spacing_mm=[1.0] * 3, base_features=2)
    with training_cost.nnunet_folders():
        batch = training_cost.make_batch(training_cost.make_trainer("stock", plans, CPU))
    target = batch["target"][0]
    assert (target.dtype, target.shape, len(batch["target"])) == (torch.int16, (1, 1, 32, 64, 64), 5)
    foreground, unlabelled = ((target == label).float().mean().item() for label in (1, 2))
    assert foreground == pytest.approx(0.37 / 3, rel=0.15)
    assert unlabelled == pytest.approx(0.32 / 3, rel=0.15)


def test_training_seconds_by_hand():
    step_s, validation_s = (
        {"train": 2.0, "finetune": 3.0, "retrain": 1.0},
        dict.fromkeys(("train", "finetune", "retrain"), 0.5),
    )
    assert training_cost.training_seconds((RETRAIN,), step_s, validation_s) == 1000 * (250 + 25)
    expected = 50 * (500 + 25) + 10 * (30 + 2.5) + 1000 * (250 + 25)
    assert training_cost.training_seconds((TRAIN, FINETUNE, RETRAIN), step_s, validation_s) == expected


def test_whole_ratio_by_hand():
    steps = {name: np.full(3, seconds) for name, seconds in {"stock": 2, "train": 3, "fine-tune": 8}.items()}
    validations = dict.fromkeys(steps, np.ones(2))
    stock = 1000 * (250 * 2 + 50)
    masks = 100 * 27 * 4.0
    ratio, masks_ratio = training_cost.whole_ratio("train", steps, validations, seconds_per_tile=4.0)
    assert masks_ratio == pytest.approx(masks / stock)
    assert ratio == pytest.approx((50 * (250 * 3 + 50) + 10 * (10 * 8 + 5) + stock + masks) / stock)


def test_training_cost_measures_every_variant_and_really_propagates(tmp_path, monkeypatch):
    monkeypatch.setattr(training_cost, "in_own_process", lambda function, *args: function(*args))
    seen = {}

    def recorded(step):
        def record(trainer, batch):
            assert set(batch["target"][0].unique().tolist()) == {0, 1, 2}  # nnU-Net's validation overwrites labels
            seen[step.__name__, type(trainer).__name__] = output = step(trainer, batch)
            return output

        return record

    for step in (training_cost.train_step, training_cost.validation_step):
        monkeypatch.setattr(training_cost, step.__name__, recorded(step))
    patch = ["-patch", "16", "32", "32", "-spacing", "2.5", "1", "1"]
    arguments = [*patch, "-features", "2", "-rounds", "1"]
    training_cost.main([*arguments, "-o", str(tmp_path / "a.md")])
    report = (tmp_path / "a.md").read_text()
    assert set(seen["train_step", "nnUNetTrainer"]) == {"loss"}
    assert "contrastive" in seen["train_step", "TrainTrainer"]
    assert "crf" in seen["train_step", "TrainCRFTrainer"]
    assert "propagated_share" in seen["train_step", "FinetuneTrainer"]
    assert len(seen) == 8
    assert 0.5 < float(re.search(r"propagated (\d\.\d+) of the unlabelled", report)[1]) <= 1
    assert re.search(r"\| stock \| [\d.]+ \| 1\.000 \| 1\.000 to 1\.000 \| 1\.000 \| \d+ \| 1\.000 \|", report)
    for variant in ("train", "train with L_crf", "fine-tune"):
        assert re.search(rf"\n\| {variant} \| [\d.]+ \| \**[\d.]+\** \| ", report)
    for trainer in ("SimPLeTrainer", "SimPLeTrainer_CRF"):
        assert re.search(rf"\n- {trainer}: \**[\d.]+\**, the pseudo-masks [\d.]+ of it", report)


def test_device_waits_finds_nnunets_and_none_of_the_phases(tmp_path):
    device_waits.main(["-patch", "16", "32", "32", "-features", "2", "-o", str(tmp_path / "e.md")])
    report = (tmp_path / "e.md").read_text()
    waits = {
        name: int(number) for name, number in re.findall(r"\n\| ([a-zL_ -]+) \| (\d+) \| \d+ \| [+-]\d+ \|", report)
    }
    assert waits.pop("stock") > 0
    assert waits == dict.fromkeys(("train", "train with L_crf", "fine-tune"), 0)


@pytest.mark.slow
def test_pseudo_mask_time_predicts_validates_and_writes_the_same_cases(tmp_path):
    command = [sys.executable, str(BENCHMARKS / "pseudo_mask_time.py"), "-o", str(tmp_path / "d.md"), "-rounds", "1"]
    network = ["-features", "4", "8", "8", "-patch", "12", "24", "24"]
    arguments = ["-cases", "2", "-shape", "16", "32", "32", *network]
    environment = os.environ | {"nnUNet_def_n_proc": "1", "TMPDIR": str(tmp_path)}
    subprocess.run([*command, *arguments], check=True, env=environment)
    report = (tmp_path / "d.md").read_text()
    for name in ("prediction alone", "nnU-Net's validation", "pseudo-masks"):
        total_s, per_case_s = (
            float(number) for number in re.search(rf"\| {name} \| (\S+) \| (\S+) \|", report).groups()
        )
        assert total_s > 0
        assert per_case_s == pytest.approx(total_s / 2, abs=0.01)
    assert "1 processes of nnU-Net's. 2 cases of 16 x 32 x 32 voxels, 1 rounds" in report
    assert re.search(r"takes \**\d+\.\d+\** times as long as nnU-Net's validation", report)


@pytest.mark.slow
def test_the_memory_of_a_pseudo_mask_is_that_of_a_process_of_its_own():
    assert pseudo_mask_memory.measure((12, 32, 32), 1, walk_again=True) > 0


def test_shares_of_what_propagation_labels_by_hand():
    # two references along x; unlabelled: along x and foreground, along x and not, along y and foreground
    features = torch.tensor([[1.0, 1, 1, 1, 0, 0], [0.0, 0, 0, 0.1, 1, 1]])[None, :, None, None]
    label = torch.tensor([1, 1, 2, 2, 2, 0])[None, None, None]
    reference = torch.tensor([1, 1, 1, 0, 1, 0])[None, None, None]
    found = propagation.shares_of(features, label, reference, ignore_label=2)
    assert found["all"] == [[2, 3]]
    assert found[0.96, 0.96] == ([2, 3], [1, 2], [2, 2], [0, 1])
    # towards x by cosines of 1, 1 and 0.7; no more than one of the two references has to agree
    features = torch.tensor([[1.0, 0, 1, 1, 1, 0], [0.0, 1, 0, 0, 1, -1]])[None, :, None, None]
    found = propagation.shares_of(features, label, reference, ignore_label=2)
    assert [found[key][0] for key in ((0.6, 0.96), (0.96, 0.5), (0.6, 0.5))] == [[1, 3], [0, 3], [1, 3]]


def test_a_learning_curve_counts_every_training_once(tmp_path, monkeypatch):
    monkeypatch.setattr(learning_curve, "splits_file", lambda dataset: tmp_path / f"{dataset}.json")
    (tmp_path / "501.json").write_text(json.dumps([{"train": ["a", "b", "c"], "val": ["d"]}]))
    learning_curve.add_folds(501, [2])
    learning_curve.add_folds(501, [2])  # it is there already
    assert json.loads((tmp_path / "501.json").read_text())[1:] == [{"train": ["a", "b"], "val": ["d"]}]
    with pytest.raises(ValueError, match="has 3 training cases, not 4"):
        learning_curve.add_folds(501, [4])

    def comparison(name, **dice_by_training):
        folds = {
            str(fold): {"model_folder": training, "cases": {"x": {"dice": dice}, "y": {"dice": 0.5}}}
            for fold, (training, dice) in enumerate(dice_by_training.items())
        }
        (tmp_path / name).mkdir()
        (tmp_path / name / "comparison.json").write_text(json.dumps({"methods": [{"key": "full", "folds": folds}]}))
        return tmp_path / name

    folders = [comparison("1", seed_1=0.7, few=0.6), comparison("2", seed_2=0.8), comparison("3", seed_1=0.7)]
    found = learning_curve.curves(folders, 501)["full"]
    assert list(found) == [2, 3]
    np.testing.assert_allclose(found[2], [[60, 50]])
    np.testing.assert_allclose(found[3], [[70, 50], [80, 50]])
    low, high = learning_curve.interval(np.array([[70.0, 50, 60], [80, 50, 80]]))
    assert 50 <= low < 65 < high <= 75
    learning_curve.plot({"full": found}, tmp_path / "curve.png")
    assert (tmp_path / "curve.png").stat().st_size > 1000
