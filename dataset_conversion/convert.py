"""nnUNetv2_simple_convert: images and extreme points (or dense masks) in, nnU-Net raw dataset out."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from nnunetv2.paths import nnUNet_raw
from tqdm import tqdm

from nnunetv2_simple.conversion import Case, WalkerImage, convert_dataset
from nnunetv2_simple.images import IMAGE_FILE_ENDINGS


def find_cases(images: Path, annotations: Path | None, masks: Path | None) -> list[Case]:
    """List the cases of a folder of images named as nnU-Net names them.

    Args:
        images: Holds ``<case>_0000.nii.gz``, ``<case>_0001.nii.gz``, ...
        annotations: Holds ``<case>.json``, the extreme points.
        masks: Holds ``<case>.nii.gz``, dense masks.

    Raises:
        ValueError: If an image is not named so, or a case's channels are not 0000, 0001, ...
    """
    channels: dict[str, list[Path]] = {}
    for file in sorted(images.iterdir()):
        if ending := image_file_ending(file):
            identifier, separator, channel = file.name.removesuffix(ending).rpartition("_")
            if not separator or channel != f"{len(channels.get(identifier, [])):04d}":
                raise ValueError(
                    f"images must be named <case>_0000{ending}, <case>_0001{ending}, ... without a gap, got {file}"
                )
            channels.setdefault(identifier, []).append(file)
    return [
        Case(
            identifier,
            tuple(str(file) for file in files),
            points_file=_existing(annotations, identifier, (".json",)),
            mask_file=_existing(masks, identifier, IMAGE_FILE_ENDINGS),
        )
        for identifier, files in channels.items()
    ]


def image_file_ending(file: Path) -> str | None:
    """Return which of the known image file endings a file has."""
    return next((ending for ending in IMAGE_FILE_ENDINGS if file.name.endswith(ending)), None)


def _existing(folder: Path | None, identifier: str, endings: Sequence[str]) -> str | None:
    if folder is None:
        return None
    candidates = (folder / (identifier + ending) for ending in endings)
    return next((str(file) for file in candidates if file.is_file()), None)


def add_output_arguments(
    parser: argparse.ArgumentParser, *, dataset_id: int | None = None, dataset_name: str | None = None
) -> None:
    """Add the options that every conversion script has. Without a default, id and name are required."""
    parser.add_argument(
        "-d", type=int, required=dataset_id is None, default=dataset_id, help="Dataset id of the dataset to write"
    )
    parser.add_argument(
        "-n",
        required=dataset_name is None,
        default=dataset_name,
        help="Dataset name, the Name of DatasetXXX_Name",
    )
    parser.add_argument(
        "-dense", type=int, help="[OPTIONAL] Dataset id of a fully supervised twin to write: the dense masks as labels"
    )
    parser.add_argument(
        "-num_test", type=int, default=0, help="[OPTIONAL] Number of randomly chosen cases to keep out of training"
    )
    parser.add_argument("-test_seed", type=int, default=0, help="[OPTIONAL] Seed of that choice. Default: 0")
    parser.add_argument("-beta", type=float, default=130.0, help="[OPTIONAL] Random walker's beta. Default: 130")
    parser.add_argument("-np", type=int, default=2, help="[OPTIONAL] Cases converted at the same time. Default: 2")


def convert(cases: list[Case], args: argparse.Namespace, channel_names: list[str], walker_image: WalkerImage) -> int:
    """Convert the cases as the command line asks for; return the exit status."""
    raw = Path(nnUNet_raw)
    dataset_folder = raw / f"Dataset{args.d:03d}_{args.n}"
    dense_dataset_folder = raw / f"Dataset{args.dense:03d}_{args.n}_dense" if args.dense is not None else None
    test = np.random.default_rng(args.test_seed).permutation(len(cases))[: args.num_test]
    cases = [replace(case, is_test=index in test) for index, case in enumerate(cases)]
    try:
        _check_dataset_ids(raw, [folder for folder in (dataset_folder, dense_dataset_folder) if folder])
        if not 0 <= args.num_test < max(len(cases), 1):
            raise ValueError(f"-num_test must leave some of the {len(cases)} cases for training, got {args.num_test}")
        failures = convert_dataset(
            cases,
            dataset_folder,
            channel_names=channel_names,
            walker_image=walker_image,
            beta=args.beta,
            dense_dataset_folder=dense_dataset_folder,
            num_processes=args.np,
            progress=lambda finished: tqdm(finished, total=len(cases), desc="converting", unit="case"),
        )
    except (ValueError, FileExistsError) as error:
        print(f"ERROR: {error}", file=sys.stderr)
        return 2
    for identifier, reason in sorted(failures.items()):
        print(f"FAILED {identifier}: {reason}", file=sys.stderr)
    print(f"{len(cases) - len(failures)} of {len(cases)} cases converted to {dataset_folder}")
    return 1 if failures else 0


def _check_dataset_ids(raw: Path, folders: Sequence[Path]) -> None:
    """nnU-Net finds datasets by their id alone."""
    for folder in folders:
        prefix = folder.name.split("_")[0]
        same_id = {other.name for other in [*raw.glob(f"{prefix}_*"), *folders] if other.name.startswith(prefix + "_")}
        if same_id != {folder.name}:
            raise FileExistsError(f"dataset ids must be unique, got {sorted(same_id)}; choose another dataset id")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Write an nnU-Net raw dataset whose labels are pseudo-masks made from six extreme points per case."
    )
    parser.add_argument(
        "-i", type=Path, required=True, help="Folder of images: <case>_0000.nii.gz, <case>_0001.nii.gz, ..."
    )
    parser.add_argument("-a", type=Path, help="Folder of annotations: <case>.json with the six extreme points")
    parser.add_argument(
        "-m",
        type=Path,
        help="Folder of dense masks: <case>.nii.gz. Kept as references; cases without annotation get their points "
        "from them",
    )
    parser.add_argument("-channels", nargs="+", default=["MR"], help="nnU-Net's channel names. Default: MR")
    parser.add_argument("-walker_channel", type=int, default=0, help="Channel the random walker sees. Default: 0")
    parser.add_argument("-walker_subtract", type=int, help="[OPTIONAL] Channel to subtract from it, e.g. pre-contrast")
    add_output_arguments(parser)
    args = parser.parse_args(argv)
    for folder in (args.i, args.a, args.m):
        if folder is not None and not folder.is_dir():
            parser.error(f"{folder} is not a folder")
    if args.a is None and args.m is None:
        parser.error("give annotations (-a), dense masks (-m), or both")
    try:
        cases = find_cases(args.i, args.a, args.m)
    except ValueError as error:
        parser.error(str(error))
    return convert(cases, args, args.channels, WalkerImage(args.walker_channel, args.walker_subtract))


if __name__ == "__main__":
    sys.exit(main())
