"""What the second random walk brings: its masks beside those of the first walk and of the network alone.

    python benchmarks/second_walk.py -weak 501 -dense 502 -tr SimPLeTrainer -f 0 [-p nnUNetPlans] [-chk NAME]

Predicts the cases of a fold, those it was trained on and those held out, as the trainer does before its retraining, and
compares masks with the dense ones, paired by case. Only training cases of the dataset are looked at.
"""

from pathlib import Path

import numpy as np
import SimpleITK as sitk
from nnunetv2.inference.export_prediction import convert_predicted_logits_to_segmentation_with_correct_shape
from nnunetv2.paths import nnUNet_raw
from tqdm import tqdm
from trained_fold import load_fold, parse_arguments

from nnunetv2_simple.conversion.record import read_record
from nnunetv2_simple.evaluation.metrics import dice
from nnunetv2_simple.evaluation.statistics import compare_dice
from nnunetv2_simple.pseudo_mask.walker_probabilities import read_walker_mask
from nnunetv2_simple.training.pseudo_masks import predict_case
from nnunetv2_simple.training.second_walk import images_with_points, second_walk_mask

FIRST = "first walk"


def masks_of(case: str, weak: Path, network: np.ndarray, labels: list[int], ignore_label: int) -> dict:
    """Return the mask of every rule: (z, y, x) labels."""
    weak_label = sitk.GetArrayFromImage(sitk.ReadImage(str(weak / "labelsTr" / f"{case}.nii.gz")))
    predicted, record = network.argmax(axis=0), read_record(weak, case)
    return {
        FIRST: read_walker_mask(weak, case, labels),
        "network alone (paper)": np.where(weak_label == 0, 0, predicted),
        "labelled kept, network elsewhere": np.where(weak_label == ignore_label, predicted, weak_label),
        "second walk": second_walk_mask(images_with_points(weak, case, record), record, network),
    }


def mean_dice(mask: np.ndarray, reference: np.ndarray, labels: list[int]) -> float:
    """Return the mean Dice over the labels the reference has."""
    return float(np.mean([dice(mask == label, reference == label) for label in labels if (reference == label).any()]))


def main() -> None:
    fold = load_fold(parse_arguments(__doc__.splitlines()[0], checkpoint="checkpoint_finetune.pth"))
    weak, dense, predictor, split = fold
    labels, ignore_label = predictor.label_manager.foreground_labels, predictor.label_manager.ignore_label
    dataset = fold.open(weak)

    scores = {}
    for case in tqdm(split["train"] + split["val"], unit="case"):
        logits, properties = predict_case(predictor, dataset, case)
        _, network = convert_predicted_logits_to_segmentation_with_correct_shape(
            logits,
            predictor.plans_manager,
            predictor.configuration_manager,
            predictor.label_manager,
            properties,
            return_probabilities=True,
        )
        reference = sitk.GetArrayFromImage(
            sitk.ReadImage(str(Path(nnUNet_raw) / dense / "labelsTr" / f"{case}.nii.gz"))
        )
        for title, mask in masks_of(case, Path(nnUNet_raw) / weak, network, labels, ignore_label).items():
            scores.setdefault(title, {})[case] = {"dice": mean_dice(mask, reference, labels)}

    print(
        "| pseudo-mask | trained on | held out | all less first walk | 95 % interval | p |\n|---|---|---|---|---|---|"
    )
    for title, cases in scores.items():
        trained, held_out = (np.mean([cases[case]["dice"] for case in split[part]]) for part in ("train", "val"))
        found = compare_dice({"0": cases}, {"0": scores[FIRST]})
        low, high = found["difference_interval"]
        difference = f"{found['mean_difference']:+.4f} | {low:+.4f}, {high:+.4f} | {found['p_value']:.2g}"
        print(f"| {title} | {trained:.4f} | {held_out:.4f} | {difference} |")


if __name__ == "__main__":
    main()
