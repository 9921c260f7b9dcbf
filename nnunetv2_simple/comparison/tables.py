"""The results of a comparison as files: JSON, CSV with a row per case, the table in the paper's form as Markdown."""

import csv
from pathlib import Path

from nnunetv2_simple.comparison.methods import PAPER
from nnunetv2_simple.evaluation.metrics import MEASURES
from nnunetv2_simple.files import save_json_atomically, written_atomically

CSV_COLUMNS = ("method", "fold", "case", "label", *MEASURES, "reference_volume_ml")
MARKDOWN_COLUMNS = (
    *(
        "method",
        "annotation",
        "Dice %",
        "median",
        "largest part",
        "Jaccard %",
        "HD95 mm",
        "ASSD mm",
        "NSD %",
        "lesions found %",
        "false positives",
        "Dice / full (per fold)",
        "Dice points less full (95 %)",
        "p (Holm)",
    ),
    *("training", "*Dice % in the paper*", "*Jaccard % in the paper*"),
)
NOTES = """\
Mean ± standard deviation (of the population) over {cases} test cases{folds}, against dense reference masks. A case's
score is the mean over its classes ({classes}). Largest part: Dice of the prediction's largest connected part alone, as
nnU-Net's postprocessing may keep it. HD95: the larger of the two directed 95th percentiles of the distances
between the surfaces; ASSD: average symmetric surface distance; NSD: normalised surface Dice, the share of both
surfaces within {tolerance_mm:g} mm of the other one; all by area. Lesions found: share of the reference's connected
parts whose Jaccard index with what touches them is at least 0.1. False positives: parts of the prediction that touch no
lesion, per case and class. Where prediction and reference are both empty, Dice
and NSD are 1 and the distances 0; where exactly one is empty, Dice and NSD are 0 and the distances the diagonal of the
image.
Dice points less full: mean difference to full supervision, paired by case, with a bootstrap interval over the cases;
\\*: non-inferior, the whole interval lies above -3 points. p: two-sided Wilcoxon signed-rank test of the same
differences, corrected for the number of methods by Holm's procedure. Training: sum of the epochs and of the prediction
of pseudo-masks between them, until the checkpoint that predicts, mean over folds.

*The columns in italics are the paper's own numbers ({paper}), on other data: 206 patients with breast DCE-MRI, 21 of
them for training. They are no result of this comparison.*
"""


def write_tables(results: dict, output_folder: Path) -> None:
    """Write comparison.json, comparison.csv and comparison.md.

    Args:
        results: See :func:`nnunetv2_simple.comparison.results.collect_results`.
        output_folder: Where to write.
    """
    save_json_atomically(results, output_folder / "comparison.json")
    with written_atomically(output_folder / "comparison.md") as beside:
        beside.write_text(markdown_table(results), encoding="utf-8")
    with written_atomically(output_folder / "comparison.csv") as beside, beside.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, CSV_COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(csv_rows(results))


def csv_rows(results: dict) -> list[dict]:
    """Return one row per method, fold, case and class."""
    return [
        {"method": method["key"], "fold": fold, "case": case, "label": label, **values}
        for method in results["methods"]
        for fold, content in method["folds"].items()
        for case, scores in content["cases"].items()
        for label, values in scores["per_label"].items()
    ]


def markdown_table(results: dict) -> str:
    """Return the table in the paper's form, its own numbers beside it."""
    settings, methods = results["settings"], results["methods"]
    rows = [MARKDOWN_COLUMNS, ["---"] * len(MARKDOWN_COLUMNS), *(_markdown_row(m, settings["folds"]) for m in methods)]
    table = "\n".join("| " + " | ".join(row) + " |" for row in rows)
    num_folds = len(settings["folds"])
    notes = NOTES.format(
        cases=max((len(fold["cases"]) for method in methods for fold in method["folds"].values()), default=0),
        folds=f" of each of {num_folds} folds" if num_folds > 1 else "",
        classes=", ".join(settings["labels"]),
        tolerance_mm=settings["tolerance_mm"],
        paper=PAPER,
    )
    weak = settings["datasets"]["weak"]
    title = f"# {weak}, {settings['configuration']}, {settings['plans']}, {settings['length'] or 'full schedules'}"
    return f"{title}\n\n{table}\n\n{notes}"


def _markdown_row(method: dict, all_folds: list) -> list[str]:
    summary, folds = method["summary"], method["folds"].values()
    ratios = [fold["dice_ratio_to_full"] for fold in folds if fold["dice_ratio_to_full"] is not None]
    seconds = [fold["cost"]["training_s"] for fold in folds if fold["cost"]["training_s"] is not None]
    test = method["wilcoxon_vs_full"]
    some = "" if len(method["folds"]) == len(all_folds) else f" (fold {', '.join(method['folds'])} only)"
    return [
        method["title"] + some,
        method["annotation"],
        _mean_and_std(summary["dice"], 100),
        f"{100 * summary['dice']['median']:.2f}",
        _mean_and_std(summary["dice_largest_part"], 100),
        _mean_and_std(summary["jaccard"], 100),
        _mean_and_std(summary["hd95_mm"]),
        _mean_and_std(summary["assd_mm"]),
        _mean_and_std(summary["nsd"], 100),
        _share(summary["num_found"]["mean"], summary["num_lesions"]["mean"]),
        f"{summary['num_false_positives']['mean']:.2f}",
        ", ".join(f"{ratio:.3f}" for ratio in ratios) or "–",
        _difference(test) if test else "–",
        f"{test['holm_p_value']:.2g}" if test else "–",
        f"{sum(seconds) / len(seconds) / 60:.1f} min" if seconds else "–",
        _papers(method["paper_dice"]),
        _papers(method["paper_jaccard"]),
    ]


def _mean_and_std(values: dict, factor: float = 1) -> str:
    return f"{factor * values['mean']:.2f} ± {factor * values['std']:.2f}"


def _share(part: float, whole: float) -> str:
    return f"{100 * part / whole:.1f}" if whole else "–"


def _difference(test: dict) -> str:
    low, high = test["difference_interval"]
    star = " \\*" if test["non_inferior"] else ""
    return f"{100 * test['mean_difference']:+.1f} ({100 * low:+.1f}, {100 * high:+.1f}){star}"


def _papers(values: list[float] | None) -> str:
    return f"*{100 * values[0]:.2f} ± {100 * values[1]:.2f}*" if values else "–"
