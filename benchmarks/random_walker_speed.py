"""How fast pseudo-masks are made, and how exactly, against the published procedure on scikit-image.

    python benchmarks/random_walker_speed.py -i .../ibsi_sts/nifti [-o docs/benchmarks.md]

The published procedure: crop the image to the box extended by 10, 20, 20 voxels (z, y, x), then eight full calls of
scikit-image's random_walker ("cg_j" and "cg_mg"; the faster one counts). Both sides draw the same scribbles first; how
much faster the walks alone are stands beside how much faster all of it is. Probabilities and masks are compared with
the converged solution, ours with a tolerance of 1e-11, and that, where systems are small enough, with a direct one.
Times are those of the processor, so that other work on the machine matters little; set OMP_NUM_THREADS=1.
"""

import argparse
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import numpy as np
import SimpleITK as sitk
from scipy import sparse
from scipy.sparse.linalg import spsolve
from skimage.segmentation import random_walker
from tqdm import tqdm

from nnunetv2_simple import random_walker as our_random_walker
from nnunetv2_simple.dataset_conversion.Dataset501_IBSI_STS import find_cases
from nnunetv2_simple.evaluation.metrics import dice
from nnunetv2_simple.extreme_points.points import bounding_box, extreme_points_from_mask
from nnunetv2_simple.images import spacing_zyx_mm
from nnunetv2_simple.pseudo_mask.generate import draw_scribbles, generate_pseudo_mask

MARGIN_VOXELS = (10, 20, 20)
CONVERGED = 1e-11
MAX_DIRECT_VOXELS = 60_000


def published_procedure(
    image: np.ndarray, points: np.ndarray, *, spacing_mm: tuple, scribbles: np.ndarray, mode: str
) -> np.ndarray:
    """Return the pseudo-mask of eight scikit-image calls on the cropped image."""
    box = bounding_box(points)
    crop = tuple(
        slice(max(side.start - margin, 0), side.stop + margin) for side, margin in zip(box, MARGIN_VOXELS, strict=True)
    )
    in_box = np.zeros(image.shape, dtype=bool)
    in_box[box] = True
    seeds = np.where(scribbles, 1, np.where(in_box, 0, 2))[crop]  # scikit-image: 0 is unseeded
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # neither mode reaches its tolerance
        for _ in range(8):
            probability = random_walker(
                image[crop], seeds, beta=130, mode=mode, spacing=spacing_mm, return_full_prob=True
            )[0]
            seeds[probability > 0.8] = 1
            seeds[probability < 0.1] = 2
    pseudo_mask = np.where(in_box, 2, 0)
    pseudo_mask[crop][(probability > 0.8) & in_box[crop]] = 1
    return pseudo_mask


def timed(function: Callable, *args, **options) -> tuple[float, np.ndarray]:
    start = time.process_time()
    result = function(*args, **options)
    return time.process_time() - start, result


def errors_of_walks(image: np.ndarray, points: np.ndarray, *, spacing_mm: tuple, **options) -> tuple[float, float]:
    """Return the largest differences of any probability of any walk.

    Returns:
        Ours to the converged solution, and that to a direct one (NaN where the system is too large for it).
    """
    errors, errors_of_converged = [], [float("nan")]
    solve = our_random_walker.solve_bipartite_laplacian

    def compared(between, grounds, right_hand_sides, *, tolerance, **start):
        solution = solve(between, grounds, right_hand_sides, tolerance=tolerance, **start)
        converged = solve(between, grounds, right_hand_sides, tolerance=CONVERGED)
        errors.append(abs(np.concatenate(solution) - np.concatenate(converged)).max())
        if sum(between.shape) < MAX_DIRECT_VOXELS:
            weights = sparse.block_array([[None, between], [between.T, None]])
            laplacian = sparse.diags_array(np.concatenate(grounds) + weights.sum(axis=1)) - weights
            direct = spsolve(laplacian.tocsc(), np.concatenate(right_hand_sides))
            errors_of_converged.append(abs(np.concatenate(converged) - direct).max())
        return solution

    with mock.patch.object(our_random_walker, "solve_bipartite_laplacian", compared):
        generate_pseudo_mask(image, points, spacing_mm=spacing_mm, **options)
    return max(errors), np.fmax.reduce(errors_of_converged)


def spread(ratios: list[float]) -> str:
    return f"{np.median(ratios):.1f} (median; {min(ratios):.1f} to {max(ratios):.1f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-i", type=Path, required=True, help="The folder nifti/ of the IBSI data set")
    parser.add_argument("-o", type=Path, help="[OPTIONAL] Markdown file to write")
    args = parser.parse_args()
    lines = [
        "| case | box (voxels) | scribbles (s) | scikit-image's walks, cg_j (s) | cg_mg (s) | our walks (s) | "
        "times faster | with the scribbles | robust recipe (s) | "
        "Dice of the foreground to the converged solution: cg_j | cg_mg | ours | largest error of a probability |",
        "|" + "---|" * 13,
    ]
    walk_ratios, ratios, robust_ratios, our_dice, errors, errors_of_converged = [], [], [], [], [], []
    for case in tqdm(find_cases(args.i), unit="case"):
        image = sitk.ReadImage(case.image_files[0])
        spacing_mm = spacing_zyx_mm(image)
        voxels = sitk.GetArrayFromImage(image).astype(float)
        points = extreme_points_from_mask(sitk.GetArrayFromImage(sitk.ReadImage(case.mask_file)))
        scribble_time, scribbles = timed(draw_scribbles, voxels, points, spacing_mm=spacing_mm)
        same = {"spacing_mm": spacing_mm, "scribbles": scribbles}
        our_time, ours = timed(generate_pseudo_mask, voxels, points, **same)
        robust_time, _ = timed(generate_pseudo_mask, voxels, points, spacing_mm=spacing_mm, recipe="robust")
        cg_j_time, cg_j = timed(published_procedure, voxels, points, **same, mode="cg_j")
        cg_mg_time, cg_mg = timed(published_procedure, voxels, points, **same, mode="cg_mg")
        with mock.patch.object(our_random_walker, "PROBABILITY_TOLERANCE", CONVERGED):
            converged = generate_pseudo_mask(voxels, points, spacing_mm=spacing_mm)
        box_voxels = np.prod([side.stop - side.start for side in bounding_box(points)])
        error, error_of_converged = errors_of_walks(voxels, points, **same)
        dices = [dice(mask == 1, converged == 1) for mask in (cg_j, cg_mg, ours)]
        published_time = min(cg_j_time, cg_mg_time)
        walk_ratios.append(published_time / our_time)
        ratios.append((scribble_time + published_time) / (scribble_time + our_time))
        robust_ratios.append((scribble_time + published_time) / robust_time)
        our_dice.append(dices[2])
        errors.append(error)
        errors_of_converged.append(error_of_converged)
        lines.append(
            f"| {case.identifier} | {box_voxels} | {scribble_time:.2f} | {cg_j_time:.1f} | {cg_mg_time:.1f} | "
            f"{our_time:.2f} | {walk_ratios[-1]:.1f} | {ratios[-1]:.1f} | {robust_time:.2f} | "
            f"{dices[0]:.4f} | {dices[1]:.4f} | {dices[2]:.4f} | "
            f"{error:.0e} |"
        )
        tqdm.write(lines[-1])
    lines += [
        "",
        f"Times faster than the faster of the two modes: the walks {spread(walk_ratios)}; with the scribbles "
        f"{spread(ratios)}; the robust recipe {spread(robust_ratios)}. Smallest Dice to the converged solution "
        f"{min(our_dice):.4f}. Largest error of a probability {max(errors):.1e}; the converged solution differs from a "
        f"direct one by at most {np.nanmax(errors_of_converged):.0e} (walks of fewer than {MAX_DIRECT_VOXELS} voxels, "
        f"in {np.count_nonzero(~np.isnan(errors_of_converged))} cases).",
    ]
    print("\n".join(lines[-1:]))
    if args.o:
        args.o.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
