"""nnUNetv2_simple_convert: images and annotated lesions (or dense masks) in, nnU-Net raw dataset out."""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from nnunetv2.paths import nnUNet_raw

from nnunetv2_simple.conversion.baselines import BASELINES, baseline_dataset_name, write_baseline
from nnunetv2_simple.conversion.cases import Case, WalkerImage
from nnunetv2_simple.conversion.dataset_files import find_dataset
from nnunetv2_simple.conversion.options import (
    add_common_options,
    add_option,
    add_walker_options,
    check_dataset_ids,
    convert,
    existing_folder,
    existing_path,
    progress_bar,
)
from nnunetv2_simple.extreme_points.lesions import find_annotations
from nnunetv2_simple.images import IMAGE_FILE_ENDINGS, image_file_ending

CHANNEL_FILE = r"_\d{4}\.\w+(\.gz)?$"
# beside images: their data, and what converters and viewers write about them
NO_IMAGES = (".raw", ".zraw", ".json", ".txt", ".csv", ".tsv", ".bval", ".bvec", ".png", ".jpg", ".pdf")
MAX_NAMED = 20
EXPECTED_NAME = "which for an image <case>_0000.nii.gz is called <case> or <case>.<name>"


def find_cases(images: Path, annotations: Path | None, masks: Path | None) -> list[Case]:
    """List the cases of a folder of images named as nnU-Net names them; warn of annotations of no image.

    Args:
        images: Holds ``<case>_0000.nii.gz``, ``<case>_0001.nii.gz``, ...
        annotations: The annotated lesions (see :func:`nnunetv2_simple.extreme_points.lesions.find_annotations`).
        masks: Holds ``<case>.nii.gz``, dense masks.

    Raises:
        ValueError: If an image is not named so or of another format, or the annotations cannot be read.
    """
    channels: dict[str, list[tuple[str, str]]] = {}
    misnamed, unknown = [], []
    for file in sorted(images.iterdir()):
        if file.name.startswith("."):
            continue
        if ending := image_file_ending(file.name):
            name = re.fullmatch(r"(.+)_(\d{4})", file.name.removesuffix(ending))
            if name:
                channels.setdefault(name[1], []).append((name[2], str(file)))
            else:
                misnamed.append(str(file))
        elif re.search(CHANNEL_FILE, file.name, re.IGNORECASE) and file.suffix.lower() not in NO_IMAGES:
            unknown.append(str(file))
    if unknown:
        raise ValueError(f"images must be of the formats {IMAGE_FILE_ENDINGS}, got {unknown}")
    if misnamed:
        raise ValueError(f"images must be named <case>_0000.nii.gz, <case>_0001.nii.gz, ..., got {misnamed}")
    annotation_files = _annotations_of(list(channels), annotations, images)
    mask_files_of = _mask_files(masks)
    cases = []
    for identifier, found in channels.items():
        mask_files, problems, warnings = mask_files_of.get(identifier, []), [], []
        if [channel for channel, _ in found] != [f"{index:04d}" for index in range(len(found))]:
            names = [Path(file).name for _, file in found]
            problems.append(f"images must be named <case>_0000, <case>_0001, ... without a gap, one each; got {names}")
        if len(mask_files) > 1:
            problems.append(f"there must be one dense mask, got {mask_files}")
        if annotations is not None and identifier not in annotation_files and mask_files:
            warnings.append(f"no annotation was found in {annotations}: its clicks are simulated from {mask_files[0]}")
        cases.append(
            Case(
                identifier,
                tuple(file for _, file in found),
                annotation_files=annotation_files.get(identifier, ()),
                mask_file=mask_files[0] if mask_files else None,
                problems=tuple(problems),
                warnings=tuple(warnings),
            )
        )
    return cases


def _annotations_of(identifiers: Sequence[str], annotations: Path | None, images: Path) -> dict[str, tuple[str, ...]]:
    """Find the annotation files of each case; say which belong to no image, as what they mark counts as background."""
    if annotations is None:
        return {}
    found, others = find_annotations(annotations, identifiers)
    if annotations.is_dir() and annotations.samefile(images):
        others = [name for name in others if not re.search(CHANNEL_FILE, name, re.IGNORECASE)]
    for name in others[:MAX_NAMED]:
        print(f"WARNING {name}: belongs to no image in {images}, {EXPECTED_NAME}", file=sys.stderr)
    if len(others) > MAX_NAMED:
        print(f"WARNING and {len(others) - MAX_NAMED} more annotations belong to no image", file=sys.stderr)
    return found


def _mask_files(folder: Path | None) -> dict[str, list[str]]:
    found = {}
    for file in sorted(folder.iterdir()) if folder is not None else ():
        if ending := image_file_ending(file.name):
            found.setdefault(file.name.removesuffix(ending), []).append(str(file))
    return found


def derive_baseline(args: argparse.Namespace) -> int:
    """Write the baseline that the command line asks for; return the exit status."""
    try:
        if not nnUNet_raw:
            raise ValueError("nnUNet_raw must be set to the folder of nnU-Net's raw datasets")
        converted = find_dataset(args.d, Path(nnUNet_raw))
        baseline = converted.parent / baseline_dataset_name(converted, args.baseline, args.baseline_id)
        check_dataset_ids(converted.parent, [baseline])
        bar = progress_bar("labelling")
        write_baseline(converted, args.baseline, baseline, num_processes=args.np, progress=bar)
    except (ValueError, OSError) as error:
        print(f"ERROR: {error}", file=sys.stderr)
        return 1
    print(f"the baseline {args.baseline} of {converted.name} is in {baseline}")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Write an nnU-Net raw dataset whose labels are pseudo-masks, from six extreme points per lesion; "
        "or, with -baseline, other labels for a dataset converted before."
    )
    parser.add_argument(
        "-i", type=existing_folder, help="Folder of images: <case>_0000.nii.gz, <case>_0001.nii.gz, ..."
    )
    parser.add_argument(
        "-a",
        type=existing_path,
        help="Annotated lesions: a folder of <case>.json, <case>.mrk.json, ..., or one CSV file of all cases",
    )
    parser.add_argument(
        "-m",
        type=existing_folder,
        help="Folder of dense masks: <case>.nii.gz. Kept as references; cases without annotation get their points "
        "from them",
    )
    add_option(parser, "channels", "nnU-Net's channel names", nargs="+", default=["MR"])
    add_option(parser, "labels", "Foreground classes, like tumor=1 node=2. Default: tumour=1", nargs="+")
    add_walker_options(parser)
    add_common_options(parser, dataset_name="")
    add_option(
        parser,
        "baseline",
        "Write other labels for the images of the dataset -d: the random walker's result (walker), the ellipsoid "
        "inscribed in the box (ellipsoid), or the pseudo-masks of the recipe paper",
        choices=BASELINES,
    )
    add_option(parser, "baseline_id", "Dataset id of the baseline to write", type=int)
    args = parser.parse_args(argv)
    if args.baseline is not None:
        if args.i is not None or args.baseline_id is None:
            parser.error("-baseline takes the dataset -d, converted before, and needs -baseline_id; no images (-i)")
        return derive_baseline(args)
    if args.i is None or not args.n:
        parser.error("give images (-i) and a dataset name (-n)")
    if args.a is None and args.m is None:
        parser.error("give annotations (-a), dense masks (-m), or both")
    return convert(
        lambda: find_cases(args.i, args.a, args.m),
        args,
        args.channels,
        walker_image=WalkerImage(args.walker_channel or 0, args.walker_subtract),
        labels=args.labels,
    )


if __name__ == "__main__":
    sys.exit(main())
