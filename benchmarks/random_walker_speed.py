"""How fast pseudo-masks are made, and how exactly, against the published procedure on scikit-image.

    python benchmarks/random_walker_speed.py -i .../ibsi_sts/nifti [-o speed.md]

The published procedure: crop the image to the box extended by 10, 20, 20 voxels (z, y, x), scale its intensities to
[0, 1], then eight full calls of scikit-image's random_walker ("cg_j" and "cg_mg"; the faster one counts). Both sides
draw the scribbles as well, each its own. Masks are compared with those of converged walks: ours with a tolerance of
1e-11. The mark is for the default recipe, "robust". Times are those of the processor, so that other work on the machine
matters little; set OMP_NUM_THREADS=1.
"""

import argparse
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import numpy as np
import SimpleITK as sitk
from measuring import marked
from skimage.segmentation import random_walker
from tqdm import tqdm

from nnunetv2_simple.dataset_conversion.Dataset501_IBSI_STS import find_cases
from nnunetv2_simple.evaluation.metrics import dice
from nnunetv2_simple.extreme_points.points import bounding_box, extreme_points_from_mask
from nnunetv2_simple.images import spacing_zyx_mm
from nnunetv2_simple.pseudo_mask import draw_scribbles, generate_pseudo_mask

MARGIN_VOXELS = (10, 20, 20)
CONVERGED = 1e-11
MIN_TIMES_FASTER = 8.0
MODES = ("cg_j", "cg_mg")


def published_procedure(
    image: np.ndarray, points: np.ndarray, *, spacing_mm: tuple, scribbles: np.ndarray, mode: str
) -> np.ndarray:
    """Return the pseudo-mask of eight scikit-image calls on the cropped and scaled image."""
    box = bounding_box(points)
    crop = tuple(
        slice(max(side.start - margin, 0), side.stop + margin) for side, margin in zip(box, MARGIN_VOXELS, strict=True)
    )
    in_box = np.zeros(image.shape, dtype=bool)
    in_box[box] = True
    scaled = (image[crop] - image[crop].min()) / np.ptp(image[crop])
    seeds = np.where(scribbles, 1, np.where(in_box, 0, 2))[crop]  # scikit-image: 0 is unseeded
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about probabilities slightly outside [0, 1]
        for _ in range(8):
            probability = random_walker(scaled, seeds, beta=130, mode=mode, spacing=spacing_mm, return_full_prob=True)[
                0
            ]
            seeds[probability > 0.8] = 1
            seeds[probability < 0.1] = 2
    pseudo_mask = np.where(in_box, 2, 0)
    pseudo_mask[crop][(probability > 0.8) & in_box[crop]] = 1
    return pseudo_mask


def timed(function: Callable, *args, **options) -> tuple[float, np.ndarray]:
    start = time.process_time()
    result = function(*args, **options)
    return time.process_time() - start, result


def measure(image: np.ndarray, points: np.ndarray, spacing_mm: tuple) -> dict[str, float]:
    """Return the seconds of every part, the Dice of every foreground to the converged one, and the size of the box."""
    scribble_s, scribbles = timed(draw_scribbles, image, points, spacing_mm=spacing_mm)
    same = {"spacing_mm": spacing_mm, "scribbles": scribbles}
    paper_s, paper = timed(generate_pseudo_mask, image, points, **same)
    robust_s, robust = timed(generate_pseudo_mask, image, points, spacing_mm=spacing_mm, recipe="robust")
    with mock.patch("nnunetv2_simple.pseudo_mask.random_walker.TOLERANCE", CONVERGED):
        converged = generate_pseudo_mask(image, points, **same) == 1
        converged_robust = generate_pseudo_mask(image, points, spacing_mm=spacing_mm, recipe="robust") == 1
    seconds = {"scribbles": scribble_s, "paper": scribble_s + paper_s, "robust": robust_s}
    dices = {"paper": dice(paper == 1, converged), "robust": dice(robust == 1, converged_robust)}
    for mode in MODES:
        walks_s, published = timed(published_procedure, image, points, **same, mode=mode)
        seconds[mode] = scribble_s + walks_s
        dices[mode] = dice(published == 1, converged)
    box_voxels = np.prod([side.stop - side.start for side in bounding_box(points)])
    return seconds | {"box voxels": box_voxels} | {f"Dice {name}": value for name, value in dices.items()}


def times_faster(measures: list[dict[str, float]], recipe: str) -> np.ndarray:
    return np.array([min(m[mode] for mode in MODES) / m[recipe] for m in measures])


def report(measures: dict[str, dict[str, float]]) -> list[str]:
    """Return a Markdown table of the cases and a line on all of them."""
    lines = [
        "| case | box (voxels) | scribbles (s) | published, cg_j (s) | cg_mg (s) | recipe paper (s) | times faster | "
        "recipe robust (s) | times faster | Dice to the converged foreground: cg_j | cg_mg | paper | robust |",
        "|" + "---|" * 13,
    ]
    for case, m in measures.items():
        lines.append(
            f"| {case} | {m['box voxels']} | {m['scribbles']:.2f} | {m['cg_j']:.1f} | {m['cg_mg']:.1f} | "
            f"{m['paper']:.2f} | {times_faster([m], 'paper')[0]:.1f} | "
            f"{m['robust']:.2f} | {times_faster([m], 'robust')[0]:.1f} | "
            f"{m['Dice cg_j']:.4f} | {m['Dice cg_mg']:.4f} | {m['Dice paper']:.4f} | {m['Dice robust']:.4f} |"
        )
    paper, robust = (times_faster(list(measures.values()), recipe) for recipe in ("paper", "robust"))
    reached = marked(f"{np.median(robust):.1f}", reached=np.median(robust) >= MIN_TIMES_FASTER)
    smallest = {name: min(m[f"Dice {name}"] for m in measures.values()) for name in (*MODES, "paper", "robust")}
    return [
        *lines,
        "",
        f"Times faster than the published procedure in the faster mode: the default recipe, robust, {reached} (median; "
        f"{robust.min():.1f} to {robust.max():.1f}; mark: at least {MIN_TIMES_FASTER:g}), the recipe paper "
        f"{np.median(paper):.1f} ({paper.min():.1f} to {paper.max():.1f}). Smallest Dice to the converged foreground: "
        + ", ".join(f"{name} {value:.4f}" for name, value in smallest.items())
        + ".",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-i", type=Path, required=True, help="The folder nifti/ of the IBSI data set")
    parser.add_argument("-o", type=Path, help="[OPTIONAL] Markdown file to write")
    args = parser.parse_args()
    measures = {}
    for case in tqdm(find_cases(args.i), unit="case"):
        image, mask = (sitk.ReadImage(file) for file in (case.image_files[0], case.mask_file))
        points = extreme_points_from_mask(sitk.GetArrayFromImage(mask))
        voxels = sitk.GetArrayFromImage(image).astype(float)
        measures[case.identifier] = measure(voxels, points, spacing_zyx_mm(image))
    lines = report(measures)
    print("\n".join(lines))
    if args.o:
        args.o.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
