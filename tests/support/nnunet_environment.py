"""A tiny nnU-Net installation's worth of data for the end-to-end tests, and its commands."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from nnunetv2_simple.demo.phantom import generate_phantom, write_phantom
from nnunetv2_simple.nnunet.small_plans import shrink_plans
from nnunetv2_simple.nnunet.trainer_folder import trainer_folder

TINY_TRAINERS = Path(__file__).parent / "tiny_trainers"
DATASET, DENSE_DATASET = "Dataset501_Tiny", "Dataset502_Tiny_dense"
PLANS = "nnUNetPlans_tiny"
LONGEST_COMMAND_S = 600


@dataclass(frozen=True)
class NNUNetEnvironment:
    folder: Path

    @property
    def variables(self) -> dict[str, str]:
        return {
            "nnUNet_raw": str(self.folder / "raw"),
            "nnUNet_preprocessed": str(self.folder / "preprocessed"),
            "nnUNet_results": str(self.folder / "results"),
            "nnUNet_extTrainer": os.pathsep.join((str(trainer_folder()), str(TINY_TRAINERS))),
            "nnUNet_n_proc_DA": "1",
            "nnUNet_def_n_proc": "1",
        }

    @property
    def dataset(self) -> Path:
        return self.folder / "raw" / DATASET

    @property
    def preprocessed(self) -> Path:
        return self.folder / "preprocessed" / DATASET

    def fold_folder(self, trainer: str) -> Path:
        return self.folder / "results" / DATASET / f"{trainer}__{PLANS}__3d_fullres" / "fold_0"

    def start(self, *command: str | int | Path, log: Path, variables: dict | None = None) -> subprocess.Popen:
        """Start a console script of this Python environment; its output goes to a file."""
        executable, *arguments = (str(word) for word in command)
        return subprocess.Popen(
            [str(Path(sys.executable).parent / executable), *arguments],
            env=os.environ | self.variables | {"PYTHONUNBUFFERED": "1"} | (variables or {}),
            stdout=log.open("a"),
            stderr=subprocess.STDOUT,
            start_new_session=True,  # its own process group, so that a test can kill its workers with it
        )

    def run(self, *command: str | int | Path, variables: dict | None = None) -> str:
        """Run a console script to its end; it must succeed."""
        log = self.folder / "commands.log"
        begin = log.stat().st_size if log.exists() else 0
        status = self.start(*command, log=log, variables=variables).wait(LONGEST_COMMAND_S)
        output = log.read_bytes()[begin:].decode()
        assert status == 0, output[-5000:]
        return output

    def train_command(self, trainer: str, *flags: str) -> tuple:
        return ("nnUNetv2_train", 501, "3d_fullres", 0, "-tr", trainer, "-p", PLANS, "-device", "cpu", *flags)

    def predict(self, trainer: str, checkpoint: str, images: Path, output: Path) -> Path:
        self.run(
            *("nnUNetv2_predict", "-d", 501, "-i", images, "-o", output, "-c", "3d_fullres", "-f", 0),
            *("-tr", trainer, "-p", PLANS, "-chk", checkpoint, "-device", "cpu", "-npp", 1, "-nps", 1),
            "--save_probabilities",
        )
        return output

    @property
    def splits(self) -> dict[str, list[str]]:
        return json.loads((self.preprocessed / "splits_final.json").read_text())[0]


def build_environment(folder: Path) -> NNUNetEnvironment:
    """Phantoms of two spacings -> converted -> planned and preprocessed, all through the command line.

    Done once; every test module gets a copy of its own.
    """
    shutil.copytree(_template().name, folder, dirs_exist_ok=True)
    return NNUNetEnvironment(folder)


@cache
def _template() -> TemporaryDirectory:
    directory = TemporaryDirectory(prefix="nnunet_environment_")
    folder = Path(directory.name)
    environment = NNUNetEnvironment(folder)
    for name in ("raw", "preprocessed", "results"):
        (folder / name).mkdir()
    for number in range(5):
        spacing_mm = (2.6, 1.4, 1.4) if number % 2 else (3.0, 1.6, 1.6)
        phantom = generate_phantom(np.random.default_rng([1, number]), shape=(20, 44, 40), spacing_mm=spacing_mm)
        options = {"channels": ("post_contrast",), "origin_mm": (10.0, -20.0, 30.0)}
        write_phantom(phantom, folder, f"case_{number}", **options)
    environment.run(
        *("nnUNetv2_simple_convert", "-i", folder / "images", "-m", folder / "masks"),
        *("-d", 501, "-n", "Tiny", "-dense", 502, "-np", 1),
    )
    environment.run(
        *("nnUNetv2_plan_and_preprocess", "-d", 501, "-c", "3d_fullres", "--verify_dataset_integrity"),
        *("-npfp", 1, "-np", 1),
    )
    plans = json.loads((environment.preprocessed / "nnUNetPlans.json").read_text())
    tiny = shrink_plans(
        plans, name=PLANS, configuration="3d_fullres", features_per_stage=(4, 8, 8), patch_size=(12, 24, 24)
    )
    (environment.preprocessed / f"{PLANS}.json").write_text(json.dumps(tiny))
    return directory
