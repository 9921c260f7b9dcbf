"""Dice on unseen cases against the number of training cases, clicked or painted.

    python benchmarks/learning_curve.py -d 501 502 -num 5 10 20          # adds folds to splits_final.json
    nnUNetv2_simple_compare -weak 501 -dense 502 -f 5 6 7 0 -methods simple full ... -o COMPARISON
    python benchmarks/learning_curve.py -r COMPARISON -d 501 -o learning_curve.png

The added folds have the first cases of fold 0, and its validation cases.
"""

import argparse
from pathlib import Path

import matplotlib
import numpy as np
from nnunetv2.paths import nnUNet_preprocessed
from nnunetv2.utilities.dataset_name_id_conversion import convert_id_to_dataset_name

from nnunetv2_simple.evaluation.statistics import bootstrap_interval
from nnunetv2_simple.files import read_json, save_json_atomically
from nnunetv2_simple.nnunet.datasets import SPLITS_FILE

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402

COLOURS = {"simple": "#1f6feb", "walker": "#8a8a8a", "full": "#111111"}
NAMES = {"simple": "six clicks, SimPLeTrainer", "walker": "six clicks, walker's masks", "full": "painted masks"}


def splits_file(dataset: int) -> Path:
    return Path(nnUNet_preprocessed) / convert_id_to_dataset_name(dataset) / SPLITS_FILE


def add_folds(dataset: int, numbers: list[int]) -> None:
    """Append a fold for each number of training cases."""
    splits = read_json(splits_file(dataset))
    for number in numbers:
        fold = {"train": splits[0]["train"][:number], "val": splits[0]["val"]}
        if len(fold["train"]) < number:
            raise ValueError(f"fold 0 of {splits_file(dataset)} has {len(fold['train'])} training cases, not {number}")
        if fold not in splits:
            splits.append(fold)
        print(f"{splits_file(dataset)}: fold {splits.index(fold)} has {number} training cases")
    save_json_atomically(splits, splits_file(dataset))


def curves(folders: list[Path], dataset: int) -> dict[str, dict[int, np.ndarray]]:
    """Return by method and number of training cases the Dice (trainings, cases) in %."""
    sizes, found = [len(split["train"]) for split in read_json(splits_file(dataset))], {}
    for folder in folders:
        for method in read_json(folder / "comparison.json")["methods"]:
            for fold, content in method["folds"].items():
                dice = [100 * case["dice"] for case in content["cases"].values()]
                trainings = found.setdefault(method["key"], {}).setdefault(sizes[int(fold)], {})
                trainings[content["model_folder"]] = dice  # one that several comparisons report counts once
    return {
        key: {size: np.array(list(trainings.values())) for size, trainings in sorted(of_size.items())}
        for key, of_size in found.items()
    }


def interval(dice: np.ndarray) -> list[float]:
    """Return the 95 % bootstrap interval, over the cases, of the mean Dice (trainings, cases)."""
    return bootstrap_interval(np.mean, dice.mean(axis=0))


def plot(found: dict, file: Path) -> None:
    figure, axes = plt.subplots(figsize=(6, 3.8), layout="constrained")
    for key, of_size in found.items():
        means = [dice.mean() for dice in of_size.values()]
        errors = np.abs(np.array([interval(dice) for dice in of_size.values()]).T - means)
        colour = COLOURS.get(key)
        axes.errorbar(list(of_size), means, errors, marker="o", capsize=3, color=colour, label=NAMES.get(key, key))
        for size, dice in of_size.items():  # a dot for each training, where there are several
            if len(dice) > 1:
                axes.plot([size] * len(dice), dice.mean(axis=1), ".", color=colour, alpha=0.5)
    axes.set(xlabel="training cases", ylabel="Dice on unseen cases (%)")
    axes.set_xticks(sorted({size for of_size in found.values() for size in of_size}))
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(file, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "-d",
        type=int,
        nargs="+",
        required=True,
        help="Dataset; to add folds also its twin and the baselines made of it",
    )
    parser.add_argument("-num", type=int, nargs="+", help="Numbers of training cases to add a fold for")
    parser.add_argument("-r", type=Path, nargs="+", help="Folders of comparisons to read")
    parser.add_argument("-o", type=Path, help="PNG to write")
    args = parser.parse_args()
    if args.num:
        for dataset in args.d:
            add_folds(dataset, args.num)
        return
    if not (args.r and args.o):
        parser.error("give -num to add folds, or -r and -o to plot")
    found = curves(args.r, args.d[0])
    for key, of_size in found.items():
        for size, dice in of_size.items():
            low, high = interval(dice)
            print(f"| {key} | {size} | {dice.mean():.1f} ({low:.1f}, {high:.1f}) | {len(dice)} |")
    plot(found, args.o)


if __name__ == "__main__":
    main()
