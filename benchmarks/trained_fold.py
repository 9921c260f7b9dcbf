"""The network of a trained fold and its training cases, for the benchmarks that look at both."""

import argparse
from pathlib import Path
from typing import NamedTuple

import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.paths import nnUNet_preprocessed, nnUNet_results
from nnunetv2.utilities.dataset_name_id_conversion import convert_id_to_dataset_name

from nnunetv2_simple.files import read_json
from nnunetv2_simple.nnunet.datasets import SPLITS_FILE
from nnunetv2_simple.nnunet.versions import open_dataset


class TrainedFold(NamedTuple):
    """What a benchmark looks at.

    Attributes:
        weak: Name of the dataset with an ignore label.
        dense: Name of its twin of dense masks.
        predictor: Has the network.
        split: The cases of the fold, ``train`` and ``val``.
    """

    weak: str
    dense: str
    predictor: nnUNetPredictor
    split: dict[str, list[str]]

    def open(self, name: str):
        """Return the preprocessed cases of the fold, of the weak dataset or of its twin."""
        folder = Path(nnUNet_preprocessed) / name / self.predictor.configuration_manager.data_identifier
        return open_dataset(str(folder), self.split["train"] + self.split["val"])


def parse_arguments(description: str, *, checkpoint: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("-weak", type=int, required=True, help="Dataset with an ignore label")
    parser.add_argument("-dense", type=int, required=True, help="Its twin of dense masks")
    parser.add_argument("-tr", required=True, help="Trainer")
    parser.add_argument("-f", type=int, default=0, help="Fold")
    parser.add_argument("-c", default="3d_fullres", help="Configuration")
    parser.add_argument("-p", default="nnUNetPlans", help="Plans")
    parser.add_argument("-chk", default=checkpoint, help="Checkpoint")
    parser.add_argument("-device", default="cpu")
    return parser.parse_args()


def load_fold(args: argparse.Namespace) -> TrainedFold:
    weak, dense = (convert_id_to_dataset_name(dataset) for dataset in (args.weak, args.dense))
    predictor = nnUNetPredictor(device=torch.device(args.device), allow_tqdm=False)
    model = Path(nnUNet_results) / weak / f"{args.tr}__{args.p}__{args.c}"
    predictor.initialize_from_trained_model_folder(str(model), (args.f,), args.chk)
    return TrainedFold(weak, dense, predictor, read_json(Path(nnUNet_preprocessed) / weak / SPLITS_FILE)[args.f])
