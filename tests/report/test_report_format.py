import pytest

from nnunetv2_simple.report.data import worst_median_best
from nnunetv2_simple.report.format import count, duration, mean_and_std, number, p_value, title_html
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
    assert mean_and_std(0.8123, 0.0456, decimals=1, scale=100) == "81.2 ± \u20074.6"
    assert mean_and_std(0.8123, 0.1328, decimals=2, scale=100) == "81.23 ± 13.28"
    assert mean_and_std(None, None, decimals=1) == "–"
    assert number(0.5, decimals=1, scale=100) == "50.0"
    assert (count(1, "case"), count(2, "case")) == ("1 case", "2 cases")


def test_title_is_escaped_and_set_as_a_formula():
    assert title_html("L_pce + <L_ctr>") == "<i>L</i><sub>pce</sub> + &lt;<i>L</i><sub>ctr</sub>&gt;"


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
    text = annotation_effort({"cases": cases})
    assert "3 lesions in 2 cases" in text and "18 clicks" in text and "10 slices" in text
    assert annotation_effort({"cases": {}}) == ""
