import json

import numpy as np
import pytest
import SimpleITK as sitk

from nnunetv2_simple.extreme_points.box import LesionBox
from nnunetv2_simple.extreme_points.lesions import Lesion, read_lesions
from nnunetv2_simple.extreme_points.strokes import Stroke, stroke_seeds

SHAPE = (9, 11, 13)
POINTS_ZYX = [[2, 5, 6], [6, 5, 6], [4, 2, 6], [4, 8, 6], [4, 5, 3], [4, 5, 9]]
BOX = LesionBox(np.array(POINTS_ZYX), shape=SHAPE, spacing_mm=(1, 1, 1))


def content(strokes, coordinates="voxel"):
    points = [point[::-1] for point in POINTS_ZYX]
    return {"coordinates": coordinates, "lesions": [{"points": points, "strokes": strokes}]}


def read(tmp_path, strokes):
    file = tmp_path / "case.json"
    file.write_text(json.dumps(content(strokes)))
    return read_lesions([file], sitk.Image(SHAPE[::-1], sitk.sitkUInt8), case="case", labels={"tumor": 1})[0]


def test_a_stroke_covers_the_voxels_between_its_points():
    stroke = Stroke(True, np.array([[4, 3, 3], [4, 3, 6], [4, 5, 6]]))
    assert stroke.voxels().tolist() == [[4, 3, 3], [4, 3, 4], [4, 3, 5], [4, 3, 6], [4, 4, 6], [4, 5, 6]]
    assert Stroke(True, np.array([[1, 2, 3]])).voxels().tolist() == [[1, 2, 3]]


def test_of_crossing_strokes_the_later_one_counts_and_outside_the_box_none():
    strokes = [Stroke(True, np.array([[4, 5, 0], [4, 5, 6]])), Stroke(False, np.array([[4, 4, 5], [4, 6, 5]]))]
    seeds = stroke_seeds(strokes, BOX, SHAPE)
    assert seeds[4, 5].tolist() == [0, 0, 0, 1, 1, -1, 1, 0, 0, 0, 0, 0, 0]  # the box begins at x = 3
    assert np.count_nonzero(seeds == 1) == 3
    assert np.argwhere(seeds == -1).tolist() == [[4, 4, 5], [4, 5, 5], [4, 6, 5]]
    assert stroke_seeds([], BOX, SHAPE) is None


def test_strokes_of_a_file_are_voxels_x_y_z(tmp_path):
    lesion = read(tmp_path, [{"is_lesion": False, "points": [[3, 4, 5], [6, 4, 5]]}])
    assert not lesion.strokes[0].is_lesion
    assert lesion.strokes[0].points.tolist() == [[5, 4, 3], [5, 4, 6]]
    assert lesion.warnings == ()


def test_lesion_strokes_that_leave_the_box_are_warned_of(tmp_path):
    lesion = read(
        tmp_path, [{"is_lesion": False, "points": [[0, 0, 0]]}, {"is_lesion": True, "points": [[1, 5, 4], [5, 5, 4]]}]
    )
    assert len(lesion.warnings) == 1
    assert "2 voxels of its stroke 2" in lesion.warnings[0]


@pytest.mark.parametrize(
    ("strokes", "named"),
    [
        ([{"is_lesion": True, "points": [[3, 4, 9]]}], "[3, 4, 9]"),  # the image has 9 slices
        ([{"is_lesion": "yes", "points": [[3, 4, 5]]}], "is_lesion"),
        ([{"is_lesion": True, "points": []}], "points"),
        ([{"is_lesion": True, "points": [[3, 4]]}], "[[3, 4]]"),
        ({"is_lesion": True}, "strokes"),
        ([{"is_lesion": True, "points": [[3, 4, float("nan")]]}], "finite"),
    ],
)
def test_wrong_strokes_are_refused_by_case_file_and_lesion(tmp_path, strokes, named):
    with pytest.raises(ValueError) as error:
        read(tmp_path, strokes)
    for part in ("case: ", "case.json", "lesion 1", named):
        assert part in str(error.value)


def test_a_skipped_case_is_no_case_without_lesions(tmp_path):
    file = tmp_path / "case.json"
    file.write_text(json.dumps({"coordinates": "voxel", "lesions": [], "skipped": True}))
    with pytest.raises(ValueError, match=r"case\.json.*skipped"):
        read_lesions([file], sitk.Image(SHAPE[::-1], sitk.sitkUInt8), case="case", labels={"tumor": 1})


def test_a_lesion_survives_json():
    lesion = Lesion(np.array(POINTS_ZYX), 2, axes=np.eye(3), strokes=(Stroke(True, np.array([[4, 5, 6]])),))
    again = Lesion.from_json(json.loads(json.dumps(lesion.to_json())))
    assert again.to_json() == lesion.to_json()
    assert np.array_equal(again.seeds(SHAPE, (1, 1, 1)), lesion.seeds(SHAPE, (1, 1, 1)))
