"""Which predictions of a comparison are there, complete and up to date.

nnUNetv2_predict writes into a folder beside the place of the predictions, ``fold_0_running``, which is renamed once it
is complete: no half-written file is ever taken for a prediction.
"""

from pathlib import Path

from nnunetv2_simple.comparison.methods import Method
from nnunetv2_simple.comparison.settings import Command, Comparison, Fold
from nnunetv2_simple.comparison.training_state import is_trained
from nnunetv2_simple.images import read_volume


def running_folder(folder: Path) -> Path:
    """Return where predictions are written before they are complete."""
    return folder.with_name(folder.name + "_running")


def problem_of(comparison: Comparison, method: Method, fold: Fold) -> str | None:
    """Tell why predictions cannot be reported; None if they can. The checkpoint may lie on another machine."""
    checkpoint, folder = comparison.checkpoint(method, fold), comparison.predictions(method, fold)
    files = comparison.case_files(folder)
    if missing := [file.name for file in files if not file.is_file()]:
        return f"{len(missing)} of {len(files)} test cases have no prediction in {folder}"
    if checkpoint.is_file() and not all(_is_newer(file, checkpoint) for file in files):
        return f"predictions in {folder} are older than {checkpoint}"
    if changed := [file.name for file in files if not _is_newer(file, *comparison.image_files(file))]:
        return f"predictions in {folder} are older than their images in {comparison.images}: {', '.join(changed)}"
    return None


def unreadable(comparison: Comparison, folder: Path) -> list[Path]:
    """Return the predictions in a folder that are not whole: on a full disk SimpleITK, their writer, says nothing."""
    found = []
    for file in filter(Path.is_file, comparison.case_files(folder)):
        try:
            read_volume(str(file))
        except ValueError:
            found.append(file)
    return found


def commands_to_resume(comparison: Comparison, method: Method, fold: Fold) -> list[Command]:
    """Return the commands that leave in the running folder what a prediction can be resumed from.

    That is what an interrupted prediction, or an earlier one of fewer cases, has completed with the same checkpoint.
    """
    checkpoint, folder = comparison.checkpoint(method, fold), comparison.predictions(method, fold)
    running = running_folder(folder)
    source = running if running.is_dir() else folder
    predicted = [file for file in comparison.case_files(source) if file.is_file()]
    is_final = is_trained(comparison.training(method, fold)) and checkpoint.is_file()
    if not is_final or not all(_is_newer(file, checkpoint) for file in predicted):
        return [("rm", "-r", str(place)) for place in (running, folder) if place.is_dir()]
    outdated = [file for file in predicted if not _is_newer(file, *comparison.image_files(file))]
    if source == running:
        # each process may have been interrupted while it wrote a file, and these are the newest ones
        newest = sorted(set(predicted) - set(outdated), key=lambda file: file.stat().st_mtime_ns, reverse=True)
        outdated += newest[: max(comparison.num_processes, 1)]
    commands = [("rm", *map(str, outdated))] if outdated else []
    if folder.is_dir():
        commands.append(("rm", "-r", str(folder)) if source == running else ("mv", str(folder), str(running)))
    return commands


def _is_newer(file: Path, *sources: Path) -> bool:
    return all(file.stat().st_mtime_ns > source.stat().st_mtime_ns for source in sources)
