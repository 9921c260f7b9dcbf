"""Scores of predictions against clicks, worked out by hand."""

import csv
import json

import numpy as np
import pytest
import SimpleITK as sitk

from nnunetv2_simple.evaluation.click_scores import score_clicks, summarise_clicks
from nnunetv2_simple.evaluation.command_line import main
from nnunetv2_simple.extreme_points.lesions import BOUNDING_BOX, Lesion
from nnunetv2_simple.extreme_points.points import extreme_points_from_mask

SHAPE, SPACING = (12, 20, 20), (3.0, 1.0, 0.5)


def block(z, y, x):
    mask = np.zeros(SHAPE, dtype=np.uint8)
    mask[slice(*z), slice(*y), slice(*x)] = 1
    return mask


def clicked(mask, **options):
    return Lesion(extreme_points_from_mask(mask), **options)


LESION = block((2, 6), (4, 10), (4, 12))


def test_the_lesion_itself_scores_one():
    scores = score_clicks(LESION, [clicked(LESION)], spacing_mm=SPACING)
    assert (scores["num_found"], scores["num_false_positives"], scores["outside_share"]) == (1, 0, 0)
    assert (scores["box_iou"], scores["click_distance_mm"], scores["face_distance_mm"]) == (1, 0, 0)
    assert scores["click_score"] == 1
    assert scores["predicted_ml"] == pytest.approx(4 * 6 * 8 * 1.5 / 1000)


def test_a_shifted_prediction_is_scored_by_what_the_boxes_share():
    prediction = block((3, 7), (4, 10), (4, 12))
    scores = score_clicks(prediction, [clicked(LESION)], spacing_mm=SPACING)
    assert scores["box_iou"] == pytest.approx(3 / 5)
    assert scores["outside_share"] == pytest.approx(1 / 4)
    assert scores["face_distance_mm"] == pytest.approx((3 + 3 + 0 + 0 + 0 + 0) / 6)
    assert scores["click_distance_mm"] == pytest.approx(3)  # every extreme point lies a slice of 3 mm further
    assert scores["click_score"] == pytest.approx(3 / 5 * 3 / 4)


def test_a_missed_lesion_and_a_false_positive_are_counted():
    far = block((9, 11), (15, 19), (15, 19))
    scores = score_clicks(far, [clicked(LESION)], spacing_mm=SPACING)
    assert (scores["num_found"], scores["num_false_positives"], scores["outside_share"]) == (0, 1, 1)
    assert (scores["box_iou"], scores["click_distance_mm"], scores["click_score"]) == (0, None, 0)


def test_a_speck_in_the_box_is_not_found():
    scores = score_clicks(block((3, 4), (6, 7), (6, 7)), [clicked(LESION)], spacing_mm=SPACING)
    assert (scores["num_found"], scores["num_false_positives"]) == (0, 0)
    assert scores["box_iou"] == pytest.approx(1 / (4 * 6 * 8))


def test_a_part_of_another_label_is_a_false_positive_and_does_not_find_the_lesion():
    scores = score_clicks(2 * LESION, [clicked(LESION)], spacing_mm=SPACING)
    assert (scores["num_found"], scores["num_false_positives"], scores["outside_share"]) == (0, 1, 1)


def test_a_case_without_lesions():
    nothing = score_clicks(0 * LESION, [], spacing_mm=SPACING)
    something = score_clicks(LESION, [], spacing_mm=SPACING)
    assert (nothing["click_score"], nothing["num_false_positives"], nothing["outside_share"]) == (1, 0, 0)
    assert (something["click_score"], something["num_false_positives"], something["outside_share"]) == (0, 1, 1)
    summary = summarise_clicks({"a": nothing, "b": something})
    assert (summary["false_positives_per_tumor_free_case"], summary["num_lesions"], summary["box_iou"]) == (
        0.5,
        0,
        None,
    )


def test_where_a_box_was_touched_is_not_known():
    scores = score_clicks(LESION, [clicked(LESION, source=BOUNDING_BOX)], spacing_mm=SPACING)
    assert (scores["click_distance_mm"], scores["face_distance_mm"], scores["box_iou"]) == (None, 0, 1)


def test_along_the_axes_of_an_oblique_image():
    axes = np.array([[1, 0, 0], [0, np.cos(0.3), -np.sin(0.3)], [0, np.sin(0.3), np.cos(0.3)]])
    points = extreme_points_from_mask(LESION, spacing_mm=SPACING, axes=axes)
    scores = score_clicks(LESION, [Lesion(points, axes=axes)], spacing_mm=SPACING)
    assert (scores["box_iou"], scores["outside_share"]) == (pytest.approx(1), 0)


def write_prediction(file, array):
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(SPACING[::-1])
    file.parent.mkdir(exist_ok=True)
    sitk.WriteImage(image, str(file))


@pytest.fixture
def folder(tmp_path):
    write_prediction(tmp_path / "predictions" / "a.nii.gz", LESION)
    write_prediction(tmp_path / "predictions" / "b.nii.gz", LESION)
    points = extreme_points_from_mask(LESION)[:, ::-1].tolist()
    (tmp_path / "clicks").mkdir()
    (tmp_path / "clicks" / "a.json").write_text(json.dumps({"coordinates": "voxel", "points": points}))
    (tmp_path / "clicks" / "b.json").write_text(json.dumps({"lesions": []}))
    return tmp_path


def test_the_command_writes_json_csv_and_a_table(folder, capsys):
    assert main(["-p", str(folder / "predictions"), "-a", str(folder / "clicks"), "-o", str(folder / "out")]) == 0
    content = json.loads((folder / "out" / "click_scores.json").read_text())
    assert content["cases"]["a"]["click_score"] == 1 and content["all"]["false_positives_per_tumor_free_case"] == 1
    rows = {row["case"]: row for row in csv.DictReader((folder / "out" / "click_scores.csv").open())}
    assert rows.keys() == {"a", "b"} and float(rows["b"]["num_false_positives"]) == 1
    assert "1 of 1" in capsys.readouterr().out


@pytest.mark.parametrize("change", ["no annotation", "unknown label", "no prediction", "no image"])
def test_bad_input_is_refused_with_its_name(change, folder, capsys):
    named = folder / "predictions"
    if change == "no annotation":
        (folder / "clicks" / "b.json").unlink()
        named = "b"
    elif change == "unknown label":
        named = folder / "predictions" / "b.nii.gz"
        write_prediction(named, 3 * LESION)
    elif change == "no prediction":
        for file in named.iterdir():
            file.unlink()
    else:
        named = folder / "predictions" / "b.nii.gz"
        named.write_bytes(b"")
    assert main(["-p", str(folder / "predictions"), "-a", str(folder / "clicks")]) == 2
    assert str(named) in capsys.readouterr().err
    assert not list((folder / "predictions").glob("click_scores*"))
