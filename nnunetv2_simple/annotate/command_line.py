"""nnUNetv2_simple_annotate: one page to click six points per lesion, see the pseudo-mask, and correct it."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from nnunetv2_simple.annotate.folder import AnnotationFolder, list_cases
from nnunetv2_simple.annotate.session import Session
from nnunetv2_simple.arguments import (
    add_option,
    add_walker_options,
    check_labels,
    command_parser,
    existing_folder,
    parse_labels,
)
from nnunetv2_simple.pseudo_mask.walker_image import WalkerImage

DEFAULT_PORT = 5006


def main(argv: Sequence[str] | None = None) -> int:
    parser = command_parser(
        "Serve a page on this machine on which six extreme points per lesion are clicked, and the pseudo-mask is seen "
        "and corrected. On another machine: ssh -L 5006:localhost:5006 MACHINE.",
        "nnUNetv2_simple_annotate -i IMAGES -a ANNOTATIONS",
        "# two channels; the lesion shows in their difference",
        "nnUNetv2_simple_annotate -i IMAGES -a ANNOTATIONS -channels pre post -walker_channel 1 -walker_subtract 0",
    )
    parser.add_argument("-i", type=existing_folder, required=True, help="Folder of images: <case>_0000.nii.gz, ...")
    parser.add_argument(
        "-a", type=Path, required=True, help="Folder of annotations: <case>.json is written, other formats are read"
    )
    add_option(parser, "labels", "Foreground classes, like tumor=1 node=2. Default: tumor=1", nargs="+")
    add_option(parser, "channels", "Names of the channels, as for nnUNetv2_simple_convert", nargs="+", default=["MR"])
    add_walker_options(parser)
    add_option(
        parser,
        "evidence",
        "Folder of what another model gives: <case>.nii.gz, or .npz of nnUNetv2_predict. Review then begins where it "
        "disagrees most",
        type=existing_folder,
    )
    add_option(parser, "port", "Port on 127.0.0.1; 0 for any free one", type=int, default=DEFAULT_PORT)
    args = parser.parse_args(argv)
    try:
        return _serve(args)
    except (ValueError, OSError) as error:
        print(f"ERROR: {error}", file=sys.stderr)
        return 2


def _serve(args: argparse.Namespace) -> int:
    try:
        from nnunetv2_simple.annotate.page import Pages  # Bokeh is an extra
        from nnunetv2_simple.annotate.server import start_server
    except ModuleNotFoundError as error:
        raise ValueError(f'{error.name} is missing: pip install "nnunetv2_simple[annotate]"') from error
    walker_image = WalkerImage(args.walker_channel or 0, args.walker_subtract)
    walker_image.check_channels(args.channels)
    labels, cases = parse_labels(args.labels), list_cases(args.i, len(args.channels))
    check_labels(labels)
    folder = AnnotationFolder(args.a.absolute(), labels=labels, cases={case.identifier: case for case in cases})
    session = Session(cases, folder, labels=labels, walker_image=walker_image)
    pages = Pages(session, args.channels, args.evidence)
    try:
        server, address = start_server(pages.add, port=args.port)
    except OSError as error:
        raise ValueError(f"port {args.port} cannot be used ({error}): give another one, 0 takes a free one") from error
    print(f"{len(cases)} cases. Open {address}", flush=True)
    print("Every change is saved at once; end with Ctrl+C.", flush=True)
    try:
        server.io_loop.start()
    except KeyboardInterrupt:
        pass
    finally:
        pages.close()
        folder.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
