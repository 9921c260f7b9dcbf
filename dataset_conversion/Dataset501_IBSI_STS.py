"""Soft-tissue sarcoma, T1-weighted MR, of the IBSI validation data set.

The data are public: repository theibsi/data_sets, folder ibsi_validation/nifti (51 patients, CC BY 3.0), with one
folder per patient that holds MR_T1_image.nii.gz and MR_T1_mask.nii.gz. The six clicks are simulated from the masks.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from nnunetv2_simple.arguments import command_parser, existing_folder
from nnunetv2_simple.conversion.cases import Case
from nnunetv2_simple.conversion.options import add_common_options, convert


def find_cases(folder: Path) -> list[Case]:
    """List the patients of a folder ``STS_NNN/MR_T1_{image,mask}.nii.gz``, those with other images only left out."""
    return [
        Case(
            patient.name,
            (str(patient / "MR_T1_image.nii.gz"),),
            mask_file=str(patient / "MR_T1_mask.nii.gz"),
        )
        for patient in sorted(folder.glob("STS_*"))
        if any(patient.glob("MR_T1_*"))
    ]


def main(argv: Sequence[str] | None = None) -> int:
    parser = command_parser(
        __doc__.splitlines()[0],
        "python -m nnunetv2_simple.dataset_conversion.Dataset501_IBSI_STS -i ibsi_validation/nifti -dense 502 "
        "-num_test 11",
    )
    parser.add_argument(
        "-i", type=existing_folder, required=True, help="Folder that holds the patients' folders STS_NNN"
    )
    add_common_options(parser, dataset_id=501, dataset_name="IBSI_STS")
    args = parser.parse_args(argv)
    return convert(lambda: find_cases(args.i), args, ["T1"])


if __name__ == "__main__":
    sys.exit(main())
