"""Vestibular schwannoma, T2-weighted MR, with six extreme points clicked by hand (InExtremIS).

The data are public: images from TCIA (Vestibular-Schwannoma-SEG), points from zenodo.org/record/5081986. Read are

    T2/vs_gk_1_T2.nii.gz                            images, as InExtremIS's convert.py writes them
    extremes_manual/vs_gk_1_Extremes_man.nii.gz     the labels 1 to 6 mark the points

and, where they are given, masks that are kept as references: a folder of files that begin with the patient, such as
vs_gk_1_Label.nii.gz.

Reference: Dorent et al., Inter extreme points geodesics for end-to-end weakly supervised image segmentation, MICCAI
2021.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from nnunetv2_simple.arguments import add_option, existing_folder
from nnunetv2_simple.conversion.cases import Case
from nnunetv2_simple.conversion.options import add_common_options, convert

IMAGE, POINTS = "_T2.nii.gz", "_Extremes_man.nii.gz"


def find_cases(folder: Path, masks: Path | None = None) -> list[Case]:
    """List the patients of T2/, with the points of extremes_manual/.

    Raises:
        ValueError: If there is no image or one of the two folders is missing.
    """
    images, points = folder / "T2", folder / "extremes_manual"
    if missing := [str(place) for place in (images, points) if not place.is_dir()]:
        raise ValueError(f"{folder} must hold T2 and extremes_manual, missing: {', '.join(missing)}")
    if not (files := sorted(images.glob(f"*{IMAGE}"))):
        raise ValueError(f"there is no image *{IMAGE} in {images}")
    cases = []
    for file in files:
        name = file.name.removesuffix(IMAGE)
        clicks, found = points / f"{name}{POINTS}", sorted(masks.glob(f"{name}_*.nii.gz")) if masks else []
        problems = [f"expected one mask, got {[str(mask) for mask in found]}"] if len(found) > 1 else []
        cases.append(
            Case(
                name,
                (str(file),),
                annotation_files=(str(clicks),) if clicks.is_file() else (),
                mask_file=str(found[0]) if found else None,
                problems=(*problems, *([] if clicks.is_file() else [f"there is no {clicks}"])),
            )
        )
    return cases


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("-i", type=existing_folder, required=True, help="Folder that holds T2 and extremes_manual")
    add_option(parser, "m", "Folder of masks <patient>_*.nii.gz, kept as references", type=existing_folder)
    add_common_options(parser, dataset_id=505, dataset_name="InExtremIS")
    args = parser.parse_args(argv)
    return convert(lambda: find_cases(args.i, args.m), args, ["T2"])


if __name__ == "__main__":
    sys.exit(main())
