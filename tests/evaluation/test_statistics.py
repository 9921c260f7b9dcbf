"""Expected values by hand."""

import numpy as np
import pytest

from nnunetv2_simple.evaluation.metrics import MEASURES
from nnunetv2_simple.evaluation.statistics import compare_dice, holm, summarise


def case(dice: float) -> dict:
    return dict.fromkeys(MEASURES, dice) | {"jaccard": dice / 2, "hd95_mm": 10 * dice, "volume_ml": 1.0}


def fold(*values: float) -> dict:
    return {f"case_{number}": case(value) for number, value in enumerate(values)}


def test_summary_is_of_the_population():
    summary = summarise([case(0.2), case(0.4), case(0.9)])
    assert summary["dice"]["mean"] == pytest.approx(0.5)
    assert summary["dice"]["std"] == pytest.approx(((0.3**2 + 0.1**2 + 0.4**2) / 3) ** 0.5)
    assert summary["dice"]["median"] == 0.4
    assert summary["hd95_mm"]["mean"] == pytest.approx(5)
    assert tuple(summary) == MEASURES


def test_five_cases_that_all_get_worse():
    """Of the 2^5 sign patterns two are as extreme."""
    result = compare_dice({"0": fold(0.1, 0.2, 0.3, 0.4, 0.5)}, {"0": fold(0.2, 0.4, 0.6, 0.8, 0.99)})
    assert (result["statistic"], result["p_value"], result["num_pairs"]) == (0.0, pytest.approx(2 / 32), 5)
    assert result["mean_difference"] == pytest.approx(-(0.1 + 0.2 + 0.3 + 0.4 + 0.49) / 5)
    assert result["ratio"] == pytest.approx(1.5 / 2.99)
    assert not result["non_inferior"]


def test_three_cases_one_of_which_gets_better():
    """Ranks 1, 2, 3 with the signs -, -, +: W = min(3, 3) = 3; every pattern with min <= 3 counts, which is all 8."""
    result = compare_dice({"0": fold(0.5, 0.5, 0.5)}, {"0": fold(0.6, 0.7, 0.2)})
    assert (result["statistic"], result["p_value"], result["num_pairs"]) == (3.0, pytest.approx(1.0), 3)


def test_a_case_counts_once_with_its_mean_over_common_folds():
    """Fold by fold the differences are mixed, in the mean the first method is worse by 0.1 and 0.2."""
    method = {"0": fold(0.9, 0.1), "1": fold(0.1, 0.9), "2": fold(0.0, 0.0)}
    other = {"0": fold(0.2, 0.8), "1": fold(1.0, 0.6)}
    result = compare_dice(method, other)
    assert (result["statistic"], result["p_value"], result["num_pairs"]) == (0.0, pytest.approx(0.5), 2)
    assert result["mean_difference"] == pytest.approx(-0.15)


def test_no_difference_at_all():
    scores = {"0": fold(0.3, 0.4, 0.5)}
    result = compare_dice(scores, scores)
    assert (result["statistic"], result["p_value"], result["num_pairs"]) == (0.0, 1.0, 3)
    assert (result["mean_difference"], result["difference_interval"]) == (0.0, [0.0, 0.0])
    assert (result["ratio"], result["ratio_interval"]) == (1.0, [1.0, 1.0])
    assert result["non_inferior"]


def test_two_pairs_have_four_resamples_and_so_an_interval_by_hand():
    """Differences -0.2 and 0.1: a resample is both (mean -0.05, half of all), twice the one or twice the other."""
    result = compare_dice({"0": fold(0.3, 0.6)}, {"0": fold(0.5, 0.5)})
    assert result["difference_interval"] == pytest.approx([-0.2, 0.1])
    assert result["ratio_interval"] == pytest.approx([0.3 / 0.5, 0.6 / 0.5])


def test_intervals_have_the_width_of_the_normal_approximation():
    """An independent way: mean +- 1.96 standard errors, for 400 cases."""
    generator = np.random.default_rng(0)
    other = generator.uniform(0.5, 0.9, 400)
    method = other + generator.normal(-0.01, 0.1, 400)
    result = compare_dice({"0": fold(*method)}, {"0": fold(*other)})
    error = (method - other).std(ddof=1) / 20
    mean = (method - other).mean()
    assert result["difference_interval"] == pytest.approx([mean - 1.96 * error, mean + 1.96 * error], abs=0.002)


def test_not_significant_is_not_as_good():
    """The interval decides: the same mean difference with small and with large scatter."""
    steady, scattered = [0.49, 0.50] * 10, [0.19, 0.80] * 10
    assert compare_dice({"0": fold(*steady)}, {"0": fold(*[0.5] * 20)})["non_inferior"]
    result = compare_dice({"0": fold(*scattered)}, {"0": fold(*[0.5] * 20)})
    assert result["p_value"] > 0.05
    assert not result["non_inferior"]
    assert compare_dice({"0": fold(*scattered)}, {"0": fold(*[0.5] * 20)}, margin=0.5)["non_inferior"]


def test_a_method_that_found_nothing_has_no_ratio_to_offer():
    result = compare_dice({"0": fold(0.5, 0.5, 0.5)}, {"0": fold(0.0, 0.0, 0.4)})
    assert (result["ratio"], result["ratio_interval"]) == (None, None)


def test_holm_by_hand():
    """Sorted 0.01, 0.02, 0.03, 0.5 times 4, 3, 2, 1: 0.04, 0.06, 0.06 and 0.5; never above one, in the given order."""
    assert holm([0.5, 0.02, 0.01, 0.03]) == pytest.approx([0.5, 0.06, 0.04, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


@pytest.mark.parametrize("other", [{}, {"1": fold(0.1, 0.2)}, {"0": fold(0.1)}])
def test_there_is_no_test_with_fewer_than_two_pairs(other):
    assert compare_dice({"0": fold(0.3, 0.4)}, other) is None
