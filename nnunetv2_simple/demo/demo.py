"""nnUNetv2_simple_demo: the whole job on phantoms, with nnU-Net's own commands, small enough for a laptop's CPU."""

import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from typing import IO

import numpy as np
from batchgenerators.utilities.file_and_folder_operations import save_json

from nnunetv2_simple.arguments import add_option, command_parser
from nnunetv2_simple.demo.phantom import generate_phantom, write_phantom
from nnunetv2_simple.extreme_points import extreme_points_from_mask
from nnunetv2_simple.files import read_json
from nnunetv2_simple.nnunet.small_plans import SMALL_PLANS
from nnunetv2_simple.nnunet.trainer_folder import trainer_folder
from nnunetv2_simple.report.tables import SIGNIFICANT

WEAK_ID, DENSE_ID, NAME = 501, 502, "BreastPhantom"
WEAK_DATASET = f"Dataset{WEAK_ID}_{NAME}"
PHANTOM_SHAPE, PHANTOM_SPACING_MM = (24, 48, 48), (3.0, 2.1, 2.1)
FEATURES_PER_STAGE, PATCH_SIZE = (8, 16, 32), (16, 32, 32)
LENGTH, METHODS = "400iterations", ("simple", "walker", "full")
LINE_EVERY_S = 4.0


class Demo:
    """Runs the steps in one output folder.

    Args:
        folder: Gets everything the demo writes.
        num_training: Phantoms to train on, a fifth of which nnU-Net keeps for validation.
        num_test: Unseen phantoms to predict.
        seed: Of phantoms and trainings.
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
            "nnUNet_simple_seed": str(self.seed),
            "OMP_WAIT_POLICY": "PASSIVE",  # on few cores, threads that wait busily hold up those that work
            "PYTHONUNBUFFERED": "1",
        }
        self.start = time.monotonic()

    def run(self) -> None:
        self.say("1/4 phantoms")
        self.write_phantoms()
        self.say("2/4 six clicks per tumor -> pseudo-masks -> nnU-Net dataset; the masks are kept to score against")
        self.convert()
        self.say("3/4 plan and preprocess")
        self.plan_and_preprocess()
        self.say("4/4 train from six clicks (SimPLe; stock nnU-Net on the walker's masks) and from painted masks")
        self.compare()
        self.say("done")
        print(conclusion(read_json(self.folder / "comparison" / "comparison.json")))
        print(f"\nreport:       {self.folder / 'comparison' / 'report.html'}")
        print(f"pseudo-masks: {self.raw / WEAK_DATASET / 'quality_control' / 'index.html'}")
        print(f"everything:   {self.folder}")

    def say(self, text: str) -> None:
        elapsed = time.monotonic() - self.start
        print(f"\n[{elapsed / 60:4.1f} min] {text}", flush=True)

    def command(self, *words: str | int | Path) -> None:
        """Run a command line, its output in full in a log, its progress on the screen."""
        words = [str(word) for word in words]
        print("$ " + shlex.join(words), flush=True)
        begin = time.monotonic()
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
            log.write("$ " + shlex.join(words) + "\n")
            for line in lines_or_silence(process.stdout, LINE_EVERY_S):
                if line is None:
                    print(f"    {time.monotonic() - begin:.0f} s: at work", flush=True)
                    continue
                log.write(line)
                log.flush()
                if progress := progress_of(line):
                    print("    " + progress, flush=True)
        if process.returncode:
            sys.exit(f"{words[0]} failed with exit status {process.returncode}, see {self.folder / 'commands.log'}")

    def write_phantoms(self) -> None:
        """Write the cases and their clicks: every second case as 3D Slicer saves them, the others as tables."""
        folder = self.folder / "phantoms"
        for number in range(self.num_training + self.num_test):
            phantom = generate_phantom(
                np.random.default_rng([self.seed, number]), shape=PHANTOM_SHAPE, spacing_mm=PHANTOM_SPACING_MM
            )
            case = f"breast_{number:03d}"
            write_phantom(phantom, folder, case)
            clicks = extreme_points_from_mask(phantom.tumor)
            if number % 2:
                write_slicer_points(folder / "clicks" / f"{case}.mrk.json", clicks, spacing_mm=phantom.spacing_mm)
            else:
                write_table(folder / "clicks" / f"{case}.csv", clicks)

    def convert(self) -> None:
        phantoms = self.folder / "phantoms"
        self.command(
            *("nnUNetv2_simple_convert", "-i", phantoms / "images", "-a", phantoms / "clicks"),
            *("-m", phantoms / "masks", "-d", WEAK_ID, "-n", NAME, "-dense", DENSE_ID, "-num_test", self.num_test),
            *("-channels", "pre", "post", "-walker_channel", 1),
        )

    def plan_and_preprocess(self) -> None:
        self.command(
            *("nnUNetv2_plan_and_preprocess", "-d", WEAK_ID, DENSE_ID, "-c", "3d_fullres"),
            *("--verify_dataset_integrity", "-npfp", 2, "-np", 2),
        )
        self.command(
            *("nnUNetv2_simple_small_plans", "-d", WEAK_ID, DENSE_ID),
            *("-features", *FEATURES_PER_STAGE, "-patch", *PATCH_SIZE),
        )

    def compare(self) -> None:
        """Train, predict and score; the command shows its own progress."""
        words = [
            *("nnUNetv2_simple_compare", "-weak", WEAK_ID, "-dense", DENSE_ID, "-f", 0, "-methods", *METHODS),
            *("-i", self.raw / WEAK_DATASET / "imagesTs", "-ref", self.raw / WEAK_DATASET / "referencesTs"),
            *("-o", self.folder / "comparison", "-p", SMALL_PLANS, "-length", LENGTH, "-device", "cpu"),
            *("--disable_tta", "-line_every_s", LINE_EVERY_S),
        ]
        print("$ " + shlex.join(map(str, words)), flush=True)
        status = subprocess.run([executable(words[0]), *map(str, words[1:])], env=self.environment).returncode
        if status:
            sys.exit(f"{words[0]} failed with exit status {status}")


def executable(name: str) -> str:
    """Return the console script of this Python environment, or else the one the shell would find."""
    own = Path(sys.executable).parent / name
    return str(own) if own.exists() else name


def lines_or_silence(stream: IO[str], silence_s: float) -> Iterator[str | None]:
    """Yield the lines of a stream as they come, and None whenever none came for a while."""
    lines: Queue[str | None] = Queue()

    def read() -> None:
        for line in stream:
            lines.put(line)
        lines.put(None)

    Thread(target=read, daemon=True).start()
    while True:
        try:
            line = lines.get(timeout=silence_s)
        except Empty:
            yield None
            continue
        if line is None:
            return
        yield line


def write_slicer_points(file: Path, points: np.ndarray, *, spacing_mm: Sequence[float]) -> None:
    """Write voxels (z, y, x) of an image at the origin as a point list of 3D Slicer, in mm."""
    positions = (points * spacing_mm)[:, ::-1].tolist()
    control_points = [{"label": f"F-{n}", "position": position} for n, position in enumerate(positions, start=1)]
    markup = {"type": "Fiducial", "coordinateSystem": "LPS", "controlPoints": control_points}
    file.parent.mkdir(parents=True, exist_ok=True)
    save_json({"markups": [markup]}, str(file), sort_keys=False)


def write_table(file: Path, points: np.ndarray) -> None:
    """Write voxels (z, y, x) as a table, counted from 0."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(["x,y,z\n", *(f"{x},{y},{z}\n" for z, y, x in points)]))


def progress_of(line: str) -> str | None:
    """Return what of a line of output tells how far the work is; None if nothing does."""
    line = line.rpartition("\r")[2].strip()  # a progress bar writes over what stands before
    shown = ("Quality page", "Next", "WARNING", "FAILED", "ERROR", "wrote ")
    return line[:200] if line.startswith(shown) or " cases are in " in line else None


def conclusion(results: Mapping) -> str:
    """Say in plain words what the scores of the comparison show, and what so few cases cannot."""
    methods = {method["key"]: method for method in results["methods"]}
    num_cases = len(next(iter(methods["simple"]["folds"].values()))["cases"])
    lines = ["", f"What the figures show: mean Dice on {num_cases} unseen cases"]
    names = {"simple": "SimPLe, from six clicks", "walker": "stock nnU-Net, from six clicks", "full": "painted masks"}
    for key, name in names.items():
        lines.append(f"  {100 * methods[key]['summary']['dice']['mean']:5.1f} %  {name}")
    for key in ("simple", "walker"):
        test = methods[key]["wilcoxon_vs_full"]
        low, high = (100 * end for end in test["difference_interval"])
        is_shown = test["p_value"] < SIGNIFICANT
        verdict = "the difference is more than chance in these cases" if is_shown else "no difference is shown"
        lines.append(f"{names[key]}: {100 * test['mean_difference']:+.1f} points to painted masks, {verdict}")
        lines[-1] += f" (95 % interval {low:+.1f} to {high:+.1f}, p = {test['p_value']:.2g})."
    iterations = LENGTH.removesuffix("iterations")
    lines.append(
        f"What they cannot show: which method is better. {num_cases} phantoms, one training each, of {iterations} "
        "iterations instead of 250,000, leave differences of several points to chance."
    )
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> None:
    parser = command_parser(
        "Train nnU-Net from six clicks per tumor and from painted masks, on synthetic breast DCE-MRI, on a CPU.",
        "nnUNetv2_simple_demo",
        "# more cases, elsewhere",
        "nnUNetv2_simple_demo -o phantoms -num_training 30 -num_test 12 -seed 1",
    )
    add_option(parser, "o", "Output folder", type=Path, default=Path("demo_output"))
    add_option(parser, "num_training", "Phantoms to train on, at least 5", type=int, default=12)
    add_option(parser, "num_test", "Unseen phantoms to predict", type=int, default=6)
    add_option(parser, "seed", "Seed of phantoms and trainings", type=int, default=0)
    parser.add_argument("--overwrite", action="store_true", help="[OPTIONAL] Remove the output folder first")
    args = parser.parse_args(argv)
    if args.num_training < 5 or args.num_test < 1 or args.seed < 0:
        parser.error(f"at least 5 phantoms to train on, 1 to predict, seed 0 or more; got {args}")
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
