"""nnUNetv2_simple_convert --images-only: new images as nnUNetv2_predict takes them."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from nnunetv2_simple.arguments import add_num_processes, add_option, command_parser, existing_folder
from nnunetv2_simple.conversion.case_files import FILE_ENDING
from nnunetv2_simple.conversion.channel_names import DEFAULT_CHANNELS
from nnunetv2_simple.conversion.input_folders import find_cases
from nnunetv2_simple.conversion.new_images import FILE_ENDINGS, write_images
from nnunetv2_simple.conversion.options import by_sentence, progress_bar
from nnunetv2_simple.nnunet.datasets import images_of_dataset

IMAGES_ONLY = ("--images-only", "--images_only")


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = command_parser(
        "Write new images with the names and in the format that nnUNetv2_predict looks for, and nothing else.",
        "# channels and file ending as dataset 501 has them",
        "nnUNetv2_simple_convert -i NEW --images-only -d 501 -o NEW_IMAGES",
    )
    parser.add_argument(*IMAGES_ONLY, action="store_true", required=True)
    parser.add_argument(
        "-i", type=existing_folder, required=True, help="Folder of images: <case>_0000.nrrd, <case>_0001.nrrd, ..."
    )
    parser.add_argument("-o", type=Path, required=True, help="Folder to write to")
    parser.add_argument("-d", help="[OPTIONAL] Dataset id or name, whose channels and file ending are taken")
    add_option(parser, "channels", f"Channel names. Default, without -d: {' '.join(DEFAULT_CHANNELS)}", nargs="+")
    add_option(parser, "file_ending", f"Default, without -d: {FILE_ENDING}", choices=FILE_ENDINGS)
    add_num_processes(parser, "Cases converted at the same time")
    parser.add_argument("--overwrite", action="store_true", help="[OPTIONAL] Replace images that are there")
    args = parser.parse_args(argv)
    if args.d is not None and (args.channels or args.file_ending):
        parser.error("give either the dataset (-d), or -channels and -file_ending")
    return args


def main(argv: Sequence[str]) -> int:
    args = parse_arguments(argv)
    try:
        if args.o.is_dir() and args.o.samefile(args.i):
            raise ValueError(f"the output folder must differ from the folder of the images, {args.i}")
        channel_names, file_ending = args.channels or list(DEFAULT_CHANNELS), args.file_ending or FILE_ENDING
        subtraction = None
        if args.d is not None:
            channel_names, file_ending, subtraction = images_of_dataset(int(args.d) if args.d.isdecimal() else args.d)
        cases = find_cases(args.i, None, None)
        failures, warnings = write_images(
            cases,
            args.o.absolute(),
            channel_names,
            file_ending=file_ending,
            subtraction=subtraction,
            overwrite=args.overwrite,
            num_processes=args.np,
            progress=progress_bar("writing"),
        )
    except (ValueError, OSError) as error:
        print(f"ERROR: {error}", file=sys.stderr)
        return 2
    for kind, found in (("WARNING", warnings), ("FAILED", failures)):
        for identifiers, sentence in by_sentence(found):
            print(f"{kind} {identifiers}: {sentence}", file=sys.stderr)
    print(f"images of {len(cases) - len(failures)} of {len(cases)} cases written to {args.o}")
    return 1 if failures else 0
