"""The page over the quality control of all cases."""

import numpy as np
import pytest
from support.browser import needs_browser, probe_page
from support.page import Page
from support.quality_cases import IGNORE, ball_case, blocks_case, measure

from nnunetv2_simple.evaluation.quality import LabelledCase
from nnunetv2_simple.report.quality_page import write_page
from nnunetv2_simple.report.quality_sheet import draw_sheet


@pytest.fixture
def cases():
    """Three cases: no warning, one, two; the last one without foreground."""
    case = blocks_case()
    one = measure(case, reference=(case["label"] == 1).astype(np.uint8))
    case["label"][case["label"] == 1] = IGNORE
    two = measure(case, warnings=["<b>bold</b> & 'odd'"])
    return {"case_10": measure(ball_case()), "case_9": one, "case_2": two}


def read(file):
    return Page(file.read_text(encoding="utf-8"))


def test_page_lists_cases_with_warnings_first(cases, tmp_path):
    file = write_page(tmp_path / "Dataset501_Test", cases | {"case_3": cases["case_10"]})
    assert file == tmp_path / "Dataset501_Test" / "quality_control" / "index.html"
    page = read(file)
    assert [cell["data-value"] for cell in page.column("Case")] == ["case_2", "case_9", "case_3", "case_10"]
    assert [cell["data-value"] for cell in page.column("Warnings")] == ["2", "1", "0", "0"]
    assert [head["text"] for head in page.heads if "aria-sort" in head] == ["Warnings"]
    assert len(page.all("tr")) == 2 + 4
    assert sum("data-marked" in row for row in page.all("tr")) == 2


def test_page_shows_every_measure(cases, tmp_path):
    page = read(write_page(tmp_path, cases))
    assert [cell["text"] for cell in page.column("Foreground of box")][:2] == ["0 %", "25 %"]
    assert page.column("Foreground, ml")[1]["text"] == "0.188"
    assert float(page.column("Foreground, ml")[1]["data-value"]) == pytest.approx(0.1875)
    assert page.column("Largest box, mm")[1]["text"] == "15 × 10 × 5"
    assert float(page.column("Largest box, mm")[1]["data-value"]) == 750
    assert page.column("Points reached")[1]["text"] == "5 of 6"
    assert (page.column("Contrast")[0]["text"], page.column("Contrast")[0]["data-value"]) == ("–", "")
    assert page.column("Precision")[1]["text"] == "1.000"
    assert [cell["data-value"] for cell in page.column("Dice")] == ["", "1.0", ""]
    assert all(len(row) == len(page.rows[1]) for row in page.rows[1:])


def test_page_sums_up(cases, tmp_path):
    fractions = sorted(case["foreground_fraction"] for case in cases.values())
    page = read(write_page(tmp_path, cases))
    assert (page.facts["cases"], page.facts["with warnings"]) == ("3", "2")
    assert page.facts["median foreground of box"] == f"{100 * fractions[1]:.0f} %"
    assert page.facts["median Dice (evaluation only)"] == "1.000"
    kinds = {button["data-words"] for button in page.all("button") if "data-words" in button}
    assert kinds == {"annotation", "no foreground", "points not reached"}


def test_page_names_the_cases_that_failed(cases, tmp_path):
    assert "failed and" not in write_page(tmp_path, cases).read_text(encoding="utf-8")
    text = write_page(tmp_path, cases, failed={"case_7": "x.nrrd holds <NaN>", "case_10": "no points"}).read_text(
        encoding="utf-8"
    )
    assert "2 cases failed and are left out" in text
    assert "case_7x.nrrd holds <NaN> case_10no points" in Page(text).text


def test_the_median_contrast_ignores_the_sign(cases, tmp_path):
    contrasts = {"a": -3.0, "b": 1.0, "c": 2.0}
    page = read(write_page(tmp_path, {name: cases["case_10"] | {"contrast": c} for name, c in contrasts.items()}))
    assert page.facts["median contrast (magnitude)"] == "2.00"
    assert [cell["text"] for cell in page.column("Contrast")] == ["-3.00", "1.00", "2.00"]
    assert [cell["data-value"] for cell in page.column("Contrast")] == ["3.0", "1.0", "2.0"]


def test_evaluation_is_marked_and_absent_without_reference(cases, tmp_path):
    note = "Evaluation only: from dense references, not available to the training"
    file = write_page(tmp_path, cases)
    page = read(file)
    assert [head["colspan"] for head in page.heads if head["text"] == note] == ["4"]
    marked = [head["text"] for head in page.heads if "evaluation" in head.get("class", "").split()]
    assert marked == [note, "Precision", "Recall", "Dice", "Scribbles inside"]
    assert all("evaluation" in cell["class"].split() for cell in page.column("Recall"))

    for case in cases.values():
        case.pop("evaluation_only", None)
    text = write_page(tmp_path, cases).read_text(encoding="utf-8")
    page = read(file)
    assert note not in [head["text"] for head in page.heads]
    assert not any(word in text for word in ("Dice", "Precision", "dense references"))
    assert not any("evaluation" in name for name in page.facts)


def test_page_escapes_what_it_shows(cases, tmp_path):
    odd = "a&b <script>alert(1)</script> \"q\" 'p' #1%20$x"
    page = read(write_page(tmp_path / "<i>&$dataset", {odd: cases["case_2"]}))
    assert page.all("b") == page.all("i") == [] and "alert" not in "".join(page.attributes("onerror"))
    assert page.column("Case")[0]["data-value"] == page.column("Case")[0]["text"] == odd
    assert "<b>bold</b> & 'odd'" in page.column("Warnings")[0]["text"]
    address = "a%26b%20%3Cscript%3Ealert%281%29%3C/script%3E%20%22q%22%20%27p%27%20%231%2520%24x.png"
    assert [image["src"] for image in page.all("img")] == [address]
    assert address in [link["href"] for link in page.all("a")]


def test_page_needs_nothing_from_outside(cases, tmp_path):
    file = write_page(tmp_path, cases)
    page = read(file)
    assert {image["src"] for image in page.all("img")} == {"case_2.png", "case_9.png", "case_10.png"}
    assert all(image["loading"] == "lazy" and image["alt"] for image in page.all("img"))
    assert page.all("link") == []
    assert not any("src" in script for script in page.all("script"))
    assert not any(word in file.read_text(encoding="utf-8") for word in ("http:", "https:", "@import", "url("))


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
await new Promise(resolve => setTimeout(resolve, 10));
const contacts = () => Array.from(document.querySelectorAll(".contacts figure")).filter(f => !f.hidden)
  .map(f => f.dataset.case);
probe.contactsByForeground = contacts();
const viewer = document.querySelector("dialog");
document.querySelector(".contacts img").click();
probe.viewed = [viewer.querySelector("strong").textContent];
dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight" }));
probe.viewed.push(viewer.querySelector("strong").textContent);
dispatchEvent(new KeyboardEvent("keydown", { key: "x" }));
viewer.close();
probe.decided = document.querySelector(".decisions output").textContent;
let blob;
URL.createObjectURL = given => { blob = given; return "blob:saved"; };
HTMLAnchorElement.prototype.click = function () { probe.saved = [this.download]; };
document.querySelector("[data-save=exclude]").click();
probe.saved.push(await blob.text());
const { words, marked } = document.querySelector("form.filter").elements;
words.value = "case_9";
words.dispatchEvent(new Event("input", { bubbles: true }));
probe.filtered = shown();
words.value = "";
document.querySelector(".kinds button").click();
probe.ofKind = shown();
await new Promise(resolve => setTimeout(resolve, 10));
probe.contactsOfKind = contacts();
words.value = "";
marked.checked = true;
marked.dispatchEvent(new Event("input", { bubbles: true }));
probe.withWarnings = shown();
probe.status = document.querySelector("[role=status]").textContent;
for (const image of document.images) image.loading = "eager";
await Promise.all(Array.from(document.images, image => image.decode()));
probe.pictures = Array.from(document.images).filter(image => image.naturalWidth > 0).length;
"""


@needs_browser
def test_page_works_in_a_browser(cases, tmp_path):
    page = write_page(tmp_path, cases)
    case = LabelledCase(**ball_case())
    for identifier in cases:
        draw_sheet(page.with_name(f"{identifier}.png"), case, measure(ball_case()), title=identifier)
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
    assert probe["pictures"] >= 3
    assert probe["contactsByForeground"] == most_first and set(probe["contactsOfKind"]) == set(probe["ofKind"])
    assert probe["viewed"] == [most_first[0], most_first[1]]
    assert probe["decided"] == "accept 0, redo 0, exclude 1 of 3"
    assert probe["saved"] == ["exclude.txt", most_first[1] + "\n"]


def test_page_without_cases(tmp_path):
    page = read(write_page(tmp_path, {}))
    assert all(cell["head"] for row in page.rows for cell in row)
    assert page.facts == {"cases": "0", "with warnings": "0"}
