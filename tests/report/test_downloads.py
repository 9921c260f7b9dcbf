"""The table of results as a file, and what the page says in words."""

import csv
import io

import numpy as np
import pytest
from support.report_example import DICE, write_comparison

from nnunetv2_simple.report.curves import training_curves
from nnunetv2_simple.report.data import read_comparison
from nnunetv2_simple.report.slices import gallery, prediction_slices
from nnunetv2_simple.report.surface import Surface, largest_part
from nnunetv2_simple.report.tables import results_table


@pytest.fixture(scope="module")
def comparison(tmp_path_factory):
    return read_comparison(write_comparison(tmp_path_factory.mktemp("report")))


def test_the_table_as_csv_holds_means_and_deviations(comparison):
    rows = list(csv.DictReader(io.StringIO(results_table(comparison)["downloads"]["csv"])))
    assert [row["method"] for row in rows] == [method["title"] for method in comparison.methods]
    assert float(rows[0]["Dice % mean"]) == pytest.approx(100 * np.mean(DICE["pce_ctr"]))


def test_the_table_as_latex_escapes_and_sets_losses_as_formulas(comparison):
    text = results_table(comparison)["downloads"]["tex"]
    assert r"$L_\mathrm{pce}$ + $L_\mathrm{ctr}$ + SimPLe & $60.0 \pm 25.5$" in text
    assert r"Dice \%" in text and text.count(r"\\") == 1 + len(comparison.methods)
    assert text.startswith(r"\begin{tabular}") and text.endswith("\\end{tabular}\n")


def test_captions_say_volume_and_slice_and_the_gallery_has_every_case(comparison):
    worst = prediction_slices(comparison)["rows"][0]
    assert worst["panels"][1][2].startswith("Dice 20.0\u00a0%") and "on this slice" in worst["panels"][1][2]
    found = gallery(comparison)
    assert [title for _, title, _ in found["pictures"]] == ["case_1", "case_2", "case_3", "case_4"]
    assert found["num_cases"] == 4 and found["missing"] == []


def test_the_page_knows_what_the_fine_tuning_propagated(comparison):
    found = training_curves(comparison)
    assert found["propagated"] == pytest.approx(0.1)
    assert "propagated 10.0" in found["notes"]["0"] and "next to nothing" not in found["notes"]["0"]


def test_an_island_is_no_part_of_the_largest_part():
    faces = np.array([[0, 1, 2], [1, 2, 3], [4, 5, 6]])
    assert largest_part(Surface(np.zeros((7, 3)), faces)).tolist() == [True] * 4 + [False] * 3
