"""How long the pseudo-masks take beside nnU-Net's own validation of the same cases with the same network.

    python benchmarks/pseudo_mask_time.py [-device cuda] [-o pseudo_mask_time.md]

Phantoms are converted, planned and preprocessed with nnU-Net's commands; all of them are training and validation cases
at once. In every round the trainer writes their pseudo-masks, and validates itself on them. Its weights are random:
that makes no difference to the time. Both predict alike, which is timed by itself to tell what comes on top.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import torch
from batchgenerators.utilities.file_and_folder_operations import load_json, save_json
from measuring import device_name, marked, timed
from nnunetv2.configuration import default_num_processes
from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name
from tqdm import tqdm

from nnunetv2_simple.demo.demo import executable
from nnunetv2_simple.demo.phantom import generate_phantom, write_phantom
from nnunetv2_simple.nnunet.small_plans import SMALL_PLANS
from nnunetv2_simple.nnunet.trainer_folder import trainer_folder
from nnunetv2_simple.nnunet.versions import open_dataset
from nnunetv2_simple.training.phases import first_epoch
from nnunetv2_simple.training.pseudo_masks import predict_case, predictor_of
from nnunetv2_simple.training.trainer import PhasedTrainer

DATASET_ID, NAME, CONFIGURATION = 501, "PseudoMaskTime", "3d_fullres"
DATASET = f"Dataset{DATASET_ID}_{NAME}"
SPACINGS_MM = ((3.0, 1.6, 1.6), (2.6, 1.4, 1.4))  # two, so that predictions are resampled
MAX_TIME_RATIO = 1.0


def set_up_nnunet(folder: Path) -> None:
    """Point nnU-Net to folders of the benchmark's own."""
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        (folder / name).mkdir()
        os.environ[name] = str(folder / name)
    os.environ |= {"nnUNet_extTrainer": str(trainer_folder())}


def write_phantoms(folder: Path, num_cases: int, shape: Sequence[int]) -> None:
    for number in range(num_cases):
        spacing_mm = SPACINGS_MM[number % 2]
        phantom = generate_phantom(np.random.default_rng([0, number]), shape=tuple(shape), spacing_mm=spacing_mm)
        write_phantom(phantom, folder, f"case_{number:03d}", channels=("post_contrast",))


def prepare(folder: Path, *, features: Sequence[int], patch_size: Sequence[int]) -> None:
    """Convert, plan and preprocess; every case is both trained on and validated."""
    commands = (
        ("nnUNetv2_simple_convert", "-i", folder / "images", "-m", folder / "masks")
        + ("-d", DATASET_ID, "-n", NAME, "-np", 1),
        ("nnUNetv2_plan_and_preprocess", "-d", DATASET_ID, "-c", CONFIGURATION, "-npfp", 1, "-np", 1),
        (sys.executable, "-m", "nnunetv2_simple.nnunet.small_plans", "-d", DATASET_ID)
        + ("-features", *features, "-patch", *patch_size),
    )
    for command, *arguments in commands:
        words = [executable(str(command)), *map(str, arguments)]
        print("$ " + " ".join(words), flush=True)
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    cases = sorted(file.name.removesuffix("_0000.nii.gz") for file in (folder / "images").iterdir())
    splits_file = folder / "nnUNet_preprocessed" / DATASET / "splits_final.json"
    save_json([{"train": cases, "val": cases}], str(splits_file))


def make_trainer(folder: Path, device: torch.device) -> PhasedTrainer:
    """Return a SimPLeTrainer that is about to write its pseudo-masks."""
    preprocessed = folder / "nnUNet_preprocessed" / DATASET
    plans = load_json(str(preprocessed / f"{SMALL_PLANS}.json")) | {"continue_training": False}
    trainer_class = recursive_find_trainer_class_by_name("SimPLeTrainer")
    trainer = trainer_class(plans, CONFIGURATION, 0, load_json(str(preprocessed / "dataset.json")), device)
    trainer.initialize()
    trainer.current_epoch = first_epoch(trainer.phases, trainer.phases[-1])
    trainer._set_up_phase()
    trainer.inference_allowed_mirroring_axes = (0, 1, 2)
    return trainer


def write_pseudo_masks(trainer: PhasedTrainer) -> None:
    shutil.rmtree(trainer.pseudo_mask_folder, ignore_errors=True)
    trainer.write_pseudo_masks(walk_again=trainer.phase.walks_again)


def predict_only(trainer: PhasedTrainer) -> None:
    """Predict as both do, and keep nothing."""
    trainer.set_deep_supervision_enabled(False)
    predictor, (cases, _) = predictor_of(trainer), trainer.do_split()
    dataset = open_dataset(trainer.preprocessed_dataset_folder, cases)
    for case in cases:
        predict_case(predictor, dataset, case)


def measure(trainer: PhasedTrainer, *, rounds: int) -> dict[str, np.ndarray]:
    """Return the seconds of each, round by round; those of predicting alone are of once, which warms up as well."""
    prediction_s = timed(predict_only, trainer)
    validation_s, pseudo_mask_s = [], []
    for _ in tqdm(range(rounds), unit="round"):
        validation_s.append(timed(trainer.perform_actual_validation))
        pseudo_mask_s.append(timed(write_pseudo_masks, trainer))
    return {
        "prediction alone": np.array([prediction_s]),
        "nnU-Net's validation": np.array(validation_s),
        "pseudo-masks": np.array(pseudo_mask_s),
    }


def report(seconds: dict[str, np.ndarray], *, num_cases: int, shape: Sequence[int], device: str) -> list[str]:
    """Return the Markdown section."""
    ratios = seconds["pseudo-masks"] / seconds["nnU-Net's validation"]
    ratio = np.median(ratios)
    lines = [
        "## Pseudo-masks: time",
        "",
        f"{device_name(device)}, torch {torch.__version__}, {default_num_processes} processes of nnU-Net's. "
        f"{num_cases} cases of {' x '.join(map(str, shape))} voxels, {len(ratios)} rounds.",
        "",
        "| | time (s), median | per case (s) |",
        "|---|---|---|",
    ]
    for name, times in seconds.items():
        lines.append(f"| {name} | {np.median(times):.2f} | {np.median(times) / num_cases:.2f} |")
    beside_prediction = np.median(seconds["pseudo-masks"] / seconds["prediction alone"].item())
    return [
        *lines,
        "",
        f"Writing the pseudo-masks takes {marked(f'{ratio:.3f}', reached=ratio <= MAX_TIME_RATIO)} times as long as "
        f"nnU-Net's validation (median; {ratios.min():.3f} to {ratios.max():.3f}; mark: at most {MAX_TIME_RATIO}), and "
        f"{beside_prediction:.3f} times as long as predicting alone. Part of the validation is the start of nnU-Net's "
        "processes, which weighs little where there are many or large cases, and the Dice.",
    ]


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-device", choices=("cpu", "cuda"), default="cpu", help="Default: cpu")
    parser.add_argument("-cases", type=int, default=10, help="Default: 10")
    parser.add_argument("-shape", type=int, nargs=3, default=[32, 64, 64], help="In voxels. Default: 32 64 64")
    parser.add_argument("-features", type=int, nargs="+", default=[4, 8, 16], help="Per stage. Default: 4 8 16")
    parser.add_argument("-patch", type=int, nargs=3, default=[32, 64, 64], help="Patch size. Default: 32 64 64")
    parser.add_argument("-rounds", type=int, default=3, help="Timed rounds. Default: 3")
    parser.add_argument("-o", type=Path, help="[OPTIONAL] Markdown file to write")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        set_up_nnunet(folder)
        write_phantoms(folder, args.cases, args.shape)
        prepare(folder, features=args.features, patch_size=args.patch)
        with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
            seconds = measure(make_trainer(folder, torch.device(args.device)), rounds=args.rounds)
    lines = report(seconds, num_cases=args.cases, shape=args.shape, device=args.device)
    print("\n".join(lines))
    if args.o:
        args.o.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
