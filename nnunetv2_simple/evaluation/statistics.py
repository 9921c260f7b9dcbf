"""Statistics over the cases of a method, and of a method against full supervision."""

from collections.abc import Mapping, Sequence

import numpy as np
from scipy import stats

from nnunetv2_simple.evaluation.metrics import MEASURES


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


def compare_dice(method: Mapping[str, Mapping], other: Mapping[str, Mapping]) -> dict[str, float] | None:
    """Test whether two methods differ in Dice: Wilcoxon signed-rank test, two-sided, paired by case.

    The Dice of a case is its mean over the folds both methods have, so that every patient counts once.

    Args:
        method: Scores of one method by fold and case.
        other: Scores of the other one.

    Returns:
        ``statistic``, ``p_value`` and ``num_pairs``; where no case differs the p-value is 1. None with fewer than two
        pairs.
    """
    folds = [fold for fold in method if fold in other]
    cases = [case for case in (method[folds[0]] if folds else {}) if all(case in other[fold] for fold in folds)]
    if len(cases) < 2:
        return None
    first, second = (np.array([[m[f][case]["dice"] for f in folds] for case in cases]).mean(1) for m in (method, other))
    if np.array_equal(first, second):
        return {"statistic": 0.0, "p_value": 1.0, "num_pairs": len(cases)}
    result = stats.wilcoxon(first, second)
    return {"statistic": float(result.statistic), "p_value": float(result.pvalue), "num_pairs": len(cases)}
