"""Which predictions of a comparison are there, complete and up to date.

nnUNetv2_predict writes into a folder beside the place of the predictions, ``fold_0_running``, which is renamed once
it is complete: an interruption leaves no half-written file that could be taken for a prediction.
"""

import os
import shutil
from pathlib import Path

from nnunetv2_simple.comparison.methods import Method
from nnunetv2_simple.comparison.settings import Comparison, Fold


def running_folder(folder: Path) -> Path:
    """Return where predictions are written before they are complete."""
    return folder.with_name(folder.name + "_running")


def num_predicted(comparison: Comparison, folder: Path) -> int:
    """Return how many test cases have a file in a folder."""
    return sum(file.is_file() for file in comparison.prediction_files(folder))


def is_predicted(comparison: Comparison, method: Method, fold: Fold) -> bool:
    """Tell whether all test cases have a prediction that is newer than the checkpoint and the images."""
    return comparison.checkpoint(method, fold).is_file() and what_is_wrong(comparison, method, fold) is None


def what_is_wrong(comparison: Comparison, method: Method, fold: Fold) -> str | None:
    """Tell why predictions cannot be reported; None if they can. The checkpoint may lie on another machine."""
    checkpoint, folder = comparison.checkpoint(method, fold), comparison.predictions(method, fold)
    files = comparison.prediction_files(folder)
    if missing := [file.name for file in files if not file.is_file()]:
        return f"{len(missing)} of {len(files)} test cases have no prediction in {folder}"
    if checkpoint.is_file() and not all(_is_newer(file, checkpoint) for file in files):
        return f"predictions in {folder} are older than {checkpoint}"
    if changed := [file.name for file in files if not _is_newer(file, *comparison.image_files(file))]:
        return f"predictions in {folder} are older than their images in {comparison.images}: {', '.join(changed)}"
    return None


def keep_complete_predictions(comparison: Comparison, checkpoint: Path, folder: Path) -> None:
    """Leave in the running folder what an interrupted prediction, or an earlier one of fewer cases, can go on with.

    Args:
        comparison: What is compared.
        checkpoint: The checkpoint that predicts. Older predictions are removed, and those older than their images.
        folder: Where the predictions belong.
    """
    running = running_folder(folder)
    running.parent.mkdir(parents=True, exist_ok=True)
    num_in_writing = max(comparison.num_processes, 1)
    if folder.is_dir() and not running.is_dir():
        os.replace(folder, running)
        num_in_writing = 0
    predicted = [file for file in comparison.prediction_files(running) if file.is_file()]
    if not all(_is_newer(file, checkpoint) for file in predicted):
        shutil.rmtree(running)
        return
    for file in predicted.copy():
        if not _is_newer(file, *comparison.image_files(file)):
            predicted.remove(file)
            file.unlink()
    # each process may have been interrupted while it wrote a file, and these are the newest ones
    for file in sorted(predicted, key=lambda file: file.stat().st_mtime_ns, reverse=True)[:num_in_writing]:
        file.unlink()


def _is_newer(file: Path, *sources: Path) -> bool:
    return all(file.stat().st_mtime_ns > source.stat().st_mtime_ns for source in sources)
