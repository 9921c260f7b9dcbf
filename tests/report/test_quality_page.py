"""Expected values are worked out by hand from the sizes of the blocks of voxels."""

import json
import math
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from PIL import Image
from support.browser import needs_browser, probe_page

from nnunetv2_simple.evaluation.quality import measure_case
from nnunetv2_simple.evaluation.quality_warnings import lesion_warnings
from nnunetv2_simple.extreme_points.lesions import Lesion
from nnunetv2_simple.report.quality_page import write_page
from nnunetv2_simple.report.quality_panel import FOREGROUND_COLOUR
from nnunetv2_simple.report.quality_sheet import draw_sheet

SPACING_MM = (5.0, 2.5, 1.0)  # a voxel has 0.0125 ml; the shell of 5 mm is 1, 2 and 5 voxels wide
SHAPE = (7, 10, 15)
IGNORE = 3


def make_lesion(lower, upper, label=1):
    """A lesion whose points lie in the middle of the faces of the box from ``lower`` to ``upper``, both included."""
    points = np.tile((np.array(lower) + np.array(upper)) // 2, (6, 1))
    for axis in range(3):
        points[2 * axis, axis], points[2 * axis + 1, axis] = lower[axis], upper[axis]
    return Lesion(points, label)


def make_case(lesions, shape=SHAPE, **changed):
    """A case whose boxes are unlabelled throughout."""
    case = {
        "image": np.zeros(shape),
        "label": np.zeros(shape, dtype=np.uint8),
        "scribbles": np.zeros(shape, dtype=bool),
        "lesions": lesions,
        "spacing_mm": SPACING_MM,
        "ignore_label": IGNORE,
    }
    for lesion in lesions:
        case["label"][box_of(lesion)] = IGNORE
    return case | changed


def box_of(lesion):
    lower, upper = lesion.extreme_points.min(axis=0), lesion.extreme_points.max(axis=0)
    return tuple(slice(a, b + 1) for a, b in zip(lower, upper, strict=True))


@pytest.fixture
def case():
    """A box of 3 x 4 x 5 voxels: one row of background, one of foreground, two unlabelled along y."""
    case = make_case([make_lesion((2, 3, 4), (4, 6, 8))])
    case["label"][2:5, 3, 4:9] = 0
    case["label"][2:5, 4, 4:9] = 1
    case["scribbles"][3, 4, 4:9] = True
    return case


@pytest.fixture
def full_case():
    """A good pseudo-mask: the ellipsoid inscribed in a box of 9 x 9 x 9 voxels, on a dark background."""
    generator = np.random.default_rng(0)
    lesion = make_lesion((3, 4, 5), (11, 12, 13))
    case = make_case([lesion], shape=(15, 17, 19))
    z, y, x = np.indices(case["label"].shape)
    case["label"][(z - 7) ** 2 + (y - 8) ** 2 + (x - 9) ** 2 <= 4**2] = 1
    case["scribbles"] = (case["label"] == 1) & (z == 7) & (y == 8)
    case["image"] = 100.0 * (case["label"] == 1) + generator.normal(0, 10, case["label"].shape)
    return case


def kinds(measured, lesion=0):
    return list(measured["lesions"][lesion]["warnings"])


# --- measures of one lesion


def test_shares_sizes_and_volume(case):
    measured = measure_case(**case)
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
    assert measure_case(**case)["core_fraction"] == pytest.approx(3 / 6)
    case["label"][3, 4, 6] = IGNORE
    measured = measure_case(**case)
    assert measured["core_fraction"] == pytest.approx(2 / 6)
    assert "hollow foreground" in kinds(measured)


def test_a_point_is_reached_by_foreground_within_one_voxel(case):
    # foreground is the row y = 4: it holds the points of z and x, touches that of y = 3, misses that of y = 6
    measured = measure_case(**case)
    assert measured["reached_points"] == measured["lesions"][0]["reached_points"] == 5
    assert measured["warnings"] == ["points not reached: foreground reaches 5 of the 6 extreme points"]
    case["label"][4, 5, 7] = 1  # the diagonal neighbour of the point (3, 6, 6)
    assert measure_case(**case)["reached_points"] == 6


def test_foreground_of_another_label_or_outside_the_box_reaches_nothing():
    lesion = make_lesion((3, 4, 5), (3, 4, 9))
    case = make_case([lesion])
    case["label"][2:5, 3:6, 4] = 1  # beside the box, next to its first point
    case["label"][3, 4, 8] = 2
    assert measure_case(**case)["reached_points"] == 0


def test_components_are_26_connected(case):
    case["label"][2:5, 3:7, 4:9] = IGNORE
    case["label"][2, 3, 4:7] = 1
    case["label"][3, 4, 7] = 1  # touches the three by a corner
    assert measure_case(**case)["num_components"] == 1
    case["label"][4, 6, 8] = 1
    measured = measure_case(**case)
    assert measured["num_components"] == 2
    assert measured["largest_component_fraction"] == pytest.approx(4 / 5)
    assert measured["lesions"][0]["warnings"]["several components"] == (
        "foreground falls into 2 parts, the largest holds 80% of it"
    )


def test_contrast_compares_foreground_with_the_shell_around_the_box(case):
    image = case["image"]
    image[...] = 1000  # neither beyond the shell ...
    image[1:6, 1:9, 0:14] = 4
    image[2:5, 3:7, 4:9] = -1000  # ... nor the rest of the box counts
    image[2:5, 4, 4:9] = np.array([8, 10, 12])[:, None]
    # means 10 and 4, variances 8/3 and 0
    assert measure_case(**case)["contrast"] == pytest.approx(6 / math.sqrt((8 / 3 + 0) / 2))
    case["label"][1, 1:9, 0:14] = IGNORE  # unlabelled around the box is not background either
    case["label"][5, 1:9, 0:14] = 2
    image[1, 1:9, 0:14] = image[5, 1:9, 0:14] = 1000
    assert measure_case(**case)["contrast"] == pytest.approx(6 / math.sqrt(4 / 3))


def test_contrast_keeps_its_sign_and_the_warning_ignores_it(case):
    image = case["image"]
    image[...] = np.where(np.arange(15) % 2, 1.0, -1.0)
    image[2:5, 4, 4:9] -= 0.9
    measured = measure_case(**case)
    assert measured["contrast"] < -0.5
    assert "low contrast" not in kinds(measured)
    image[2:5, 4, 4:9] += 0.8
    measured = measure_case(**case)
    assert -0.5 < measured["contrast"] < 0
    assert "low contrast" in kinds(measured)


def test_contrast_is_undefined_without_variation_or_background(case):
    assert measure_case(**case)["contrast"] is None  # a constant image
    whole = make_case([make_lesion((0, 0, 0), (6, 9, 14))])
    whole["label"][...] = 1
    whole["image"] = np.random.default_rng(0).normal(size=SHAPE)
    measured = measure_case(**whole)
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
    measured = measure_case(**case)
    assert measured["foreground_fraction"] == 1
    assert measured["reached_points"] == 6
    assert measured["box_size_mm"] == [15.0, 10.0, 3.0]
    assert measured["contrast"] == pytest.approx(4 / math.sqrt((2 / 3 + 0) / 2))
    assert kinds(measured) == ["box nearly full"]


def test_box_one_voxel_thick():
    lesion = make_lesion((3, 2, 4), (3, 6, 8))
    case = make_case([lesion])
    case["label"][3, 2:7, 6] = case["label"][3, 4, 4:9] = 1
    measured = measure_case(**case)
    assert measured["box_size_mm"] == [5.0, 12.5, 5.0]
    assert measured["foreground_fraction"] == pytest.approx(9 / 25)
    assert measured["reached_points"] == 6
    assert measured["warnings"] == []


def test_empty_foreground(case):
    case["label"][case["label"] == 1] = IGNORE
    measured = measure_case(**case)
    lesion = measured["lesions"][0]
    assert (measured["foreground_fraction"], measured["foreground_ml"], measured["reached_points"]) == (0, 0, 0)
    assert (lesion["num_components"], lesion["core_fraction"]) == (0, 0)
    assert lesion["largest_component_fraction"] is lesion["grown_fraction"] is lesion["contrast"] is None
    assert measured["warnings"] == ["no foreground: the box holds no foreground voxel"]


def test_walker_that_did_not_grow(full_case):
    assert measure_case(**full_case)["warnings"] == []
    full_case["label"][full_case["label"] == 1] = IGNORE
    full_case["label"][3:12, 8, 9] = full_case["label"][7, 4:13, 9] = full_case["label"][7, 8, 5:14] = 1
    full_case["label"][6:9, 7:10, 8:11] = 1
    full_case["scribbles"] = full_case["label"] == 1
    measured = measure_case(**full_case)
    assert measured["lesions"][0]["grown_fraction"] == 0
    assert "walker did not grow: 100% of the foreground are the scribbles" in measured["warnings"]


def test_oblique_box():
    # the image is turned by 45 degrees in its x-y plane: a diagonal line of 7 voxels is a box one voxel wide
    half = math.sqrt(0.5)
    axes = np.array([[1, 0, 0], [0, half, half], [0, -half, half]])
    diagonal = np.arange(4, 11)
    points = np.array([[3, 7, 7]] * 2 + [[3, 4, 4], [3, 10, 10]] + [[3, 7, 7]] * 2)
    case = make_case([Lesion(points)], shape=(7, 15, 15), spacing_mm=(2.0, 1.0, 1.0))
    case["label"][3, diagonal, diagonal] = 1
    straight, oblique = measure_case(**case), measure_case(**case | {"lesions": [Lesion(points, axes=axes)]})
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
    assert measure_case(**case, warnings=["drawn in a hurry"])["warnings"] == [
        "annotation: drawn in a hurry",
        "points not reached: foreground reaches 5 of the 6 extreme points",
    ]


# --- several lesions and classes


def test_overlapping_boxes_of_two_classes():
    first, second = make_lesion((2, 2, 2), (3, 5, 5)), make_lesion((2, 2, 4), (3, 5, 9), label=2)
    case = make_case([first, second])
    case["label"][2:4, 2:6, 2:5] = 1  # 24 voxels, 8 of them in the overlap x = 4..5
    case["label"][2:4, 2:6, 6:8] = 2  # 16 voxels
    measured = measure_case(**case)
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
    measured = measure_case(**case)
    assert [lesion["foreground_ml"] for lesion in measured["lesions"]] == [pytest.approx(16 * 0.0125)] * 2
    assert measured["foreground_ml"] == pytest.approx(16 * 0.0125)


def test_a_case_is_as_good_as_its_worst_lesion(full_case):
    full_case["image"] *= -1
    whole = measure_case(**full_case)
    thin = make_lesion((13, 1, 1), (13, 2, 3))
    full_case["lesions"] = [*full_case["lesions"], thin]
    full_case["label"][13, 2, 3] = 1  # two voxels from the point (13, 1, 1), and not in the core, x = 2
    full_case["image"][13, 1:3, 1:4] = 5
    measured = measure_case(**full_case)
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
    measured = measure_case(**make_case([]), warnings=["nothing was clicked"])
    assert measured["num_lesions"] == 0
    assert measured["foreground_ml"] == 0
    assert measured["warnings"] == ["annotation: nothing was clicked"]
    undefined = ("foreground_fraction", "box_size_mm", "reached_points", "num_components", "contrast", "core_fraction")
    assert all(measured[name] is None for name in undefined)


# --- evaluation


def test_without_reference_there_is_no_evaluation(case):
    assert "evaluation_only" not in measure_case(**case)


def test_evaluation_of_two_labels(case):
    reference = np.zeros(SHAPE, dtype=np.uint8)
    reference[2:5, 4:6, 6:9] = 1  # 18 voxels, 9 of them foreground
    reference[0, 0, :5] = 2
    case["label"][0, 0, 3:7] = 2  # 4 voxels, 2 of them in the reference
    case["scribbles"][0, 0, 6] = True  # 6 scribble voxels, 3 of them inside
    evaluation = measure_case(**case, reference=reference)["evaluation_only"]
    assert evaluation["labels"]["1"] == pytest.approx({"precision": 9 / 15, "recall": 9 / 18, "dice": 18 / 33})
    assert evaluation["labels"]["2"] == pytest.approx({"precision": 2 / 4, "recall": 2 / 5, "dice": 4 / 9})
    assert evaluation["precision"] == pytest.approx((9 / 15 + 2 / 4) / 2)
    assert evaluation["recall"] == pytest.approx((9 / 18 + 2 / 5) / 2)
    assert evaluation["dice"] == pytest.approx((18 / 33 + 4 / 9) / 2)
    assert evaluation["scribbles_inside_reference"] == pytest.approx(3 / 6)


def test_evaluation_of_empty_sets(case):
    case["label"][case["label"] == 1] = IGNORE
    case["scribbles"][...] = False
    empty = measure_case(**case, reference=np.zeros(SHAPE, dtype=np.uint8))["evaluation_only"]
    assert empty["labels"] == {"1": {"precision": None, "recall": None, "dice": None}}
    assert empty["precision"] is empty["recall"] is empty["dice"] is empty["scribbles_inside_reference"] is None

    reference = np.zeros(SHAPE, dtype=np.uint8)
    reference[0, 0, 0] = 2  # a label that nobody annotated
    case["label"][2, 3, 4] = 1
    missed = measure_case(**case, reference=reference)["evaluation_only"]
    assert missed["labels"]["1"] == {"precision": 0, "recall": None, "dice": 0}
    assert missed["labels"]["2"] == {"precision": None, "recall": 0, "dice": 0}
    assert (missed["precision"], missed["recall"], missed["dice"]) == (0, 0, 0)


def test_the_reference_reaches_nothing_but_the_evaluation(case):
    measured = measure_case(**case, reference=np.ones(SHAPE, dtype=np.uint8))
    assert measured.pop("evaluation_only")
    assert measured == measure_case(**case)


def test_json_can_hold_the_measures(case):
    case["lesions"] = [replace(case["lesions"][0], label=np.int64(1))]
    case["label"][4, 6, 8] = 1
    measured = measure_case(**case, reference=case["label"] % IGNORE)
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
def test_errors(case, tmp_path, changed, message):
    with pytest.raises(ValueError, match=message):
        measure_case(**case | changed)
    with pytest.raises(ValueError, match=message):
        draw_sheet(tmp_path / "sheet.png", **case | changed, title="case")
    assert list(tmp_path.iterdir()) == []


# --- sheet


def sheet_pixels(file, case, **options):
    draw_sheet(file, **case, title="case", **options)
    with Image.open(file) as picture:
        assert picture.format == "PNG"
        return np.array(picture.convert("RGB")).astype(int)


def test_sheet_keeps_the_proportions_of_anisotropic_images(tmp_path):
    # a cube of 24 mm of foreground: its outline must be a square in all three panels, of the same size
    lesion = make_lesion((4, 8, 16), (9, 19, 39))
    case = make_case([lesion], shape=(14, 28, 56), spacing_mm=(4.0, 2.0, 1.0))
    case["label"][box_of(lesion)] = 1
    pixels = sheet_pixels(tmp_path / "sheet.png", case)
    colour = [int(FOREGROUND_COLOUR[i : i + 2], 16) for i in (1, 3, 5)]
    outlined = (abs(pixels - colour) < 12).all(axis=-1)
    outlined[-60:] = False  # the legend
    sides = []
    for panel in np.array_split(outlined, 3, axis=1):
        rows, columns = np.nonzero(panel)
        sides += [np.ptp(rows), np.ptp(columns)]
    assert min(sides) > 80
    assert max(sides) - min(sides) <= 4


def test_sheet_is_small_and_complete(full_case, tmp_path):
    folder = tmp_path / "quality_control"
    pixels = sheet_pixels(folder / "case.png", full_case, reference=full_case["label"] % IGNORE, warnings=["a"] * 40)
    assert [file.name for file in folder.iterdir()] == ["case.png"]
    assert (folder / "case.png").stat().st_size < 200_000
    assert 900 < pixels.shape[1] < 1200


def test_sheet_has_a_row_per_lesion_up_to_four(tmp_path):
    lesions = [make_lesion((2, 2, x), (3, 4, x + 1), label=1 + x % 2) for x in range(1, 13, 2)]
    image = np.random.default_rng(0).normal(size=SHAPE)
    heights = {}
    for count in (1, 2, 4, 5, 6):
        case = make_case(lesions[:count], image=image)
        for lesion in case["lesions"]:
            case["label"][box_of(lesion)] = lesion.label
        case |= {"scribbles": np.ones(SHAPE, dtype=bool), "warnings": ["one"] * 12}
        heights[count] = sheet_pixels(tmp_path / f"{count}.png", case).shape[0]
    assert heights[1] < heights[2] < heights[4] == heights[5] == heights[6]
    assert (tmp_path / "6.png").stat().st_size < 200_000


def test_sheet_of_many_lesions_shows_those_with_most_warnings(tmp_path, monkeypatch):
    lesions = [make_lesion((2, 2, x), (3, 4, x + 1)) for x in range(1, 13, 2)]
    sheet, shown = "nnunetv2_simple.report.quality_sheet", []
    monkeypatch.setattr(
        f"{sheet}.measure_lesion", lambda lesion, **_: {"warnings": {"odd": "it is"} if lesion in lesions[4:] else {}}
    )
    monkeypatch.setattr(f"{sheet}._heading", lambda number, *_: shown.append(number) or str(number))
    sheet_pixels(tmp_path / "sheet.png", make_case(lesions))
    assert shown == [1, 2, 5, 6]


@pytest.mark.parametrize(
    "lesions",
    [
        [],
        [make_lesion((0, 0, 0), (6, 9, 14))],
        [make_lesion((3, 4, 5), (3, 4, 6))],
        [make_lesion((6, 9, 14), (6, 9, 14))],
    ],
    ids=["none", "whole image", "thin", "one voxel in the corner"],
)
def test_sheet_of_degenerate_cases(tmp_path, lesions):
    for name, label in (("unlabelled", IGNORE), ("foreground", 1)):
        case = make_case(lesions)
        case["label"][case["label"] == IGNORE] = label
        pixels = sheet_pixels(tmp_path / f"{name}.png", case, reference=case["label"] % IGNORE)
        assert pixels.std() > 0


def test_sheet_takes_any_title(case, tmp_path):
    draw_sheet(tmp_path / "sheet.png", **case, title="$\\frac{$", warnings=["100 $ for $x"])
    assert (tmp_path / "sheet.png").exists()


def test_sheet_of_an_oblique_image_differs(full_case, tmp_path):
    half = math.sqrt(0.5)
    axes = np.array([[1, 0, 0], [0, half, half], [0, -half, half]])
    straight = sheet_pixels(tmp_path / "straight.png", full_case)
    full_case["lesions"] = [replace(lesion, axes=axes) for lesion in full_case["lesions"]]
    assert not np.array_equal(straight, sheet_pixels(tmp_path / "oblique.png", full_case))


def test_no_global_state_of_matplotlib():
    code = "import sys, nnunetv2_simple.report.quality_page; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_sheet_looks_the_same_whatever_style_the_process_has(full_case, tmp_path):
    usual = sheet_pixels(tmp_path / "usual.png", full_case)
    with matplotlib.rc_context({"font.size": 30, "lines.linewidth": 5, "axes.grid": True}):  # as nnU-Net's plot does
        assert np.array_equal(usual, sheet_pixels(tmp_path / "styled.png", full_case))


# --- page


class Page(HTMLParser):
    """What a reader needs of the page; fails on tags that do not match."""

    VOID = ("meta", "img", "input")

    def __init__(self, file: Path):
        super().__init__()
        self.open, self.elements, self.rows, self.heads, self.summary = [], [], [], [], {}
        self.feed(file.read_text(encoding="utf-8"))
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)
        if "tbody" in self.open and tag == "tr":
            self.rows.append([])
        if "tbody" in self.open and tag in ("td", "th"):
            self.rows[-1].append({"text": "", **dict(attrs)})
        if "thead" in self.open and tag == "th":
            self.heads.append({"text": "", **dict(attrs)})

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "tbody" in self.open and self.open[-1] != "tbody" and self.open[-1] != "tr":
            self.rows[-1][-1]["text"] += data
        elif "thead" in self.open and "th" in self.open:
            self.heads[-1]["text"] += data
        elif self.open and self.open[-1] == "dt" and "details" not in self.open:
            self.term = data
        elif self.open and self.open[-1] == "dd" and "details" not in self.open:
            self.summary[self.term] = data

    def column(self, title):
        index = [head["text"] for head in self.heads if "scope" in head and head["scope"] == "col"].index(title)
        return [row[index] for row in self.rows]

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture
def cases(case, full_case):
    """Three cases: no warning, one, two; the last one without foreground."""
    one = measure_case(**case, reference=(case["label"] == 1).astype(np.uint8))
    good = measure_case(**full_case)
    case["label"][case["label"] == 1] = IGNORE
    two = measure_case(**case, warnings=["<b>bold</b> & 'odd'"])
    return {"case_10": good, "case_9": one, "case_2": two}


def test_page_lists_cases_with_warnings_first(cases, tmp_path):
    file = write_page(tmp_path / "Dataset501_Test", cases | {"case_3": cases["case_10"]})
    assert file == tmp_path / "Dataset501_Test" / "quality_control" / "index.html"
    page = Page(file)
    assert [cell["data-value"] for cell in page.column("Case")] == ["case_2", "case_9", "case_3", "case_10"]
    assert [cell["data-value"] for cell in page.column("Warnings")] == ["2", "1", "0", "0"]
    assert [head["text"] for head in page.heads if "aria-sort" in head] == ["Warnings"]
    assert len(page.all("tr")) == 2 + 4
    assert sum("data-warnings" in row for row in page.all("tr")) == 2


def test_page_shows_every_measure(cases, tmp_path):
    page = Page(write_page(tmp_path, cases))
    assert [cell["text"] for cell in page.column("Foreground of box")][:2] == ["0 %", "25 %"]
    assert page.column("Foreground, ml")[1]["text"] == "0.188"
    assert float(page.column("Foreground, ml")[1]["data-value"]) == pytest.approx(0.1875)
    assert page.column("Largest box, mm")[1]["text"] == "15 × 10 × 5"
    assert float(page.column("Largest box, mm")[1]["data-value"]) == 750
    assert page.column("Points reached")[1]["text"] == "5 of 6"
    assert page.column("Contrast")[0] == {"text": "–", "class": "number", "data-value": ""}
    assert page.column("Precision")[1]["text"] == "1.000"
    assert [cell["data-value"] for cell in page.column("Dice")] == ["", "1", ""]
    assert all(len(row) == len(page.rows[0]) for row in page.rows)


def test_page_sums_up(cases, tmp_path):
    fractions = sorted(case["foreground_fraction"] for case in cases.values())
    page = Page(write_page(tmp_path, cases))
    assert (page.summary["cases"], page.summary["with warnings"]) == ("3", "2")
    assert page.summary["median foreground of box"] == f"{100 * fractions[1]:.0f} %"
    assert page.summary["median Dice (evaluation only)"] == "1.000"
    kinds = {button["data-kind"] for button in page.all("button") if "data-kind" in button}
    assert kinds == {"annotation", "no foreground", "points not reached"}


def test_page_names_the_cases_that_failed(cases, tmp_path):
    assert "failed and" not in write_page(tmp_path, cases).read_text()
    text = write_page(tmp_path, cases, failed={"case_7": "x.nrrd holds <NaN>", "case_10": "no points"}).read_text()
    assert "2 cases failed and are left out" in text
    assert "<dt>case_7</dt><dd>x.nrrd holds &lt;NaN&gt;</dd><dt>case_10</dt><dd>no points</dd>" in text


def test_the_median_contrast_ignores_the_sign(cases, tmp_path):
    contrasts = {"a": -3.0, "b": 1.0, "c": 2.0}
    page = Page(write_page(tmp_path, {name: cases["case_10"] | {"contrast": c} for name, c in contrasts.items()}))
    assert page.summary["median contrast (magnitude)"] == "2.00"
    assert [cell["text"] for cell in page.column("Contrast")] == ["-3.00", "1.00", "2.00"]
    assert [cell["data-value"] for cell in page.column("Contrast")] == ["3", "1", "2"]


def test_evaluation_is_marked_and_absent_without_reference(cases, tmp_path):
    note = "Evaluation only: from dense references, not available to the training"
    file = write_page(tmp_path, cases)
    page = Page(file)
    assert [head["colspan"] for head in page.heads if head["text"] == note] == ["4"]
    marked = [head["text"] for head in page.heads if "evaluation" in head.get("class", "").split()]
    assert marked == [note, "Precision", "Recall", "Dice", "Scribbles inside"]
    assert all("evaluation" in cell["class"].split() for cell in page.column("Recall"))

    for case in cases.values():
        case.pop("evaluation_only", None)
    text = write_page(tmp_path, cases).read_text(encoding="utf-8")
    page = Page(file)
    assert note not in [head["text"] for head in page.heads]
    assert not any(word in text for word in ("Dice", "Precision", "dense references"))
    assert not any("evaluation" in name for name in page.summary)


def test_page_escapes_what_it_shows(cases, tmp_path):
    odd = "a&b <script>alert(1)</script> \"q\" 'p' #1%20$x"
    page = Page(write_page(tmp_path / "<i>&$dataset", {odd: cases["case_2"]}))
    assert len(page.all("script")) == 1
    assert page.all("b") == page.all("i") == []
    assert page.column("Case")[0]["data-value"] == page.column("Case")[0]["text"] == odd
    assert "<b>bold</b> & 'odd'" in page.column("Warnings")[0]["text"]
    address = "a%26b%20%3Cscript%3Ealert%281%29%3C/script%3E%20%22q%22%20%27p%27%20%231%2520%24x.png"
    assert [image["src"] for image in page.all("img")] == [address]
    assert address in [link["href"] for link in page.all("a")]


def test_page_needs_nothing_from_outside(cases, tmp_path):
    file = write_page(tmp_path, cases)
    page = Page(file)
    assert {image["src"] for image in page.all("img")} == {"case_2.png", "case_9.png", "case_10.png"}
    assert all(image["loading"] == "lazy" and image["alt"] for image in page.all("img"))
    assert page.all("link") == []
    assert not any("src" in script for script in page.all("script"))
    assert not any(word in file.read_text(encoding="utf-8") for word in ("http:", "https:", "@import", "url("))
    assert "$" not in file.read_text(encoding="utf-8")


PROBE = """
const shown = () => Array.from(document.querySelectorAll("tbody tr")).filter(row => !row.hidden)
  .map(row => row.cells[0].dataset.value);
const press = title => Array.from(document.querySelectorAll("thead button")).find(b => b.textContent === title).click();
probe.first = shown();
press("Case");
probe.byCase = shown();
press("Foreground, ml");
press("Foreground, ml");
probe.byForeground = shown();
words.value = "case_9";
words.dispatchEvent(new Event("input", { bubbles: true }));
probe.filtered = shown();
words.value = "";
document.querySelector(".kinds button").click();
probe.ofKind = shown();
words.value = "";
onlyWarnings.checked = true;
onlyWarnings.dispatchEvent(new Event("input", { bubbles: true }));
probe.withWarnings = shown();
probe.status = document.getElementById("shown").textContent;
for (const image of document.images) image.loading = "eager";
await Promise.all(Array.from(document.images, image => image.decode()));
probe.pictures = Array.from(document.images).filter(image => image.naturalWidth > 0).length;
"""


@needs_browser
def test_page_works_in_a_browser(cases, full_case, tmp_path):
    page = write_page(tmp_path, cases)
    for identifier in cases:
        draw_sheet(page.with_name(f"{identifier}.png"), **full_case, title=identifier)
    probe = probe_page(page, PROBE)
    assert probe["problems"] == []
    assert probe["first"] == ["case_2", "case_9", "case_10"]  # most warnings first
    assert probe["byCase"] == ["case_2", "case_9", "case_10"]  # numbers as numbers
    most_first = sorted(cases, key=lambda identifier: -cases[identifier]["foreground_ml"])
    assert probe["byForeground"] == most_first
    assert probe["filtered"] == ["case_9"]
    assert set(probe["ofKind"]) <= {"case_2", "case_9"} and probe["ofKind"]
    assert set(probe["withWarnings"]) == {"case_2", "case_9"}
    assert probe["status"] == "2 of 3 cases"
    assert probe["pictures"] == 3


def test_headers_sort_by_keyboard(cases, tmp_path):
    page = Page(write_page(tmp_path, cases))
    heads = [head for head in page.heads if head["scope"] == "col"]
    assert len(heads) == len(page.rows[0])
    assert sum(button["type"] == "button" for button in page.all("button")) == len(heads) + 3  # and three kinds


def test_page_without_cases(tmp_path):
    page = Page(write_page(tmp_path, {}))
    assert page.rows == []
    assert page.summary == {"cases": "0", "with warnings": "0"}


def test_page_is_replaced_as_a_whole(cases, tmp_path, monkeypatch):
    file = write_page(tmp_path, cases)
    before = file.read_bytes()

    def fail_halfway(path, text, encoding):
        with path.open("w", encoding=encoding) as stream:
            stream.write(text[: len(text) // 2])
        raise OSError("no space left on device")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="no space"):
        patch.setattr(Path, "write_text", fail_halfway)
        write_page(tmp_path, {})
    assert file.read_bytes() == before
    write_page(tmp_path, cases)
    assert [path.name for path in file.parent.iterdir()] == ["index.html"]
