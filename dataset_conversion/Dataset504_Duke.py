"""Duke-Breast-Cancer-MRI: 922 public breast DCE-MRI cases with the bounding boxes of radiologists.

The data are public (TCIA, doi:10.7937/TCIA.e3sv-re93, CC BY-NC 4.0). Read are

    Annotation_Boxes.xlsx      Patient ID, Start Row, End Row, Start Column, End Column, Start Slice, End Slice
                               (or the same table as .csv)
    images                     Breast_MRI_001_0000.nii.gz, ..., or, as TCIA has them, one folder of DICOM series per
                               patient: Breast_MRI_001/<study>/<series>/*.dcm; -series says which become the channels

Rows are y, columns x; start and end belong to the box and count from 1 (-first_index 0: from 0). Slices count as the
instance numbers of the DICOM files do. NIfTI files do not say how their converter has turned the rows and slices:
SimpleITK keeps rows, dcm2niix turns them round (-flip rows). Look at quality_control/index.html before training.
"""

import argparse
import csv
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import SimpleITK as sitk

from nnunetv2_simple.arguments import add_option, add_walker_options, existing_folder, existing_path
from nnunetv2_simple.conversion.cases import Case
from nnunetv2_simple.conversion.input_folders import find_cases
from nnunetv2_simple.conversion.options import add_common_options, convert
from nnunetv2_simple.extreme_points.annotation import error_context
from nnunetv2_simple.extreme_points.formats import read_csv
from nnunetv2_simple.files import written_atomically
from nnunetv2_simple.images import read_header
from nnunetv2_simple.pseudo_mask.walker_image import WalkerImage

PATIENT, AXES = "patient id", ("column", "row", "slice")  # x, y, z
COLUMNS = (PATIENT, *(f"{end} {axis}" for axis in AXES for end in ("start", "end")))
INSTANCE_NUMBER = "0020|0013"


def read_boxes(file: Path, *, first_index: int = 1) -> dict[str, list[list[tuple[int, int]]]]:
    """Return the boxes of each patient: first and last voxel of the axes x, y, z, from 0.

    Raises:
        ValueError: If the table cannot be read or a box is none, naming the file and the patient.
    """
    boxes = {}
    with error_context(str(file)):
        columns, rows = _read_excel(file) if file.suffix.lower() == ".xlsx" else read_csv(str(file))
        if missing := [column for column in COLUMNS if column not in columns]:
            raise ValueError(f"missing are the columns {missing}, got {columns}")
        for row in rows:
            try:
                ends = [[int(float(row[f"{end} {axis}"])) - first_index for end in ("start", "end")] for axis in AXES]
            except ValueError as error:
                raise ValueError(f"the box of {row[PATIENT]!r} must be six numbers, got {row}") from error
            if any(not 0 <= start <= end for start, end in ends):
                raise ValueError(f"the box of {row[PATIENT]!r} must start at {first_index} or later and end later")
            boxes.setdefault(row[PATIENT], []).append([tuple(pair) for pair in ends])
    return boxes


def _read_excel(file: Path) -> tuple[list[str], list[dict[str, str]]]:
    try:
        import openpyxl
    except ImportError as error:
        raise ValueError("reading it needs openpyxl (pip install openpyxl), or save the table as .csv") from error
    try:
        table = list(openpyxl.load_workbook(file, read_only=True, data_only=True).active.iter_rows(values_only=True))
    except Exception as error:  # a damaged file raises anything
        raise ValueError(f"cannot be read as Excel: {type(error).__name__}: {error}") from error
    table = [["" if value is None else str(value).strip() for value in row] for row in table]
    columns = [name.lower() for name in table[0]] if table else []
    return columns, [dict(zip(columns, row, strict=True)) for row in table[1:] if any(row)]


def write_series(folder: Path, series: Sequence[str], output: Path) -> dict[str, bool]:
    """Write the named DICOM series of each patient as <patient>_0000.nii.gz, ...; those that are there are kept.

    Args:
        folder: Holds a folder per patient.
        series: For each channel, a part of the name of the folder of its series, in any letters.
        output: Gets the images.

    Returns:
        For each patient, whether the slices lie in the image the other way round than their instance numbers count.

    Raises:
        ValueError: If a patient has no or more than one such series.
    """
    output.mkdir(parents=True, exist_ok=True)
    is_reversed = {}
    for patient in sorted(place for place in folder.iterdir() if place.is_dir()):
        places = sorted({file.parent for file in patient.rglob("*.dcm")})
        for channel, name in enumerate(series):
            found = [place for place in places if name.casefold() in place.name.casefold()]
            if len(found) != 1:
                raise ValueError(
                    f"{patient.name} must have one series {name!r}, got {[p.name for p in found or places]}"
                )
            files = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(found[0]))
            numbers = [int(read_header(file).GetMetaData(INSTANCE_NUMBER)) for file in (files[0], files[-1])]
            is_reversed[patient.name] = numbers[0] > numbers[1]
            image_file = output / f"{patient.name}_{channel:04d}.nii.gz"
            if not image_file.exists():
                with written_atomically(image_file) as beside:
                    sitk.WriteImage(sitk.ReadImage(files), str(beside))
    return is_reversed


def write_clicks(
    boxes: Mapping[str, Sequence], images: Path, file: Path, *, flipped: Sequence[str], is_reversed: Mapping[str, bool]
) -> None:
    """Write the boxes as corners in voxels of the images, one table for all patients that have one."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with written_atomically(file) as beside, beside.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["case", "lesion", "x", "y", "z"])
        for patient, found in boxes.items():
            image = images / f"{patient}_0000.nii.gz"
            if not image.is_file():
                continue
            size = read_header(str(image)).GetSize()
            turned = [axis + "s" in flipped for axis in AXES[:2]] + [
                is_reversed.get(patient, False) != ("slices" in flipped)
            ]
            for number, box in enumerate(found, start=1):
                corners = [
                    [count - 1 - end for end in ends] if turn else ends
                    for ends, count, turn in zip(box, size, turned, strict=True)
                ]
                writer.writerows([patient, number, *corner] for corner in zip(*corners, strict=True))


def find_patients(args: argparse.Namespace) -> list[Case]:
    """List the patients that have images, with the boxes of the table."""
    boxes = read_boxes(args.a, first_index=args.first_index)
    images, is_reversed = args.i, {}
    if args.series:
        images = args.w / "images"
        is_reversed = write_series(args.i, args.series, images)
    clicks = args.w / "boxes.csv"
    write_clicks(boxes, images, clicks, flipped=args.flip or (), is_reversed=is_reversed)
    return find_cases(images, clicks, None)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("-i", type=existing_folder, required=True, help="Folder of images, or of the patients' folders")
    parser.add_argument("-a", type=existing_path, required=True, help="Annotation_Boxes.xlsx, or the table as .csv")
    parser.add_argument("-w", type=Path, required=True, help="Folder for what is made of them: boxes.csv, images")
    add_option(parser, "series", "DICOM series that become the channels, such as 'dyn pre' 'dyn 1st pass'", nargs="+")
    add_option(parser, "channels", "Channel names. Default: pre post1 post2 ...", nargs="+")
    add_option(parser, "first_index", "Number of the first row, column and slice", type=int, choices=[0, 1], default=1)
    add_option(parser, "flip", "What the images count the other way", nargs="+", choices=["columns", "rows", "slices"])
    add_walker_options(parser)
    add_common_options(parser, dataset_id=504, dataset_name="Duke")
    args = parser.parse_args(argv)
    num_channels = len(args.series) if args.series else 1
    channels = args.channels or ["pre", *(f"post{number}" for number in range(1, num_channels))]
    has_none = args.walker_channel is None and args.walker_subtract is None
    walker_image = WalkerImage(args.walker_channel or 0, args.walker_subtract)
    if has_none and len(channels) > 1:  # what contrast agent adds
        walker_image = WalkerImage(1, subtract=0)
    return convert(lambda: find_patients(args), args, channels, walker_image=walker_image)


if __name__ == "__main__":
    sys.exit(main())
