"""The files of a small comparison, as nnU-Net and its users leave them."""

import json
import os
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
from nnunetv2.utilities.crossval_split import generate_crossval_split

from nnunetv2_simple.comparison.methods import METHODS, Method
from nnunetv2_simple.comparison.settings import Comparison

WEAK, DENSE, PLANS = "Dataset501_Toy", "Dataset502_Toy_dense", "nnUNetPlans"
TRAINING_CASES = tuple(f"train_{number}" for number in range(6))
TEST_CASES = ("test_a", "test_b")
SPLITS = generate_crossval_split(sorted(TRAINING_CASES), seed=12345, n_splits=5)


def methods(*keys: str) -> tuple[Method, ...]:
    return tuple(method for method in METHODS if method.key in keys)


def write_json(file: Path, content) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))


def write_volume(file: Path, array: np.ndarray, *, origin=(0.0, 0.0, 0.0)) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    image = sitk.GetImageFromArray(array.astype(np.uint8))
    image.SetSpacing((0.7, 1.5, 3.0))
    image.SetOrigin(origin)
    sitk.WriteImage(image, str(file))


def write_dataset(folder: Path, name: str, labels: dict[str, int], *, recipe: str = "robust") -> Path:
    """Write what a raw dataset says of itself: dataset.json and, of the converted one, provenance.json."""
    dataset = folder / "raw" / name
    entries = {case: {"images": [f"{case}_0000.nii.gz"], "label": f"{case}.nii.gz"} for case in TRAINING_CASES}
    content = {"channel_names": {"0": "MR"}, "labels": labels, "file_ending": ".nii.gz", "dataset": entries}
    write_json(dataset / "dataset.json", content)
    if name == WEAK:
        write_json(dataset / "provenance.json", {"parameters": {"recipe": recipe, "walker_channel": 0}})
    return dataset


def write_environment(folder: Path, *, recipe: str = "robust") -> None:
    """Write weak and dense dataset, the plans of the weak one, and test images with references."""
    write_dataset(folder, WEAK, {"background": 0, "tumor": 1, "ignore": 2}, recipe=recipe)
    write_dataset(folder, DENSE, {"background": 0, "tumor": 1})
    write_plans(folder, WEAK)
    (folder / "results").mkdir()
    for number, case in enumerate(TEST_CASES):
        reference = np.zeros((4, 6, 8))
        reference[1:3, 1:3, 1 : 3 + number] = 1
        write_volume(folder / "images" / f"{case}_0000.nii.gz", 10 * reference)
        write_volume(folder / "references" / f"{case}.nii.gz", reference)


def write_plans(folder: Path, dataset: str, *, patch_size=(8, 16, 16)) -> None:
    configuration = {"data_identifier": "nnUNetPlans_3d_fullres", "patch_size": list(patch_size), "architecture": {}}
    content = {"dataset_name": dataset, "configurations": {"3d_fullres": configuration}}
    write_json(folder / "preprocessed" / dataset / f"{PLANS}.json", content)


def environment_variables(folder: Path) -> dict[str, str]:
    return {f"nnUNet_{name}": str(folder / name) for name in ("raw", "preprocessed", "results")}


def make_comparison(folder: Path, *keys: str, **changes) -> Comparison:
    comparison = Comparison(
        datasets={"weak": WEAK, "dense": DENSE},
        methods=methods(*keys),
        folds=[0],
        configuration="3d_fullres",
        plans=PLANS,
        length=None,
        device="cpu",
        num_processes=1,
        mirror=True,
        images=folder / "images",
        references=folder / "references",
        cases=TEST_CASES,
        labels={"tumor": 1},
        tolerance_mm=2.0,
        file_ending=".nii.gz",
        walker_channel=0,
        output_folder=folder / "out",
        raw=folder / "raw",
        preprocessed=folder / "preprocessed",
        results=folder / "results",
    )
    return replace(comparison, **changes)


def write_checkpoint(file: Path, *, num_epochs: int, start: float = 100.0, epoch_s: float = 10.0) -> Path:
    """Write what of nnU-Net's checkpoints tells how far a training is; an epoch is followed by a pause of a second."""
    file.parent.mkdir(parents=True, exist_ok=True)
    starts = [start + epoch * (epoch_s + 1) for epoch in range(num_epochs)]
    logging = {"epoch_start_timestamps": starts, "epoch_end_timestamps": [time + epoch_s for time in starts]}
    weights = {"weight": torch.zeros(1000)}
    torch.save({"network_weights": weights, "current_epoch": num_epochs, "logging": logging}, file)
    return file


def truncate(file: Path) -> None:
    """Leave what an interrupted write leaves."""
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    assert not zipfile.is_zipfile(file)


def age(file: Path, seconds: float) -> None:
    """Make a file older."""
    found = file.stat()
    os.utime(file, (found.st_atime - seconds, found.st_mtime - seconds))
