"""One cohort as real ones are, and the same cohort with clicks only: phantoms, from the images to both evaluations.

    python benchmarks/mixed_cohort.py -o FOLDER [-trainer SimPLeTrainer_800iterations]

Training: 10 clicked cases, 2 with a bounding box, 1 with a second lesion that nobody clicked, 3 painted, 3 without a
lesion. "clicked" has the first 13 of them, everything outside the boxes is background. Test: 8 cases with a lesion, 4
without. Small plans, fold all. Steps that are done are not repeated.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from scipy import ndimage

from nnunetv2_simple.demo.phantom import generate_phantom, write_phantom
from nnunetv2_simple.evaluation.metrics import score_case
from nnunetv2_simple.extreme_points.points import extreme_points_from_mask
from nnunetv2_simple.nnunet.trainer_folder import trainer_folder

TRAIN = {"clicked": 10, "box": 2, "second": 1, "painted": 3, "healthy": 3}
TEST = {"lesion": 8, "healthy": 4}
SHAPE, SPACING_MM = (28, 60, 60), (3.0, 1.8, 1.8)
DATASETS = {"mixed": 511, "clicked": 512}


def write_cohort(folder: Path, counts: dict[str, int], seed: int) -> None:
    for number, (kind, count) in enumerate(counts.items()):
        for index in range(count):
            generator = np.random.default_rng([seed, number, index])
            num_tumors = {"healthy": 0, "second": 2}.get(kind, 1)
            phantom = generate_phantom(generator, shape=SHAPE, spacing_mm=SPACING_MM, num_tumors=num_tumors)
            name = f"{kind}_{index:02d}"
            write_phantom(phantom, folder, name)
            annotate(folder, name, phantom.tumor, kind)


def annotate(folder: Path, name: str, tumor: np.ndarray, kind: str) -> None:
    """Click the largest lesion, or draw its box; nothing else is annotated."""
    if kind == "painted":
        (folder / "painted").mkdir(exist_ok=True)
        os.replace(folder / "masks" / f"{name}.nii.gz", folder / "painted" / f"{name}.nii.gz")
        return
    content = {"coordinates": "voxel", "lesions": []}
    if tumor.any():
        parts, _ = ndimage.label(tumor, np.ones((3, 3, 3)))
        largest = parts == 1 + np.argmax(np.bincount(parts.ravel())[1:])
        points = extreme_points_from_mask(largest)[:, ::-1]
        corners = [points.min(axis=0).tolist(), points.max(axis=0).tolist()]
        content["lesions"] = [{"box": corners} if kind == "box" else {"points": points.tolist()}]
    (folder / "clicks").mkdir(exist_ok=True)
    (folder / "clicks" / f"{name}.json").write_text(json.dumps(content))


def run(*words, environment: dict[str, str]) -> None:
    command = [str(Path(sys.executable).parent / words[0]), *map(str, words[1:])]
    print("$", " ".join(map(str, words)), flush=True)
    subprocess.run(command, env=os.environ | environment, check=True)


def train_and_predict(name: str, folder: Path, trainer: str, environment: dict[str, str]) -> Path:
    dataset, output = DATASETS[name], folder / f"predictions_{name}"
    if (output / "dataset.json").exists():
        return output
    images = folder / "train" / "images"
    options = ["-channels", "pre", "post", "-walker_channel", 1, "-walker_subtract", 0]
    clicks = folder / "train" / "clicks"
    if name == "mixed":
        (folder / "index_lesion_only.txt").write_text("second_00")
        options += ["-p", folder / "train" / "painted", "-unannotated", "ignore"]
        options += ["-unannotated_cases", folder / "index_lesion_only.txt"]
    else:
        images, clicks = clicked_only(folder)
    words = ("-i", images, "-a", clicks, "-d", dataset, "-n", name)
    run("nnUNetv2_simple_convert", *words, *options, environment=environment)
    run("nnUNetv2_plan_and_preprocess", "-d", dataset, "-c", "3d_fullres", "--no_pp", environment=environment)
    run("nnUNetv2_simple_small_plans", "-d", dataset, environment=environment)
    plans = ("-plans_name", "nnUNetPlans_small", "-c", "3d_fullres", "-np", 1)
    run("nnUNetv2_preprocess", "-d", dataset, *plans, environment=environment)
    trained_as = ("-tr", trainer, "-p", "nnUNetPlans_small", "-device", "cpu")
    fold = next(Path(environment["nnUNet_results"]).glob(f"Dataset{dataset}_*/{trainer}__*/fold_all"), None)
    words = (dataset, "3d_fullres", "all", *trained_as, *(["--c"] if fold else []))
    run("nnUNetv2_train", *words, environment=environment)
    words = ("-i", folder / "test" / "images", "-o", output, "-d", dataset, "-c", "3d_fullres", "-f", "all")
    run("nnUNetv2_predict", *words, *trained_as, "-npp", 1, "-nps", 1, environment=environment)
    return output


def clicked_only(folder: Path) -> tuple[Path, Path]:
    """Link the images and clicks of the cases that are clicked or have a box."""
    for what in ("images", "clicks"):
        (folder / "clicked" / what).mkdir(parents=True, exist_ok=True)
        for file in (folder / "train" / what).iterdir():
            link = folder / "clicked" / what / file.name
            if file.name.startswith(("clicked", "box", "second")) and not link.exists():
                link.symlink_to(file)
    return folder / "clicked" / "images", folder / "clicked" / "clicks"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("-o", type=Path, required=True, help="Folder for everything")
    parser.add_argument("-trainer", default="SimPLeTrainer_800iterations")
    args = parser.parse_args()
    folder = args.o.absolute()
    names = ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")
    environment = {name: str(folder / name) for name in names} | {"nnUNet_extTrainer": str(trainer_folder())}
    for name in names:
        (folder / name).mkdir(parents=True, exist_ok=True)
    if not (folder / "test").exists():
        write_cohort(folder / "train", TRAIN, seed=1)
        write_cohort(folder / "test", TEST, seed=2)
    for name in DATASETS:
        predictions = train_and_predict(name, folder, args.trainer, environment)
        clicks = folder / "test" / "clicks"
        run("nnUNetv2_simple_evaluate", "-p", predictions, "-a", clicks, environment=environment)
        masks = sorted((folder / "test" / "masks").glob("lesion*.nii.gz"))
        scores = [score_case(predictions / mask.name, mask, {"tumor": 1})["dice"] for mask in masks]
        found = json.loads((predictions / "click_scores.json").read_text())["all"]
        healthy = found["false_positives_per_tumor_free_case"]
        dice = f"Dice {np.mean(scores):.3f} +- {np.std(scores):.3f}"
        print(f"{name}: {dice}, false positives per test case without a lesion {healthy:.2f}")


if __name__ == "__main__":
    main()
