"""The pictures of the pseudo-masks."""

import math
import subprocess
import sys
from dataclasses import replace

import matplotlib
import numpy as np
import pytest
from PIL import Image
from support.quality_cases import IGNORE, SHAPE, ball_case, blocks_case, box_of, make_case, make_lesion

from nnunetv2_simple.evaluation.quality import LabelledCase, measure_case
from nnunetv2_simple.report.colours import FOREGROUND
from nnunetv2_simple.report.quality_sheet import draw_sheet, draw_thumbnail


def sheet_pixels(file, case, **changed):
    case = LabelledCase(**case | changed)
    draw_sheet(file, case, measure_case(case), title="case")
    with Image.open(file) as picture:
        assert picture.format == "PNG"
        return np.array(picture.convert("RGB")).astype(int)


@pytest.fixture
def full_case():
    return ball_case()


def test_sheet_keeps_the_proportions_of_anisotropic_images(tmp_path):
    # a cube of 24 mm of foreground: its outline must be a square in all three panels, of the same size
    lesion = make_lesion((4, 8, 16), (9, 19, 39))
    case = make_case([lesion], shape=(14, 28, 56), spacing_mm=(4.0, 2.0, 1.0))
    case["label"][box_of(lesion)] = 1
    pixels = sheet_pixels(tmp_path / "sheet.png", case)
    colour = [int(FOREGROUND[i : i + 2], 16) for i in (1, 3, 5)]
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
    folder.mkdir()
    pixels = sheet_pixels(folder / "case.png", full_case, reference=full_case["label"] % IGNORE, warnings=["a"] * 40)
    assert [file.name for file in folder.iterdir()] == ["case.png"]
    assert (folder / "case.png").stat().st_size < 200_000
    assert 900 < pixels.shape[1] < 1200


def test_sheet_has_a_row_per_lesion_up_to_four(tmp_path):
    lesions = [make_lesion((2, 2, x), (3, 4, x + 1), label=1 + x % 2) for x in range(1, 13, 2)]
    image = np.random.default_rng(0).normal(size=SHAPE)
    heights = {}
    for count in (1, 4, 6):
        case = make_case(lesions[:count], image=image)
        for lesion in case["lesions"]:
            case["label"][box_of(lesion)] = lesion.label
        case |= {"scribbles": np.ones(SHAPE, dtype=bool), "warnings": ["one"] * 12}
        heights[count] = sheet_pixels(tmp_path / f"{count}.png", case).shape[0]
    assert heights[1] < heights[4] == heights[6]
    assert (tmp_path / "6.png").stat().st_size < 200_000


def test_sheet_of_many_lesions_shows_those_with_most_warnings(tmp_path, monkeypatch):
    lesions = [make_lesion((2, 2, x), (3, 4, x + 1)) for x in range(1, 13, 2)]
    case, shown = LabelledCase(**make_case(lesions)), []
    measures = measure_case(case)
    for number, measured in enumerate(measures["lesions"]):
        measured["warnings"] = {"odd": "it is"} if number >= 4 else {}
    heading = "nnunetv2_simple.report.quality_sheet._heading"
    monkeypatch.setattr(heading, lambda number, _: shown.append(number) or str(number))
    draw_sheet(tmp_path / "sheet.png", case, measures, title="case")
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


@pytest.mark.parametrize("draw", [draw_sheet, draw_thumbnail])
def test_pictures_of_a_painted_case_show_what_is_painted(draw, tmp_path):
    case = make_case([])
    case["label"][:] = 0
    options = {"title": "case"} if draw is draw_sheet else {}
    colour = [int(FOREGROUND[i : i + 2], 16) for i in (1, 3, 5)]
    num_outlined = []
    for paint in (False, True):
        case["label"][1:3, 2:4, 3:6] = paint  # far from the centre
        file = tmp_path / "picture.png"
        draw(file, LabelledCase(**case), measure_case(LabelledCase(**case)), **options)
        with Image.open(file) as picture:
            pixels = np.array(picture.convert("RGB")).astype(int)[:-40]  # without the legend
        num_outlined.append((abs(pixels - colour) < 12).all(axis=-1).sum())
    assert num_outlined[0] == 0 and num_outlined[1] > 100


def test_sheet_takes_any_text(tmp_path):
    case = LabelledCase(**blocks_case(), warnings=["100 $ for $x"])
    draw_sheet(tmp_path / "sheet.png", case, measure_case(case), title="$\\frac{$")
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
