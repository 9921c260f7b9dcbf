"""How much a network's opinion should count beside the random walker's when pseudo-masks are written.

    python benchmarks/evidence_weight.py -weak 501 -dense 502 -tr SimPLeTrainer -f 0 [-p nnUNetPlans] [-chk NAME]

Predicts the cases of a fold, those it was trained on and those held out, as the trainer does before its retraining, and
compares the masks of several weights with the dense ones: the network alone (the paper), what is labelled kept and the
rest the network's, the walker alone, and both together. Only training cases of the dataset are looked at.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
from nnunetv2.inference.export_prediction import convert_predicted_logits_to_segmentation_with_correct_shape
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.paths import nnUNet_preprocessed, nnUNet_raw, nnUNet_results
from nnunetv2.training.dataloading.nnunet_dataset import infer_dataset_class
from nnunetv2.utilities.dataset_name_id_conversion import convert_id_to_dataset_name
from tqdm import tqdm

from nnunetv2_simple.evaluation.metrics import dice
from nnunetv2_simple.pseudo_mask.fusion import read_walker_probabilities, weigh_evidence

WEIGHTS = (0.0, 0.1, 0.25, 0.5, 1.0)


def masks_of(network: np.ndarray, walker: np.ndarray, weak_label: np.ndarray, ignore_label: int) -> dict:
    """Return the mask of every rule: (z, y, x) labels."""
    unlabelled = weak_label == ignore_label
    predicted = network.argmax(axis=0)
    masks = {
        "network alone": predicted,
        "labelled kept, network elsewhere": np.where(unlabelled, predicted, weak_label),
    }
    for weight in WEIGHTS:
        title = f"walker and network, weight {weight}" if weight else "walker alone"
        masks[title] = weigh_evidence(walker, network, network_weight=weight)
    return {title: np.where(weak_label == 0, 0, mask) for title, mask in masks.items()}


def mean_dice(mask: np.ndarray, reference: np.ndarray, labels: list[int]) -> float:
    """Return the mean Dice over the labels the reference has."""
    return float(np.mean([dice(mask == label, reference == label) for label in labels if (reference == label).any()]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-weak", type=int, required=True, help="Dataset with an ignore label")
    parser.add_argument("-dense", type=int, required=True, help="Its twin of dense masks")
    parser.add_argument("-tr", required=True, help="Trainer")
    parser.add_argument("-f", type=int, default=0, help="Fold")
    parser.add_argument("-c", default="3d_fullres", help="Configuration")
    parser.add_argument("-p", default="nnUNetPlans", help="Plans")
    parser.add_argument("-chk", default="checkpoint_finetune.pth", help="Checkpoint")
    parser.add_argument("-device", default="cpu")
    args = parser.parse_args()
    weak, dense = (convert_id_to_dataset_name(dataset) for dataset in (args.weak, args.dense))
    predictor = nnUNetPredictor(device=torch.device(args.device), allow_tqdm=False)
    model = Path(nnUNet_results) / weak / f"{args.tr}__{args.p}__{args.c}"
    predictor.initialize_from_trained_model_folder(str(model), (args.f,), args.chk)
    labels = predictor.label_manager.foreground_labels
    folder = Path(nnUNet_preprocessed) / weak
    split = json.loads((folder / "splits_final.json").read_text())[args.f]
    data_folder = str(folder / predictor.configuration_manager.data_identifier)
    dataset = infer_dataset_class(data_folder)(data_folder, split["train"] + split["val"])

    scores = {}
    for case in tqdm(dataset.identifiers, unit="case"):
        data, _, _, properties = dataset.load_case(case)
        _, network = convert_predicted_logits_to_segmentation_with_correct_shape(
            predictor.predict_sliding_window_return_logits(torch.from_numpy(np.array(data[:]))).cpu(),
            predictor.plans_manager,
            predictor.configuration_manager,
            predictor.label_manager,
            properties,
            return_probabilities=True,
        )
        weak_label, reference = (
            sitk.GetArrayFromImage(sitk.ReadImage(str(Path(nnUNet_raw) / name / "labelsTr" / f"{case}.nii.gz")))
            for name in (weak, dense)
        )
        walker = read_walker_probabilities(Path(nnUNet_raw) / weak, case, labels)
        for title, mask in masks_of(network, walker, weak_label, predictor.label_manager.ignore_label).items():
            scores.setdefault(title, {})[case] = mean_dice(mask, reference, labels)

    print("| pseudo-mask | trained on | held out |\n|---|---|---|")
    for title, cases in scores.items():
        means = [np.mean([cases[case] for case in split[part]]) for part in ("train", "val")]
        print(f"| {title} | {means[0]:.3f} | {means[1]:.3f} |")


if __name__ == "__main__":
    main()
