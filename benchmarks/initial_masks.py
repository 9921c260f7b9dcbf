"""How good initial pseudo-masks are, recipe by recipe, against dense masks that no recipe sees.

    python benchmarks/initial_masks.py -i .../ibsi_sts/nifti -o docs/initial_masks.md

Sets: the real tumors of the IBSI data set, phantoms of three kinds, each round, irregular and curved, and the same
kinds in voxels so coarse that a lesion is a few of them wide. Beside the recipes stand the ellipsoid inscribed in the
box and the one that touches its faces at the clicks, which look at no image, the paper's recipe with a collar of five
voxels round the box left unseeded, as in the published script, and with the one beta of a grid that is best for the
set, chosen with the dense masks: no user could have it.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from joblib import Parallel, delayed
from tqdm import tqdm

from nnunetv2_simple.dataset_conversion.Dataset501_IBSI_STS import find_cases
from nnunetv2_simple.demo.phantom import TUMOUR_SHAPES, generate_phantom
from nnunetv2_simple.evaluation.metrics import dice
from nnunetv2_simple.extreme_points.box import LesionBox
from nnunetv2_simple.extreme_points.points import extreme_points_from_mask
from nnunetv2_simple.images import spacing_zyx_mm
from nnunetv2_simple.pseudo_mask import draw_scribbles, generate_pseudo_mask
from nnunetv2_simple.pseudo_mask.generate import CROP_MARGIN_VOXELS
from nnunetv2_simple.pseudo_mask.random_walker import RandomWalker, gradient_weights

PHANTOM_KINDS = ("homogeneous", "rim", "faint")
FINE, COARSE = {}, {"shape": (26, 32, 32), "spacing_mm": (4.0, 4.0, 4.0)}
INSCRIBED, TOUCHING = "inscribed ellipsoid", "ellipsoid that touches the clicks"
BETAS = (130.0, 1300.0, 4000.0, 13000.0, 40000.0, 130000.0)
COLLAR, COLLAR_VOXELS = "paper, unseeded collar as in the script", 5
COLUMNS = ("precision", "recall", "Dice", "unlabelled share of the box", "background share of the box",
           "precision of the background in the box", "share of the scribbles inside")  # fmt: skip


def cases_of(nifti: Path, phantoms_per_set: int) -> Iterator[tuple[str, tuple]]:
    """Yield the name of the set and what :func:`load` needs, case by case."""
    for case in find_cases(nifti):
        yield "IBSI sarcoma, T1", (case.image_files[0], case.mask_file)
    for kind_number, kind in enumerate(PHANTOM_KINDS):
        for shape_number, shape in enumerate(TUMOUR_SHAPES):
            for number in range(phantoms_per_set):
                yield f"phantom, {kind}, {shape}", ([1, kind_number, shape_number, number], kind, shape, FINE)
        for number in range(phantoms_per_set):
            shape = TUMOUR_SHAPES[number % len(TUMOUR_SHAPES)]
            yield f"phantom, {kind}, voxels of 4 mm", ([2, kind_number, number], kind, shape, COARSE)


def load(source: tuple) -> tuple[np.ndarray, np.ndarray, tuple]:
    """Return image, mask and spacing of a case."""
    if len(source) == 2:
        image, mask = (sitk.ReadImage(file) for file in source)
        return sitk.GetArrayFromImage(image).astype(float), sitk.GetArrayFromImage(mask) > 0, spacing_zyx_mm(image)
    seed, kind, shape, grid = source
    phantom = generate_phantom(np.random.default_rng(seed), tumor_kind=kind, tumor_shape=shape, **grid)
    return phantom.post_contrast.astype(float), phantom.tumor > 0, phantom.spacing_mm


def measure(pseudo_mask: np.ndarray, mask: np.ndarray, in_box: np.ndarray, scribbles: np.ndarray) -> list[float]:
    foreground, background = pseudo_mask == 1, (pseudo_mask == 0) & in_box
    hits = np.count_nonzero(foreground & mask)
    return [
        hits / foreground.sum(),
        hits / mask.sum(),
        dice(foreground, mask),
        np.count_nonzero((pseudo_mask == 2) & in_box) / in_box.sum(),
        background.sum() / in_box.sum(),
        np.count_nonzero(background & ~mask) / background.sum() if background.any() else np.nan,
        np.count_nonzero(scribbles & mask) / scribbles.sum() if scribbles.any() else np.nan,
    ]


def paper_with_collar(
    image: np.ndarray, box: LesionBox, scribbles: np.ndarray, *, spacing_mm: tuple, beta: float = 130.0
) -> np.ndarray:
    """Return the paper's pseudo-mask where the voxels round the box are no seeds, those beyond them background."""
    crop = image[box.region(CROP_MARGIN_VOXELS)]
    region = box.region([COLLAR_VOXELS + 1] * 3)
    seeded = np.ones(image.shape, dtype=bool)
    seeded[box.region([COLLAR_VOXELS] * 3)] = False
    std = crop.std() / np.ptp(crop)
    walker = RandomWalker(
        gradient_weights(image[region] / np.ptp(crop), spacing_mm=spacing_mm, beta=beta, intensity_std=std)
    )
    foreground, background, probability = scribbles[region], seeded[region], None
    for _ in range(8):
        probability = walker.walk(foreground, background, initial=probability)
        foreground, background = foreground | (probability > 0.8), background | (probability < 0.1)
    pseudo_mask = np.zeros(image.shape, dtype=np.uint8)
    pseudo_mask[region] = np.where(box.contains(region), np.where(probability > 0.8, 1, 2), 0)
    return pseudo_mask


def measure_case(source: tuple) -> dict[str, list[float]]:
    """Return the measures of every recipe on one case."""
    image, mask, spacing_mm = load(source)
    points = extreme_points_from_mask(mask)
    box = LesionBox(points, shape=image.shape, spacing_mm=spacing_mm)
    everywhere = tuple(slice(0, size) for size in image.shape)
    in_box = box.contains(everywhere)
    radii = {INSCRIBED: box.radius(everywhere), TOUCHING: box.touching_radius(everywhere)}
    ellipsoids = {name: np.where(in_box & (radius <= 1), 1, 0) for name, radius in radii.items()}
    result = {name: measure(found, mask, in_box, np.zeros_like(mask)) for name, found in ellipsoids.items()}
    for recipe, betas in (("robust", (130.0,)), ("paper", BETAS)):
        scribbles = draw_scribbles(image, points, spacing_mm=spacing_mm, recipe=recipe)
        for beta in betas:
            pseudo_mask = generate_pseudo_mask(image, points, spacing_mm=spacing_mm, recipe=recipe, beta=beta)
            name = "robust" if recipe == "robust" else f"paper, beta = {beta:g}"
            result[name] = measure(pseudo_mask, mask, in_box, scribbles)
    result[COLLAR] = measure(paper_with_collar(image, box, scribbles, spacing_mm=spacing_mm), mask, in_box, scribbles)
    return result


def table(title: str, results: list[dict[str, list[float]]], methods: dict[str, str]) -> list[str]:
    """Return a Markdown table of means; ``methods`` gives the name in the results of each row."""
    lines = [f"**{title}** ({len(results)} cases)", "", "| | " + " | ".join(COLUMNS) + " |"]
    lines.append("|---|" + "---|" * len(COLUMNS))
    for row, method in methods.items():
        values = np.array([result[method] for result in results])
        means = [np.nanmean(column) if not np.isnan(column).all() else np.nan for column in values.T]
        lines.append(f"| {row} | " + " | ".join("" if np.isnan(mean) else f"{mean:.3f}" for mean in means) + " |")
    return [*lines, ""]


def methods_of(results: list[dict[str, list[float]]]) -> dict[str, str]:
    dice = {beta: np.mean([result[f"paper, beta = {beta:g}"][2] for result in results]) for beta in BETAS}
    best = max(dice, key=dice.get)
    return {
        INSCRIBED: INSCRIBED,
        TOUCHING: TOUCHING,
        "paper (beta = 130)": "paper, beta = 130",
        COLLAR: COLLAR,
        f"paper, best beta ({best:g}), chosen with the masks": f"paper, beta = {best:g}",
        "robust": "robust",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-i", type=Path, required=True, help="The folder nifti/ of the IBSI data set")
    parser.add_argument("-o", type=Path, required=True, help="Markdown file to write")
    parser.add_argument("-phantoms", type=int, default=6, help="Phantoms of each kind and shape. Default: 6")
    parser.add_argument("-np", type=int, default=2, help="Processes. Default: 2")
    args = parser.parse_args()
    sets, sources = zip(*cases_of(args.i, args.phantoms), strict=True)
    jobs = Parallel(n_jobs=args.np, return_as="generator")(delayed(measure_case)(source) for source in sources)
    results = list(tqdm(jobs, total=len(sources), unit="case"))
    lines = []
    for name in dict.fromkeys(sets):
        of_set = [result for result, of in zip(results, sets, strict=True) if of == name]
        lines += table(name, of_set, methods_of(of_set))
    lines += table("pooled", results, methods_of(results))
    args.o.write_text("\n".join(lines))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
