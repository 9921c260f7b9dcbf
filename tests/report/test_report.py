"""The whole report: what it says, what it is made of, and what it does without."""

import base64
import io
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support import report_example
from support.browser import needs_browser, probe_page
from support.page import Page
from support.report_example import DICE, REFERENCE, SHAPE, TEST_CASES, TITLES, block, write_comparison, write_volume

from nnunetv2_simple.comparison.methods import METHODS
from nnunetv2_simple.comparison.results import ROLES_ON_FILE
from nnunetv2_simple.report.data import ROLES, Comparison, read_comparison
from nnunetv2_simple.report.page import SECTIONS, write_report


def read_page(comparison_file):
    file = comparison_file.parent / "report.html"
    write_report(comparison_file, file)
    return Page(file.read_text(encoding="utf-8"))


def edit(comparison_file, change):
    content = json.loads(comparison_file.read_text(encoding="utf-8"))
    change(content)
    comparison_file.write_text(json.dumps(content))


@pytest.fixture(scope="module")
def comparison(tmp_path_factory):
    return write_comparison(tmp_path_factory.mktemp("comparison"))


@pytest.fixture(scope="module")
def page(comparison):
    return read_page(comparison)


@pytest.fixture
def fresh(comparison, tmp_path):
    """A comparison to spoil, on the files of the other."""
    return shutil.copy(comparison, tmp_path / "comparison.json")


@pytest.fixture
def without_pictures(monkeypatch):
    """Sections that take long are left out."""
    for name in ("stages", "predictions", "models"):
        monkeypatch.setitem(SECTIONS, name, lambda _: {"unavailable": "not asked for"})


# --- what it says


def test_headline_states_the_result_and_its_limits(page):
    # means: simple (0.2 + 0.6 + 0.7 + 0.9) / 4 = 0.6, full 0.8, walker 0.675; 0.6 / 0.8 = 0.75
    assert (
        "From six clicks per lesion, Lpce + Lctr + SimPLe reached a mean Dice of 60.0 %, 0.75 of full supervision’s "
        "80.0 %, on 4 test cases, trained on 1 fold (Wilcoxon signed-rank test on the cases’ Dice: p = 0.031, 7 pairs)."
    ) in page.text
    assert "The baseline, “stock nnU-Net on the random walker's result”, reached 67.5 %: 7.5 points more." in page.text
    assert "−20.0 points (95 % interval −27.5 to −12.5)" in page.text
    assert "not shown to be at most 3.0 points worse" in page.text
    assert "Each method was trained once" in page.text


def test_without_the_main_method_a_whole_row_of_the_paper_stands_in_for_it(comparison):
    content = read_comparison(comparison).content
    methods = [dict(method) for method in content["methods"] if method["key"] != "simple"]
    methods.append(methods[0] | {"key": "simple_paper", "role": "paper"})
    assert Comparison(content | {"methods": methods}).main["key"] == "simple_paper"


def test_a_method_is_compared_over_the_folds_it_shares(tmp_path, without_pictures):
    file = write_comparison(tmp_path, folds=("0", "1"))

    def spoil(content):
        full = next(method for method in content["methods"] if method["key"] == "full")
        del full["folds"]["0"]
        for case in full["folds"]["1"]["cases"].values():
            case["dice"] = 0.5

    edit(file, spoil)
    dice = np.mean(DICE["simple"])
    page = read_page(file)
    assert f"{dice / 0.5:.2f} of full supervision’s 50.0 % (both on fold 1)" in page.text
    assert "fold 1 only" in page.text
    assert {full for full, _ in page.data["scatter"][0]["pairs"]} == {50.0}


def test_table_has_the_numbers_beside_those_of_the_paper(page):
    # std of 0.2 0.6 0.7 0.9 about 0.6: sqrt((0.16 + 0 + 0.01 + 0.09) / 4) = 0.255; Jaccard half of it in the example
    cells = ["60.0 ± 25.5", "65.0", "0.75", "0.031", "30.0 ± 12.7", "4.0 ± 2.5", "0.8 ± 0.5", "six clicks"]
    assert page.row(TITLES["simple"])[1:] == [*cells, "81.20 ± 13.28", "70.01 ± 15.02"]
    assert page.row(TITLES["pce_ctr"])[3:5] == ["0.62", "< 0.001"]
    assert page.row(TITLES["full"])[3:5] == ["–", "–"]
    assert page.row(TITLES["full"])[8:] == ["dense mask", "–", "–"]
    assert "Paper, other data" in page.text


def test_only_the_best_of_the_click_methods_is_bold(comparison):
    html = (comparison.parent / "report.html").read_text(encoding="utf-8")
    assert "<strong>67.5 ±" in html
    assert "<strong>60.0 ±" not in html and "<strong>80.0 ±" not in html


def test_nsd_is_shown_where_it_was_measured(fresh, without_pictures):
    assert "NSD" not in read_page(fresh).text

    def add(content):
        content["settings"]["tolerance_mm"] = 2.5
        for method in content["methods"]:
            method["summary"]["nsd"] = {"mean": 0.875, "std": 0.05, "median": 0.9}

    edit(fresh, add)
    page = read_page(fresh)
    assert page.row(TITLES["simple"])[6] == "87.5 ± 5.0"
    assert "within 2.5 mm" in page.text
    assert len({len(row) for row in page.rows[1:8] if len(row) > 2}) == 1


def test_box_plot_shows_every_case(page):
    for identifier, value in (("box-dice", lambda dice: 100 * dice), ("box-hd95_mm", lambda dice: 10 * (1 - dice))):
        for box, key in zip(page.data[identifier]["boxes"], DICE, strict=True):
            np.testing.assert_allclose(box["values"], [value(dice) for dice in DICE[key]])
            assert box["cases"] == list(TEST_CASES)


def test_scatter_shows_the_chosen_method_against_full_supervision(page):
    for key, found in zip(("simple", "pce_ctr", "walker"), page.data["scatter"], strict=True):  # the main method first
        full, dice = np.transpose(found["pairs"])
        np.testing.assert_allclose(full, 100 * np.array(DICE["full"]))
        np.testing.assert_allclose(dice, 100 * np.array(DICE[key]))
    assert page.facts["better than full supervision"] == "0 of 4 cases"
    assert page.facts["median difference"] in ("−20.0 points", "−10.0 points")
    assert "case_1 −30.0" in page.text


def test_costs_and_commands(page):
    row = page.row("SimPLeTrainerDataset501_Blocks")
    assert row[1:] == ["Lpce + LctrLpce + Lctr + SimPLe", "six clicks", "90 min", "2,048 MB", "1,700", "12345"]
    # per training case one lesion of 3 slices
    assert "3 lesions in 3 cases of the weak dataset: 18 clicks" in page.text and "9 slices" in page.text
    assert "nnUNetv2_train 501 3d_fullres 0 -tr SimPLeTrainer" in page.text
    assert "3.11.7" in page.text and "a processor" in page.text


def test_several_folds_are_averaged_per_case_and_the_ratio_has_a_range(fresh, without_pictures):
    def add_fold(content):
        for method in content["methods"]:
            first = method["folds"]["0"]
            cases = {case: found | {"dice": found["dice"] / 2} for case, found in first["cases"].items()}
            method["folds"]["1"] = first | {"cases": cases}
            if method["key"] == "simple":
                method["folds"]["1"] |= {"dice_ratio_to_full": 0.85}

    edit(fresh, add_fold)
    page = read_page(fresh)
    assert page.row(TITLES["simple"])[3] == "0.800.75–0.85"  # the range stands below the mean
    np.testing.assert_allclose(page.data["box-dice"]["boxes"][1]["values"], [15, 45, 52.5, 67.5])  # 0.75 of fold 0's
    assert "trained on 2 folds" in page.text


def test_says_what_so_few_pairs_cannot_show(fresh, without_pictures):
    edit(fresh, lambda content: content["methods"][1]["wilcoxon_vs_full"].update(p_value=0.0625, num_pairs=5))
    assert "With 5 pairs no p below 0.062 is possible" in read_page(fresh).text  # 2 / 2^5
    edit(fresh, lambda content: content["methods"][1]["wilcoxon_vs_full"].update(p_value=0.2, num_pairs=9))
    assert "does not show that the two are equal" in read_page(fresh).text


# --- what it is made of


def test_loads_nothing_from_elsewhere(page, comparison):
    for address in page.attributes("src", "href", "srcset", "poster", "data", "action"):
        assert address.startswith(("data:image/png;base64,", "#")), address[:80]
    assert not [tag for tag, _ in page.elements if tag in ("link", "iframe", "object", "embed", "base")]
    html = (comparison.parent / "report.html").read_text(encoding="utf-8")
    assert "default-src 'none'" in html and "showSendToCloud: false" in html
    assert "@import" not in html.split("</style>")[0] and "url(" not in html.split("</style>")[0]


def test_every_picture_decodes(page):
    pictures = page.attributes("src")
    # three training cases with reference, initial, walker's and final mask; three test cases with image and 3 methods
    assert len(pictures) == 3 * 4 + 3 * 4 + 4
    for picture in pictures:
        image = Image.open(io.BytesIO(base64.b64decode(picture.partition(",")[2])))
        image.load()
        assert max(image.size) > 300


def test_sections_are_linked(page):
    identifiers = page.attributes("id")
    assert len(identifiers) == len(set(identifiers))
    assert all(link.removeprefix("#") in identifiers for link in page.attributes("href"))


def test_worst_median_and_best_case_in_pictures_and_in_3d(page):
    for title in ("Worst: case_1", "Median: case_2", "Best: case_4"):
        assert title in page.text
    assert "Worst: train_3" in page.text  # the final pseudo-mask that was cut most
    assert [case["identifier"] for case in page.data["surfaces"]["cases"]] == ["case_1", "case_2", "case_4"]
    assert all(len(case["predictions"]) == 3 for case in page.data["surfaces"]["cases"])
    assert "case_1, Lpce + Lctr + SimPLe: Dice 20.0 %" in page.text


def test_names_are_escaped(fresh):
    evil = "<img src=x onerror=alert(1)>&</script>"

    def rename(content):
        content["settings"]["labels"] = {evil: 1}
        content["versions"][evil] = evil
        for method in content["methods"]:
            method["title"] += evil
            method["dataset"] = method["trainer"] = evil
            for fold in method["folds"].values():
                fold["commands"] = [evil]
                fold["cases"] = {evil + case: scores for case, scores in fold["cases"].items()}
            method["folds"] = {evil: method["folds"]["0"]}

    edit(fresh, rename)
    page = read_page(fresh)
    assert not [found for tag, found in page.elements if tag == "img" and "onerror" in found]
    assert evil in page.text
    assert page.data["box-dice"]["boxes"][0]["cases"][0] == evil + "case_1"  # figure.js escapes it for plotly
    assert "&lt;img" in page.data["box-dice"]["boxes"][0]["label"]


def test_earlier_report_is_replaced_as_a_whole(fresh, tmp_path, without_pictures):
    edit(fresh, lambda content: content.update(methods=content["methods"][2:3]))
    output, held = tmp_path / "report.html", tmp_path / "held.html"
    output.write_text("the earlier report")
    os.link(output, held)  # as a reader that has the file open
    write_report(fresh, output)
    assert held.read_text(encoding="utf-8") == "the earlier report"
    assert "</html>" in output.read_text(encoding="utf-8")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["comparison.json", "held.html", "report.html"]


# --- what it does without


@pytest.mark.parametrize("keys", [("full",), ("walker",), ("pce_ctr", "full")])
def test_any_subset_of_methods(fresh, keys, without_pictures):
    edit(fresh, lambda content: content.update(methods=[m for m in content["methods"] if m["key"] in keys]))
    page = read_page(fresh)
    assert len(page.data["box-dice"]["boxes"]) == len(keys)
    if "full" not in keys:
        assert "Full supervision was not scored beside it." in page.text
        assert "Not shown: full supervision was not run." in page.text


def test_one_case(fresh, without_pictures):
    def keep_one(content):
        for method in content["methods"]:
            method["folds"]["0"]["cases"] = {"case_2": method["folds"]["0"]["cases"]["case_2"]}

    edit(fresh, keep_one)
    assert "on 1 test case," in read_page(fresh).text


def test_missing_files_are_named(fresh, tmp_path):
    def move(content):
        for name in ("images", "nnUNet_raw"):
            content["settings"][name] = str(tmp_path / "nowhere")
        for method in content["methods"]:
            method["folds"]["0"]["model_folder"] = str(tmp_path / "nowhere" / method["key"])

    edit(fresh, move)
    page = read_page(fresh)
    assert f"no checkpoint in {tmp_path}/nowhere/simple" in page.text
    assert f"Not shown: there is no dataset of weak labels, {tmp_path}/nowhere/Dataset501_Blocks." in page.text
    assert f"cannot read {tmp_path}/nowhere/case_1_0000.nii.gz" in page.text
    assert len(page.data["surfaces"]["cases"]) == 3  # needs no images

    edit(fresh, lambda content: content["settings"].update(references=str(tmp_path / "nowhere")))
    assert f"cannot read {tmp_path}/nowhere/case_1.nii.gz" in read_page(fresh).text


def test_empty_predictions_empty_references_and_several_labels(tmp_path):
    file = write_comparison(tmp_path, methods=("pce_ctr", "full"))
    both = block((2, 5), (14, 18), (4, 10), label=2, array=REFERENCE.copy())
    write_volume(tmp_path / "references/case_1.nii.gz", both)  # pce_ctr predicted nothing here
    write_volume(tmp_path / "references/case_2.nii.gz", np.zeros(SHAPE, dtype=np.uint8))
    edit(file, lambda content: content["settings"].update(labels={"tumor": 1, "necrosis": 2}))
    page = read_page(file)
    first, second, _ = page.data["surfaces"]["cases"]
    assert first["predictions"][0] is None and "the prediction is empty" in page.text
    assert second["reference"] is None and "The reference is empty" in page.text
    assert "necrosis" in page.text and "All foreground labels are taken together." in page.text


# --- bad input


@pytest.mark.parametrize("content", ["{", "[]", '{"settings": {}}', '{"settings": {}, "methods": []}'])
def test_what_is_no_comparison_is_named(tmp_path, content):
    file, output = tmp_path / "comparison.json", tmp_path / "report.html"
    file.write_text(content)
    output.write_text("the earlier report")
    with pytest.raises(ValueError, match="comparison") as error:
        write_report(file, output)
    assert str(file) in str(error.value)
    assert output.read_text(encoding="utf-8") == "the earlier report"


def test_missing_comparison_is_named(tmp_path):
    with pytest.raises(ValueError, match=f"cannot read the comparison: .*{tmp_path}/comparison.json"):
        write_report(tmp_path / "comparison.json", tmp_path / "report.html")


# --- in a browser

PROBE = """
probe.plots = {};
probe.notes = [];
for (const [element, figure] of figures) {
  const count = figure.lists.map(list => list.options.length);
  for (let first = 0; first < (count[0] || 1); first++) {
    if (figure.lists[0]) figure.lists[0].value = String(first);
    await figure.draw();
  }
  probe.notes.push(figure.notes.filter(note => !note.hidden).length);
  probe.plots[element.id] = element.querySelectorAll(".main-svg, canvas").length;
}
await Promise.all(Array.from(document.images, image => image.decode()));
probe.pictures = Array.from(document.images).filter(image => image.naturalWidth > 0).length;
const scene = new Image();
scene.src = await Plotly.toImage(document.querySelector("#surfaces .plot"), { width: 300, height: 200 });
await scene.decode();
const canvas = document.createElement("canvas");
[canvas.width, canvas.height] = [300, 200];
const context = canvas.getContext("2d");
context.drawImage(scene, 0, 0);
probe.colours = new Set(new Uint32Array(context.getImageData(60, 20, 160, 160).data.buffer)).size;
for (const plot of document.querySelectorAll(".plot")) Plotly.purge(plot);  // or they are drawn until time is up
"""


@needs_browser
@pytest.mark.slow
def test_page_works_in_a_browser(page, comparison, tmp_path):
    probe = probe_page(Path(shutil.copy(comparison.parent / "report.html", tmp_path)), PROBE)
    assert probe["problems"] == []
    assert set(probe["plots"]) == {"box-dice", "box-hd95_mm", "scatter", "curves", "surfaces"}
    assert all(probe["plots"].values())
    assert probe["notes"] == [0, 0, 1, 1, 1]  # of the chosen variant only
    assert probe["pictures"] == 24 + 4  # and the gallery
    assert probe["colours"] > 20  # a shaded surface, not an empty scene


def test_example_is_what_it_says():
    assert report_example.prediction("full", 3).sum() == REFERENCE.sum()


def test_every_method_of_a_comparison_has_its_place(fresh):
    roles = {ROLES_ON_FILE.get(method.role, method.role) for method in METHODS}
    assert roles == set(ROLES)
    titles = [title for _, methods in read_comparison(Path(fresh)).groups for title in [m["title"] for m in methods]]
    assert sorted(titles) == sorted(TITLES.values())
