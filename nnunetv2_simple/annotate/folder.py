"""The two folders the page works on: images, which are read, and annotations, which are read and written."""

import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import SimpleITK as sitk

from nnunetv2_simple.annotate.marks import UNTOUCHED, Marks, is_own, marks_from_json, marks_from_lesions, size_of
from nnunetv2_simple.extreme_points.annotation import error_context
from nnunetv2_simple.extreme_points.annotation_files import find_annotations
from nnunetv2_simple.extreme_points.lesions import read_lesions
from nnunetv2_simple.files import check_is_utf8, only_one, read_json, remove_partial_files, save_json_atomically
from nnunetv2_simple.grids import check_fits_single_precision, on_grid_of
from nnunetv2_simple.image_folders import channel_files
from nnunetv2_simple.images import read_grid, read_header, read_volume

LOCK = ".annotate.lock"
REPLACED = ".replaced"  # hidden, so that the conversion does not look into it


@dataclass(frozen=True)
class ImageCase:
    """A case of the folder of images.

    Attributes:
        identifier: nnU-Net's case identifier.
        files: One image per channel.
        problem: Why it cannot be shown; "" if it can, as far as the headers tell.
    """

    identifier: str
    files: tuple[str, ...]
    problem: str = ""


class AnnotationFolder:
    """A folder of annotations that one server works on at a time.

    Args:
        folder: Is made if it is not there.
        labels: The label of each class.
        cases: The cases by identifier.

    Raises:
        BlockingIOError: If another server works on the folder, naming it.
    """

    def __init__(self, folder: Path, *, labels: Mapping[str, int], cases: Mapping[str, ImageCase]):
        check_is_utf8(folder)
        self.folder, self.labels, self._cases = Path(folder), labels, cases
        self.folder.mkdir(parents=True, exist_ok=True)
        self._held = ExitStack()
        self._held.enter_context(only_one(self.folder / LOCK, f"{folder} (two servers would overwrite each other)"))
        remove_partial_files(self.folder, "*.json")

    def close(self) -> None:
        self._held.close()

    def read(self, case: ImageCase) -> Marks:
        """Read what is marked in a case, in whatever format.

        Raises:
            ValueError: If a file cannot be understood, naming it.
        """
        grid, file = read_grid(case.files[0]), self._file(case)
        if file.exists() and is_own(content := read_json(file)):
            with error_context(str(file)):
                marks = marks_from_json(content, labels=self.labels, size=size_of(grid))
            self._set_aside(marks.replaced)
            return marks
        files = self._other_files(case)
        if not files:
            return Marks()
        lesions = read_lesions(files, grid, case=case.identifier, labels=self.labels)
        return marks_from_lesions(lesions, labels=self.labels, replaced=tuple(Path(name).name for name in files))

    def write(self, case: ImageCase, marks: Marks) -> None:
        """Write the marks of a case; without any, remove its file.

        Files of other formats that they stand in for are kept in the hidden folder ``.replaced``.
        """
        file = self._file(case)
        if file.name in marks.replaced and file.exists() and not is_own(read_json(file)):
            shutil.copy2(file, self._place_aside(file.name))
        save_json_atomically(marks.to_json(), file)
        self._set_aside(name for name in marks.replaced if name != file.name)
        if marks.state == UNTOUCHED:
            file.unlink()

    def _file(self, case: ImageCase) -> Path:
        return self.folder / f"{case.identifier}.json"

    def _other_files(self, case: ImageCase) -> Sequence[str]:
        images = {Path(file).parent for file in case.files}
        others = [folder for folder in images if not folder.samefile(self.folder)]
        own = [file for known in self._cases.values() for file in known.files]
        return find_annotations(self.folder, list(self._cases), other_inputs=[*others, *own])[0].get(
            case.identifier, ()
        )

    def _set_aside(self, names) -> None:
        for name in names:
            if (file := self.folder / name).exists() and not (name.endswith(".json") and is_own(read_json(file))):
                os.replace(file, self._place_aside(name))

    def _place_aside(self, name: str) -> Path:
        (self.folder / REPLACED).mkdir(exist_ok=True)
        number, place = 1, self.folder / REPLACED / name
        while place.exists():
            number, place = number + 1, self.folder / REPLACED / f"{number}_{name}"
        return place


def list_cases(images: Path, num_channels: int) -> list[ImageCase]:
    """List the cases of a folder of images, and what is wrong with those that cannot be shown.

    Raises:
        ValueError: If there is none, or an image has another name or format than nnU-Net's.
    """
    found = channel_files(images)
    if not found:
        raise ValueError(f"there is no image <case>_0000.nii.gz in {images}")
    cases = []
    for identifier, channels in found.items():
        problem = ""
        if [channel for channel, _ in channels] != [f"{index:04d}" for index in range(num_channels)]:
            names = [Path(file).name for _, file in channels]
            problem = f"expected the {num_channels} channels _0000, _0001, ..., found {names}"
        for _, file in channels:
            try:
                read_header(file)
            except ValueError as error:
                problem = problem or str(error)
        cases.append(ImageCase(identifier, tuple(file for _, file in channels), problem))
    return cases


def read_channels(case: ImageCase) -> list[sitk.Image]:
    """Read the channels of a case, as the conversion does.

    Raises:
        ValueError: If one cannot be read or has another grid than the first.
    """
    channels = []
    for file in case.files:
        channel = read_volume(file)
        check_fits_single_precision(channel, file)
        channels.append(on_grid_of(channel, channels[0] if channels else channel, names=(case.files[0], file)))
    return channels
