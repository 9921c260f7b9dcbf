"""How hard the prior should pull in the recipe "robust": fixed weights and what follows from the ellipsoid's fit.

    python benchmarks/prior_weight.py -i IMAGES -m MASKS [-first 60]

Looks at pairs of files of the same name (-i and -m may be one folder with -image_name and -mask_name, such as
PET_image.nii.gz and PET_mask.nii.gz in a folder per case). All labels count as one lesion, its clicks are simulated.
Prints the Dice of the dense masks (probability above 0.5) and, paired, what they differ from the recipe's.
"""

import argparse
from pathlib import Path
from unittest.mock import patch

import SimpleITK as sitk
from joblib import Parallel, delayed
from tqdm import tqdm

from nnunetv2_simple.evaluation.metrics import dice
from nnunetv2_simple.evaluation.statistics import compare_dice
from nnunetv2_simple.extreme_points.points import extreme_points_from_mask
from nnunetv2_simple.images import spacing_zyx_mm
from nnunetv2_simple.pseudo_mask import generate_pseudo_mask, robust_recipe

WEIGHTS = (0.005, 0.01, 0.02, 0.05, 0.1)
RECIPE = "by the ellipsoid's fit (the recipe)"


def pairs_of(args: argparse.Namespace) -> list[tuple[Path, Path]]:
    if args.image_name:
        return [(file, file.with_name(args.mask_name)) for file in sorted(args.i.glob(f"*/{args.image_name}"))]
    return [(file, args.m / file.name) for file in sorted(args.i.glob("*.nii.gz"))]


def measure_case(image_file: Path, mask_file: Path) -> dict[str, float]:
    image, mask = sitk.ReadImage(str(image_file)), sitk.GetArrayFromImage(sitk.ReadImage(str(mask_file))) > 0
    weights = {f"{weight:g}": (weight, weight) for weight in WEIGHTS} | {
        RECIPE: (robust_recipe.FITTING_WEIGHT, robust_recipe.UNFITTING_WEIGHT)
    }
    found = {}
    for title, (fitting, unfitting) in weights.items():
        with patch.multiple(robust_recipe, FITTING_WEIGHT=fitting, UNFITTING_WEIGHT=unfitting):
            _, probability = generate_pseudo_mask(
                sitk.GetArrayFromImage(image).astype(float),
                extreme_points_from_mask(mask),
                spacing_mm=spacing_zyx_mm(image),
                recipe="robust",
                return_probability=True,
            )
        found[title] = dice(probability > 0.5, mask)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-i", type=Path, required=True, help="Folder of images")
    parser.add_argument("-m", type=Path, help="Folder of masks")
    parser.add_argument("-image_name", help="Name of the image in each case's own folder")
    parser.add_argument("-mask_name", help="Name of the mask there")
    parser.add_argument("-first", type=int, help="Number of cases to look at, in sorted order. Default: all")
    parser.add_argument("-np", type=int, default=2, help="Processes. Default: 2")
    args = parser.parse_args()
    pairs = pairs_of(args)[: args.first]
    jobs = Parallel(n_jobs=args.np, return_as="generator")(delayed(measure_case)(*pair) for pair in pairs)
    results = list(tqdm(jobs, total=len(pairs), unit="case"))
    scores = {
        title: {"0": {str(number): {"dice": result[title]} for number, result in enumerate(results)}}
        for title in results[0]
    }
    print(
        f"| weight of the prior ({len(pairs)} cases) | Dice | difference | 95 % interval | p |\n|---|---|---|---|---|"
    )
    for title, own in scores.items():
        mean = sum(case["dice"] for case in own["0"].values()) / len(pairs)
        found = compare_dice(own, scores[RECIPE])
        low, high = found["difference_interval"]
        difference = f"{found['mean_difference']:+.4f} | {low:+.4f}, {high:+.4f} | {found['p_value']:.2g}"
        print(f"| {title} | {mean:.4f} | {difference} |")


if __name__ == "__main__":
    main()
