"""Kills what lies between and after the epochs of a finished training at random moments, and lets it be done again.

    python stage_killer.py NUM_KILLS SEED OUTPUT.json

Every stage begins with what a training has left before it and ends with what it leaves after it. OUTPUT.json gets, for
each kill, stage and victim, whether the stage had ended before, how many processes outlived it, and whether the same
command then led to the same content. With nnUNet_def_n_proc=2 two processes write pseudo-masks, labels and predictions.
"""

import json
import shutil
import sys
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import blosc2
import numpy as np
from nnunetv2.paths import nnUNet_preprocessed, nnUNet_results

from nnunetv2_simple.nnunet.export import export_model
from support.processes import WHOM
from support.training_killer import PLANS, TRAINER, after, attempt, train, write_with_a_pause

DATASET, BEFORE_RETRAINING, RETRAINS = "Dataset501_Tiny", "checkpoint_finetune.pth", ": Epoch 6 "
FOLD = Path(nnUNet_results) / DATASET / f"{TRAINER}__{PLANS}__3d_fullres" / "fold_0"
SPLITS = Path(nnUNet_preprocessed) / DATASET / "splits_final.json"
EXPORT = Path(nnUNet_results).parent / "exports" / "model.zip"


class Stage(NamedTuple):
    removed: tuple[Path, ...]  # before it begins
    content: Callable[[], dict]  # what it leaves
    begin: str  # in the log
    end: str | None  # in the log; None: the end of the command
    resumed_from: str | None = "checkpoint_final.pth"
    work: Callable[[], None] = partial(train, go_on=True)
    longest_s: float = 6.0  # from its begin to the kill


def files_of(*folders: str) -> dict:
    return {str(file): file.read_bytes() for folder in folders for file in sorted((FOLD / folder).glob("[!.]*"))}


def masks_and_labels() -> dict:
    labels = FOLD / "pseudo_masks_preprocessed"
    arrays = {file.name: blosc2.open(str(file))[:].tobytes() for file in labels.glob("[!.]*.b2nd")}
    locations = {
        (file.name, name): found.tobytes() for file in labels.glob("[!.]*.npz") for name, found in np.load(file).items()
    }
    return files_of("pseudo_masks") | arrays | locations


def members_of_export() -> dict:
    with zipfile.ZipFile(EXPORT) as archive:
        return {member.filename: member.CRC for member in archive.infolist()}


def export() -> None:
    write_with_a_pause()
    export_model(501, EXPORT, trainer=TRAINER, plans=PLANS, overwrite=True, log=partial(print, flush=True))


MASKS, LABELS = FOLD / "pseudo_masks", FOLD / "pseudo_masks_preprocessed"
STAGES = {
    "masks": Stage((MASKS, LABELS), masks_and_labels, "pseudo-mask 1/", RETRAINS, BEFORE_RETRAINING),
    "validation": Stage((FOLD / "validation",), partial(files_of, "validation"), "predicting case", None),
    "export": Stage((), members_of_export, "->", None, work=export, longest_s=0.6),
    "labels": Stage((LABELS,), masks_and_labels, "are there already", RETRAINS, BEFORE_RETRAINING),
    "splits": Stage((SPLITS,), lambda: {"splits": SPLITS.read_bytes()}, "", ": Epoch 0 ", None),
}


def prepare(stage: Stage, template: Path) -> None:
    """Lay down what the training has left before the stage."""
    shutil.rmtree(FOLD)
    shutil.copytree(template, FOLD)
    for place in stage.removed:
        shutil.rmtree(place) if place.is_dir() else place.unlink()
    if stage.resumed_from != "checkpoint_final.pth":
        for name in ("final", "best", "latest"):
            (FOLD / f"checkpoint_{name}.pth").unlink(missing_ok=True)
        if stage.resumed_from:
            shutil.copyfile(FOLD / stage.resumed_from, FOLD / "checkpoint_latest.pth")


def says(log: Path, text: str | None) -> bool:
    return text is not None and text in log.read_text(errors="replace")


def at_random(stage: Stage, log: Path, seconds: float) -> Callable[[], bool]:
    """Be over some time after the stage has begun, but not later than it ends."""
    since_begin = []

    def is_over() -> bool:
        if not since_begin and says(log, stage.begin):
            since_begin.append(after(seconds))
        return bool(since_begin) and since_begin[0]() or says(log, stage.end)

    return is_over


def main(num_kills: str, seed: str, output: str) -> None:
    generator, report = np.random.default_rng(int(seed)), []
    template = Path(shutil.copytree(FOLD, Path(output).with_name("finished")))
    attempt(Path(output).with_name("export.log"), export, is_over=lambda: False, whom="group")
    for number in range(int(num_kills)):
        name, whom = list(STAGES)[number % len(STAGES)], WHOM[number % len(WHOM)]
        stage, log = STAGES[name], Path(output).with_name(f"stage_{number}.log")
        expected = stage.content()
        prepare(stage, template)
        is_over = at_random(stage, log, generator.uniform(0, stage.longest_s))
        finished, orphans = attempt(log, stage.work, is_over=is_over, whom=whom)
        again = log.with_suffix(".again.log")
        attempt(again, stage.work, is_over=partial(says, again, stage.end), whom="group")
        is_whole = stage.content() == expected
        report.append({"stage": name, "whom": whom, "finished": finished, "orphans": orphans, "is_whole": is_whole})
        Path(output).write_text(json.dumps(report))
        shutil.rmtree(FOLD)
        shutil.copytree(template, FOLD)


if __name__ == "__main__":
    main(*sys.argv[1:])
