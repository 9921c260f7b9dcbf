"""New images as nnUNetv2_predict takes them."""

import json

import numpy as np
import pytest
import SimpleITK as sitk
from nnunetv2.utilities.utils import create_lists_from_splitted_dataset_folder
from support.conversion_cases import (
    array_of,
    channels_of,
    files_below,
    geometry,
    names_in,
    oblique_image,
    run,
    write,
    write_single_channel_case,
)


@pytest.fixture
def folder(tmp_path):
    """Two cases of two channels, as .nrrd."""
    for seed, identifier in enumerate(("new_1", "new_2")):
        for number, channel in enumerate(channels_of(seed)):
            write(oblique_image(channel, seed=seed), tmp_path / "new" / f"{identifier}_{number:04d}.nrrd")
    return tmp_path


def write_images(folder, monkeypatch, *options, spelling="--images-only"):
    return run(monkeypatch, folder / "raw", spelling, "-i", folder / "new", "-o", folder / "out", *options)


def write_dataset(folder, *, parent="raw", **content):
    file = folder / parent / "dataset.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({"channel_names": {"0": "pre", "1": "post"}, "file_ending": ".nii.gz"} | content))


@pytest.mark.parametrize("spelling", ["--images-only", "--images_only"])
def test_nnunet_finds_the_images_and_they_are_the_same(spelling, folder, monkeypatch, capsys):
    assert create_lists_from_splitted_dataset_folder(str(folder / "new"), ".nii.gz", num_processes=1) == []
    write_dataset(folder, parent="raw/Dataset501_Breast")
    assert write_images(folder, monkeypatch, "-d", "501", spelling=spelling) == 0
    assert "images of 2 of 2 cases" in capsys.readouterr().out
    expected = [f"new_{case}_000{number}.nii.gz" for case in (1, 2) for number in (0, 1)]
    assert names_in(folder / "out") == expected
    found = create_lists_from_splitted_dataset_folder(str(folder / "out"), ".nii.gz", num_processes=1)
    assert found == [[str(folder / "out" / name) for name in expected[at : at + 2]] for at in (0, 2)]
    for name in expected:
        before = folder / "new" / name.replace(".nii.gz", ".nrrd")
        np.testing.assert_array_equal(array_of(folder / "out" / name), array_of(before))
        for written, read in zip(geometry(folder / "out" / name), geometry(before), strict=True):
            np.testing.assert_allclose(written, read, atol=1e-5)


@pytest.mark.parametrize("parent", ["Dataset501_Breast", "Dataset501_Breast/SimPLeTrainer__nnUNetPlans__3d_fullres"])
@pytest.mark.parametrize("dataset", ["501", "Dataset501_Breast"])
def test_a_trained_model_tells_file_ending_and_channels(parent, dataset, folder, monkeypatch):
    variable = "nnUNet_preprocessed" if parent == "Dataset501_Breast" else "nnUNet_results"
    monkeypatch.setenv(variable, str(folder / "elsewhere"))
    write_dataset(folder, parent=f"elsewhere/{parent}", file_ending=".mha")
    assert write_images(folder, monkeypatch, "-d", dataset) == 0
    assert names_in(folder / "out") == [f"new_{case}_000{number}.mha" for case in (1, 2) for number in (0, 1)]


def test_without_a_dataset_arguments_tell_them(folder, monkeypatch):
    assert write_images(folder, monkeypatch, "-channels", "a", "b", "-file_ending", ".nii") == 0
    assert names_in(folder / "out") == [f"new_{case}_000{number}.nii" for case in (1, 2) for number in (0, 1)]


def test_a_case_that_fails_leaves_no_file_and_the_others_are_written(folder, monkeypatch, capsys):
    (folder / "new" / "new_1_0001.nrrd").write_bytes(b"no image")
    for name in ("few_0000.nrrd", "gap_0000.nrrd", "gap_0002.nrrd"):
        write(oblique_image(channels_of()[0]), folder / "new" / name)
    moved = oblique_image(channels_of()[0])
    moved.SetOrigin((0, 0, 0))
    for number, image in enumerate((moved, oblique_image(channels_of()[1]))):
        write(image, folder / "new" / f"moved_{number:04d}.nrrd")
    assert write_images(folder, monkeypatch, "-channels", "pre", "post") == 1
    captured = capsys.readouterr()
    assert "images of 1 of 5 cases" in captured.out
    lines = [line for line in captured.err.splitlines() if line.startswith("FAILED")]
    expected = [
        ("few", "expected 2 channels"),
        ("gap", "gap_0002.nrrd"),
        ("moved", "moved_0001.nrrd"),
        ("new_1", "new_1_0001.nrrd"),
    ]
    for line, (case, reason) in zip(lines, expected, strict=True):
        assert line.startswith(f"FAILED {case}: ")
        assert reason in line
    assert names_in(folder / "out") == ["new_2_0000.nii.gz", "new_2_0001.nii.gz"]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["-d", "777"], "ID 777"),
        (["-d", "501"], "cannot be written"),
        (["-d", "502"], "must hold 'channel_names' and 'file_ending'"),
        (["-d", "503"], "there is no dataset.json of Dataset503_Empty"),
    ],
)
def test_a_dataset_that_does_not_tell_is_refused(options, reason, folder, monkeypatch, capsys):
    write_dataset(folder, parent="raw/Dataset501_Pictures", file_ending=".png")
    write_dataset(folder, parent="raw/Dataset502_Damaged", channel_names=None)
    (folder / "raw" / "Dataset503_Empty").mkdir()
    assert write_images(folder, monkeypatch, *options) == 2
    assert reason in capsys.readouterr().err
    assert not (folder / "out").exists()


def test_images_that_are_there_are_kept_unless_to_be_overwritten(folder, monkeypatch, capsys):
    (folder / "out").mkdir()
    (folder / "out" / "new_2_0001.nii.gz").write_text("something else")
    channels = ["-channels", "pre", "post"]
    assert write_images(folder, monkeypatch, *channels) == 2
    assert "new_2_0001.nii.gz" in capsys.readouterr().err
    assert files_below(folder / "out") == {"new_2_0001.nii.gz": b"something else"}
    assert write_images(folder, monkeypatch, *channels, "--overwrite") == 0
    np.testing.assert_array_equal(array_of(folder / "out" / "new_2_0001.nii.gz"), channels_of(1)[1])


def test_the_images_are_not_written_among_themselves(folder, monkeypatch, capsys):
    before = files_below(folder)
    assert write_images(folder, monkeypatch, "-channels", "pre", "post", "-o", folder / "new") == 2
    assert "must differ" in capsys.readouterr().err
    assert files_below(folder) == before


def test_a_dataset_and_other_channels_are_too_much(folder, monkeypatch, capsys):
    with pytest.raises(SystemExit):
        write_images(folder, monkeypatch, "-d", "501", "-channels", "pre", "post")
    assert "either" in capsys.readouterr().err


def test_ct_is_reported_for_new_images_too(tmp_path, monkeypatch, capsys):
    write(oblique_image(channels_of()[0] - 1500), tmp_path / "new" / "a_0000.nrrd")
    assert write_images(tmp_path, monkeypatch) == 0
    assert "WARNING a: channel 0 is called MR" in capsys.readouterr().err


def test_a_conversion_ends_with_what_new_images_must_look_like(tmp_path, monkeypatch, capsys):
    write_single_channel_case(tmp_path, "c")
    image = tmp_path / "images" / "c_0000.nii.gz"
    sitk.WriteImage(sitk.ReadImage(str(image)), str(tmp_path / "images" / "c_0001.nrrd"))
    arguments = ["-i", tmp_path / "images", "-m", tmp_path / "masks", "-n", "Two", "-channels", "pre", "post"]
    assert run(monkeypatch, tmp_path / "raw", *arguments, "-d", 5) == 0
    *_, names, command = capsys.readouterr().out.splitlines()
    assert "<case>_0000.nii.gz (pre), <case>_0001.nii.gz (post)" in names
    *_, dataset, _, output = command.split()
    assert (dataset, output) == ("Dataset005_Two", "FOLDER")
    # the command works as it is printed
    words = command.replace("NEW_IMAGES", str(tmp_path / "images")).replace("FOLDER", str(tmp_path / "out")).split()
    assert words[0] == "nnUNetv2_simple_convert"
    assert run(monkeypatch, tmp_path / "raw", *words[1:]) == 0
    assert names_in(tmp_path / "out") == ["c_0000.nii.gz", "c_0001.nii.gz"]


def test_nothing_is_said_of_new_images_where_no_case_is_converted(tmp_path, monkeypatch, capsys):
    write_single_channel_case(tmp_path, "c")
    (tmp_path / "images" / "c_0000.nii.gz").write_bytes(b"no image")
    assert run(monkeypatch, tmp_path / "raw", "-i", tmp_path / "images", "-m", tmp_path / "masks", "-d", 5, "-n", "X")
    assert "--images-only" not in capsys.readouterr().out
