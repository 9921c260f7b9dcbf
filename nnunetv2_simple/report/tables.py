"""The figures of the report: the main result, the results in the form of the paper's Table 1, costs, seeds."""

import csv
import io
import re
from collections.abc import Mapping, Sequence

import numpy as np

from nnunetv2_simple.files import read_json
from nnunetv2_simple.report.data import SIX_CLICKS, Comparison, UnavailableError, common_folds, mean_dice

SIGNIFICANT = 0.05
# measure, title, decimals, scale, whether more is better
MEASURES = (
    ("dice", "Dice %", 1, 100, True),
    ("dice_largest_part", "Largest part %", 1, 100, True),
    ("jaccard", "Jaccard %", 1, 100, True),
    ("nsd", "NSD %", 1, 100, True),
    ("hd95_mm", "HD95 mm", 1, 1, False),
    ("assd_mm", "ASSD mm", 1, 1, False),
    ("num_false_positives", "False positives", 1, 1, False),
)
COSTS = ("training_s", "num_iterations", "peak_memory_mb", "peak_memory_of", "seed")


def headline(comparison: Comparison) -> dict:
    """Return the figures of the main result.

    Returns:
        ``dice`` of the main method; ``full`` and ``baseline``: their ``dice`` and the main method's ``main_dice`` over
        the ``folds`` that both have, None without such folds; ``test``, Wilcoxon's against full supervision, or None;
        ``smallest_p``, the smallest p-value that so few pairs can have, where that is not significant.
    """
    main, test = comparison.main, comparison.main["wilcoxon_vs_full"]
    smallest_p = 2.0 ** (1 - test["num_pairs"]) if test else 0
    return {
        "dice": main["summary"]["dice"]["mean"],
        "full": _beside(main, comparison.full),
        "baseline": _beside(main, comparison.best_baseline),
        "test": test,
        "smallest_p": smallest_p if smallest_p > SIGNIFICANT else None,
        "significant": SIGNIFICANT,
    }


def _beside(main: Mapping, other: Mapping | None) -> dict | None:
    folds = [] if other is None or other is main else common_folds(main, other)
    if not folds:
        return None
    return {"method": other, "folds": folds, "dice": mean_dice(other, folds), "main_dice": mean_dice(main, folds)}


def results_table(comparison: Comparison) -> dict:
    """Return the measures to show, the best mean of each among the methods that learn from clicks, and the ratios."""
    measures = [measure for measure in MEASURES if measure[0] in comparison.main["summary"]]
    from_clicks = [method for method in comparison.methods if method["annotation"] == SIX_CLICKS]
    best = {}
    for measure, _, _, _, more in measures if len(from_clicks) > 1 else ():
        best[measure] = (max if more else min)(method["summary"][measure]["mean"] for method in from_clicks)
    return {
        "measures": measures,
        "best": best,
        "ratios": {m["key"]: _ratios(m) for m in comparison.methods},
        "downloads": {"tex": latex_table(comparison, measures), "csv": csv_table(comparison, measures)},
    }


def csv_table(comparison: Comparison, measures: Sequence[tuple]) -> str:
    """Return the table of results as CSV: mean and standard deviation in columns of their own."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    titles = [(f"{title} mean", f"{title} std") for _, title, *_ in measures]
    writer.writerow(["method", "annotation", *(name for pair in titles for name in pair)])
    for method in comparison.methods:
        statistics = [(method["summary"][measure], scale) for measure, _, _, scale, _ in measures]
        values = [f"{scale * found[name]:.6g}" for found, scale in statistics for name in ("mean", "std")]
        writer.writerow([method["title"], method["annotation"], *values])
    return stream.getvalue()


def latex_table(comparison: Comparison, measures: Sequence[tuple]) -> str:
    """Return the table of results as LaTeX, for the package booktabs."""
    lines = [f"\\begin{{tabular}}{{l{'r' * len(measures)}}}", r"\toprule"]
    lines.append(" & ".join(["Method", *(_latex(title) for _, title, *_ in measures)]) + r" \\")
    for _, methods in comparison.groups:
        lines.append(r"\midrule")
        for method in methods:
            cells = [_latex(method["title"])]
            for measure, _, decimals, scale, _ in measures:
                found = method["summary"][measure]
                cells.append(rf"${scale * found['mean']:.{decimals}f} \pm {scale * found['std']:.{decimals}f}$")
            lines.append(" & ".join(cells) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def _latex(text: str) -> str:
    text = re.sub(r"([&%$#{}])", r"\\\1", text)
    return re.sub(r"\bL_([A-Za-z]+)", r"$L_\\mathrm{\1}$", text).replace("’", "'")


def _ratios(method: Mapping) -> dict[str, float] | None:
    """Return mean and range, over the folds, of the ratio of the mean Dice to that of full supervision."""
    ratios = [fold["dice_ratio_to_full"] for fold in method["folds"].values() if fold["dice_ratio_to_full"] is not None]
    return {"mean": float(np.mean(ratios)), "min": min(ratios), "max": max(ratios)} if ratios else None


def costs(comparison: Comparison) -> dict:
    """Return what the annotation and each training took."""
    trainings: dict[tuple, list[Mapping]] = {}
    for method in comparison.methods:
        noted = tuple((fold, str(result["cost"])) for fold, result in method["folds"].items())
        trainings.setdefault((method["trainer"], method["dataset"], noted), []).append(method)
    try:
        effort = annotation_effort(read_json(comparison.dataset_folder("weak") / "provenance.json"))
    except (UnavailableError, OSError, ValueError):
        effort = None  # a dataset from elsewhere does not say how it was annotated
    return {"effort": effort, "trainings": [_training(methods) for methods in trainings.values()]}


def _training(methods: Sequence[Mapping]) -> dict:
    """Return the costs of a training that gives some methods: means over the folds, the largest memory."""
    noted = [result["cost"] for result in methods[0]["folds"].values()]
    known = {name: [cost[name] for cost in noted if cost.get(name) is not None] for name in COSTS}
    means = {name: float(np.mean(known[name])) if known[name] else None for name in ("training_s", "num_iterations")}
    return means | {
        "methods": methods,
        "memory_mb": max(known["peak_memory_mb"], default=None),
        "memory_of": sorted(set(known["peak_memory_of"])),  # the GPU's and a process's cannot be compared
        "seeds": [cost["seed"] for cost in noted] if known["seed"] else [],
    }


def annotation_effort(provenance: Mapping) -> dict | None:
    """Compare the clicks of the training cases with the outlines that painted masks would have taken.

    Args:
        provenance: Of the weak dataset, see :mod:`nnunetv2_simple.conversion.dataset_files`.

    Returns:
        The numbers of ``lesions``, ``cases``, ``clicks`` and ``slices``, and how long it took where that was noted:
        ``timed`` lesions, their ``median_s`` and ``total_s``; None without lesions.
    """
    cases = [case["lesions"] for case in provenance.get("cases", {}).values() if case.get("lesions")]
    z = [[point[0] for point in lesion["extreme_points_zyx"]] for lesions in cases for lesion in lesions]
    noted = [lesion.get("seconds") for lesions in cases for lesion in lesions]
    seconds = [found for found in noted if found is not None]
    return (
        {
            "lesions": len(z),
            "cases": len(cases),
            "clicks": sum(map(len, z)),
            "slices": sum(max(points) - min(points) + 1 for points in z),
            "timed": len(seconds),
            "median_s": float(np.median(seconds)) if seconds else None,
            "total_s": sum(seconds),
        }
        if z
        else None
    )


def seeds(comparison: Comparison) -> dict[str, dict]:
    """Return the seed of each training that had one; the page shows the rest of comparison.json as it is."""
    costs_of = {
        f"{method['trainer']}, {method['dataset']}, fold {fold}": result["cost"]
        for method in comparison.methods
        for fold, result in method["folds"].items()
    }
    return {"seeds": {name: cost["seed"] for name, cost in costs_of.items() if cost.get("seed") is not None}}
