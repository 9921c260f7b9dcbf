"""The converter of MAMA-MIA, on a tiny folder in its layout."""

import json

import numpy as np
import pytest
from nnunetv2.experiment_planning.verify_dataset_integrity import verify_dataset_integrity
from support.conversion_cases import (
    array_of,
    channels_of,
    expected_label,
    expected_points,
    files_below,
    names_in,
    oblique_image,
    run,
    tumor_mask,
    write,
)

from nnunetv2_simple.dataset_conversion import Dataset503_MAMA_MIA

TRAIN, TEST = ["DUKE_001", "ISPY1_1001", "NACT_01"], ["DUKE_002", "ISPY2_125418"]
WEAK, DENSE = "Dataset503_MAMA_MIA", "Dataset504_MAMA_MIA_dense"


def phases_of(seed):
    pre, post = channels_of(seed)
    return pre, post, (0.9 * post).round().astype(np.int16)


def upper(name):
    return name


def lower(name):
    return name.lower()


def mixed(name):
    return name.capitalize()


def write_data_set(root, *, images=upper, masks=upper, split=upper):
    for seed, patient in enumerate([*TRAIN, *TEST]):
        for phase, array in enumerate(phases_of(seed)):
            folder = root / "images" / images(patient)
            write(oblique_image(array, seed=seed), folder / f"{images(patient)}_{phase:04d}.nii.gz")
        mask = tumor_mask(seed).astype(np.uint8)
        write(oblique_image(mask, seed=seed), root / "segmentations" / "expert" / f"{masks(patient)}.nii.gz")
        mask[:, :, 7:] = 0
        write(oblique_image(mask, seed=seed), root / "segmentations" / "automatic" / f"{masks(patient)}.nii.gz")
    write_split(root, [split(patient) for patient in TRAIN], [split(patient) for patient in TEST])


def write_split(root, train, test):
    length = max(len(train), len(test))
    rows = zip(train + [""] * (length - len(train)), test + [""] * (length - len(test)), strict=True)
    lines = [",".join(row) for row in [("train_split", "test_split"), *rows]]
    (root / "train_test_splits.csv").write_text("\n".join(lines) + "\n")


@pytest.fixture
def root(tmp_path):
    write_data_set(tmp_path / "MAMA-MIA")
    return tmp_path / "MAMA-MIA"


def convert(root, monkeypatch, *options):
    monkeypatch.setenv("nnUNet_preprocessed", str(root.parent / "preprocessed"))
    return run(monkeypatch, root.parent / "raw", "-i", root, *options, main=Dataset503_MAMA_MIA.main)


def weak(root):
    return root.parent / "raw" / WEAK


def test_official_split_keeps_the_test_cases_apart(root, monkeypatch):
    assert convert(root, monkeypatch, "-dense", 504) == 0
    assert names_in(weak(root) / "labelsTr") == [f"{patient}.nii.gz" for patient in TRAIN]
    assert names_in(root.parent / "raw" / DENSE / "labelsTr") == [f"{patient}.nii.gz" for patient in TRAIN]
    expected = [f"{patient}_{channel:04d}.nii.gz" for patient in TEST for channel in (0, 1)]
    assert names_in(weak(root) / "imagesTs") == expected
    assert names_in(weak(root) / "referencesTs") == [f"{patient}.nii.gz" for patient in TEST]
    content = json.loads((weak(root) / "dataset.json").read_text())
    assert content["channel_names"] == {"0": "pre", "1": "post1"}
    assert content["numTraining"] == 3
    assert not (root.parent / "preprocessed").exists()
    verify_dataset_integrity(str(weak(root)), num_processes=1)


@pytest.mark.parametrize(
    ("options", "walker"),
    [
        ([], lambda pre, post, late: post - pre),
        (["-phases", 2, 1, 0], lambda pre, post, late: post - pre),
        (["-phases", 1, 2], lambda pre, post, late: post),
        (["-phases", 0, 1, "-walker_channel", 1], lambda pre, post, late: post),
        (["-phases", 0, 2, "-walker_channel", 1, "-walker_subtract", 0], lambda pre, post, late: late - pre),
    ],
)
def test_chosen_phases_become_channels_and_the_walker_sees_the_enhancement(options, walker, root, monkeypatch):
    assert convert(root, monkeypatch, *options) == 0
    phases = [word for word in options[1:4] if word in (0, 1, 2)][: 3 if len(options) == 4 else 2] or [0, 1]
    names = json.loads((weak(root) / "dataset.json").read_text())["channel_names"]
    assert list(names.values()) == [["pre", "post1", "post2"][phase] for phase in phases]
    for seed, patient in enumerate(TRAIN):
        for channel, phase in enumerate(phases):
            file = weak(root) / "imagesTr" / f"{patient}_{channel:04d}.nii.gz"
            np.testing.assert_array_equal(array_of(file), phases_of(seed)[phase])
        mask = oblique_image(tumor_mask(seed).astype(np.uint8), seed=seed)
        image = walker(*(array.astype(float) for array in phases_of(seed)))
        expected = expected_label(image, expected_points(mask), mask)
        np.testing.assert_array_equal(array_of(weak(root) / "labelsTr" / f"{patient}.nii.gz"), expected)


def test_automatic_segmentations(root, monkeypatch):
    assert convert(root, monkeypatch, "-segmentations", "automatic") == 0
    for file in (weak(root) / "referencesTr").iterdir():
        assert not array_of(file)[:, :, 7:].any()
        assert array_of(file).any()


@pytest.mark.parametrize(
    "spelling",
    [{"images": lower}, {"masks": lower}, {"split": lower}, {"images": mixed, "masks": lower}],
)
@pytest.mark.slow
def test_letter_case_makes_no_difference(spelling, root, tmp_path, monkeypatch):
    assert convert(root, monkeypatch) == 0
    other = tmp_path / "other" / "MAMA-MIA"
    write_data_set(other, **spelling)
    assert convert(other, monkeypatch) == 0

    def without_records(folder):
        return {name: content for name, content in files_below(folder).items() if "provenance" not in name}

    assert without_records(weak(other)) == without_records(weak(root))


def test_folders_in_other_letter_case(root, monkeypatch):
    (root / "images").rename(root / "Images")
    (root / "segmentations" / "expert").rename(root / "segmentations" / "Expert")
    (root / "segmentations").rename(root / "Segmentations")
    (root / "train_test_splits.csv").rename(root / "Train_Test_Splits.csv")
    assert convert(root, monkeypatch) == 0


def test_names_that_differ_in_letter_case_only_are_refused(root, monkeypatch, capsys):
    (root / "images" / "duke_001").mkdir()
    assert convert(root, monkeypatch) == 2
    message = capsys.readouterr().err
    assert "duke_001" in message
    assert "DUKE_001" in message


@pytest.mark.slow
def test_split_as_the_only_fold(root, monkeypatch):
    assert convert(root, monkeypatch, "-split", "folds", "-dense", 504) == 0
    expected = [{"train": TRAIN, "val": TEST}]
    preprocessed = root.parent / "preprocessed"
    for file in (weak(root), preprocessed / WEAK, preprocessed / DENSE):
        assert json.loads((file / "splits_final.json").read_text()) == expected
    assert names_in(weak(root) / "labelsTr") == sorted(f"{patient}.nii.gz" for patient in TRAIN + TEST)
    assert not (weak(root) / "imagesTs").exists()
    assert convert(root, monkeypatch, "-split", "folds", "-dense", 504) == 0


def test_failed_cases_are_in_no_fold(root, monkeypatch):
    (root / "segmentations" / "expert" / "DUKE_001.nii.gz").unlink()
    (root / "segmentations" / "expert" / "DUKE_002.nii.gz").unlink()
    assert convert(root, monkeypatch, "-split", "folds") == 1
    content = json.loads((weak(root) / "splits_final.json").read_text())
    assert content == [{"train": TRAIN[1:], "val": TEST[1:]}]


def test_a_split_of_somebody_is_not_overwritten(root, monkeypatch, capsys):
    file = root.parent / "preprocessed" / WEAK / "splits_final.json"
    file.parent.mkdir(parents=True)
    file.write_text("[]")
    assert convert(root, monkeypatch, "-split", "folds") == 2
    assert str(file) in capsys.readouterr().err
    assert file.read_text() == "[]"
    assert not (root.parent / "raw").exists()


def test_what_is_missing_is_reported_case_by_case(root, monkeypatch, capsys):
    (root / "images" / "DUKE_001" / "DUKE_001_0001.nii.gz").unlink()
    (root / "segmentations" / "expert" / "DUKE_002.nii.gz").unlink()
    write_split(root, TRAIN[:2] + TEST[1:], TEST)
    assert convert(root, monkeypatch) == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("FAILED")]
    expected = {
        "DUKE_001": "DUKE_001_0001.nii.gz",
        "DUKE_002": "expert/DUKE_002.nii.gz",
        "ISPY2_125418": "both columns",
        "NACT_01": "no column",
    }
    assert len(lines) == len(expected)
    for line, (patient, part) in zip(lines, expected.items(), strict=True):
        assert line.startswith(f"FAILED {patient}: ")
        assert part in line
    assert names_in(weak(root) / "labelsTr") == ["ISPY1_1001.nii.gz"]


def test_without_split_the_test_cases_are_drawn(root, monkeypatch, capsys):
    (root / "train_test_splits.csv").unlink()
    assert convert(root, monkeypatch) == 2
    assert "train_test_splits.csv" in capsys.readouterr().err
    assert convert(root, monkeypatch, "-split", "none", "-num_test", 2) == 0
    assert len(names_in(weak(root) / "labelsTr")) == 3
    assert len(names_in(weak(root) / "referencesTs")) == 2


def test_a_split_without_its_columns_is_refused(root, monkeypatch, capsys):
    (root / "train_test_splits.csv").write_text("patient,split\nDUKE_001,train\n")
    assert convert(root, monkeypatch) == 2
    assert "train_split" in capsys.readouterr().err


@pytest.mark.parametrize("options", [["-phases", 0, 0], ["-phases", "-1"], ["-num_test", 1]])
def test_options_that_contradict_each_other_are_refused(options, root, monkeypatch):
    with pytest.raises(SystemExit) as stop:
        convert(root, monkeypatch, *options)
    assert stop.value.code == 2
