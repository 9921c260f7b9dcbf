"""Expected values are worked out by hand from the sizes of the blocks of voxels."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from support.quality_cases import IGNORE, SHAPE, ball_case, blocks_case, box_of, make_case, make_lesion, measure

from nnunetv2_simple.evaluation.quality import LabelledCase
from nnunetv2_simple.evaluation.quality_scores import evaluate_pseudo_mask
from nnunetv2_simple.evaluation.quality_warnings import lesion_warnings
from nnunetv2_simple.extreme_points.lesions import Lesion


@pytest.fixture
def case():
    return blocks_case()


@pytest.fixture
def full_case():
    return ball_case()


def kinds(measured, lesion=0):
    return list(measured["lesions"][lesion]["warnings"])


# --- measures of one lesion


def test_shares_sizes_and_volume(case):
    measured = measure(case)
    lesion = measured["lesions"][0]
    assert lesion["box_size_voxels"] == [3, 4, 5]
    assert lesion["box_size_mm"] == measured["box_size_mm"] == [15.0, 10.0, 5.0]
    for measures in (lesion, measured):
        assert measures["foreground_fraction"] == pytest.approx(15 / 60)
        assert measures["unlabelled_fraction"] == pytest.approx(30 / 60)
        assert measures["background_fraction"] == pytest.approx(15 / 60)
        assert measures["foreground_ml"] == pytest.approx(15 * 0.0125)
    assert lesion["other_label_fraction"] == 0
    assert lesion["scribble_fraction"] == pytest.approx(5 / 60)
    assert lesion["grown_fraction"] == pytest.approx(10 / 15)
    assert (lesion["label"], lesion["source"], measured["num_lesions"]) == (1, "extreme points", 1)


def test_core_is_the_inner_half_of_the_box(case):
    # in half-box units: z -.67 0 .67, y -.75 -.25 .25 .75, x -.8 -.4 0 .4 .8; within 0.5 are 1 x 2 x 3 voxels, of
    # which the row y = 4 is foreground
    assert measure(case)["core_fraction"] == pytest.approx(3 / 6)
    case["label"][3, 4, 6] = IGNORE
    measured = measure(case)
    assert measured["core_fraction"] == pytest.approx(2 / 6)
    assert "hollow foreground" in kinds(measured)


def test_a_point_is_reached_by_foreground_within_one_voxel(case):
    # foreground is the row y = 4: it holds the points of z and x, touches that of y = 3, misses that of y = 6
    measured = measure(case)
    assert measured["reached_points"] == measured["lesions"][0]["reached_points"] == 5
    assert measured["warnings"] == ["points not reached: foreground reaches 5 of the 6 extreme points"]
    case["label"][4, 5, 7] = 1  # the diagonal neighbour of the point (3, 6, 6)
    assert measure(case)["reached_points"] == 6


def test_foreground_of_another_label_or_outside_the_box_reaches_nothing():
    lesion = make_lesion((3, 4, 5), (3, 4, 9))
    case = make_case([lesion])
    case["label"][2:5, 3:6, 4] = 1  # beside the box, next to its first point
    case["label"][3, 4, 8] = 2
    assert measure(case)["reached_points"] == 0


def test_components_are_26_connected(case):
    case["label"][2:5, 3:7, 4:9] = IGNORE
    case["label"][2, 3, 4:7] = 1
    case["label"][3, 4, 7] = 1  # touches the three by a corner
    assert measure(case)["num_components"] == 1
    case["label"][4, 6, 8] = 1
    measured = measure(case)
    assert measured["num_components"] == 2
    assert measured["largest_component_fraction"] == pytest.approx(4 / 5)
    warning = measured["lesions"][0]["warnings"]["several components"]
    assert "2 parts" in warning and "80%" in warning


def test_contrast_compares_foreground_with_the_shell_around_the_box(case):
    image = case["image"]
    image[...] = 1000  # neither beyond the shell ...
    image[1:6, 1:9, 0:14] = 4
    image[2:5, 3:7, 4:9] = -1000  # ... nor the rest of the box counts
    image[2:5, 4, 4:9] = np.array([8, 10, 12])[:, None]
    # means 10 and 4, variances 8/3 and 0
    assert measure(case)["contrast"] == pytest.approx(6 / math.sqrt((8 / 3 + 0) / 2))
    case["label"][1, 1:9, 0:14] = IGNORE  # unlabelled around the box is not background either
    case["label"][5, 1:9, 0:14] = 2
    image[1, 1:9, 0:14] = image[5, 1:9, 0:14] = 1000
    assert measure(case)["contrast"] == pytest.approx(6 / math.sqrt(4 / 3))


def test_contrast_keeps_its_sign_and_the_warning_ignores_it(case):
    image = case["image"]
    image[...] = np.where(np.arange(15) % 2, 1.0, -1.0)
    image[2:5, 4, 4:9] -= 0.9
    measured = measure(case)
    assert measured["contrast"] < -0.5
    assert "low contrast" not in kinds(measured)
    image[2:5, 4, 4:9] += 0.8
    measured = measure(case)
    assert -0.5 < measured["contrast"] < 0
    assert "low contrast" in kinds(measured)


def test_contrast_is_undefined_without_variation_or_background(case):
    assert measure(case)["contrast"] is None  # a constant image
    whole = make_case([make_lesion((0, 0, 0), (6, 9, 14))])
    whole["label"][...] = 1
    whole["image"] = np.random.default_rng(0).normal(size=SHAPE)
    measured = measure(whole)
    assert measured["contrast"] is None
    assert "low contrast" not in kinds(measured)
    assert measured["foreground_fraction"] == 1


def test_lesion_on_the_image_border():
    lesion = make_lesion((0, 0, 12), (2, 3, 14))
    case = make_case([lesion])
    case["label"][box_of(lesion)] = 1
    case["image"][3, :6, 7:15] = 6  # all that the shell holds of the slice above the box
    case["image"][:3, :6, 7:15] = 6
    case["image"][box_of(lesion)] = np.array([9, 10, 11])
    measured = measure(case)
    assert measured["foreground_fraction"] == 1
    assert measured["reached_points"] == 6
    assert measured["box_size_mm"] == [15.0, 10.0, 3.0]
    assert measured["contrast"] == pytest.approx(4 / math.sqrt((2 / 3 + 0) / 2))
    assert kinds(measured) == ["box nearly full"]


def test_box_one_voxel_thick():
    lesion = make_lesion((3, 2, 4), (3, 6, 8))
    case = make_case([lesion])
    case["label"][3, 2:7, 6] = case["label"][3, 4, 4:9] = 1
    measured = measure(case)
    assert measured["box_size_mm"] == [5.0, 12.5, 5.0]
    assert measured["foreground_fraction"] == pytest.approx(9 / 25)
    assert measured["reached_points"] == 6
    assert measured["warnings"] == []


def test_empty_foreground(case):
    case["label"][case["label"] == 1] = IGNORE
    measured = measure(case)
    lesion = measured["lesions"][0]
    assert (measured["foreground_fraction"], measured["foreground_ml"], measured["reached_points"]) == (0, 0, 0)
    assert (lesion["num_components"], lesion["core_fraction"]) == (0, 0)
    assert lesion["largest_component_fraction"] is lesion["grown_fraction"] is lesion["contrast"] is None
    assert measured["warnings"] == ["no foreground: the box holds no foreground voxel"]


def test_walker_that_did_not_grow(full_case):
    assert measure(full_case)["warnings"] == []
    full_case["label"][full_case["label"] == 1] = IGNORE
    full_case["label"][3:12, 8, 9] = full_case["label"][7, 4:13, 9] = full_case["label"][7, 8, 5:14] = 1
    full_case["label"][6:9, 7:10, 8:11] = 1
    full_case["scribbles"] = full_case["label"] == 1
    measured = measure(full_case)
    assert measured["lesions"][0]["grown_fraction"] == 0
    assert "100%" in measured["lesions"][0]["warnings"]["walker did not grow"]


def test_oblique_box():
    # the image is turned by 45 degrees in its x-y plane: a diagonal line of 7 voxels is a box one voxel wide
    half = math.sqrt(0.5)
    axes = np.array([[1, 0, 0], [0, half, half], [0, -half, half]])
    diagonal = np.arange(4, 11)
    points = np.array([[3, 7, 7]] * 2 + [[3, 4, 4], [3, 10, 10]] + [[3, 7, 7]] * 2)
    case = make_case([Lesion(points)], shape=(7, 15, 15), spacing_mm=(2.0, 1.0, 1.0))
    case["label"][3, diagonal, diagonal] = 1
    straight, oblique = measure(case), measure(case | {"lesions": [Lesion(points, axes=axes)]})
    assert straight["box_size_mm"] == [2, 7, 7]
    assert straight["foreground_fraction"] == pytest.approx(7 / 49)
    assert oblique["box_size_mm"] == pytest.approx([2, 6 * math.sqrt(2) + math.sqrt(2), math.sqrt(2)])
    assert oblique["foreground_fraction"] > 0.3
    assert oblique["reached_points"] == 6


# --- warnings

GOOD_MEASURES = {
    "box_size_voxels": [9, 9, 9],
    "box_size_mm": [45.0, 22.5, 9.0],
    "foreground_fraction": 0.5,
    "core_fraction": 1.0,
    "reached_points": 6,
    "num_components": 1,
    "largest_component_fraction": 1.0,
    "scribble_fraction": 0.1,
    "grown_fraction": 0.8,
    "contrast": 2.0,
}


@pytest.mark.parametrize(
    ("measure", "silent", "loud", "kind"),
    [
        ("foreground_fraction", 0.9, 0.91, "box nearly full"),
        ("foreground_fraction", 0.05, 0.049, "hardly any foreground"),
        ("core_fraction", 0.5, 0.49, "hollow foreground"),
        ("core_fraction", None, 0.0, "hollow foreground"),
        ("reached_points", 6, 5, "points not reached"),
        ("largest_component_fraction", 0.95, 0.94, "several components"),
        ("grown_fraction", 0.05, 0.04, "walker did not grow"),
        ("contrast", 0.5, 0.49, "low contrast"),
        ("contrast", -0.5, -0.49, "low contrast"),
        ("contrast", None, 0.0, "low contrast"),
        ("num_components", 1, 0, "no foreground"),
    ],
)
def test_thresholds_of_the_warnings(measure, silent, loud, kind):
    assert lesion_warnings(GOOD_MEASURES) == {}
    assert lesion_warnings(GOOD_MEASURES | {measure: silent}) == {}
    assert list(lesion_warnings(GOOD_MEASURES | {measure: loud})) == [kind]


def test_scribbles_that_fill_more_than_an_ellipsoid_leave_nothing_to_grow_into():
    not_grown = GOOD_MEASURES | {"grown_fraction": 0.0}
    assert list(lesion_warnings(not_grown | {"scribble_fraction": 0.52})) == ["walker did not grow"]
    assert lesion_warnings(not_grown | {"scribble_fraction": 0.53}) == {}


def test_warnings_of_the_annotation_come_first(case):
    assert measure(case, warnings=["drawn in a hurry"])["warnings"] == [
        "annotation: drawn in a hurry",
        "points not reached: foreground reaches 5 of the 6 extreme points",
    ]


# --- several lesions and classes


def test_overlapping_boxes_of_two_classes():
    first, second = make_lesion((2, 2, 2), (3, 5, 5)), make_lesion((2, 2, 4), (3, 5, 9), label=2)
    case = make_case([first, second])
    case["label"][2:4, 2:6, 2:5] = 1  # 24 voxels, 8 of them in the overlap x = 4..5
    case["label"][2:4, 2:6, 6:8] = 2  # 16 voxels
    measured = measure(case)
    one, two = measured["lesions"]
    assert (one["foreground_fraction"], one["unlabelled_fraction"], one["other_label_fraction"]) == (24 / 32, 8 / 32, 0)
    assert two["foreground_fraction"] == pytest.approx(16 / 48)
    assert two["other_label_fraction"] == pytest.approx(8 / 48)
    assert two["unlabelled_fraction"] == pytest.approx(24 / 48)
    # the union has 32 + 48 - 16 voxels
    assert measured["foreground_fraction"] == pytest.approx(40 / 64)
    assert measured["unlabelled_fraction"] == pytest.approx(24 / 64)
    assert measured["foreground_ml"] == pytest.approx(40 * 0.0125)


def test_overlapping_boxes_of_one_class_count_every_voxel_once():
    lesions = [make_lesion((2, 2, 2), (3, 5, 6)), make_lesion((2, 2, 5), (3, 5, 9))]
    case = make_case(lesions)
    case["label"][2:4, 2:6, 5:7] = 1
    measured = measure(case)
    assert [lesion["foreground_ml"] for lesion in measured["lesions"]] == [pytest.approx(16 * 0.0125)] * 2
    assert measured["foreground_ml"] == pytest.approx(16 * 0.0125)


def test_a_case_is_as_good_as_its_worst_lesion(full_case):
    full_case["image"] *= -1
    whole = measure(full_case)
    thin = make_lesion((13, 1, 1), (13, 2, 3))
    full_case["lesions"] = [*full_case["lesions"], thin]
    full_case["label"][13, 2, 3] = 1  # two voxels from the point (13, 1, 1), and not in the core, x = 2
    full_case["image"][13, 1:3, 1:4] = 5
    measured = measure(full_case)
    good, bad = measured["lesions"]
    assert good == whole["lesions"][0]
    assert measured["num_lesions"] == 2
    assert measured["box_size_mm"] == good["box_size_mm"] == [45.0, 22.5, 9.0]
    assert (measured["reached_points"], good["reached_points"], bad["reached_points"]) == (5, 6, 5)
    assert measured["contrast"] == bad["contrast"]
    assert good["contrast"] < -5 < abs(bad["contrast"]) < 1
    assert measured["core_fraction"] == bad["core_fraction"] == 0
    assert measured["warnings"]
    assert all(" (lesion 2): " in warning for warning in measured["warnings"])


def test_case_without_lesions():
    measured = measure(make_case([]), warnings=["nothing was clicked"])
    assert measured["num_lesions"] == 0
    assert measured["foreground_ml"] == 0
    assert measured["warnings"] == ["annotation: nothing was clicked"]
    undefined = ("foreground_fraction", "box_size_mm", "reached_points", "num_components", "contrast", "core_fraction")
    assert all(measured[name] is None for name in undefined)


# --- evaluation


def test_without_reference_there_is_no_evaluation(case):
    assert "evaluation_only" not in measure(case)


def test_evaluation_of_two_labels(case):
    reference = np.zeros(SHAPE, dtype=np.uint8)
    reference[2:5, 4:6, 6:9] = 1  # 18 voxels, 9 of them foreground
    reference[0, 0, :5] = 2
    case["label"][0, 0, 3:7] = 2  # 4 voxels, 2 of them in the reference
    case["scribbles"][0, 0, 6] = True  # 6 scribble voxels, 3 of them inside
    options = {"scribbles": case["scribbles"], "lesion_labels": [1, 2]}
    evaluation = evaluate_pseudo_mask(case["label"], reference, **options)
    assert evaluation["labels"]["1"] == pytest.approx({"precision": 9 / 15, "recall": 9 / 18, "dice": 18 / 33})
    assert evaluation["labels"]["2"] == pytest.approx({"precision": 2 / 4, "recall": 2 / 5, "dice": 4 / 9})
    assert evaluation["precision"] == pytest.approx((9 / 15 + 2 / 4) / 2)
    assert evaluation["recall"] == pytest.approx((9 / 18 + 2 / 5) / 2)
    assert evaluation["dice"] == pytest.approx((18 / 33 + 4 / 9) / 2)
    assert evaluation["scribbles_inside_reference"] == pytest.approx(3 / 6)


def test_what_is_painted_is_not_evaluated_and_what_nobody_clicked_is_missed(case):
    reference = np.zeros(SHAPE, dtype=np.uint8)
    reference[0, 0, :5], reference[0, 1, :5] = 2, 4
    case["label"][0, 0, :5] = 2  # no lesion has this label, so that it was painted
    options = {"scribbles": case["scribbles"], "lesion_labels": [1]}
    evaluation = evaluate_pseudo_mask(case["label"], reference, **options)
    assert sorted(evaluation["labels"]) == ["1", "4"]
    assert evaluation["labels"]["4"]["recall"] == 0


def test_evaluation_of_empty_sets(case):
    case["label"][case["label"] == 1] = IGNORE
    case["scribbles"][...] = False
    empty = measure(case, reference=np.zeros(SHAPE, dtype=np.uint8))["evaluation_only"]
    assert empty["labels"] == {"1": {"precision": None, "recall": None, "dice": None}}
    assert empty["precision"] is empty["recall"] is empty["dice"] is empty["scribbles_inside_reference"] is None

    reference = np.zeros(SHAPE, dtype=np.uint8)
    reference[0, 0, 0] = 2  # a label that nobody annotated
    case["label"][2, 3, 4] = 1
    missed = measure(case, reference=reference)["evaluation_only"]
    assert missed["labels"]["1"] == {"precision": 0, "recall": None, "dice": 0}
    assert missed["labels"]["2"] == {"precision": None, "recall": 0, "dice": 0}
    assert (missed["precision"], missed["recall"], missed["dice"]) == (0, 0, 0)


def test_the_reference_reaches_nothing_but_the_evaluation(case):
    measured = measure(case, reference=np.ones(SHAPE, dtype=np.uint8))
    assert measured.pop("evaluation_only")
    assert measured == measure(case)


def test_json_can_hold_the_measures(case):
    case["lesions"] = [replace(case["lesions"][0], label=np.int64(1))]
    case["label"][4, 6, 8] = 1
    measured = measure(case, reference=case["label"] % IGNORE)
    assert json.loads(json.dumps(measured, allow_nan=False)) == measured


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"scribbles": np.zeros((7, 10, 14), dtype=bool)}, "one shape"),
        ({"reference": np.zeros((10, 15), dtype=np.uint8)}, "one shape"),
        ({"scribbles": np.zeros(SHAPE, dtype=np.uint8)}, "boolean"),
        ({"spacing_mm": (5.0, 0.0, 1.0)}, "spacing_mm"),
        ({"spacing_mm": (5.0, 1.0)}, "spacing_mm"),
        ({"lesions": [make_lesion((2, 3, 4), (7, 6, 8))]}, "inside the image"),
        ({"lesions": [make_lesion((2, 3, 4), (4, 6, 8), label=IGNORE)]}, "1..2"),
        ({"reference": np.full(SHAPE, IGNORE, dtype=np.uint8)}, "0..2"),
    ],
)
def test_errors(case, changed, message):
    with pytest.raises(ValueError, match=message):
        LabelledCase(**case | changed)
