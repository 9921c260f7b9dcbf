"""Duke-Breast-Cancer-MRI on a small tree in its layout, and InExtremIS's."""

import json

import numpy as np
import openpyxl
import pytest
import SimpleITK as sitk
from support.conversion_cases import array_of, names_in, run

from nnunetv2_simple.dataset_conversion import Dataset504_Duke, Dataset505_InExtremIS
from nnunetv2_simple.extreme_points.points import extreme_points_from_mask

SHAPE, SPACING_ZYX = (10, 14, 12), (2.0, 1.0, 1.0)
BOX = ((3, 7), (4, 9), (2, 6))  # x, y, z, from 0, the last voxel included
HEADER = ("Patient ID", "Start Row", "End Row", "Start Column", "End Column", "Start Slice", "End Slice")
ROW = (5, 10, 4, 8, 3, 7)  # the box, counted from 1


def tumor():
    mask = np.zeros(SHAPE, bool)
    (x, last_x), (y, last_y), (z, last_z) = BOX
    mask[z : last_z + 1, y : last_y + 1, x : last_x + 1] = True
    return mask


def image_of(phase, *, flipped=()):
    generator = np.random.default_rng(phase)
    array = (generator.normal(100, 5, SHAPE) + 80 * phase * tumor()).astype(np.int16)
    image = sitk.GetImageFromArray(np.flip(array, flipped) if flipped else array)
    image.SetSpacing(SPACING_ZYX[::-1])
    return image


def write_table(folder, *rows, header=HEADER):
    book = openpyxl.Workbook()
    for row in (header, *rows):
        book.active.append(row)
    book.save(folder / "Annotation_Boxes.xlsx")
    return ["-a", folder / "Annotation_Boxes.xlsx", "-w", folder / "work"]


def write_images(folder, patient, **options):
    (folder / "images").mkdir(exist_ok=True)
    for phase in range(2):
        sitk.WriteImage(image_of(phase, **options), str(folder / "images" / f"{patient}_{phase:04d}.nii.gz"))
    return ["-i", folder / "images", "-channels", "pre", "post1"]


def write_series(folder, patient, description, phase, *, last_first):
    """One file a slice, as the scanner numbers them."""
    place = folder / "Duke-Breast-Cancer-MRI" / patient / "01-01-1990-MRI BREAST" / f"{phase}.000000-{description}-5952"
    place.mkdir(parents=True)
    image = image_of(phase)
    for index in range(SHAPE[0]):
        number = SHAPE[0] - index if last_first else index + 1
        slice_image = image[:, :, index]
        tags = {"0020|0013": number, "0020|0032": f"0\\0\\{2 * index}", "0020|0037": "1\\0\\0\\0\\1\\0"}
        tags |= {"0008|0060": "MR", "0020|000e": f"1.2.3.{phase + 1}", "0020|000d": "1.2.3", "0018|0050": 2}
        tags |= {"0008|0018": f"1.2.3.{phase + 1}.{number}"}
        for tag, value in tags.items():
            slice_image.SetMetaData(tag, str(value))
        writer = sitk.ImageFileWriter()
        writer.KeepOriginalImageUIDOn()
        writer.SetFileName(str(place / f"1-{number:03d}.dcm"))
        writer.Execute(slice_image)


def convert(folder, monkeypatch, *arguments, main=Dataset504_Duke.main):
    return run(monkeypatch, folder / "raw", *arguments, main=main)


def box_of(folder, patient, dataset="Dataset504_Duke"):
    record = json.loads((folder / "raw" / dataset / "provenance" / f"{patient}.json").read_text())
    (lesion,) = record["lesions"]
    points = np.array(lesion["extreme_points_zyx"])[:, ::-1]
    return tuple(zip(points.min(axis=0).tolist(), points.max(axis=0).tolist(), strict=True))


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "raw").mkdir()
    return tmp_path


def test_boxes_of_the_table_are_those_of_the_images(folder, monkeypatch, capsys):
    table = write_table(folder, ("Breast_MRI_001", *ROW), ("Breast_MRI_002", *ROW))
    assert convert(folder, monkeypatch, *write_images(folder, "Breast_MRI_001"), *table) == 0
    assert box_of(folder, "Breast_MRI_001") == BOX
    record = json.loads((folder / "raw" / "Dataset504_Duke" / "provenance.json").read_text())
    assert record["parameters"]["walker_subtracts_channel"] == 0
    assert record["cases"]["Breast_MRI_001"]["supervision"] == ["bounding box"]


def test_a_csv_that_counts_from_0_with_rows_turned_round(folder, monkeypatch):
    table = write_table(folder)
    (folder / "boxes.csv").write_text(",".join(HEADER) + "\nBreast_MRI_001," + ",".join(str(n - 1) for n in ROW))
    images = write_images(folder, "Breast_MRI_001", flipped=(1,))
    options = ["-a", folder / "boxes.csv", *table[2:], "-first_index", 0, "-flip", "rows"]
    assert convert(folder, monkeypatch, *images, *options) == 0
    assert box_of(folder, "Breast_MRI_001") == (BOX[0], (SHAPE[1] - 1 - 9, SHAPE[1] - 1 - 4), BOX[2])


@pytest.mark.parametrize("last_first", [False, True])
def test_slices_count_as_the_dicom_files_do(last_first, folder, monkeypatch):
    for phase, description in enumerate(("ax dyn pre", "ax dyn 1st pass")):
        write_series(folder, "Breast_MRI_001", description, phase, last_first=last_first)
    slices = (SHAPE[0] - 6, SHAPE[0] - 2) if last_first else (3, 7)
    table = write_table(folder, ("Breast_MRI_001", *ROW[:4], *slices))
    series = ["-i", folder / "Duke-Breast-Cancer-MRI", "-series", "Dyn Pre", "dyn 1st"]
    assert convert(folder, monkeypatch, *series, *table) == 0
    assert box_of(folder, "Breast_MRI_001") == BOX
    image = array_of(folder / "raw" / "Dataset504_Duke" / "imagesTr" / "Breast_MRI_001_0001.nii.gz")
    np.testing.assert_array_equal(image, sitk.GetArrayFromImage(image_of(1)))


@pytest.mark.parametrize(
    ("row", "header", "named"),
    [
        (("Breast_MRI_001", *ROW), HEADER[:-1] + ("Slices",), "end slice"),
        (("Breast_MRI_001", 10, 5, 4, 8, 3, 7), HEADER, "Breast_MRI_001"),
        (("Breast_MRI_001", "x", 5, 4, 8, 3, 7), HEADER, "Breast_MRI_001"),
    ],
)
def test_a_bad_table_is_refused(row, header, named, folder, monkeypatch, capsys):
    table = write_table(folder, row, header=header)
    assert convert(folder, monkeypatch, *write_images(folder, "Breast_MRI_001"), *table) == 2
    error = capsys.readouterr().err
    assert named in error and "Annotation_Boxes.xlsx" in error and not list((folder / "raw").iterdir())


def test_a_missing_series_is_named(folder, monkeypatch, capsys):
    write_series(folder, "Breast_MRI_001", "ax dyn pre", 0, last_first=False)
    table = write_table(folder, ("Breast_MRI_001", *ROW))
    series = ["-i", folder / "Duke-Breast-Cancer-MRI", "-series", "dyn pre", "dyn 1st"]
    assert convert(folder, monkeypatch, *series, *table) == 2
    assert "Breast_MRI_001" in (error := capsys.readouterr().err) and "dyn 1st" in error


def write_schwannoma(folder, name):
    points = np.zeros(SHAPE, np.uint8)
    for label, voxel in enumerate(extreme_points_from_mask(tumor()), start=1):
        points[tuple(voxel)] = label
    images = {f"T2/{name}_T2": image_of(1), f"extremes_manual/{name}_Extremes_man": sitk.GetImageFromArray(points)}
    images[f"masks/{name}_Label"] = sitk.GetImageFromArray(tumor().astype(np.uint8))
    for file, image in images.items():
        image.SetSpacing(SPACING_ZYX[::-1])
        (folder / file).parent.mkdir(exist_ok=True)
        sitk.WriteImage(image, str(folder / f"{file}.nii.gz"))


def test_points_made_by_hand_for_inextremis(folder, monkeypatch, capsys):
    for name in ("vs_gk_1", "vs_gk_10"):
        write_schwannoma(folder, name)
    options = ["-i", folder, "-m", folder / "masks"]
    assert convert(folder, monkeypatch, *options, main=Dataset505_InExtremIS.main) == 0
    dataset = folder / "raw" / "Dataset505_InExtremIS"
    assert names_in(dataset / "labelsTr") == ["vs_gk_1.nii.gz", "vs_gk_10.nii.gz"]
    assert box_of(folder, "vs_gk_1", dataset.name) == BOX
    np.testing.assert_array_equal(array_of(dataset / "referencesTr" / "vs_gk_10.nii.gz"), tumor())
    (folder / "extremes_manual" / "vs_gk_1_Extremes_man.nii.gz").unlink()
    assert convert(folder, monkeypatch, *options, "--overwrite", main=Dataset505_InExtremIS.main) == 1
    assert "vs_gk_1_Extremes_man.nii.gz" in capsys.readouterr().err
