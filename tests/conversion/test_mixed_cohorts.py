"""Painted, clicked, half annotated and supported by another model: what becomes of each in one dataset."""

import json

import numpy as np
import pytest
from support.conversion_cases import (
    SHAPE,
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

from nnunetv2_simple.extreme_points.points import extreme_points_from_mask
from nnunetv2_simple.report.quality_page import QUALITY_FOLDER

OPTIONS = ["-d", 5, "-n", "Mixed"]
TUMOR, NODE, IGNORE = 1, 2, 3
CASES = ("clicked", "painted")


@pytest.fixture
def folder(tmp_path):
    """The masks of both cases, the clicks of one."""
    for seed, identifier in enumerate(CASES):
        write_single_channel_case(tmp_path, identifier, seed=seed)
    write_points(tmp_path / "clicks" / "clicked.json", extreme_points_from_mask(tumor_mask()))
    write(oblique_image(tumor_mask(1).astype(np.uint8), seed=1), tmp_path / "painted" / "painted.nii.gz")
    return tmp_path


def convert(folder, monkeypatch, *options):
    return run(monkeypatch, folder, "-i", folder / "images", "-a", folder / "clicks", *OPTIONS, *options)


def label_of(folder, case, dataset="Dataset005_Mixed"):
    return array_of(folder / dataset / "labelsTr" / f"{case}.nii.gz")


def provenance_of(folder, case):
    return json.loads((folder / "Dataset005_Mixed" / "provenance.json").read_text(encoding="utf-8"))["cases"][case]


# ------------------------------------------------------------------------------------------------------------- painted


def test_a_painted_case_is_learned_as_it_is(folder, monkeypatch):
    options = ["-p", folder / "painted", "-m", folder / "masks"]
    assert convert(folder, monkeypatch, *options) == 0
    np.testing.assert_array_equal(label_of(folder, "painted"), tumor_mask(1))
    assert (label_of(folder, "clicked") == 2).any()
    assert provenance_of(folder, "painted")["supervision"] == ["painted mask"]
    assert provenance_of(folder, "clicked")["supervision"] == ["extreme points"]
    assert "painted mask" in (folder / "Dataset005_Mixed" / QUALITY_FOLDER / "index.html").read_text(encoding="utf-8")
    for number, kind in enumerate(("walker", "ellipsoid", "paper"), start=7):
        assert run(monkeypatch, folder, "-d", 5, "-baseline", kind, "-baseline_id", number) == 0
        np.testing.assert_array_equal(label_of(folder, "painted", f"Dataset{number:03d}_Mixed_{kind}"), tumor_mask(1))


def test_one_class_may_be_painted_and_another_clicked(folder, monkeypatch):
    node = np.zeros(SHAPE, np.uint8)
    node[4, 6:8, 6] = NODE  # inside the box of the clicked tumor
    write(oblique_image(node), folder / "painted" / "clicked.nii.gz")
    write(oblique_image(2 * tumor_mask(1).astype(np.uint8), seed=1), folder / "painted" / "painted.nii.gz")
    clicks = folder / "clicks" / "clicked.json"
    clicks.rename(folder / "clicks" / "clicked.tumor.json")
    assert convert(folder, monkeypatch, "-p", folder / "painted", "-labels", "tumor=1", "node=2") == 0
    label = label_of(folder, "clicked")
    np.testing.assert_array_equal(label == NODE, node == NODE)
    assert (label == TUMOR).any() and (label == IGNORE).any()
    assert set(np.unique(label_of(folder, "painted"))) == {0, NODE}
    assert provenance_of(folder, "clicked")["supervision"] == ["extreme points", "painted mask"]


def test_a_class_both_painted_and_clicked_fails_the_case(folder, monkeypatch, capsys):
    write(oblique_image(tumor_mask().astype(np.uint8)), folder / "painted" / "clicked.nii.gz")
    assert convert(folder, monkeypatch, "-p", folder / "painted") == 1
    error = capsys.readouterr().err
    assert "FAILED clicked" in error and str(folder / "painted" / "clicked.nii.gz") in error
    assert names_in(folder / "Dataset005_Mixed" / "labelsTr") == ["painted.nii.gz"]


def test_a_changed_painting_is_noticed_and_an_unused_one_named(folder, monkeypatch, capsys):
    write(oblique_image(tumor_mask().astype(np.uint8)), folder / "painted" / "stranger.nii.gz")
    assert convert(folder, monkeypatch, "-p", folder / "painted") == 0
    assert f"{folder / 'painted' / 'stranger.nii.gz'}: is the painted mask of no image" in capsys.readouterr().err
    write(oblique_image(tumor_mask(0).astype(np.uint8), seed=1), folder / "painted" / "painted.nii.gz")
    assert convert(folder, monkeypatch, "-p", folder / "painted") == 2
    assert "painted was converted" in capsys.readouterr().err


# ---------------------------------------------------------------------------------------------------- not all annotated


def test_only_the_neighbourhood_of_the_boxes_is_background(folder, monkeypatch, capsys):
    options = ["-p", folder / "painted", "-unannotated", "ignore", "-margin_mm", 2.5]
    assert convert(folder, monkeypatch, *options) == 0
    label = label_of(folder, "clicked")
    lower, upper = (f(np.argwhere(tumor_mask()), axis=0) for f in (np.min, np.max))
    margin = [1, 3, 4]  # 2.5 mm in voxels of 2.7, 1.1 and 0.8 mm, rounded up
    near = tuple(slice(max(a - m, 0), b + m + 1) for a, b, m in zip(lower, upper, margin, strict=True))
    expected_far = np.ones(SHAPE, dtype=bool)
    expected_far[near] = False
    assert (label[expected_far] == 2).all() and expected_far.any()
    assert (label[near] == 0).any() and (label[near] == 1).any()
    assert not (label_of(folder, "painted") == 2).any()
    assert provenance_of(folder, "clicked")["unannotated_margin_mm"] == 2.5
    assert provenance_of(folder, "painted")["unannotated_margin_mm"] is None
    page = (folder / "Dataset005_Mixed" / QUALITY_FOLDER / "index.html").read_text(encoding="utf-8")
    assert "2.5 mm" in page and "2.5 mm" in capsys.readouterr().out
    assert json.loads((folder / "Dataset005_Mixed" / "dataset.json").read_bytes())["unannotated"] == "ignore"
    assert run(monkeypatch, folder, "-d", 5, "-baseline", "walker", "-baseline_id", 7) == 0
    assert (label_of(folder, "clicked", "Dataset007_Mixed_walker")[expected_far] == 2).all()


def test_it_may_hold_for_listed_cases_only(folder, monkeypatch, capsys):
    write_points(folder / "clicks" / "painted.json", extreme_points_from_mask(tumor_mask(1)))
    (folder / "index_lesion_only.txt").write_text("painted\n")
    options = ["-unannotated", "ignore", "-margin_mm", 0.5, "-unannotated_cases", folder / "index_lesion_only.txt"]
    assert convert(folder, monkeypatch, *options) == 0
    assert label_of(folder, "painted")[0, 0, 0] == 2
    assert label_of(folder, "clicked")[0, 0, 0] == 0
    page = (folder / "Dataset005_Mixed" / QUALITY_FOLDER / "index.html").read_text(encoding="utf-8")
    assert "In painted only" in page and "In painted only" in capsys.readouterr().out


def test_the_default_is_said(folder, monkeypatch, capsys):
    assert convert(folder, monkeypatch, "-p", folder / "painted") == 0
    assert "Outside the boxes of the clicks all is background" in capsys.readouterr().out
    page = (folder / "Dataset005_Mixed" / QUALITY_FOLDER / "index.html").read_text(encoding="utf-8")
    assert "Outside the boxes of the clicks all is background" in page


@pytest.mark.parametrize("options", [("-margin_mm", 3), ("-unannotated", "ignore", "-margin_mm", 0)])
def test_a_margin_without_meaning_is_refused(options, folder, monkeypatch, capsys):
    assert convert(folder, monkeypatch, "-p", folder / "painted", *options) == 2
    assert "margin" in capsys.readouterr().err
    assert not (folder / "Dataset005_Mixed").exists()


# ------------------------------------------------------------------------------------------------------------ evidence


def write_evidence(folder, array, *, npz=False):
    (folder / "evidence").mkdir(exist_ok=True)
    if npz:
        np.savez(folder / "evidence" / "clicked.npz", probabilities=np.stack((1 - array, array)))
    else:
        write(oblique_image(array), folder / "evidence" / "clicked.nii.gz")
    return ["-p", folder / "painted", "-evidence", folder / "evidence"]


@pytest.mark.parametrize("form", ["probabilities", "mask", "npz"])
def test_evidence_changes_the_label_inside_the_box_only(form, folder, monkeypatch):
    assert convert(folder, monkeypatch, "-p", folder / "painted") == 0
    before = label_of(folder, "clicked")
    core = tumor_mask().astype(np.float32)
    core[:, 9:] = 0  # all but one end of it
    core[0, 0, 0] = 1  # far outside
    options = write_evidence(folder, core.astype(np.uint8) if form == "mask" else core, npz=form == "npz")
    assert convert(folder, monkeypatch, *options, "--overwrite") == 0
    label = label_of(folder, "clicked")
    outside = ~np.isin(np.arange(np.prod(SHAPE)).reshape(SHAPE), np.flatnonzero(before))
    assert (label != before).any() and label[0, 0, 0] == 0
    lower, upper = (f(np.argwhere(tumor_mask()), axis=0) for f in (np.min, np.max))
    changed = np.argwhere(label != before)
    assert (changed >= lower).all() and (changed <= upper).all() and outside[0, 0, 0]
    case = provenance_of(folder, "clicked")
    assert case["supervision"] == ["extreme points", "evidence of another model"]
    assert "Disagreement" in (folder / "Dataset005_Mixed" / QUALITY_FOLDER / "index.html").read_text(encoding="utf-8")
    assert convert(folder, monkeypatch, *options) == 0  # all is as before


def test_evidence_without_weight_changes_nothing(folder, monkeypatch):
    assert convert(folder, monkeypatch, "-p", folder / "painted") == 0
    before = label_of(folder, "clicked")
    options = write_evidence(folder, tumor_mask().astype(np.float32))
    assert convert(folder, monkeypatch, *options, "-evidence_weight", 0, "--overwrite") == 0
    np.testing.assert_array_equal(label_of(folder, "clicked"), before)


@pytest.mark.parametrize("bad", ["labels", "shape", "archive", "grid"])
def test_other_evidence_fails_the_case(bad, folder, monkeypatch, capsys):
    options = write_evidence(folder, tumor_mask().astype(np.float32) * (7 if bad == "labels" else 1))
    file = folder / "evidence" / "clicked.nii.gz"
    if bad in ("shape", "archive"):
        file.unlink()
        file = folder / "evidence" / "clicked.npz"
        file.write_bytes(b"no archive")
        if bad == "shape":
            np.savez(file, probabilities=np.zeros((2, 3, 4, 5)))
    elif bad == "grid":
        write(oblique_image(tumor_mask().astype(np.float32), seed=5), file)
    assert convert(folder, monkeypatch, *options) == 1
    assert "FAILED clicked" in (error := capsys.readouterr().err) and str(file) in error


def test_evidence_is_not_for_the_paper(folder, monkeypatch):
    options = write_evidence(folder, tumor_mask().astype(np.float32))
    with pytest.raises(SystemExit):
        convert(folder, monkeypatch, *options, "-recipe", "paper")


# ------------------------------------------------------------------------------------------------- subtraction channel


def test_the_difference_becomes_the_last_channel(tmp_path, monkeypatch, capsys):
    for index, channel in enumerate(channels_of()):
        write(oblique_image(channel), tmp_path / "images" / f"a_{index:04d}.nii.gz")
    write_points(tmp_path / "clicks" / "a.json", extreme_points_from_mask(tumor_mask()))
    channels = ["-channels", "pre", "post", "-walker_channel", 1, "-walker_subtract", 0]
    assert convert(tmp_path, monkeypatch, *channels) == 0
    label = label_of(tmp_path, "a")
    assert convert(tmp_path, monkeypatch, *channels, "-subtraction_channel", "--overwrite") == 0
    dataset = tmp_path / "Dataset005_Mixed"
    pre, post = (c.astype(np.float32) for c in channels_of())
    np.testing.assert_array_equal(array_of(dataset / "imagesTr" / "a_0002.nii.gz"), post - pre)
    np.testing.assert_array_equal(label_of(tmp_path, "a"), label)
    names = json.loads((dataset / "dataset.json").read_text(encoding="utf-8"))["channel_names"]
    assert names == {"0": "pre", "1": "post", "2": "post-pre"}
    assert "<case>_0002.nii.gz (post-pre)" in capsys.readouterr().out
    new = ["-i", tmp_path / "images", "--images-only", "-d", "Dataset005_Mixed", "-o", tmp_path / "new"]
    monkeypatch.setattr("nnunetv2_simple.nnunet.datasets.nnUNet_raw", str(tmp_path))
    monkeypatch.setattr("nnunetv2.utilities.dataset_name_id_conversion.nnUNet_raw", str(tmp_path))
    assert run(monkeypatch, tmp_path, *new) == 0
    assert names_in(tmp_path / "new") == ["a_0000.nii.gz", "a_0001.nii.gz", "a_0002.nii.gz"]
    np.testing.assert_array_equal(array_of(tmp_path / "new" / "a_0002.nii.gz"), post - pre)


def test_without_a_channel_to_subtract_there_is_no_difference(folder, monkeypatch, capsys):
    assert convert(folder, monkeypatch, "-p", folder / "painted", "-subtraction_channel") == 2
    assert "-walker_subtract" in capsys.readouterr().err
