"""nnUNetv2_simple_convert: images and annotated lesions (or dense masks) in, nnU-Net raw dataset out."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from nnunetv2.paths import nnUNet_raw

from nnunetv2_simple.arguments import (
    DEFAULT_CLASS,
    add_option,
    add_walker_options,
    command_parser,
    existing_folder,
    existing_path,
)
from nnunetv2_simple.conversion.baselines import BASELINES, baseline_dataset_name, write_baseline
from nnunetv2_simple.conversion.cases import WalkerImage
from nnunetv2_simple.conversion.channel_names import CT, DEFAULT_CHANNELS
from nnunetv2_simple.conversion.input_folders import find_cases, read_case_list
from nnunetv2_simple.conversion.new_images_command import IMAGES_ONLY
from nnunetv2_simple.conversion.new_images_command import main as write_new_images
from nnunetv2_simple.conversion.options import add_common_options, check_dataset_ids, convert, progress_bar
from nnunetv2_simple.nnunet.datasets import find_dataset

EXAMPLES = (
    "# check everything, write nothing",
    "nnUNetv2_simple_convert -i IMAGES -a ANNOTATIONS -d 501 -n Breast --dry-run",
    "# one channel, MR",
    "nnUNetv2_simple_convert -i IMAGES -a ANNOTATIONS -d 501 -n Breast",
    "# CT, one CSV of all clicks",
    "nnUNetv2_simple_convert -i IMAGES -a clicks.csv -d 502 -n Liver -channels CT",
    "# two channels; the lesion shows in their difference",
    "nnUNetv2_simple_convert -i IMAGES -a ANNOTATIONS -d 503 -n DCE -channels pre post -walker_channel 1 "
    "-walker_subtract 0",
    "# clicks simulated from dense masks, the fully supervised twin, 20 test cases",
    "nnUNetv2_simple_convert -i IMAGES -m MASKS -d 504 -n Phantom -dense 505 -num_test 20",
    "# the random walker's result as labels, for stock nnU-Net",
    "nnUNetv2_simple_convert -d 501 -baseline walker -baseline_id 506",
)


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
    argv = sys.argv[1:] if argv is None else argv
    if set(argv) & set(IMAGES_ONLY):
        return write_new_images(argv)
    parser = command_parser(
        "Write an nnU-Net raw dataset whose labels are pseudo-masks, from six extreme points per lesion; or, with "
        "-baseline, other labels for a dataset converted before.",
        *EXAMPLES,
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
        help="Folder of dense masks: <case>.nii.gz or <case>.seg.nrrd. Kept as references; cases without annotation "
        "get their points from them",
    )
    add_option(
        parser,
        "p",
        "Folder of painted masks, named like the dense masks, to learn as they are. In each case a class is either "
        "painted or clicked",
        type=existing_folder,
    )
    add_option(
        parser,
        "evidence",
        "Folder of another model's output, probabilities or masks: <case>.nii.gz, or <case>.npz from nnU-Net. The "
        "random walker uses it inside the boxes (recipe robust)",
        type=existing_folder,
    )
    add_option(
        parser,
        "unannotated_cases",
        "With -unannotated ignore: text file with the cases it applies to, one per line. Default: all clicked cases",
        type=existing_path,
    )
    add_option(
        parser,
        "negative",
        "Text file with the cases that have no lesion, one per line: they are all background",
        type=existing_path,
    )
    add_option(
        parser,
        "channels",
        f"nnU-Net's channel names. CT must be called {CT}: nnU-Net normalises it differently",
        nargs="+",
        default=list(DEFAULT_CHANNELS),
    )
    add_option(parser, "labels", f"Foreground classes, like tumor=1 node=2. Default: {DEFAULT_CLASS}=1", nargs="+")
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
    parser.add_argument(
        *IMAGES_ONLY,
        action="store_true",
        help="[OPTIONAL] Only write images, as nnUNetv2_predict needs them; see --images-only -h for its options",
    )
    args = parser.parse_args(argv)
    if args.baseline is not None:
        if args.i is not None or args.baseline_id is None:
            parser.error("-baseline takes the dataset -d, converted before, and needs -baseline_id; no images (-i)")
        return derive_baseline(args)
    if args.i is None or not args.n:
        parser.error("give images (-i) and a dataset name (-n)")
    if args.a is None and args.m is None and args.p is None:
        parser.error("give annotations (-a), dense masks (-m) or painted masks (-p)")
    if args.evidence is not None and args.recipe != "robust":
        parser.error("-evidence belongs to the recipe robust")
    if args.unannotated_cases is not None and args.unannotated != "ignore":
        parser.error("-unannotated_cases belongs to -unannotated ignore")
    return convert(
        lambda: find_cases(
            args.i,
            args.a,
            args.m,
            painted=args.p,
            evidence=args.evidence,
            negative=read_case_list(args.negative) if args.negative else (),
            may_hold_more=read_case_list(args.unannotated_cases) if args.unannotated_cases else None,
        ),
        args,
        args.channels,
        walker_image=WalkerImage(args.walker_channel or 0, args.walker_subtract),
        labels=args.labels,
    )


if __name__ == "__main__":
    sys.exit(main())
