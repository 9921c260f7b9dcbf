"""The data of the box plots, and of each method against full supervision; templates/figure.js draws them."""

import textwrap
from collections.abc import Mapping, Sequence
from statistics import median

from nnunetv2_simple.report.data import Comparison, UnavailableError, case_means, common_folds
from nnunetv2_simple.report.rendering import count, formula, points

LABEL_WIDTH = 26  # characters
NUM_LISTED = 3  # cases with the largest differences
MEASURES = (("dice", "Dice, %", 100), ("hd95_mm", "HD95, mm", 1))


def box_plots(comparison: Comparison) -> dict:
    """Return the Dice and the HD95 of each case, by method."""

    def box(method: Mapping, measure: str, scale: float) -> dict:
        values = case_means(method, measure)
        return {
            "label": "<br>".join(map(formula, textwrap.wrap(method["title"], LABEL_WIDTH))),
            "role": method["role"],
            "main": method is comparison.main,
            "cases": list(values),
            "values": [scale * value for value in values.values()],
        }

    plots = {}
    for measure, title, scale in MEASURES:
        boxes = [box(method, measure, scale) for method in comparison.methods]
        plots[measure] = {"data": {"title": title, "boxes": boxes}}
    return {"plots": plots}


def scatter(comparison: Comparison) -> dict:
    """Return the Dice of each case with one method and with full supervision, the method to be chosen.

    Raises:
        UnavailableError: Without full supervision or without anything to compare with it.
    """
    full = comparison.full
    if full is None:
        raise UnavailableError("full supervision was not run")
    pairs = {}
    for method in (method for method in comparison.main_first if method is not full):
        dice, full_dice = (case_means(each, "dice", common_folds(method, full)) for each in (method, full))
        common = {case: (100 * full_dice[case], 100 * dice[case]) for case in dice if case in full_dice}
        if common:
            pairs[method["title"]] = common
    if not pairs:
        raise UnavailableError("no method has a case in common with full supervision")
    return {
        "data": [{"cases": list(common), "pairs": list(common.values())} for common in pairs.values()],
        "choices": {"Method": list(pairs)},
        "notes": {str(place): _differences(common) for place, common in enumerate(pairs.values())},
    }


def _differences(common: Mapping[str, tuple[float, float]]) -> dict[str, str | list[str]]:
    """Say on which side of the line of equal Dice the cases lie."""
    differences = {case: dice - full_dice for case, (full_dice, dice) in common.items()}
    ordered = sorted(differences, key=lambda case: differences[case])
    losses, gains = ([case for case in ordered if sign * differences[case] > 0] for sign in (-1, 1))

    def listed(cases: Sequence[str]) -> list[str]:
        return [f"{case} {points(differences[case])}" for case in cases] or ["none"]

    return {
        "better than full supervision": f"{len(gains)} of {count(len(common), 'case')}",
        "worse": str(len(losses)),
        "median difference": f"{points(median(differences.values()))} points",
        "largest losses": listed(losses[:NUM_LISTED]),
        "largest gains": listed(gains[: -NUM_LISTED - 1 : -1]),
    }
