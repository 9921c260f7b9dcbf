"""Input whose geometry, values, names or text are unusual: converted right, or refused with a reason; never silently.

One conversion and one dry run of many tiny cases, which must say the same.
"""

import json
import os
import unicodedata
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from support.conversion_cases import (
    array_of,
    channels_of,
    names_in,
    oblique_image,
    run,
    tumor_mask,
    write,
    write_points,
    write_single_channel_case,
)
from support.odd_files import moved, ras_affine, sheared, write_4d, write_compressed_nii, write_nifti, write_sheared

from nnunetv2_simple.conversion.cases import Case, Conversion
from nnunetv2_simple.conversion.loading import CaseError, load_case
from nnunetv2_simple.dataset_conversion import Dataset503_MAMA_MIA

CLICKS = np.array([[3, 7, 6], [6, 7, 6], [4, 4, 6], [5, 10, 6], [4, 7, 4], [4, 8, 8]])
IMAGE = oblique_image(channels_of()[1])
MASK = oblique_image(tumor_mask().astype(np.uint8))
AFFINE = ras_affine(IMAGE)
OTHER = moved(AFFINE, (0, 30, 40))  # 50 mm away
FIRST, LAST = np.argwhere(tumor_mask()).min(axis=0), np.argwhere(tumor_mask()).max(axis=0) + 1
CROPPED = MASK[tuple(slice(int(a), int(b)) for a, b in zip(FIRST[::-1], LAST[::-1], strict=True))]


def off_by(image, offset_mm):
    result = sitk.Image(image)
    result.SetOrigin((np.array(image.GetOrigin()) + offset_mm).tolist())
    return result


def in_floats(image, factor):
    return sitk.Cast(image, sitk.sitkFloat32) * factor


def labelled_points():
    array = np.zeros(IMAGE.GetSize()[::-1], np.uint8)
    for label, click in enumerate(CLICKS, start=1):
        array[tuple(click)] = label
    return oblique_image(array)


def points_cropped():
    box = [slice(int(a), int(b) + 1) for a, b in zip(CLICKS.min(axis=0)[::-1], CLICKS.max(axis=0)[::-1], strict=True)]
    return labelled_points()[tuple(box)]


def csv_of_points():
    return "lesion,label,x,y,z\n" + "".join(f"1,tumör,{x},{y},{z}\n" for z, y, x in CLICKS)


# What each case has beside or instead of image <case>_0000.nii.gz and mask <case>.nii.gz; each a function of the file.
IMAGES = {
    "shear_nrrd": (".nrrd", lambda file: write_sheared(file, IMAGE, 0.2)),
    "shear_mha": (".mha", lambda file: write_sheared(file, IMAGE, 0.2)),
    "shear_sform": (".nii.gz", lambda file: write_nifti(file, IMAGE, sform=sheared(AFFINE, 0.2), sform_code=1)),
    "rounded_sform": (".nii.gz", lambda file: write_nifti(file, IMAGE, sform=sheared(AFFINE, 2e-4), sform_code=1)),
    "pixdim": (".nii.gz", lambda file: write_nifti(file, IMAGE, sform=AFFINE @ np.diag([2, 1, 1, 1]), sform_code=1)),
    "forms": (
        ".nii.gz",
        lambda file: write_nifti(file, IMAGE, sform=OTHER, sform_code=2, qform=AFFINE, qform_code=1),
    ),
    "forms_mask": (
        ".nii.gz",
        lambda file: write_nifti(file, IMAGE, sform=AFFINE, sform_code=2, qform=OTHER, qform_code=1),
    ),
    "forms_points": (
        ".nii.gz",
        lambda file: write_nifti(file, IMAGE, sform=AFFINE, sform_code=2, qform=OTHER, qform_code=1),
    ),
    "far": (".nrrd", lambda file: write(off_by(IMAGE, 1e8), file)),
    "four_d": (".nii.gz", lambda file: write_4d(file, IMAGE)),
    "nifti2": (".nii.gz", lambda file: write_nifti(file, IMAGE, sform=AFFINE, sform_code=1, version=2)),
    "gzipped": (".nii", lambda file: write_compressed_nii(file, IMAGE)),
    "no_raw": (".mhd", lambda file: (write(IMAGE, file), file.with_suffix(".raw").unlink())),
}
MASKS = {
    "far": (".nrrd", lambda file: write(off_by(MASK, 1e8), file)),
    "micrometres": (".nii.gz", lambda file: write(off_by(MASK, 0.004), file)),
    "half_voxel": (".nii.gz", lambda file: write(off_by(MASK, 0.4), file)),
    "flipped": (".nii.gz", lambda file: write(sitk.Flip(MASK, (True, False, True), False), file)),
    "permuted": (".nrrd", lambda file: write(sitk.PermuteAxes(MASK, (2, 0, 1)), file)),
    "cropped": (".nrrd", lambda file: write(CROPPED, file)),
    "floats": (".nii.gz", lambda file: write(in_floats(MASK, 1.00002), file)),
    "fractions": (".nii.gz", lambda file: write(in_floats(MASK, 1.25), file)),
}
ANNOTATIONS = {
    "forms_points": lambda file: write_points(file, CLICKS, coordinates="LPS", image=IMAGE),
    "points_floats.nii.gz": lambda file: write(in_floats(labelled_points(), 1.00002), file),
    "points_flipped.nii.gz": lambda file: write(sitk.Flip(labelled_points(), (False, True, True), False), file),
    "points_cropped.nrrd": lambda file: write(points_cropped(), file),
    "utf8.csv": lambda file: file.write_text(csv_of_points(), encoding="utf-8"),
    "utf16.csv": lambda file: file.write_text(csv_of_points(), encoding="utf-16"),
    "cp1252.csv": lambda file: file.write_bytes(csv_of_points().encode("cp1252")),
    "utf16_unmarked.csv": lambda file: file.write_bytes(csv_of_points().encode("utf-16-le")),
}
REFUSED = {
    "shear_nrrd": ["shear_nrrd_0000.nrrd is sheared", " mm off"],
    "shear_mha": ["shear_mha_0000.mha is sheared", " mm off"],
    "shear_sform": ["shear_sform_0000.nii.gz is sheared", " mm off"],
    "pixdim": ["pixdim_0000.nii.gz contradicts itself", " mm from where its sform"],
    "forms_mask": ["origin differs", "the sform and the qform of", "disagree by 50 mm", "the qform counts"],
    "forms_points": ["outside the image", "the sform and the qform of", "disagree by 50 mm", "the qform counts"],
    "far": ["far_0000.nrrd", "single precision", " mm"],
    "half_voxel": ["half_voxel.nii.gz", "origin differs", "0.69 mm apart"],
    "fractions": ["fractions.nii.gz", "whole numbers", "[1.25]"],
    "four_d": ["four_d_0000.nii.gz holds 3 images in 4 dimensions"],
    "gzipped": ["gzipped_0000.nii as an image", "rename it to end in .nii.gz"],
    "no_raw": ["no_raw_0000.mhd as an image", "no_raw_0000.raw"],
    "cp1252": ["cp1252.csv", "not UTF-8", "0xf6"],
    "utf16_unmarked": ["utf16_unmarked.csv", "UTF-16 without a byte-order mark"],
}
CONVERTED = [
    *("forms", "rounded_sform", "nifti2", "micrometres", "flipped", "permuted", "cropped", "floats"),
    *("points_floats", "points_flipped", "points_cropped", "utf8", "utf16"),
]
CASES = [*REFUSED, *CONVERTED]


def write_case(folder, identifier):
    ending, write_image = IMAGES.get(identifier, (".nii.gz", lambda file: write(IMAGE, file)))
    write_image(folder / "images" / f"{identifier}_0000{ending}")
    ending, write_mask = MASKS.get(identifier, (".nii.gz", lambda file: write(MASK, file)))
    write_mask(folder / "masks" / f"{identifier}{ending}")
    for name, write_annotation in ANNOTATIONS.items():
        if name.partition(".")[0] == identifier:
            write_annotation(folder / "clicks" / (name if "." in name else f"{name}.json"))


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """The dataset, and what the run and the dry run print."""
    folder = tmp_path_factory.mktemp("odd")
    for name in ("images", "masks", "clicks"):
        (folder / name).mkdir()
    for identifier in CASES:
        write_case(folder, identifier)
    arguments = ["-i", folder / "images", "-m", folder / "masks", "-a", folder / "clicks", "-d", 5, "-n", "Odd"]
    printed = {}
    with pytest.MonkeyPatch.context() as monkeypatch:
        for option in ("--dry-run", None):
            with redirect_stdout(StringIO()) as stdout, redirect_stderr(StringIO()) as stderr:
                status = run(monkeypatch, folder / "raw", *arguments, *([option] if option else []))
            assert status == 1
            printed[option] = (stdout.getvalue() + stderr.getvalue()).splitlines()
    return folder / "raw" / "Dataset005_Odd", printed


def sentences(printed, kinds, identifier):
    found = [line.partition(": ") for line in printed if line.split(" ")[0] in kinds]
    return [text for start, _, text in found if start.split(" ")[1] == identifier]


@pytest.mark.parametrize("identifier", REFUSED)
def test_it_is_refused_with_a_reason(identifier, outcome):
    _, printed = outcome
    (reason,) = sentences(printed[None], ("FAILED",), identifier)
    for part in REFUSED[identifier]:
        assert part in reason
    assert "ITK" not in reason.replace("SimpleITK", "")
    assert "codec" not in reason


@pytest.mark.parametrize("identifier", CASES)
def test_the_dry_run_says_the_same(identifier, outcome):
    _, printed = outcome
    reasons = "; ".join(sentences(printed[None], ("FAILED",), identifier))
    assert "; ".join(sentences(printed["--dry-run"], ("PROBLEM",), identifier)) == reasons
    warnings = [sentences(printed[option], ("WARNING",), identifier) for option in ("--dry-run", None)]
    if identifier in CONVERTED:  # of the others, the reason is enough
        assert warnings[0] == warnings[1]


@pytest.mark.parametrize("identifier", CONVERTED)
def test_it_is_converted_as_if_it_were_usual(identifier, outcome):
    dataset, _ = outcome
    for folder in ("imagesTr", "labelsTr", "referencesTr"):
        assert [
            name for name in names_in(dataset / folder) if name.startswith((f"{identifier}_0000", f"{identifier}."))
        ]
    np.testing.assert_array_equal(array_of(dataset / "referencesTr" / f"{identifier}.nii.gz"), tumor_mask())
    np.testing.assert_array_equal(
        array_of(dataset / "imagesTr" / f"{identifier}_0000.nii.gz"), sitk.GetArrayFromImage(IMAGE)
    )
    (lesion,) = json.loads((dataset / "provenance.json").read_text())["cases"][identifier]["lesions"]
    if lesion["source"] == "extreme points":
        np.testing.assert_array_equal(lesion["extreme_points_zyx"], CLICKS)
    written = sitk.ReadImage(str(dataset / "labelsTr" / f"{identifier}.nii.gz"))
    for corner in ((0, 0, 0), tuple(n - 1 for n in IMAGE.GetSize())):
        apart_mm = np.subtract(*(image.TransformIndexToPhysicalPoint(corner) for image in (written, IMAGE)))
        np.testing.assert_allclose(apart_mm, 0, atol=0.01)


def test_placements_that_disagree_are_warned_of(outcome):
    _, printed = outcome
    found = [s for s in sentences(printed[None], ("WARNING",), "forms") if "qform" in s]
    assert len(found) == 1
    for part in ("forms_0000.nii.gz", "50 mm", "the qform counts"):
        assert part in found[0]


def test_a_test_case_is_warned_of_too(tmp_path, monkeypatch, capsys):
    for number in range(2):
        write_nifti(
            *(tmp_path / "images" / f"case{number}_0000.nii.gz", IMAGE),
            **{"sform": OTHER, "sform_code": 2, "qform": AFFINE, "qform_code": 1},
        )
        write(MASK, tmp_path / "masks" / f"case{number}.nii.gz")
    arguments = ["-i", tmp_path / "images", "-m", tmp_path / "masks", "-d", 5, "-n", "Odd", "-num_test", 1]
    assert run(monkeypatch, tmp_path / "raw", *arguments) == 0
    assert sorted(line[:14] for line in capsys.readouterr().err.splitlines() if "qform" in line) == [
        *("WARNING case0:", "WARNING case1:")
    ]


# ------------------------------------------------------------------------------------------------ several channels


def load(folder, *, image_files, mask_file=None, labels=None):
    case = Case("case", tuple(map(str, image_files)), mask_file=str(mask_file), is_test=True)
    channels = [f"channel {index}" for index in range(len(image_files))]
    labels = {"tumor": 1} if labels is None else labels
    return load_case(case, Conversion(folder / "Dataset005_Odd", channels, labels=labels))


def test_a_flipped_channel_is_reordered(tmp_path):
    pre, post = map(oblique_image, channels_of())
    files = [tmp_path / f"case_{index:04d}.nii.gz" for index in range(2)]
    write(pre, files[0])
    write(off_by(sitk.Flip(post, (True, True, False), False), 0.004), files[1])
    write(MASK, tmp_path / "case.nii.gz")
    loaded = load(tmp_path, image_files=files, mask_file=tmp_path / "case.nii.gz")
    np.testing.assert_array_equal(sitk.GetArrayFromImage(loaded.channels[1]), channels_of()[1])
    assert loaded.channels[1].GetOrigin() == loaded.channels[0].GetOrigin()
    write(post[1:], files[1])
    with pytest.raises(CaseError, match="case_0001.nii.gz"):
        load(tmp_path, image_files=files, mask_file=tmp_path / "case.nii.gz")


def test_labels_of_several_classes_are_rounded_before_they_are_cast(tmp_path):
    write(IMAGE, tmp_path / "case_0000.nii.gz")
    labels = oblique_image(tumor_mask().astype(np.uint8) * 2)
    write(in_floats(labels, 0.9999), tmp_path / "case.nii.gz")  # 1.9998, which a cast makes 1
    arguments = {"image_files": [tmp_path / "case_0000.nii.gz"], "mask_file": tmp_path / "case.nii.gz"}
    loaded = load(tmp_path, **arguments, labels={"node": 1, "tumor": 2})
    np.testing.assert_array_equal(sitk.GetArrayFromImage(loaded.reference), 2 * tumor_mask())


# ------------------------------------------------------------------------------------------------------------ names

NOT_UTF8 = {
    "image": lambda folder: os.rename(
        folder / "images" / "odd_0000.nii.gz", os.fsencode(folder / "images") + b"/\xf6dd_0000.nii.gz"
    ),
    "annotation": lambda folder: (folder / "clicks" / os.fsdecode(b"odd.t\xfcmour.csv")).write_text("x,y,z"),
}


@pytest.mark.parametrize("num_processes", [1, 2])
@pytest.mark.parametrize("what", ["image", "annotation"])
def test_a_name_that_is_not_utf8_fails_its_case_alone(what, num_processes, tmp_path, monkeypatch, capsys):
    for identifier in ("sound_1", "odd", "sound_2"):
        write_single_channel_case(tmp_path, identifier)
    (tmp_path / "clicks").mkdir()
    NOT_UTF8[what](tmp_path)
    arguments = ["-i", tmp_path / "images", "-m", tmp_path / "masks", "-a", tmp_path / "clicks", "-d", 5, "-n", "Odd"]
    arguments += ["-np", num_processes]
    name, identifier = {"image": (r"\xf6dd_0000.nii.gz", "xf6dd"), "annotation": (r"odd.t\xfcmour.csv", "odd")}[what]
    assert run(monkeypatch, tmp_path / "raw", *arguments, "--dry-run") == 1
    (problem,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("PROBLEM")]
    assert run(monkeypatch, tmp_path / "raw", *arguments) == 1
    (failure,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("FAILED")]
    assert failure.removeprefix("FAILED ") == problem.removeprefix("PROBLEM ")
    assert problem.startswith(f"PROBLEM {identifier}: ")
    assert f"{name} is not UTF-8" in problem
    dataset = tmp_path / "raw" / "Dataset005_Odd"
    assert names_in(dataset / "labelsTr") == ["sound_1.nii.gz", "sound_2.nii.gz"]
    assert name in (dataset / "quality_control" / "index.html").read_text(encoding="utf-8")
    assert (dataset / "dataset.json").exists()


def test_a_patient_folder_that_is_not_utf8_fails_its_case_alone(tmp_path, monkeypatch, capsys):
    for name in (b"DUKE_001", b"DUKE_\xf6"):
        folder = tmp_path / "images" / os.fsdecode(name)
        folder.mkdir(parents=True)
        write(IMAGE, tmp_path / "image.nii.gz")
        for phase in range(2):
            (folder / os.fsdecode(name + b"_000%d.nii.gz" % phase)).write_bytes(
                (tmp_path / "image.nii.gz").read_bytes()
            )
    write(MASK, tmp_path / "segmentations" / "expert" / "DUKE_001.nii.gz")
    main = Dataset503_MAMA_MIA.main
    assert run(monkeypatch, tmp_path / "raw", "-i", tmp_path, "-split", "none", "-phases", 1, main=main) == 1
    (failure,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("FAILED")]
    assert failure.startswith("FAILED DUKE_xf6: ")
    assert names_in(tmp_path / "raw" / "Dataset503_MAMA_MIA" / "labelsTr") == ["DUKE_001.nii.gz"]


def test_a_dataset_folder_that_is_not_utf8_is_refused_at_once(tmp_path):
    with pytest.raises(ValueError, match=r"r\\xe4w.*is not UTF-8"):
        Conversion(Path(os.fsdecode(b"/r\xe4w/Dataset005_Odd")), ["MR"])


@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC")])
def test_class_names_are_equal_however_their_accents_are_stored(forms, tmp_path, monkeypatch, capsys):
    typed, stored = (unicodedata.normalize(form, "tumör") for form in forms)
    write_single_channel_case(tmp_path, "case")
    lesion = {"points": CLICKS[:, ::-1].tolist()}
    inside = {"coordinates": "voxel", "lesions": [lesion | {"label": stored}, lesion | {"label": typed}]}
    (tmp_path / "clicks").mkdir()
    (tmp_path / "clicks" / "case.json").write_text(json.dumps(inside))
    (tmp_path / "clicks" / f"case.{stored}2.json").write_text(json.dumps(lesion | {"coordinates": "voxel"}))
    arguments = ["-i", tmp_path / "images", "-a", tmp_path / "clicks", "-d", 5, "-n", "Odd", "-labels"]
    for labels in ([f"{typed}=1", "node=2"], [f"{typed}=1"]):
        assert run(monkeypatch, tmp_path / "raw", *arguments, *labels, "--overwrite") == 0
        record = json.loads((tmp_path / "raw" / "Dataset005_Odd" / "provenance.json").read_text())
        assert [lesion["label"] for lesion in record["cases"]["case"]["lesions"]] == [1, 1, 1]
    assert run(monkeypatch, tmp_path / "raw2", *arguments, f"{typed}=1", f"{stored}=2") == 2
    assert "labels must be given like" in capsys.readouterr().err
