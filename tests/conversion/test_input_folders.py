"""Which files of the input belong to which case, and which ones nothing uses."""

import numpy as np
import pytest
import SimpleITK as sitk
from support.conversion_cases import array_of, oblique_image, run, tumor_mask, write, write_points
from support.conversion_cases import write_single_channel_case as write_case

from nnunetv2_simple.conversion.input_folders import MAX_NAMED, find_cases

CLICKS = np.array([[3, 7, 6], [6, 7, 6], [4, 4, 6], [5, 10, 6], [4, 7, 4], [4, 8, 8]])


@pytest.fixture
def folder(tmp_path):
    for name in ("images", "masks", "clicks"):
        (tmp_path / name).mkdir()
    (tmp_path / "images" / "c_0000.nii.gz").touch()
    return tmp_path


def find(folder, *, annotations="clicks", masks="masks", images="images"):
    return find_cases(folder / images, annotations and folder / annotations, masks and folder / masks)


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def unused(folder, capsys):
    """Return which files the warnings name, relative to the folder."""
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("WARNING ")]
    named = [line.removeprefix("WARNING ").partition(": ")[0] for line in lines if "nothing uses it" in line]
    return sorted(str(name).removeprefix(f"{folder}/") for name in named)


def test_files_that_nothing_uses_are_named_in_both_folders(folder, capsys):
    names = [
        "masks/c_seg.nii.gz",
        "masks/d.nii.gz",
        "masks/notes.xlsx",
        "masks/c_0000.nii.gz",
        "masks/old/c.nii.gz",
        "clicks/c.acsv",
        "clicks/c.xlsx",
        "clicks/c_seg.nii.gz",
        "clicks/F.mrk.json",
        "clicks/MarkupsFiducial.mrk.json",
        "clicks/c/F.mrk.json",
        "clicks/c/more/c.json",
    ]
    touch(folder, *names, "masks/.hidden", "clicks/.hidden/c.json", "masks/c.mhd", "masks/c.zraw", "clicks/c.mrk.json")
    (case,) = find(folder)
    assert case.annotation_files == (str(folder / "clicks" / "c.mrk.json"),)
    assert case.mask_file == str(folder / "masks" / "c.mhd")
    assert unused(folder, capsys) == sorted(names)


def test_voxels_without_their_header_are_named(folder, capsys):
    touch(folder, "masks/c.nii.gz", "masks/d.raw")
    find(folder, annotations=None)
    assert unused(folder, capsys) == ["masks/d.raw"]


def test_masks_whose_case_is_annotated_are_named(folder, capsys):
    touch(folder, "images/d_0000.nii.gz", "images/e_0000.nii.gz", "masks/c.nii.gz", "masks/d.nii.gz", "clicks/d.json")
    find(folder)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"WARNING {folder / 'masks'}: ")
    assert line.endswith(": d")


def test_no_more_than_some_files_are_named_and_the_others_counted(folder, capsys):
    touch(folder, *(f"masks/x{number:02d}.nii.gz" for number in range(MAX_NAMED + 3)))
    find(folder, annotations=None)
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("WARNING ")]
    assert len(lines) == MAX_NAMED + 1
    assert "and 3 more files" in lines[-1]


@pytest.mark.parametrize("name", ["c.seg.nrrd", "c.seg.nii.gz", "c.seg.NRRD"])
def test_a_segmentation_of_slicer_is_the_mask_of_its_case(name, folder, capsys):
    touch(folder, f"masks/{name}")
    (case,) = find(folder, annotations=None)
    assert case.mask_file == str(folder / "masks" / name)
    assert unused(folder, capsys) == []


def test_a_case_may_itself_end_in_seg(folder):
    touch(folder, "images/c.seg_0000.nii.gz", "masks/c.seg.nrrd")
    cases = {case.identifier: case for case in find(folder, annotations=None)}
    assert cases["c"].mask_file is None
    assert cases["c.seg"].mask_file == str(folder / "masks" / "c.seg.nrrd")


def test_a_mask_and_a_segmentation_of_slicer_are_two_masks(folder):
    touch(folder, "masks/c.nii.gz", "masks/c.seg.nrrd")
    (case,) = find(folder, annotations=None)
    (problem,) = case.problems
    assert "c.seg.nrrd" in problem


def test_all_input_may_lie_in_one_folder(folder, capsys):
    touch(folder, "all/c.mrk.json", "all/c.seg.nrrd", "all/d.nii.gz")
    (case,) = find(folder, annotations="all", masks="all")
    assert case.annotation_files == (str(folder / "all" / "c.mrk.json"),)
    assert case.mask_file == str(folder / "all" / "c.seg.nrrd")
    assert unused(folder, capsys) == ["all/d.nii.gz"]


def test_folders_within_each_other_are_not_unused(folder, capsys):
    touch(folder, "images/masks/c.nii.gz", "images/c.json", "images/c_0000.json")
    (case,) = find(folder, annotations="images", masks="images/masks")
    assert case.annotation_files == (str(folder / "images" / "c.json"),)
    assert case.mask_file == str(folder / "images" / "masks" / "c.nii.gz")
    assert unused(folder, capsys) == []


def test_a_case_of_the_csv_without_image_is_named(folder, capsys):
    (folder / "all.csv").write_text("case,x,y,z\nc,1,2,3\nother,1,2,3\n")
    find(folder, annotations="all.csv", masks=None)
    assert unused(folder, capsys) == ["all.csv, case 'other'"]


def test_slicers_names_are_converted(tmp_path, monkeypatch, capsys):
    for identifier in ("clicked", "painted"):
        write_case(tmp_path, identifier)
    mask = tmp_path / "masks" / "painted.nii.gz"
    sitk.WriteImage(sitk.ReadImage(str(mask)), str(mask.with_name("painted.seg.nrrd")))
    mask.unlink()
    write(oblique_image(tumor_mask().astype(np.uint8)), tmp_path / "masks" / "clicked.seg.nrrd")
    (tmp_path / "masks" / "clicked.nii.gz").unlink()
    image = sitk.ReadImage(str(tmp_path / "images" / "clicked_0000.nii.gz"))
    points = [image.TransformIndexToPhysicalPoint([int(v) for v in voxel[::-1]]) for voxel in CLICKS]
    controls = ",".join(f'{{"position": {list(point)}}}' for point in points)
    (tmp_path / "clicks").mkdir()
    (tmp_path / "clicks" / "clicked_0000.mrk.json").write_text(
        f'{{"markups": [{{"type": "Fiducial", "controlPoints": [{controls}]}}]}}'
    )
    folders = ["-i", tmp_path / "images", "-m", tmp_path / "masks", "-a", tmp_path / "clicks"]
    assert run(monkeypatch, tmp_path / "raw", *folders, "-d", 5, "-n", "Slicer") == 0
    dataset = tmp_path / "raw" / "Dataset005_Slicer"
    for identifier in ("clicked", "painted"):
        assert (array_of(dataset / "labelsTr" / f"{identifier}.nii.gz") == 1).any()
        np.testing.assert_array_equal(array_of(dataset / "referencesTr" / f"{identifier}.nii.gz"), tumor_mask())


def test_a_one_voxel_lesion_becomes_one_voxel_of_foreground(tmp_path, monkeypatch, capsys):
    write_case(tmp_path, "c")
    write_points(tmp_path / "clicks" / "c.json", CLICKS)
    write_points(tmp_path / "clicks" / "c.2.json", [[1, 12, 2]] * 6)
    for number, recipe in enumerate(("robust", "paper"), start=5):
        arguments = ["-i", tmp_path / "images", "-a", tmp_path / "clicks", "-d", number, "-n", "One"]
        assert run(monkeypatch, tmp_path / "raw", *arguments, "--recipe", recipe) == 0
        assert "single voxel, [1, 12, 2]" in capsys.readouterr().err
        label = array_of(tmp_path / "raw" / f"Dataset00{number}_One" / "labelsTr" / "c.nii.gz")
        assert label[1, 12, 2] == 1
        assert (label[:3, 11:14, 1:4] == 0).sum() == 26
