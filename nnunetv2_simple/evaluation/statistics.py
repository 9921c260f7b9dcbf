"""Statistics over the cases of a method, and of one method against another."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from scipy import stats

from nnunetv2_simple.evaluation.metrics import MEASURES

NON_INFERIORITY_MARGIN = 0.03


def evenly_chosen(cases: Sequence[str], number: int) -> list[str]:
    """Return at most so many of the cases, evenly spaced in their order.

    Example:
        >>> evenly_chosen("abcde", 3)
        ['a', 'c', 'e']
    """
    places = np.linspace(0, len(cases) - 1, min(len(cases), number)).round().astype(int)
    return [cases[place] for place in places]


def summarise(cases: Sequence[Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Return mean, standard deviation (of the population: divided by the number of cases) and median of each measure.

    Args:
        cases: Scores of the cases, see :func:`nnunetv2_simple.evaluation.metrics.score_case`.
    """
    return {
        measure: {
            "mean": float(np.mean(values)),
            "std": float(np.std(values)),
            "median": float(np.median(values)),
        }
        for measure in MEASURES
        if (values := [case[measure] for case in cases])
    }


def compare_dice(
    method: Mapping[str, Mapping], other: Mapping[str, Mapping], *, margin: float = NON_INFERIORITY_MARGIN
) -> dict | None:
    """Compare two methods in Dice, paired by case.

    The Dice of a case is its mean over the folds both methods have, so that every patient counts once. Intervals are
    percentile bootstrap intervals over the cases, of 95 %. "Not significantly different" is not "as good": a method is
    called non-inferior only if the whole interval of the mean difference lies above ``-margin``.

    Args:
        method: Scores of one method by fold and case.
        other: Scores of the other one.
        margin: Difference in Dice (0 to 1) that would matter, fixed before looking.

    Returns:
        ``num_pairs``; ``mean_difference`` and ``difference_interval``, method minus other; ``ratio`` and
        ``ratio_interval`` of the mean Dice, None where the other's may be zero; ``non_inferior`` and its ``margin``;
        ``statistic`` and ``p_value`` of the two-sided Wilcoxon signed-rank test, 0 and 1 where no case differs. None
        with fewer than two pairs.
    """
    folds = [fold for fold in method if fold in other]
    cases = [case for case in (method[folds[0]] if folds else {}) if all(case in other[fold] for fold in folds)]
    if len(cases) < 2:
        return None
    own, others = (np.array([[m[f][case]["dice"] for f in folds] for case in cases]).mean(1) for m in (method, other))
    statistic, p_value = (0.0, 1.0) if np.array_equal(own, others) else stats.wilcoxon(own, others)
    difference_interval = bootstrap_interval(lambda a, b, axis: (a - b).mean(axis), own, others)
    ratio_interval = None
    if np.count_nonzero(others) > len(others) / 2:  # no resample is all zero
        ratio_interval = bootstrap_interval(lambda a, b, axis: a.mean(axis) / b.mean(axis), own, others)
    return {
        "num_pairs": len(cases),
        "mean_difference": float((own - others).mean()),
        "difference_interval": difference_interval,
        "ratio": float(own.mean() / others.mean()) if ratio_interval else None,
        "ratio_interval": ratio_interval,
        "non_inferior": difference_interval[0] > -margin,
        "margin": margin,
        "statistic": float(statistic),
        "p_value": float(p_value),
    }


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust the p-values of several tests (Holm's step-down procedure), in their order.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]

    Reference:
        Holm, A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 6, 1979.
    """
    order = np.argsort(p_values, kind="stable")
    factors = np.arange(len(p_values), 0, -1)
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(np.maximum.accumulate(factors * np.asarray(p_values, dtype=float)[order]), 1)
    return adjusted.tolist()


def bootstrap_interval(statistic: Callable, *samples: np.ndarray) -> list[float]:
    """Return the 95 % percentile bootstrap interval, over the cases, of a statistic of one or several paired samples.

    Args:
        statistic: Called with the samples and ``axis``.
        samples: (cases,), of the same cases.
    """
    found = stats.bootstrap(
        samples, statistic, paired=True, method="percentile", n_resamples=9999, random_state=0
    ).confidence_interval
    return [float(found.low), float(found.high)]
