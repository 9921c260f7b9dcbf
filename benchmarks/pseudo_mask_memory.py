"""Peak memory of turning a prediction into a pseudo-mask, by the network alone and by a second walk.

    python benchmarks/pseudo_mask_memory.py

Each is measured in a process of its own, without the Python packages and without the logits, which the training holds.
nnU-Net's own export of a prediction is part of both.
"""

import json
import tempfile
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
from measuring import in_own_process, peak_memory_mb, reset_peak_memory
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunetv2_simple.extreme_points.points import extreme_points_from_mask
from nnunetv2_simple.training.pseudo_masks import PseudoMaskWriter

CPU = torch.device("cpu")
SIZES, NUMBERS_OF_CLASSES, CASE = ((64, 192, 192), (128, 256, 256)), (1, 3), "case"
RESAMPLING = {
    "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
    "resampling_fn_probabilities_kwargs": {"is_seg": False, "order": 1, "order_z": 0, "force_separate_z": None},
}
PLANS = {
    "dataset_name": "Dataset999_None",
    "plans_name": "plans",
    "transpose_forward": [0, 1, 2],
    "transpose_backward": [0, 1, 2],
    "image_reader_writer": "SimpleITKIO",
    "label_manager": "LabelManager",
    "configurations": {"3d_fullres": {"spacing": [1.0, 1.0, 1.0], "architecture": {}, **RESAMPLING}},
}


def write_case(folder: Path, size: tuple[int, ...]) -> dict:
    """Write image, record and weak label of a ball in noise; return the properties nnU-Net would have of it."""
    generator, distance = np.random.default_rng(0), np.zeros(size, dtype=np.float32)
    for axis, length in enumerate(size):
        offset = np.arange(length, dtype=np.float32) - length // 2
        distance += (offset**2).reshape([-1 if other == axis else 1 for other in range(3)])
    ball = distance < min(20, min(size) // 3) ** 2
    image = generator.normal(100 + 60 * ball, 8).astype(np.float32)
    for name, array in {
        f"imagesTr/{CASE}_0000": image,
        f"labels/{CASE}": np.where(ball, 1, 0).astype(np.uint8),
    }.items():
        (folder / name).parent.mkdir()
        sitk.WriteImage(sitk.GetImageFromArray(array), str(folder / f"{name}.nii.gz"))
    points = extreme_points_from_mask(ball).tolist()
    parameters = {"channel_names": ["MR"], "walker_channel": 0, "walker_subtracts_channel": None}
    record = {
        "inputs": {"images": [], "mask": None, "annotations": []},
        "parameters": parameters,
        "lesions": [{"label": 1, "extreme_points_zyx": points, "axes_zyx": None}],
        "label_sha256": "",
    }
    (folder / "provenance").mkdir()
    (folder / "provenance" / f"{CASE}.json").write_text(json.dumps(record))
    return {
        "spacing": [1.0, 1.0, 1.0],
        "shape_before_cropping": size,
        "shape_after_cropping_and_before_resampling": size,
        "bbox_used_for_cropping": [[0, length] for length in size],
        "sitk_stuff": {"spacing": (1.0,) * 3, "origin": (0.0,) * 3, "direction": tuple(np.eye(3).ravel())},
    }


def measure(size: tuple[int, ...], num_classes: int, *, walk_again: bool) -> float:
    """Return the bytes per voxel that a process of its own needs at its peak."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        properties = write_case(folder, size)
        (folder / "masks").mkdir()
        return in_own_process(_peak_bytes, folder, size, num_classes, walk_again, properties) / np.prod(size)


def _peak_bytes(folder: Path, size: tuple[int, ...], num_classes: int, walk_again: bool, properties: dict) -> float:
    plans = PlansManager(PLANS)
    labels = {"background": 0} | {f"class_{label}": label for label in range(1, num_classes + 1)}
    dataset_json = {"labels": labels | {"ignore": num_classes + 1}, "file_ending": ".nii.gz"}
    places = (str(folder / "labels"), str(folder / "masks"), walk_again, folder)
    writer = PseudoMaskWriter(plans, plans.get_configuration("3d_fullres"), dataset_json, *places)
    logits = torch.rand(num_classes + 1, *size)
    reset_peak_memory(CPU)
    before = peak_memory_mb(CPU)
    writer.write(CASE, logits, properties)
    return (peak_memory_mb(CPU) - before) * 2**20


def main() -> None:
    torch.set_num_threads(1)
    print("| voxels | classes | network alone (bytes per voxel) | second walk (bytes per voxel) |\n|---|---|---|---|")
    for size in SIZES:
        for num_classes in NUMBERS_OF_CLASSES:
            found = [measure(size, num_classes, walk_again=walk_again) for walk_again in (False, True)]
            cells = [f"{size[0]} x {size[1]} x {size[2]}", num_classes, *(f"{value:.0f}" for value in found)]
            print("| " + " | ".join(map(str, cells)) + " |", flush=True)


if __name__ == "__main__":
    main()
