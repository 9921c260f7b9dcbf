"""nnUNetv2_simple_demo: the whole job on phantoms, with nnU-Net's own commands, small enough for a laptop's CPU."""

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nnunetv2_simple.demo.phantom import generate_phantom, write_phantom
from nnunetv2_simple.nnunet.small_plans import SMALL_PLANS
from nnunetv2_simple.nnunet.trainer_folder import trainer_folder

WEAK_ID, DENSE_ID, NAME = 501, 502, "BreastPhantom"
WEAK_DATASET = f"Dataset{WEAK_ID}_{NAME}"
PHANTOM_SHAPE, PHANTOM_SPACING_MM = (24, 48, 48), (3.0, 2.1, 2.1)
FEATURES_PER_STAGE, PATCH_SIZE = (8, 16, 32), (16, 32, 32)
LENGTH, METHODS = "800iterations", ("pce_ctr", "pce_ctr_finetune", "simple", "walker", "full")


class Demo:
    """Runs the steps in one output folder.

    Args:
        folder: Gets everything the demo writes.
        num_training: Phantoms to train on, a fifth of which nnU-Net keeps for validation.
        num_test: Unseen phantoms to predict.
        seed: Seed of the phantoms.
    """

    def __init__(self, folder: Path, *, num_training: int, num_test: int, seed: int):
        self.folder = folder
        self.num_training = num_training
        self.num_test = num_test
        self.seed = seed
        self.raw, self.preprocessed, self.results = (
            folder / name for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")
        )
        self.environment = os.environ | {
            "nnUNet_raw": str(self.raw),
            "nnUNet_preprocessed": str(self.preprocessed),
            "nnUNet_results": str(self.results),
            "nnUNet_extTrainer": str(trainer_folder()),
            "nnUNet_n_proc_DA": "1",
            "nnUNet_def_n_proc": "2",
            "OMP_WAIT_POLICY": "PASSIVE",  # on few cores, threads that wait busily hold up those that work
            "PYTHONUNBUFFERED": "1",
        }
        self.start = time.monotonic()

    def run(self) -> None:
        self.say("1/4 phantoms")
        self.write_phantoms()
        self.say("2/4 six clicks per tumor -> pseudo-masks -> nnU-Net dataset")
        self.convert()
        self.say("3/4 plan and preprocess")
        self.plan_and_preprocess()
        self.say("4/4 train SimPLe from six clicks, its strongest baseline and full supervision; predict unseen cases")
        self.compare()
        self.say("done")
        print(f"report:       {self.folder / 'comparison' / 'report.html'}")
        print(f"pseudo-masks: {self.raw / WEAK_DATASET / 'quality_control' / 'index.html'}")
        print(f"everything:   {self.folder}")

    def say(self, text: str) -> None:
        elapsed = time.monotonic() - self.start
        print(f"\n[{elapsed / 60:4.1f} min] {text}", flush=True)

    def command(self, *words: str | int | Path) -> None:
        """Run a command line, its output in full in a log, its progress on the screen."""
        words = [str(word) for word in words]
        print("$ " + " ".join(words), flush=True)
        with (
            open(self.folder / "commands.log", "a") as log,
            subprocess.Popen(
                [executable(words[0]), *words[1:]],
                env=self.environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            ) as process,
        ):
            log.write("$ " + " ".join(words) + "\n")
            for line in process.stdout:
                log.write(line)
                log.flush()
                if progress := progress_of(line):
                    print("    " + progress, flush=True)
        if process.returncode:
            sys.exit(f"{words[0]} failed with exit status {process.returncode}, see {self.folder / 'commands.log'}")

    def write_phantoms(self) -> None:
        for number in range(self.num_training + self.num_test):
            phantom = generate_phantom(
                np.random.default_rng([self.seed, number]), shape=PHANTOM_SHAPE, spacing_mm=PHANTOM_SPACING_MM
            )
            write_phantom(phantom, self.folder / "phantoms", f"breast_{number:03d}")

    def convert(self) -> None:
        phantoms = self.folder / "phantoms"
        self.command(
            *("nnUNetv2_simple_convert", "-i", phantoms / "images", "-m", phantoms / "masks"),
            *("-d", WEAK_ID, "-n", NAME, "-dense", DENSE_ID, "-num_test", self.num_test),
            *("-channels", "pre", "post", "-walker_channel", 1),
        )

    def plan_and_preprocess(self) -> None:
        self.command(
            *("nnUNetv2_plan_and_preprocess", "-d", WEAK_ID, DENSE_ID, "-c", "3d_fullres"),
            *("--verify_dataset_integrity", "-npfp", 2, "-np", 2),
        )
        self.command(
            *(sys.executable, "-m", "nnunetv2_simple.nnunet.small_plans", "-d", WEAK_ID, DENSE_ID),
            *("-features", *FEATURES_PER_STAGE, "-patch", *PATCH_SIZE),
        )

    def compare(self) -> None:
        """Train, predict and score; the command shows its own progress."""
        words = [
            *("nnUNetv2_simple_compare", "-weak", WEAK_ID, "-dense", DENSE_ID, "-f", 0, "-methods", *METHODS),
            *("-i", self.raw / WEAK_DATASET / "imagesTs", "-ref", self.raw / WEAK_DATASET / "referencesTs"),
            *("-o", self.folder / "comparison", "-p", SMALL_PLANS, "-length", LENGTH, "-device", "cpu"),
            "--disable_tta",
        ]
        print("$ " + " ".join(map(str, words)), flush=True)
        status = subprocess.run([executable(words[0]), *map(str, words[1:])], env=self.environment).returncode
        if status:
            sys.exit(f"{words[0]} failed with exit status {status}")


def executable(name: str) -> str:
    """Return the console script of this Python environment, or else the one the shell would find."""
    own = Path(sys.executable).parent / name
    return str(own) if own.exists() else name


def progress_of(line: str) -> str | None:
    """Return what of a line of nnU-Net's output tells how far the work is; None if nothing does."""
    text = line.strip().partition(": ")[2] if line[:2] == "20" else line.strip()
    shown = ("Epoch ", "train_loss", "Phase ", "pseudo-mask ", "predicting ", "Predicting ", "FAILED", "ERROR")
    if text.startswith(shown) or "cases converted" in text:
        return text[:100]
    return None


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description="Train nnU-Net from six clicks per tumor and from dense masks, on synthetic breast DCE-MRI.",
        allow_abbrev=False,
    )
    parser.add_argument("-o", type=Path, default=Path("demo_output"), help="Output folder. Default: demo_output")
    parser.add_argument("-num_training", type=int, default=15, help="Phantoms to train on. Default: 15")
    parser.add_argument("-num_test", type=int, default=6, help="Unseen phantoms to predict. Default: 6")
    parser.add_argument("-seed", type=int, default=0, help="Seed of the phantoms. Default: 0")
    parser.add_argument("--overwrite", action="store_true", help="Remove the output folder first")
    args = parser.parse_args(argv)
    if args.o.exists() and args.overwrite:
        if any(args.o.iterdir()) and not (args.o / "phantoms").is_dir():
            parser.error(f"{args.o} is no output folder of this demo, it will not be removed")
        shutil.rmtree(args.o)
    if args.o.exists() and any(args.o.iterdir()):
        parser.error(f"{args.o} is not empty, choose another folder or --overwrite")
    args.o.mkdir(parents=True, exist_ok=True)
    Demo(args.o.resolve(), num_training=args.num_training, num_test=args.num_test, seed=args.seed).run()


if __name__ == "__main__":
    main()
