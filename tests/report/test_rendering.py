import pytest
from jinja2 import UndefinedError

from nnunetv2_simple.report.data import worst_median_best
from nnunetv2_simple.report.rendering import (
    count,
    duration,
    formula,
    mean_and_std,
    number,
    p_value,
    percent,
    write_page,
)
from nnunetv2_simple.report.tables import annotation_effort


@pytest.mark.parametrize(
    ("value", "text"), [(0.00049, "< 0.001"), (0.001, "0.001"), (0.0449, "0.045"), (0.25, "0.25"), (None, "–")]
)
def test_p_value(value, text):
    assert p_value(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(75, "75 s"), (840, "14 min"), (5400, "90 min"), (7500, "2 h 05 min"), (None, "–")]
)
def test_duration(seconds, text):
    assert duration(seconds) == text


def test_numbers():
    assert mean_and_std({"mean": 0.8123, "std": 0.0456}, 1, 100) == "81.2 ± \u20074.6"
    assert mean_and_std([0.8123, 0.1328], 2, 100) == "81.23 ± 13.28"
    assert mean_and_std(None, 1) == number(None) == "–"
    assert number(0.5, 1, 100) == "50.0"
    assert percent(0.5) == "50.0\u00a0%"
    assert (count(1, "case"), count(2, "case")) == ("1 case", "2 cases")


def test_title_is_escaped_and_set_as_a_formula():
    assert formula("L_pce + <L_ctr>") == "<i>L</i><sub>pce</sub> + &lt;<i>L</i><sub>ctr</sub>&gt;"


def test_page_is_replaced_as_a_whole(tmp_path):
    page = tmp_path / "page.html"
    page.write_text("the earlier page")
    with pytest.raises(UndefinedError):
        write_page(page, "quality.html", title="half of what the template asks for")
    assert page.read_text(encoding="utf-8") == "the earlier page"
    assert [file.name for file in tmp_path.iterdir()] == ["page.html"]


@pytest.mark.parametrize(
    ("scores", "ranks"),
    [
        ({"a": 0.3, "b": 0.1, "c": 0.9, "d": 0.5}, {"b": "worst", "a": "median", "c": "best"}),
        ({"a": 0.3, "b": 0.1}, {"b": "worst", "a": "best"}),
        ({"a": 0.3}, {"a": "worst"}),
        ({}, {}),
    ],
)
def test_worst_median_best(scores, ranks):
    assert worst_median_best(scores) == ranks


def test_annotation_effort_counts_clicks_and_slices():
    def lesion(*z):
        return {"extreme_points_zyx": [[height, 0, 0] for height in z]}

    cases = {
        "two lesions": {"lesions": [lesion(3, 7, 5, 5, 5, 5), lesion(9, 9, 9, 9, 9, 9)]},  # 5 slices and 1
        "one lesion": {"lesions": [lesion(0, 3, 1, 1, 1, 1)]},  # 4 slices
        "test case": {"lesions": []},
    }
    counted = {"lesions": 3, "cases": 2, "clicks": 18, "slices": 10}
    assert annotation_effort({"cases": cases}) == counted | {"timed": 0, "median_s": None, "total_s": 0}
    lesions = [lesion for case in cases.values() for lesion in case.get("lesions", [])]
    for lesion, seconds in zip(lesions, (20.0, None, 31.0), strict=True):
        lesion["seconds"] = seconds
    assert annotation_effort({"cases": cases}) == counted | {"timed": 2, "median_s": 25.5, "total_s": 51.0}
    assert annotation_effort({"cases": {}}) is None
