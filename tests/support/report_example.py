"""A comparison of made-up methods on blocks of voxels, with every file that the report reads."""

import json
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
from nnunetv2.training.logging.nnunet_logger import LocalLogger

SHAPE, SPACING_MM = (7, 20, 15), (4.0, 1.5, 2.0)
TEST_CASES, TRAINING_CASES = ("case_1", "case_2", "case_3", "case_4"), ("train_1", "train_2", "train_3")
DICE = {  # by case; test_report.py works with these numbers
    "pce_ctr": (0.10, 0.50, 0.60, 0.80),
    "simple": (0.20, 0.60, 0.70, 0.90),
    "walker": (0.40, 0.60, 0.80, 0.90),
    "full": (0.50, 0.80, 0.90, 1.00),
}
TITLES = {
    "pce_ctr": "L_pce + L_ctr",
    "simple": "L_pce + L_ctr + SimPLe",
    "walker": "stock nnU-Net on the random walker's result",
    "full": "full supervision",
}
DATASETS = {"weak": "Dataset501_Blocks", "dense": "Dataset502_Blocks_dense", "walker": "Dataset503_Blocks_walker"}
ROLES = {"pce_ctr": "paper", "simple": "paper", "walker": "rival", "full": "full supervision"}
PHASES = (("train", 4), ("finetune", 6))  # name, first epoch after it; 9 epochs in all


def write_volume(file: Path, array: np.ndarray, *, direction=None) -> None:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(SPACING_MM[::-1])
    image.SetOrigin((5.0, -3.0, 11.0))
    if direction is not None:
        image.SetDirection(direction)
    file.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(file))


def block(*sides: tuple[int, int], label: int = 1, array: np.ndarray | None = None) -> np.ndarray:
    """A block of voxels with a label."""
    array = np.zeros(SHAPE, dtype=np.uint8) if array is None else array
    array[tuple(slice(*side) for side in sides)] = label
    return array


REFERENCE = block((2, 5), (6, 14), (4, 10))


def prediction(method: str, place: int) -> np.ndarray:
    """The reference, longer along y the worse the method; the first case of pce_ctr is empty."""
    if method == "pce_ctr" and place == 0:
        return np.zeros(SHAPE, dtype=np.uint8)
    return block((2, 5), (6, 14 + round(4 * (1 - DICE[method][place]))), (4, 10))


def write_checkpoint(folder: Path, name: str, num_epochs: int) -> None:
    """A checkpoint with what the report reads of nnU-Net's, and nnU-Net's own log."""
    logger = LocalLogger()
    for epoch in range(num_epochs):
        for key in ("train_losses", "val_losses", "lrs", "mean_fg_dice", "ema_fg_dice"):
            logger.log(key, np.float32(1 / (epoch + 1)), epoch)
        logger.log("dice_per_class_or_region", [0.5], epoch)
        logger.log("epoch_start_timestamps", 100.0 * epoch, epoch)
        logger.log("epoch_end_timestamps", 100.0 * epoch + 60, epoch)
    logging = logger.get_checkpoint()
    logging["contrastive"] = [0.5 if epoch < 4 else float("nan") for epoch in range(num_epochs)]
    logging["propagated_share"] = [0.1 if 4 <= epoch < 6 else float("nan") for epoch in range(num_epochs)]
    folder.mkdir(parents=True, exist_ok=True)
    torch.save({"logging": logging, "current_epoch": num_epochs}, folder / f"checkpoint_{name}.pth")


def write_raw_datasets(raw: Path) -> None:
    weak, walker = raw / "Dataset501_Blocks", raw / "Dataset503_Blocks_walker"
    generator = np.random.default_rng(0)
    records = {}
    for place, case in enumerate(TRAINING_CASES):
        write_volume(weak / f"imagesTr/{case}_0000.nii.gz", generator.normal(100, 20, SHAPE).astype(np.float32))
        box = block((2, 5), (6, 14), (4, 10), label=2)
        write_volume(weak / f"labelsTr/{case}.nii.gz", block((3, 4), (8 - place, 12), (5, 9), array=box))
        write_volume(walker / f"labelsTr/{case}.nii.gz", block((2, 5), (7, 14), (4, 10)))
        write_volume(weak / f"referencesTr/{case}.nii.gz", REFERENCE)
        points = [[2, 9, 6], [4, 9, 6], [3, 6, 6], [3, 13, 6], [3, 9, 4], [3, 9, 9]]
        records[case] = {"lesions": [{"extreme_points_zyx": points, "label": 1}]}
    labels = {"background": 0, "tumor": 1, "ignore": 2}
    content = {"channel_names": {"0": "T1"}, "labels": labels, "numTraining": 3, "file_ending": ".nii.gz"}
    (weak / "dataset.json").write_text(json.dumps(content))
    (weak / "provenance.json").write_text(json.dumps({"cases": records}))


def summary(cases: dict) -> dict:
    values = {name: [case[name] for case in cases.values()] for name in ("dice", "jaccard", "hd95_mm", "assd_mm")}
    return {
        name: {"mean": float(np.mean(v)), "std": float(np.std(v)), "median": float(np.median(v))}
        for name, v in values.items()
    }


def method_entry(folder: Path, key: str, folds: tuple[str, ...]) -> dict:
    labels = {"full": "dense", "walker": "walker"}.get(key, "weak")
    results = {}
    for fold in folds:
        predictions = folder / "out" / "predictions" / key / f"fold_{fold}"
        cases = {}
        for place, case in enumerate(TEST_CASES):
            write_volume(predictions / f"{case}.nii.gz", prediction(key, place))
            dice = DICE[key][place]
            scores = {"dice": dice, "jaccard": dice / 2, "hd95_mm": 10 * (1 - dice), "assd_mm": 2 * (1 - dice)}
            cases[case] = scores | {"volume_ml": 1.0, "reference_volume_ml": 1.0, "per_label": {"tumor": scores}}
        name = "SimPLeTrainer" if labels == "weak" else f"nnUNetTrainer_of_{key}"
        ratio = float(np.mean(DICE[key]) / np.mean(DICE["full"]))
        results[fold] = {
            "model_folder": str(folder / "results" / name / f"fold_{fold}"),
            "predictions": str(predictions),
            "commands": [f"nnUNetv2_train 501 3d_fullres {fold} -tr {name}", "nnUNetv2_predict -d 501"],
            "cost": {"training_s": 5400.0, "peak_memory_mb": 2048.0, "num_iterations": 1700, "seed": 12345},
            "dice_ratio_to_full": None if key == "full" else ratio,
            "summary": summary(cases),
            "cases": cases,
        }
    p_value = {"pce_ctr": 0.0004, "simple": 0.0312, "walker": 0.25}.get(key)
    return {
        "key": key,
        "title": TITLES[key],
        "role": ROLES[key],
        "annotation": "dense mask" if key == "full" else "six clicks",
        "labels": labels,
        "dataset": DATASETS[labels],
        "trainer": name,
        "checkpoint": "checkpoint_train.pth" if key == "pce_ctr" else "checkpoint_final.pth",
        "paper_dice": [0.8120, 0.1328] if key == "simple" else None,
        "paper_jaccard": [0.7001, 0.1502] if key == "simple" else None,
        "summary": summary(cases),
        "wilcoxon_vs_full": None
        if p_value is None
        else {
            **{"statistic": 1.0, "p_value": p_value, "num_pairs": 7, "mean_difference": -0.2},
            **{"difference_interval": [-0.275, -0.125], "non_inferior": False, "margin": 0.03},
        },
        "folds": results,
    }


def write_comparison(folder: Path, *, methods: tuple[str, ...] = tuple(DICE), folds: tuple[str, ...] = ("0",)) -> Path:
    """Write everything into a folder and return comparison.json."""
    generator = np.random.default_rng(1)
    for case in TEST_CASES:
        write_volume(folder / f"images/{case}_0000.nii.gz", generator.normal(100, 20, SHAPE).astype(np.float32))
        write_volume(folder / f"references/{case}.nii.gz", REFERENCE)
    write_raw_datasets(folder / "raw")
    for fold in folds:
        trained = folder / "results" / "SimPLeTrainer" / f"fold_{fold}"
        for name, num_epochs in (*PHASES, ("final", 9)):
            write_checkpoint(trained, name, num_epochs)
        for place, case in enumerate(TRAINING_CASES):
            write_volume(trained / f"pseudo_masks/{case}.nii.gz", block((2, 5), (6, 14 - 2 * place), (4, 10)))
    entries = [method_entry(folder, key, folds) for key in methods]
    content = {
        "nnunetv2_simple": "0.1.0",
        "created": "2026-01-02T03:04:05+00:00",
        "settings": {
            **{"weak": 501, "dense": 502, "configuration": "3d_fullres", "plans": "nnUNetPlans", "folds": list(folds)},
            **{"images": str(folder / "images"), "references": str(folder / "references"), "labels": {"tumor": 1}},
            "datasets": {entry["labels"]: entry["dataset"] for entry in entries},
            **{"file_ending": ".nii.gz", "channel": 0, "nnUNet_raw": str(folder / "raw"), "device": "cpu"},
        },
        "preparation": ["nnUNetv2_simple_convert -baseline walker"],
        "versions": {"python": "3.11.7", "torch": "2.13.0", "device_name": "a processor"},
        "methods": entries,
    }
    file = folder / "out" / "comparison.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))
    return file
