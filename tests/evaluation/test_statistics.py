"""Expected values by hand."""

import pytest

from nnunetv2_simple.evaluation.statistics import compare_dice, summarise


def case(dice: float) -> dict:
    return {"dice": dice, "jaccard": dice / 2, "hd95_mm": 10 * dice, "assd_mm": dice, "volume_ml": 1.0}


def fold(*values: float) -> dict:
    return {f"case_{number}": case(value) for number, value in enumerate(values)}


def test_summary_is_of_the_population():
    summary = summarise([case(0.2), case(0.4), case(0.9)])
    assert summary["dice"]["mean"] == pytest.approx(0.5)
    assert summary["dice"]["std"] == pytest.approx(((0.3**2 + 0.1**2 + 0.4**2) / 3) ** 0.5)
    assert summary["dice"]["median"] == 0.4
    assert summary["hd95_mm"]["mean"] == pytest.approx(5)
    assert list(summary) == ["dice", "jaccard", "hd95_mm", "assd_mm", "volume_ml"]


def test_five_cases_that_all_get_worse():
    """Of the 2^5 sign patterns two are as extreme."""
    result = compare_dice({"0": fold(0.1, 0.2, 0.3, 0.4, 0.5)}, {"0": fold(0.2, 0.4, 0.6, 0.8, 0.99)})
    assert result == {"statistic": 0.0, "p_value": pytest.approx(2 / 32), "num_pairs": 5}


def test_three_cases_one_of_which_gets_better():
    """Ranks 1, 2, 3 with the signs -, -, +: W = min(3, 3) = 3; every pattern with min <= 3 counts, which is all 8."""
    result = compare_dice({"0": fold(0.5, 0.5, 0.5)}, {"0": fold(0.6, 0.7, 0.2)})
    assert result == {"statistic": 3.0, "p_value": pytest.approx(1.0), "num_pairs": 3}


def test_a_case_counts_once_with_its_mean_over_common_folds():
    """Fold by fold the differences are mixed, in the mean the first method is worse by 0.1 and 0.2."""
    method = {"0": fold(0.9, 0.1), "1": fold(0.1, 0.9), "2": fold(0.0, 0.0)}
    other = {"0": fold(0.2, 0.8), "1": fold(1.0, 0.6)}
    assert compare_dice(method, other) == {"statistic": 0.0, "p_value": pytest.approx(0.5), "num_pairs": 2}


def test_no_difference_at_all():
    scores = {"0": fold(0.3, 0.4, 0.5)}
    assert compare_dice(scores, scores) == {"statistic": 0.0, "p_value": 1.0, "num_pairs": 3}


@pytest.mark.parametrize("other", [{}, {"1": fold(0.1, 0.2)}, {"0": fold(0.1)}])
def test_there_is_no_test_with_fewer_than_two_pairs(other):
    assert compare_dice({"0": fold(0.3, 0.4)}, other) is None
