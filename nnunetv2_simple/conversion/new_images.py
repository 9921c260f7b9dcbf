"""New images as nnUNetv2_predict takes them.

nnUNetv2_predict looks for <case>_0000 to <case>_000N with the file ending of the dataset it was trained on, and passes
over any other file without a word.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

from nnunetv2_simple.conversion.case_files import FILE_ENDING, channels_to_write, write_checked
from nnunetv2_simple.conversion.cases import Case, Conversion, WalkerImage
from nnunetv2_simple.conversion.loading import load_case
from nnunetv2_simple.files import remove_partial_files, written_atomically
from nnunetv2_simple.parallel import open_workers, reason_of

FILE_ENDINGS = (FILE_ENDING, ".nii", ".mha", ".nrrd")  # read by nnU-Net, in one file, written by SimpleITK


def image_names(channel_names: Sequence[str], file_ending: str, *, case: str = "<case>") -> list[str]:
    """Return the names of the files of a case, one per channel."""
    return [f"{case}_{number:04d}{file_ending}" for number in range(len(channel_names))]


def describe_new_images(conversion: Conversion) -> str:
    """Say what new images of a converted dataset must look like, and what makes them so."""
    names = conversion.written_channels
    files = zip(image_names(names, FILE_ENDING), names, strict=True)
    named = ", ".join(f"{file} ({name})" for file, name in files)
    return (
        f"New images for nnUNetv2_predict must be named {named}; nnU-Net ignores other files, such as "
        f"{FILE_ENDINGS[-1]}. This command writes them:\n"
        f"    nnUNetv2_simple_convert -i NEW_IMAGES --images-only -d {conversion.dataset_folder.name} -o FOLDER"
    )


def write_images(
    cases: Sequence[Case],
    folder: Path,
    channel_names: Sequence[str],
    *,
    file_ending: str = FILE_ENDING,
    subtraction: tuple[int, int] | None = None,
    overwrite: bool = False,
    num_processes: int = 1,
    progress: Callable[[Sequence[Case], Iterator], Iterator] = lambda cases, finished: finished,
) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Write the images of cases as nnU-Net names them, read and checked as those of a conversion.

    Args:
        cases: Of their input only the images are used.
        folder: Is made if it is not there.
        channel_names: One per image of a case, and the last one of the difference where there is a ``subtraction``.
        file_ending: One of ``FILE_ENDINGS``.
        subtraction: Index of a channel and of the one to subtract from it: their difference is written as well.
        overwrite: Whether files that are there may be replaced.
        num_processes: Cases at the same time.
        progress: See :func:`nnunetv2_simple.conversion.convert.convert_dataset`.

    Returns:
        The reasons of failure and the warnings of every case that has any. Of a failed case nothing is written.

    Raises:
        ValueError: If there is no case or another file ending.
        FileExistsError: If a file is there and may not be replaced.
    """
    if not cases:
        raise ValueError("there is no image to convert")
    if file_ending not in FILE_ENDINGS:
        raise ValueError(f"images of the file ending {file_ending} cannot be written, but of {FILE_ENDINGS}")
    names = [name for case in cases for name in image_names(channel_names, file_ending, case=case.identifier)]
    if not overwrite and (existing := [name for name in names if (folder / name).exists()]):
        raise FileExistsError(
            f"{folder} holds {len(existing)} of these images already, such as {existing[0]}; --overwrite replaces them"
        )
    folder.mkdir(parents=True, exist_ok=True)
    remove_partial_files(folder)
    conversion = Conversion(folder, channel_names)
    if subtraction is not None:
        seen = WalkerImage(*subtraction)
        conversion = Conversion(folder, channel_names[:-1], walker_image=seen, subtraction_channel=True)
    write = partial(_try_to_write, conversion=conversion, file_ending=file_ending)
    failures, warnings = {}, {}
    with open_workers(num_processes=num_processes) as run:
        for case, found in progress(cases, run(write, cases)):
            failures[case.identifier], warnings[case.identifier] = found
    return {k: v for k, v in failures.items() if v}, {k: v for k, v in warnings.items() if v}


def _try_to_write(case: Case, *, conversion: Conversion, file_ending: str) -> tuple[list[str], list[str]]:
    folder = conversion.dataset_folder
    names = image_names(conversion.written_channels, file_ending, case=case.identifier)
    try:
        loaded = load_case(replace(case, is_test=True), conversion)
        with ExitStack() as whole_case:
            for name, channel in zip(names, channels_to_write(loaded, conversion), strict=True):
                beside = whole_case.enter_context(written_atomically(folder / name))
                write_checked(channel, beside, name=str(folder / name))
    except Exception as error:  # whatever happens to one case must not stop the others
        return [reason_of(error)], []
    return [], list(loaded.warnings)
