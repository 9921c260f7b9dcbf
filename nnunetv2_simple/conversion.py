"""From images and annotations to an nnU-Net raw dataset with an ignore label.

    DatasetXXX_Name/
        imagesTr/ imagesTs/            <case>_0000.nii.gz, <case>_0001.nii.gz, ...
        labelsTr/                      <case>.nii.gz: the pseudo-mask, 2 is nnU-Net's ignore label
        referencesTr/ referencesTs/    dense masks where known; nothing of nnU-Net reads these folders
        dataset.json
        provenance.json                points, parameters and version behind every label

A case is written beside and moved into place, dataset.json comes last: whatever is interrupted or fails leaves no
half-written case and no dataset.json that promises more than there is.
"""

import os
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813 (its documented abbreviation)
from batchgenerators.utilities.file_and_folder_operations import save_json
from nnunetv2.dataset_conversion.generate_dataset_json import generate_dataset_json
from threadpoolctl import threadpool_limits

from nnunetv2_simple import __version__
from nnunetv2_simple.annotations import read_extreme_points
from nnunetv2_simple.extreme_points import extreme_points_from_mask
from nnunetv2_simple.images import check_same_geometry, image_like, read_volume, spacing_zyx_mm
from nnunetv2_simple.pseudo_mask import generate_pseudo_mask

FILE_ENDING = ".nii.gz"
FOREGROUND_NAME = "tumour"
IGNORE_LABEL = 2
SUBFOLDERS = ("imagesTr", "imagesTs", "labelsTr", "referencesTr", "referencesTs")


@dataclass(frozen=True)
class Case:
    """What is known of one case before the conversion.

    Attributes:
        identifier: nnU-Net's case identifier.
        image_files: One file per channel.
        points_file: The six extreme points (see :func:`nnunetv2_simple.annotations.read_extreme_points`).
        mask_file: A dense mask, non-zero inside the lesion. Kept as reference; without ``points_file`` the extreme
            points are simulated from it.
        is_test: Whether the case is kept out of training: its image goes to imagesTs and gets no label.
    """

    identifier: str
    image_files: tuple[str, ...]
    points_file: str | None = None
    mask_file: str | None = None
    is_test: bool = False


@dataclass(frozen=True)
class WalkerImage:
    """Which image the scribbles and the random walker see.

    Attributes:
        channel: Index of the channel.
        subtract: Index of a channel to subtract, such as the pre-contrast one; None for none.
    """

    channel: int = 0
    subtract: int | None = None

    def __call__(self, channels: Sequence[np.ndarray]) -> np.ndarray:
        for index in (self.channel, self.subtract):
            if index is not None and not 0 <= index < len(channels):
                raise ValueError(f"there is no channel {index}, the case has the channels 0 to {len(channels) - 1}")
        image = channels[self.channel].astype(float)
        return image if self.subtract is None else image - channels[self.subtract]


def convert_dataset(
    cases: Sequence[Case],
    dataset_folder: str | Path,
    *,
    channel_names: Sequence[str],
    walker_image: WalkerImage = WalkerImage(),  # noqa: B008 (frozen)
    beta: float = 130.0,
    dense_dataset_folder: str | Path | None = None,
    num_processes: int = 2,
    progress: Callable[[Iterator], Iterator] = iter,
) -> dict[str, str]:
    """Write an nnU-Net raw dataset whose labels are pseudo-masks, and optionally its fully supervised twin.

    The twin holds the dense masks as labels; its dataset.json points at the images of the first dataset, so cases are
    the same and nnU-Net splits them the same way.

    Args:
        cases: The cases to convert.
        dataset_folder: ``DatasetXXX_Name`` in nnUNet_raw. Must not hold a dataset.json yet.
        channel_names: nnU-Net's channel names; they decide the normalisation.
        walker_image: Which channel, or difference of channels, the random walker sees.
        beta: See :func:`nnunetv2_simple.pseudo_mask.generate_pseudo_mask`.
        dense_dataset_folder: Where to write the twin; every training case then needs a mask.
        num_processes: Cases converted at the same time.
        progress: Wraps the iterator over the finished cases (``total`` is the number of cases), e.g. a progress bar.

    Returns:
        The reason of failure of every case that could not be converted. The other cases are converted.

    Raises:
        ValueError: If case identifiers are not unique or no file names, or there is no case.
        FileExistsError: If one of the datasets exists already, or its folder holds files of other cases.
    """
    dataset_folder = Path(dataset_folder)
    folders = [dataset_folder] + ([Path(dense_dataset_folder)] if dense_dataset_folder else [])
    _check_identifiers(cases)
    for folder in folders:
        _check_free(folder, cases)
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(folder)

    provenance, failures = {}, {}
    with ProcessPoolExecutor(num_processes, get_context("spawn"), initializer=_use_one_thread) as pool:
        jobs = {
            pool.submit(
                _convert_case, case, folders, num_channels=len(channel_names), walker_image=walker_image, beta=beta
            ): case.identifier
            for case in cases
        }
        for job in progress(as_completed(jobs)):
            if job.exception() is None:
                provenance[jobs[job]] = job.result()
            else:
                failures[jobs[job]] = str(job.exception()) or type(job.exception()).__name__
    training_cases = sorted(c.identifier for c in cases if not c.is_test and c.identifier in provenance)
    if training_cases:
        save_json_atomically(
            {
                "nnunetv2_simple": __version__,
                "parameters": {
                    "recipe": "paper",
                    "beta": beta,
                    "walker_channel": walker_image.channel,
                    "walker_subtracts_channel": walker_image.subtract,
                },
                "cases": {identifier: provenance[identifier] for identifier in sorted(provenance)},
                "failed": dict(sorted(failures.items())),
            },
            dataset_folder / "provenance.json",
        )
        labels = {"background": 0, FOREGROUND_NAME: 1}
        if dense_dataset_folder:
            _write_dataset_json(
                folders[1],
                channel_names,
                labels,
                training_cases,
                dataset={case: _twin_entry(case, len(channel_names), *folders) for case in training_cases},
            )
        _write_dataset_json(dataset_folder, channel_names, labels | {"ignore": IGNORE_LABEL}, training_cases)
    return failures


def _use_one_thread() -> None:
    """Keep the linear algebra of one worker process from competing with the others'."""
    threadpool_limits(limits=1)


def save_json_atomically(content: dict, file: Path) -> None:
    """Write a JSON file beside its place and move it there."""
    partial = file.with_name(file.name + ".partial")
    save_json(content, str(partial), sort_keys=False)
    os.replace(partial, file)


def _check_identifiers(cases: Sequence[Case]) -> None:
    if not cases:
        raise ValueError("there is no case to convert")
    for case in cases:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", case.identifier):
            raise ValueError(
                f"case identifier {case.identifier!r} may only hold letters, digits, '_', '-' and '.', and must start "
                f"with a letter or digit"
            )
    duplicates = [name for name, count in Counter(c.identifier for c in cases).items() if count > 1]
    if duplicates:
        raise ValueError(f"case identifiers must be unique, got several of {duplicates}")


def _check_free(folder: Path, cases: Sequence[Case]) -> None:
    if (folder / "dataset.json").exists():
        raise FileExistsError(f"{folder} holds a dataset already, remove it or choose another dataset id")
    known = {case.identifier for case in cases}
    for subfolder in SUBFOLDERS:
        for file in sorted((folder / subfolder).glob("*")):
            if re.sub(r"(_\d{4})?\.nii\.gz$", "", file.name) not in known:
                raise FileExistsError(f"{file} belongs to none of the cases, remove it or choose another dataset id")


def _remove_leftovers(folder: Path) -> None:
    """Remove what an interrupted conversion of the same cases left."""
    for leftover in folder.glob("partial_*"):
        shutil.rmtree(leftover)
    for subfolder in SUBFOLDERS:
        for file in (folder / subfolder).glob("*"):
            file.unlink()


def _convert_case(
    case: Case, folders: Sequence[Path], *, num_channels: int, walker_image: WalkerImage, beta: float
) -> dict:
    """Write all files of one case; return its provenance."""
    if len(case.image_files) != num_channels:
        raise ValueError(f"expected {num_channels} channels, found {len(case.image_files)}: {list(case.image_files)}")
    channels = [read_volume(file) for file in case.image_files]
    for channel, file in zip(channels[1:], case.image_files[1:], strict=True):
        check_same_geometry(channels[0], channel, names=(case.image_files[0], file))
    files = {}
    split = "Ts" if case.is_test else "Tr"
    for index, channel in enumerate(channels):
        channel.CopyInformation(channels[0])
        files[folders[0] / f"images{split}" / f"{case.identifier}_{index:04d}{FILE_ENDING}"] = channel

    mask = None
    if case.mask_file is not None:
        mask_image = read_volume(case.mask_file)
        check_same_geometry(channels[0], mask_image, names=(case.image_files[0], case.mask_file))
        mask = (sitk.GetArrayFromImage(mask_image) != 0).astype(np.uint8)
        reference = image_like(mask, channels[0])
        files[folders[0] / f"references{split}" / (case.identifier + FILE_ENDING)] = reference
        if not case.is_test and len(folders) > 1:
            files[folders[1] / "labelsTr" / (case.identifier + FILE_ENDING)] = reference
    elif len(folders) > 1 and not case.is_test:
        raise ValueError("a fully supervised twin dataset needs a dense mask of every training case, got none")

    provenance = {"images": [str(file) for file in case.image_files]}
    if not case.is_test:
        if case.points_file is not None:
            points = read_extreme_points(case.points_file, channels[0])
            provenance |= {"annotation": "extreme points", "annotation_file": str(case.points_file)}
        elif mask is not None:
            if not mask.any():
                raise ValueError(f"the mask {case.mask_file} is empty, there is nothing to click on")
            points = extreme_points_from_mask(mask)
            provenance |= {"annotation": "simulated from a dense mask", "annotation_file": str(case.mask_file)}
        else:
            raise ValueError("no annotation was found, neither extreme points nor a dense mask")
        label = generate_pseudo_mask(
            walker_image([sitk.GetArrayViewFromImage(channel) for channel in channels]),
            points,
            spacing_mm=spacing_zyx_mm(channels[0]),
            beta=beta,
            ignore_label=IGNORE_LABEL,
        )
        files[folders[0] / "labelsTr" / (case.identifier + FILE_ENDING)] = image_like(label, channels[0])
        provenance |= {
            "extreme_points_zyx": points.tolist(),
            "spacing_mm_zyx": spacing_zyx_mm(channels[0]),
            "foreground_voxels": int((label == 1).sum()),
            "unlabelled_voxels": int((label == IGNORE_LABEL).sum()),
        }
    _write_together(files, scratch=folders[0] / f"partial_{case.identifier}")
    return provenance


def _write_together(images: dict[Path, sitk.Image], *, scratch: Path) -> None:
    """Write images beside their places, check that all have one geometry on disk, and move them into place."""
    scratch.mkdir(exist_ok=True)
    try:
        written = {}
        for index, (target, image) in enumerate(images.items()):
            written[target] = scratch / f"{index}{FILE_ENDING}"
            sitk.WriteImage(image, str(written[target]), useCompression=True)
        headers = {target: _geometry_on_disk(file) for target, file in written.items()}
        if len(set(headers.values())) > 1:
            raise ValueError(f"the geometry of image and label differs once written: {headers}")
        for target, file in written.items():
            target.parent.mkdir(exist_ok=True)
            os.replace(file, target)
    finally:
        shutil.rmtree(scratch)


def _geometry_on_disk(file: Path) -> tuple:
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(file))
    reader.ReadImageInformation()
    return reader.GetSize(), reader.GetSpacing(), reader.GetOrigin(), reader.GetDirection()


def _twin_entry(case: str, num_channels: int, weak: Path, dense: Path) -> dict:
    images = [weak / "imagesTr" / f"{case}_{index:04d}{FILE_ENDING}" for index in range(num_channels)]
    return {
        "images": [os.path.relpath(image, dense) for image in images],
        "label": f"labelsTr/{case}{FILE_ENDING}",
    }


def _write_dataset_json(
    folder: Path, channel_names: Sequence[str], labels: dict[str, int], cases: Sequence[str], **extra
) -> None:
    scratch = folder / "partial_dataset_json"
    scratch.mkdir(exist_ok=True)
    try:
        generate_dataset_json(
            str(scratch),
            dict(enumerate(channel_names)),
            dict(labels),
            len(cases),
            FILE_ENDING,
            license="see the source of the images",
            converted_by=f"nnunetv2_simple {__version__}",
            **extra,
        )
        os.replace(scratch / "dataset.json", folder / "dataset.json")
    finally:
        shutil.rmtree(scratch)
