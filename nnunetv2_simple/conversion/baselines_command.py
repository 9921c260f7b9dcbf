"""From a converted dataset to the datasets that SimPLe is compared with: same images, other labels.

See :mod:`nnunetv2_simple.conversion.baseline_labels` for the kinds of labels.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from nnunetv2.paths import nnUNet_raw

from nnunetv2_simple.conversion.baselines import RIVAL_KINDS, rival_dataset_name, write_rival_dataset
from nnunetv2_simple.conversion.options import add_option, check_dataset_ids, progress_bar


def _weak_dataset_folder(raw: Path, dataset_id: int) -> Path:
    found = sorted(raw.glob(f"Dataset{dataset_id:03d}_*"))
    if len(found) != 1:
        names = [folder.name for folder in found] or "none"
        raise ValueError(f"there must be one dataset of the id {dataset_id} in {raw}, got {names}")
    return found[0]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Write a raw dataset with the images and training cases of a converted one and labels of another "
        "kind: the random walker's result made dense (walker), the ellipsoid inscribed in the box of the extreme "
        "points (ellipsoid), or the pseudo-masks of the recipe paper (paper). An interrupted run is completed by the "
        "same command."
    )
    parser.add_argument(
        "-weak", type=int, required=True, help="Dataset id of the dataset nnUNetv2_simple_convert wrote"
    )
    parser.add_argument("-kind", choices=RIVAL_KINDS, required=True, help="Which labels to write")
    parser.add_argument("-d", type=int, required=True, help="Dataset id of the dataset to write")
    add_option(parser, "np", "Cases labelled at the same time", type=int, default=2)
    args = parser.parse_args(argv)
    try:
        if not nnUNet_raw:
            raise ValueError("nnUNet_raw must be set to the folder of nnU-Net's raw datasets")
        weak = _weak_dataset_folder(Path(nnUNet_raw), args.weak)
        rival = weak.parent / rival_dataset_name(weak, args.kind, args.d)
        check_dataset_ids(weak.parent, [rival])
        write_rival_dataset(weak, args.kind, rival, num_processes=args.np, progress=progress_bar("labelling"))
    except (ValueError, OSError) as error:
        print(f"ERROR: {error}", file=sys.stderr)
        return 1
    print(f"Labels of the kind {args.kind} of {weak.name} are in {rival}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
