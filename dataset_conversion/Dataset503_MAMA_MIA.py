"""MAMA-MIA: 1,506 public breast DCE-MRI cases with expert segmentations.

The data are public (doi:10.7303/syn60868042, CC BY-NC 4.0). Read are

    images/DUKE_001/DUKE_001_0000.nii.gz      0000 pre-contrast, 0001 first post-contrast, ...
    segmentations/expert/DUKE_001.nii.gz      or segmentations/automatic/
    train_test_splits.csv                     two parallel columns train_split and test_split

where upper and lower case make no difference. The chosen phases become nnU-Net's channels, and the clicks are
simulated from the segmentations.

Reference: Garrucho et al., A large-scale multicenter breast cancer DCE-MRI benchmark dataset with expert
segmentations, Scientific Data 2025.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from nnunetv2.paths import nnUNet_preprocessed

from nnunetv2_simple.arguments import add_option, add_walker_options, command_parser, existing_folder
from nnunetv2_simple.conversion.cases import Case, WalkerImage
from nnunetv2_simple.conversion.options import add_common_options, convert
from nnunetv2_simple.extreme_points.annotation import error_context
from nnunetv2_simple.extreme_points.formats import read_csv

SPLITS_FILE = "train_test_splits.csv"


def find_cases(
    root: Path, *, phases: Sequence[int] = (0, 1), segmentations: str = "expert", split: str = "test"
) -> list[Case]:
    """List the patients, sorted; their identifiers are in upper case, as the data set's publication has them.

    Args:
        root: The folder that holds images, segmentations and train_test_splits.csv.
        phases: The phases that become the channels.
        segmentations: Whose masks to simulate the clicks from, "expert" or "automatic".
        split: What becomes of the official split: "test" keeps its test cases out of training, "folds" makes them the
            validation cases of the only fold, "none" ignores it.

    Raises:
        ValueError: If a folder or the split is missing or ambiguous.
    """
    masks = _entries(_entry(_entry(root, "segmentations"), segmentations))
    train, test = read_split(_entry(root, SPLITS_FILE)) if split != "none" else (set(), set())
    cases = []
    for name, folder in sorted(_entries(_entry(root, "images")).items()):
        if not folder.is_dir() or name.startswith((".", "_")):
            continue
        phase_files = _entries(folder)
        # what is missing is named as it should be, so that reading it says which file that is
        images = [
            phase_files.get(f"{name}_{phase:04d}.nii.gz", folder / f"{folder.name}_{phase:04d}.nii.gz")
            for phase in phases
        ]
        mask = masks.get(f"{name}.nii.gz", root / "segmentations" / segmentations / f"{folder.name}.nii.gz")
        identifier, problems = name.upper(), []
        if split != "none" and (identifier in train) == (identifier in test):
            problems.append(f"is in {'both columns' if identifier in train else 'no column'} of {SPLITS_FILE}")
        cases.append(
            Case(
                identifier,
                tuple(str(image) for image in images),
                mask_file=str(mask),
                is_test=split == "test" and identifier in test,
                is_validation=split == "folds" and identifier in test,
                problems=tuple(problems),
            )
        )
    return cases


def read_split(file: Path) -> tuple[set[str], set[str]]:
    """Return the identifiers of the training and the test cases, in upper case."""
    with error_context(str(file)):
        columns, rows = read_csv(str(file))
        if not {"train_split", "test_split"} <= set(columns):
            raise ValueError(f"expected the columns train_split and test_split, got {columns}")
    return tuple({row[column].upper() for row in rows} - {""} for column in ("train_split", "test_split"))


def _entries(folder: Path) -> dict[str, Path]:
    """Return what a folder holds, by name in lower case."""
    entries = {}
    for entry in folder.iterdir():
        other = entries.setdefault(entry.name.lower(), entry)
        if other != entry:
            raise ValueError(f"{other} and {entry} differ in upper and lower case only, which of them is meant?")
    return entries


def _entry(folder: Path, name: str) -> Path:
    entries = _entries(folder)
    if name.lower() not in entries:
        raise ValueError(f"{folder} must hold {name}, it holds {sorted(entries)[:20]}")
    return entries[name.lower()]


def _walker_image(args: argparse.Namespace) -> WalkerImage:
    if args.walker_channel is None and args.walker_subtract is None and {0, 1} <= set(args.phases):
        return WalkerImage(args.phases.index(1), subtract=args.phases.index(0))
    return WalkerImage(args.walker_channel or 0, args.walker_subtract)


def main(argv: Sequence[str] | None = None) -> int:
    parser = command_parser(
        __doc__.splitlines()[0],
        "python -m nnunetv2_simple.dataset_conversion.Dataset503_MAMA_MIA -i MAMA-MIA -phases 0 1",
        epilog="Where phases 0 and 1 are chosen, and neither -walker_channel nor -walker_subtract is given, the random "
        "walker sees phase 1 minus phase 0.",
    )
    parser.add_argument("-i", type=existing_folder, required=True, help="Folder that holds images and segmentations")
    add_option(parser, "phases", "Phases that become the channels 0000, 0001, ...", nargs="+", type=int, default=[0, 1])
    add_option(parser, "segmentations", "Whose masks to use", choices=["expert", "automatic"], default="expert")
    add_option(
        parser,
        "split",
        "What becomes of the official split: its test cases are kept out of training (test), are what nnU-Net's fold 0 "
        "validates on (folds), or it is ignored (none)",
        choices=["test", "folds", "none"],
        default="test",
    )
    add_walker_options(parser)
    add_common_options(parser, dataset_id=503, dataset_name="MAMA_MIA")
    args = parser.parse_args(argv)
    if len(set(args.phases)) < len(args.phases) or min(args.phases) < 0:
        parser.error(f"-phases must be different numbers from 0, got {args.phases}")
    if args.split != "none" and args.num_test:
        parser.error("-num_test chooses test cases at random, which needs -split none")
    if args.split == "folds" and not nnUNet_preprocessed:
        parser.error("-split folds writes to nnUNet_preprocessed, which must be set")
    return convert(
        lambda: find_cases(args.i, phases=args.phases, segmentations=args.segmentations, split=args.split),
        args,
        [f"post{phase}" if phase else "pre" for phase in args.phases],
        walker_image=_walker_image(args),
    )


if __name__ == "__main__":
    sys.exit(main())
