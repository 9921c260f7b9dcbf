"""Conversion through the command line, on a few tiny cases on disk."""

import gzip
import json
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from nnunetv2.experiment_planning.verify_dataset_integrity import verify_dataset_integrity
from support.conversion_cases import (
    SPACING_ZYX_MM,
    array_of,
    channels_of,
    expected_label,
    expected_points,
    files_below,
    geometry,
    names_in,
    oblique_image,
    run,
    tumor_mask,
    write,
    write_points,
    write_single_channel_case,
)

from nnunetv2_simple import __version__
from nnunetv2_simple.conversion.cases import Case, Conversion
from nnunetv2_simple.conversion.convert import convert_dataset
from nnunetv2_simple.dataset_conversion import Dataset501_IBSI_STS
from nnunetv2_simple.images import patient_axes
from nnunetv2_simple.pseudo_mask.walker_probabilities import label_digest

# ---------------------------------------------------------------------------------- a conversion in which all is well

IDENTIFIERS = ["alpha_1", "beta.2", "gamma-3", "delta", "epsilon"]
CLICKED = {"alpha_1": "voxel", "beta.2": "LPS", "gamma-3": "RAS"}  # the others' clicks are simulated
# Inside the tumor's box, but not what would be simulated from the mask.
CLICKS = np.array([[3, 7, 6], [6, 7, 6], [4, 4, 6], [5, 10, 6], [4, 7, 4], [4, 8, 8]])


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("source")
    for seed, identifier in enumerate(IDENTIFIERS):
        ending = ".nrrd" if identifier == "delta" else ".nii.gz"
        for index, channel in enumerate(channels_of(seed)):
            write(oblique_image(channel, seed=seed), folder / "images" / f"{identifier}_{index:04d}{ending}")
        mask = oblique_image(tumor_mask(seed).astype(np.int16) * 3, seed=seed)
        write(mask, folder / "masks" / f"{identifier}{ending}")
        if coordinates := CLICKED.get(identifier):
            write_points(folder / "clicks" / f"{identifier}.json", CLICKS, coordinates=coordinates, image=mask)
    (folder / "images" / "README.txt").write_text("not an image")
    return folder


@pytest.fixture(scope="module")
def raw(source, tmp_path_factory):
    """nnUNet_raw after the conversion."""
    raw = tmp_path_factory.mktemp("nnUNet_raw")
    arguments = ["-i", source / "images", "-a", source / "clicks", "-m", source / "masks", "-d", 77, "-n", "Tiny"]
    arguments += ["-dense", 78, "-num_test", 1, "-test_seed", 3, "-recipe", "paper", "-beta", 90]
    arguments += ["-channels", "pre", "post", "-walker_channel", 1, "-walker_subtract", 0]
    with pytest.MonkeyPatch.context() as monkeypatch:
        assert run(monkeypatch, raw, *arguments) == 0
    return raw


@pytest.fixture
def weak(raw):
    return raw / "Dataset077_Tiny"


@pytest.fixture
def dense(raw):
    return raw / "Dataset078_Tiny_dense"


@pytest.fixture
def test_identifier(weak):
    (file,) = (weak / "imagesTs").glob("*_0000.nii.gz")
    return file.name.removesuffix("_0000.nii.gz")


@pytest.fixture
def training_identifiers(test_identifier):
    return sorted(set(IDENTIFIERS) - {test_identifier})


def test_layout_is_that_of_an_nnunet_dataset(raw, weak, dense, training_identifiers, test_identifier):
    assert names_in(raw) == ["Dataset077_Tiny", "Dataset078_Tiny_dense"]
    top = ["dataset.json", "imagesTr", "imagesTs", "labelsTr", "provenance", "provenance.json", "quality_control"]
    assert names_in(weak) == [*top, "referencesTr", "referencesTs", "walkerTr"]
    assert names_in(dense) == ["dataset.json", "labelsTr"]
    labels = [f"{identifier}.nii.gz" for identifier in training_identifiers]
    images = [f"{identifier}_{index:04d}.nii.gz" for identifier in training_identifiers for index in range(2)]
    assert names_in(weak / "imagesTr") == sorted(images)
    assert names_in(weak / "labelsTr") == names_in(weak / "referencesTr") == names_in(dense / "labelsTr")
    assert names_in(weak / "labelsTr") == sorted(labels)
    assert names_in(weak / "provenance") == [f"{identifier}.json" for identifier in sorted(IDENTIFIERS)]
    pictures = {name for name in names_in(weak / "quality_control") if name.endswith(".png")}
    assert pictures == {f"{name}{ending}.png" for name in training_identifiers for ending in ("", ".thumbnail")}
    assert (weak / "quality_control" / "index.html").is_file()
    assert names_in(weak / "imagesTs") == [f"{test_identifier}_{index:04d}.nii.gz" for index in range(2)]
    assert names_in(weak / "referencesTs") == [f"{test_identifier}.nii.gz"]


def test_dataset_json_has_the_ignore_label_last(weak, dense):
    content, twin = (json.loads((folder / "dataset.json").read_text()) for folder in (weak, dense))
    assert list(content["labels"].items()) == [("background", 0), ("tumor", 1), ("ignore", 2)]
    assert list(twin["labels"].items()) == [("background", 0), ("tumor", 1)]
    for same in (content, twin):
        assert same["channel_names"] == {"0": "pre", "1": "post"}
        assert same["numTraining"] == 4
        assert same["file_ending"] == ".nii.gz"
    assert "dataset" not in content


def test_images_keep_their_voxels_and_geometry(weak, source, test_identifier):
    for seed, identifier in enumerate(IDENTIFIERS):
        split = "Ts" if identifier == test_identifier else "Tr"
        for index, channel in enumerate(channels_of(seed)):
            file = weak / f"images{split}" / f"{identifier}_{index:04d}.nii.gz"
            np.testing.assert_array_equal(array_of(file), channel)
            (original,) = (source / "images").glob(f"{identifier}_{index:04d}.*")
            for ours, theirs in zip(geometry(file), geometry(original), strict=True):
                np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5)


def test_labels_and_references_have_exactly_the_geometry_of_their_image(weak, dense, training_identifiers):
    for identifier in training_identifiers:
        expected = geometry(weak / "imagesTr" / f"{identifier}_0000.nii.gz")
        assert geometry(weak / "imagesTr" / f"{identifier}_0001.nii.gz") == expected
        for folder in (weak / "labelsTr", weak / "referencesTr", dense / "labelsTr"):
            assert geometry(folder / f"{identifier}.nii.gz") == expected


def test_labels_are_pseudo_masks_of_the_subtraction_image_and_the_clicks(weak, training_identifiers):
    for identifier in training_identifiers:
        seed = IDENTIFIERS.index(identifier)
        pre, post = (channel.astype(float) for channel in channels_of(seed))
        mask = oblique_image(tumor_mask(seed).astype(np.uint8), seed=seed)
        points = CLICKS if identifier in CLICKED else expected_points(mask)
        axes = None if CLICKED.get(identifier) == "voxel" else patient_axes(mask)
        expected = expected_label(post - pre, points, mask, recipe="paper", beta=90.0, axes=axes)
        label = array_of(weak / "labelsTr" / f"{identifier}.nii.gz")
        assert label.dtype == np.uint8
        assert set(np.unique(label)) == {0, 1, 2}
        np.testing.assert_array_equal(label, expected)


def test_references_and_labels_of_the_twin_are_the_dense_masks(weak, dense, test_identifier):
    for seed, identifier in enumerate(IDENTIFIERS):
        folders = [weak / "referencesTr", dense / "labelsTr"]
        if identifier == test_identifier:
            folders = [weak / "referencesTs"]
        for folder in folders:
            np.testing.assert_array_equal(array_of(folder / f"{identifier}.nii.gz"), tumor_mask(seed))


def test_twin_points_at_the_images_of_the_weak_dataset(weak, dense, training_identifiers):
    entries = json.loads((dense / "dataset.json").read_text())["dataset"]
    assert sorted(entries) == training_identifiers
    for identifier, entry in entries.items():
        images = [(dense / image).resolve() for image in entry["images"]]
        expected = [weak / "imagesTr" / f"{identifier}_{index:04d}.nii.gz" for index in range(2)]
        assert images == [file.resolve() for file in expected]
        assert all(image.is_file() for image in images)
        assert (dense / entry["label"]).resolve() == (dense / "labelsTr" / f"{identifier}.nii.gz").resolve()
        assert (dense / entry["label"]).is_file()


@pytest.mark.parametrize("dataset", ["Dataset077_Tiny", "Dataset078_Tiny_dense"])
def test_nnunet_finds_the_dataset_sound(dataset, raw, capfd):
    verify_dataset_integrity(str(raw / dataset), num_processes=1)
    assert "verify_dataset_integrity Done" in capfd.readouterr().out


def test_provenance_says_where_every_label_comes_from(weak, source, training_identifiers, test_identifier):
    content = json.loads((weak / "provenance.json").read_text())
    assert content["nnunetv2_simple"] == __version__
    assert content["parameters"]["beta"] == 90
    assert content["parameters"]["walker_channel"] == 1
    assert content["parameters"]["walker_subtracts_channel"] == 0
    assert content["failed"] == {}
    assert list(content["cases"]) == sorted(IDENTIFIERS)
    for identifier in training_identifiers:
        case = content["cases"][identifier]
        label = array_of(weak / "labelsTr" / f"{identifier}.nii.gz")
        assert case["foreground_voxels"] == {"tumor": (label == 1).sum()}
        assert case["unlabelled_voxels"] == (label == 2).sum()
        assert case["label_sha256"] == label_digest(label)
        np.testing.assert_allclose(case["spacing_mm_zyx"], SPACING_ZYX_MM, rtol=1e-6)
        assert [Path(entry["file"]).parent for entry in case["inputs"]["images"]] == [source / "images"] * 2
        assert Path(case["inputs"]["mask"]["file"]).parent == source / "masks"
        (lesion,) = case["lesions"]
        assert lesion["label"] == 1
        assert (lesion["axes_zyx"] is None) == (CLICKED.get(identifier) == "voxel")
        assert lesion["warnings"] == []
        if identifier in CLICKED:
            assert lesion["source"] == "extreme points"
            assert lesion["file"] == str(source / "clicks" / f"{identifier}.json")
            np.testing.assert_array_equal(lesion["extreme_points_zyx"], CLICKS)
        else:
            assert lesion["source"] == "simulated from a dense mask"
            assert lesion["file"] == case["inputs"]["mask"]["file"]
            seed = IDENTIFIERS.index(identifier)
            expected = expected_points(oblique_image(tumor_mask(seed).astype(np.uint8), seed=seed))
            np.testing.assert_array_equal(lesion["extreme_points_zyx"], expected)
    assert content["cases"][test_identifier].keys() == {"inputs", "spacing_mm_zyx"}


def test_record_of_a_case_names_its_files_and_parameters(weak, dense, training_identifiers):
    identifier = training_identifiers[0]
    record = json.loads((weak / "provenance" / f"{identifier}.json").read_text())
    files = [(weak / file).resolve() for file in record["files"]]
    assert all(file.is_file() for file in files)
    assert {file.parent.parent for file in files} == {weak.resolve(), dense.resolve()}
    assert record["parameters"]["labels"] == {"tumor": 1}
    assert record["parameters"]["twin"] == dense.name
    assert record["quality"]["num_lesions"] == 1


def test_existing_twin_is_left_untouched(raw, source, monkeypatch, capsys):
    before = files_below(raw / "Dataset078_Tiny_dense")
    target = raw.parent / "elsewhere"
    (target / "Dataset080_Tiny_dense").mkdir(parents=True)
    (target / "Dataset080_Tiny_dense" / "dataset.json").write_text("{}")
    arguments = ["-i", source / "images", "-m", source / "masks", "-d", 79, "-n", "Tiny", "-dense", 80]
    assert run(monkeypatch, target, *arguments, "-channels", "pre", "post") == 2
    assert "Dataset080_Tiny_dense" in capsys.readouterr().err
    assert list(files_below(target)) == ["Dataset080_Tiny_dense/dataset.json"]
    assert files_below(raw / "Dataset078_Tiny_dense") == before


# ------------------------------------------------------------------------------------------------- cases that fail

REASONS = {
    "moved_mask": ["origin differs", "moved_mask.nii.gz"],
    "nan": ["nan_0000.nrrd", "NaN"],
    "unannotated": ["dense mask of every training case", "no annotation"],
    "unreadable": ["cannot read", "unreadable_0000.nii.gz"],
    "constant": ["constant", "constant_0000.nii.gz"],
    "outside": ["outside.json", "outside the image"],
    "two_channels": ["expected 1 channels, found 2"],
    "flat": ["flat_0000.nii.gz", "three-dimensional"],
}
SEEDS = {identifier: seed for seed, identifier in enumerate(["sound_1", *REASONS, "sound_2"])}


@pytest.fixture(scope="module")
def run_with_failures(tmp_path_factory):
    """Two sound cases among failing ones: exit status, standard error, nnUNet_raw."""
    folder, raw = tmp_path_factory.mktemp("failing"), tmp_path_factory.mktemp("nnUNet_raw_failing")
    for identifier, seed in SEEDS.items():
        write_single_channel_case(folder, identifier, seed=seed)
    images, masks = folder / "images", folder / "masks"
    moved = sitk.ReadImage(str(masks / "moved_mask.nii.gz"))
    moved.SetOrigin([c + 0.5 for c in moved.GetOrigin()])
    write(moved, masks / "moved_mask.nii.gz")
    array = channels_of()[1].astype(np.float32)
    array[1, 2, 3] = np.nan
    write(oblique_image(array, seed=SEEDS["nan"]), images / "nan_0000.nrrd")
    (images / "nan_0000.nii.gz").unlink()
    (masks / "unannotated.nii.gz").unlink()
    (images / "unreadable_0000.nii.gz").write_bytes(b"this is no image")
    write(sitk.ReadImage(str(images / "constant_0000.nii.gz")) * 0 + 7, images / "constant_0000.nii.gz")
    write_points(folder / "clicks" / "outside.json", CLICKS + (0, 0, 8))
    write(oblique_image(array), images / "two_channels_0001.nii.gz")
    write(sitk.GetImageFromArray(array[0]), images / "flat_0000.nii.gz")
    arguments = ["-i", images, "-m", masks, "-a", folder / "clicks", "-d", 5, "-n", "Failing", "-dense", 6]
    with pytest.MonkeyPatch.context() as monkeypatch, redirect_stderr(StringIO()) as stderr:
        status = run(monkeypatch, raw, *arguments)
    return status, stderr.getvalue(), raw


@pytest.mark.parametrize("identifier", REASONS)
def test_failing_case_is_reported_with_its_reason(identifier, run_with_failures):
    status, stderr, _ = run_with_failures
    (line,) = [line for line in stderr.splitlines() if line.startswith(f"FAILED {identifier}: ")]
    for part in REASONS[identifier]:
        assert part in line
    assert status == 1


def test_failing_case_leaves_no_file(run_with_failures):
    _, _, raw = run_with_failures
    files = [file for file in raw.rglob("*") if not file.is_dir()]
    assert files
    for identifier in REASONS:
        assert [file for file in files if file.name.startswith(identifier)] == [
            raw / "Dataset005_Failing" / "provenance" / f"{identifier}.json"
        ]
    assert not list(raw.rglob("*partial*"))


def test_other_cases_are_converted_and_the_failed_ones_listed(run_with_failures):
    _, _, raw = run_with_failures
    weak, dense = raw / "Dataset005_Failing", raw / "Dataset006_Failing_dense"
    sound = ["sound_1.nii.gz", "sound_2.nii.gz"]
    assert names_in(weak / "imagesTr") == ["sound_1_0000.nii.gz", "sound_2_0000.nii.gz"]
    assert names_in(weak / "labelsTr") == names_in(dense / "labelsTr") == sound
    assert json.loads((weak / "dataset.json").read_text())["numTraining"] == 2
    twin = json.loads((dense / "dataset.json").read_text())
    assert twin["numTraining"] == 2
    assert sorted(twin["dataset"]) == ["sound_1", "sound_2"]
    provenance = json.loads((weak / "provenance.json").read_text())
    assert sorted(provenance["cases"]) == ["sound_1", "sound_2"]
    assert sorted(provenance["failed"]) == sorted(REASONS)


def test_the_page_of_the_quality_control_names_the_failed_ones(run_with_failures):
    page = (run_with_failures[2] / "Dataset005_Failing" / "quality_control" / "index.html").read_text()
    assert f"{len(REASONS)} cases failed and are left out" in page
    assert all(f"<dt>{identifier}</dt>" in page for identifier in REASONS)


def test_what_is_probably_not_meant_is_said(tmp_path, monkeypatch, capsys):
    for identifier in ("annotated", "simulated"):
        write_single_channel_case(tmp_path, identifier)
    write_points(tmp_path / "clicks" / "annotated.json", CLICKS)
    for name in ("annotated_2", "Simulated"):
        write_points(tmp_path / "clicks" / f"{name}.json", CLICKS)
    arguments = ["-i", tmp_path / "images", "-m", tmp_path / "masks", "-a", tmp_path / "clicks", "-d", 5, "-n", "Said"]
    assert run(monkeypatch, tmp_path / "raw", *arguments) == 0
    of_no_image = [f"WARNING {tmp_path / 'clicks' / name}.json: belongs to no" for name in ("Simulated", "annotated_2")]
    references = [f"WARNING {tmp_path / 'masks'}: the dense masks of these cases make no label"]
    simulated = ["WARNING simulated: no annotation was found"]  # as the dry run says it
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("WARNING")]
    for line, expected in zip(lines, of_no_image + references + simulated, strict=True):
        assert line.startswith(expected)


def test_two_annotations_of_one_lesion_fail_their_case_alone(tmp_path, monkeypatch, capsys):
    for identifier in ("good", "twice"):
        write_single_channel_case(tmp_path, identifier)
        write_points(tmp_path / "clicks" / f"{identifier}.json", CLICKS)
    write_points(tmp_path / "clicks" / "twice.mrk.json", CLICKS)
    arguments = ["-i", tmp_path / "images", "-a", tmp_path / "clicks", "-d", 5, "-n", "Twice"]
    assert run(monkeypatch, tmp_path / "raw", *arguments) == 1
    message = capsys.readouterr().err
    assert "FAILED twice: both " in message and "annotate the same lesion" in message
    assert names_in(next((tmp_path / "raw").iterdir()) / "labelsTr") == ["good.nii.gz"]


def test_what_converters_write_beside_images_is_no_image(tmp_path, monkeypatch):
    write_single_channel_case(tmp_path, "case_1")
    (tmp_path / "images" / "case_1_0000.json").write_text("{}")
    arguments = ["-i", tmp_path / "images", "-m", tmp_path / "masks", "-d", 5, "-n", "Sidecar"]
    assert run(monkeypatch, tmp_path / "raw", *arguments) == 0


def test_annotations_may_lie_beside_the_images(tmp_path, monkeypatch, capsys):
    write_single_channel_case(tmp_path, "case_1")
    write_points(tmp_path / "images" / "case_1.json", CLICKS)
    (tmp_path / "images" / "case_1_0000.json").write_text("{}")
    arguments = ["-i", tmp_path / "images", "-a", tmp_path / "images", "-d", 5, "-n", "Beside"]
    assert run(monkeypatch, tmp_path / "raw", *arguments) == 0
    assert "WARNING" not in capsys.readouterr().err


def test_a_mask_of_fractions_is_refused(tmp_path, monkeypatch, capsys):
    write_single_channel_case(tmp_path, "case_1")
    fractions = tumor_mask().astype(np.float32)
    fractions[4, 7, 6] = 0.5
    write(oblique_image(fractions), tmp_path / "masks" / "case_1.nii.gz")
    arguments = ["-i", tmp_path / "images", "-m", tmp_path / "masks", "-d", 5, "-n", "Fractions"]
    assert run(monkeypatch, tmp_path / "raw", *arguments) == 1
    assert "case_1.nii.gz must hold whole numbers" in capsys.readouterr().err


def test_intensities_too_large_to_be_squared_are_refused(tmp_path, monkeypatch, capsys):
    write_single_channel_case(tmp_path, "case_1")
    huge = channels_of()[1] * 1e300
    write(oblique_image(huge), tmp_path / "images" / "case_1_0000.nii.gz")
    arguments = ["-i", tmp_path / "images", "-m", tmp_path / "masks", "-d", 5, "-n", "Huge"]
    assert run(monkeypatch, tmp_path / "raw", *arguments) == 1
    assert "intensities too large to be squared" in capsys.readouterr().err


def test_a_case_that_cannot_be_drawn_fails(tmp_path, monkeypatch, capsys):
    def draw_sheet(output_file, *_, **__):
        raise RuntimeError(f"no room for {output_file.name}")

    for identifier in ("case_1", "case_2"):
        write_single_channel_case(tmp_path, identifier)
    monkeypatch.setattr("nnunetv2_simple.conversion.case_files.draw_sheet", draw_sheet)
    arguments = ["-i", tmp_path / "images", "-m", tmp_path / "masks", "-d", 5, "-n", "Undrawn"]
    assert run(monkeypatch, tmp_path / "raw", *arguments) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("FAILED case_1: ")]
    assert "RuntimeError: no room for" in line
    assert line.endswith("case_1.png")
    assert not list((tmp_path / "raw").rglob("*.nii.gz"))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_voxels_that_are_not_finite_are_found_in_nifti_files_too(value, tmp_path, monkeypatch, capsys):
    # ITK's NIfTI reader turns them into zeros without a word; the file itself holds them.
    write_single_channel_case(tmp_path, "holes")
    array = channels_of()[1].astype(np.float32)
    array[1, 2, 3] = value
    file = tmp_path / "images" / "holes_0000.nii.gz"
    write(oblique_image(array), file)
    voxels = np.frombuffer(gzip.decompress(file.read_bytes())[-array.nbytes :], dtype=np.float32)
    assert not np.isfinite(voxels).all()
    arguments = ["-i", tmp_path / "images", "-m", tmp_path / "masks", "-d", 5, "-n", "Holes"]
    assert run(monkeypatch, tmp_path / "raw", *arguments) == 1
    assert "holes_0000.nii.gz holds NaN" in capsys.readouterr().err
    assert not (tmp_path / "raw" / "Dataset005_Holes" / "dataset.json").exists()


def test_only_what_was_converted_is_called_so_and_the_page_is_named(tmp_path, monkeypatch, capsys):
    write_single_channel_case(tmp_path, "case_1")
    page = tmp_path / "raw" / "Dataset005_One" / "quality_control" / "index.html"
    arguments = ["-i", tmp_path / "images", "-m", tmp_path / "masks", "-d", 5, "-n", "One", "-np", 1]
    for counts in ("1 converted now, 0 before", "0 converted now, 1 before"):
        assert run(monkeypatch, tmp_path / "raw", *arguments) == 0
        printed = capsys.readouterr().out
        assert counts in printed
        assert str(page) in printed and page.is_file()
        assert "nnUNetv2_plan_and_preprocess -d 5 " in printed


def test_excluded_cases_are_left_out_and_what_was_written_of_them_is_removed(tmp_path, monkeypatch, capsys):
    for case in ("case_1", "case_2"):
        write_single_channel_case(tmp_path, case)
    arguments = ["-i", tmp_path / "images", "-m", tmp_path / "masks", "-d", 5, "-n", "Two", "-np", 1]
    assert run(monkeypatch, tmp_path / "raw", *arguments) == 0
    labels = tmp_path / "raw" / "Dataset005_Two" / "labelsTr"
    kept = labels / "case_1.nii.gz"
    before = kept.stat().st_mtime_ns
    (tmp_path / "exclude.txt").write_text("case_2\n")
    assert run(monkeypatch, tmp_path / "raw", *arguments, "-exclude", tmp_path / "exclude.txt") == 0
    assert "removed" in capsys.readouterr().out
    assert [file.name for file in labels.iterdir()] == ["case_1.nii.gz"] and kept.stat().st_mtime_ns == before
    content = json.loads((labels.parent / "dataset.json").read_text())
    assert content["numTraining"] == 1
    assert run(monkeypatch, tmp_path / "raw", *arguments, "-exclude", "case_7") == 2
    assert "case_7" in capsys.readouterr().err


def test_nothing_is_promised_where_all_cases_fail(tmp_path, monkeypatch, capsys):
    write(oblique_image(channels_of()[1]), tmp_path / "images" / "only_0000.nii.gz")
    (tmp_path / "masks").mkdir()
    raw = tmp_path / "raw"
    arguments = ["-i", tmp_path / "images", "-m", tmp_path / "masks", "-d", 5, "-n", "Nothing"]
    assert run(monkeypatch, raw, *arguments) == 1
    assert "FAILED only: no annotation" in capsys.readouterr().err
    assert sorted(files_below(raw / "Dataset005_Nothing")) == ["provenance.json", "provenance/only.json"]


# ---------------------------------------------------------------------------------------------- refused at once


def test_files_of_other_cases_are_not_touched(tmp_path, monkeypatch, capsys):
    write_single_channel_case(tmp_path, "case_1")
    other = tmp_path / "raw" / "Dataset005_Mine" / "imagesTr" / "other_0000.nii.gz"
    other.parent.mkdir(parents=True)
    other.write_bytes(b"somebody's")
    arguments = ["-i", tmp_path / "images", "-m", tmp_path / "masks", "-d", 5, "-n", "Mine"]
    assert run(monkeypatch, tmp_path / "raw", *arguments) == 2
    assert "other_0000.nii.gz" in capsys.readouterr().err
    assert other.read_bytes() == b"somebody's"


@pytest.mark.parametrize("flags", [["-num_test", 1], ["-num_test", -1], ["-dense", 5]])
def test_options_that_leave_no_sound_dataset_are_refused(flags, tmp_path, monkeypatch, capsys):
    write_single_channel_case(tmp_path, "case_1")
    arguments = ["-i", tmp_path / "images", "-m", tmp_path / "masks", "-d", 5, "-n", "Bad", *flags]
    assert run(monkeypatch, tmp_path / "raw", *arguments) == 2
    assert "num_test" in (message := capsys.readouterr().err) or "unique" in message
    assert not (tmp_path / "raw").exists()


def test_a_dataset_id_in_use_under_another_name_is_refused(tmp_path, monkeypatch, capsys):
    write_single_channel_case(tmp_path, "case_1")
    (tmp_path / "raw" / "Dataset005_Liver").mkdir(parents=True)
    arguments = ["-i", tmp_path / "images", "-m", tmp_path / "masks", "-d", 5, "-n", "Breast"]
    assert run(monkeypatch, tmp_path / "raw", *arguments) == 2
    assert "Dataset005_Liver" in capsys.readouterr().err


def test_images_not_named_as_nnunet_names_them_are_refused(tmp_path, monkeypatch, capsys):
    for name in ("DUKE_001", "DUKE_0000"):
        write(oblique_image(channels_of()[1]), tmp_path / "images" / f"{name}.nii.gz")
    arguments = ["-i", tmp_path / "images", "-m", tmp_path / "images", "-d", 5, "-n", "Bad"]
    assert run(monkeypatch, tmp_path / "raw", *arguments) == 2
    message = capsys.readouterr().err
    assert "DUKE_001.nii.gz" in message
    assert "DUKE_0000.nii.gz" not in message
    assert not (tmp_path / "raw").exists()


@pytest.mark.parametrize(
    "names",
    [
        ["bad_1001.nii.gz"],
        ["bad_0001.nii.gz"],
        ["bad_0000.nii.gz", "bad_0002.nii.gz"],
        ["bad_0000.nii.gz", "bad_0000.nrrd"],
    ],
)
def test_channels_with_a_gap_or_twice_fail_their_case_alone(names, tmp_path, monkeypatch, capsys):
    write_single_channel_case(tmp_path, "good")
    for name in names:
        write(oblique_image(channels_of()[1]), tmp_path / "images" / name)
    write(oblique_image(tumor_mask().astype(np.uint8)), tmp_path / "masks" / "bad.nii.gz")
    arguments = ["-i", tmp_path / "images", "-m", tmp_path / "masks", "-d", 5, "-n", "Bad"]
    assert run(monkeypatch, tmp_path / "raw", *arguments) == 1
    message = capsys.readouterr().err
    assert "FAILED bad: images must be named" in message
    assert all(name in message for name in names)
    assert names_in(tmp_path / "raw" / "Dataset005_Bad" / "labelsTr") == ["good.nii.gz"]


def test_a_second_mask_of_a_case_is_refused(tmp_path, monkeypatch, capsys):
    write_single_channel_case(tmp_path, "case_1")
    write(oblique_image(tumor_mask().astype(np.uint8)), tmp_path / "masks" / "case_1.nrrd")
    arguments = ["-i", tmp_path / "images", "-m", tmp_path / "masks", "-d", 5, "-n", "Bad"]
    assert run(monkeypatch, tmp_path / "raw", *arguments) == 1
    assert "case_1.nrrd" in capsys.readouterr().err


@pytest.mark.parametrize("identifier", ["with space", "_underscore", "ümlaut"])
def test_bad_identifier_is_refused(identifier, tmp_path, monkeypatch, capsys):
    write_single_channel_case(tmp_path, identifier)
    arguments = ["-i", tmp_path / "images", "-m", tmp_path / "masks", "-d", 5, "-n", "Bad"]
    assert run(monkeypatch, tmp_path / "raw", *arguments) == 2
    assert identifier in capsys.readouterr().err
    assert not (tmp_path / "raw").exists()


@pytest.mark.parametrize("identifier", ["../escape", "a/b", "", ".hidden", "line\n", "x" * 201])
def test_identifier_that_is_no_file_name_is_refused(identifier, tmp_path):
    with pytest.raises(ValueError, match="case identifier") as error:
        cases = [Case(name, ("image.nii.gz",)) for name in (identifier, "good", "b?d")]
        convert_dataset(cases, Conversion(tmp_path / "Dataset005_Bad", ["MR"]))
    assert str(error.value).endswith(f"got {identifier!r}, 'b?d'")
    assert not list(tmp_path.iterdir())


def test_duplicate_identifiers_are_refused(tmp_path):
    cases = [Case("twice", ("a.nii.gz",)), Case("once", ("b.nii.gz",)), Case("twice", ("c.nii.gz",))]
    with pytest.raises(ValueError, match=r"unique.*\['twice'\]"):
        convert_dataset(cases, Conversion(tmp_path / "Dataset005_Bad", ["MR"]))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["../Elsewhere", "a/b", "with space"])
def test_a_dataset_name_that_is_no_folder_name_is_refused(name, tmp_path, monkeypatch, capsys):
    write_single_channel_case(tmp_path, "case_1")
    arguments = ["-i", tmp_path / "images", "-m", tmp_path / "masks", "-d", 5, "-n", name]
    assert run(monkeypatch, tmp_path / "raw", *arguments) == 2
    assert name in capsys.readouterr().err
    assert names_in(tmp_path) == ["images", "masks"]


@pytest.mark.parametrize("channels", [["-walker_channel", 1], ["-walker_subtract", "-1"]])
def test_a_channel_that_does_not_exist_is_refused(channels, tmp_path, monkeypatch, capsys):
    write_single_channel_case(tmp_path, "case_1")
    arguments = ["-i", tmp_path / "images", "-m", tmp_path / "masks", "-d", 5, "-n", "Bad", *channels]
    assert run(monkeypatch, tmp_path / "raw", *arguments) == 2
    assert "channel" in capsys.readouterr().err
    assert not (tmp_path / "raw").exists()


def test_folder_without_images_is_refused(tmp_path, monkeypatch, capsys):
    (tmp_path / "images").mkdir()
    arguments = ["-i", tmp_path / "images", "-m", tmp_path / "images", "-d", 5, "-n", "Empty"]
    assert run(monkeypatch, tmp_path / "raw", *arguments) == 2
    assert "no case" in capsys.readouterr().err


def test_missing_folder_and_missing_annotation_option_are_refused(tmp_path, monkeypatch, capsys):
    (tmp_path / "images").mkdir()
    for arguments, message in (
        (["-i", tmp_path / "nowhere", "-m", tmp_path / "images"], "nowhere"),
        (["-i", tmp_path / "images"], "-a"),
    ):
        with pytest.raises(SystemExit) as stop:
            run(monkeypatch, tmp_path / "raw", *arguments, "-d", 5, "-n", "Empty")
        assert stop.value.code == 2
        assert message in capsys.readouterr().err


# --------------------------------------------------------------------------------------------------- sarcoma data


def test_sarcoma_layout_is_converted(tmp_path, monkeypatch, capsys):
    source = tmp_path / "nifti"
    for seed, patient in enumerate(["STS_001", "STS_002", "STS_010"]):
        write(oblique_image(channels_of(seed)[1], seed=seed), source / patient / "MR_T1_image.nii.gz")
        write(oblique_image(tumor_mask(seed).astype(np.uint8), seed=seed), source / patient / "MR_T1_mask.nii.gz")
    (source / "STS_002" / "MR_T1_mask.nii.gz").unlink()
    write(oblique_image(channels_of(0)[1], seed=0), source / "STS_003" / "PET_image.nii.gz")
    (source / "notes.txt").write_text("not a patient")
    raw = tmp_path / "raw"
    status = run(monkeypatch, raw, "-i", source, "-dense", 502, main=Dataset501_IBSI_STS.main)
    assert status == 1
    errors = capsys.readouterr().err
    assert "FAILED STS_002: " in errors
    assert "STS_003" not in errors  # a patient without T1 image is none of this dataset
    weak, dense = raw / "Dataset501_IBSI_STS", raw / "Dataset502_IBSI_STS_dense"
    content = json.loads((weak / "dataset.json").read_text())
    assert content["channel_names"] == {"0": "T1"}
    assert content["labels"] == {"background": 0, "tumor": 1, "ignore": 2}
    assert content["numTraining"] == 2
    for seed, patient in ((0, "STS_001"), (2, "STS_010")):
        mask = oblique_image(tumor_mask(seed).astype(np.uint8), seed=seed)
        expected = expected_label(channels_of(seed)[1], expected_points(mask), mask)
        np.testing.assert_array_equal(array_of(weak / "labelsTr" / f"{patient}.nii.gz"), expected)
        np.testing.assert_array_equal(array_of(dense / "labelsTr" / f"{patient}.nii.gz"), tumor_mask(seed))
