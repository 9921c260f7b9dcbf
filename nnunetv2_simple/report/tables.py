"""The tables of the report: the results in the form of the paper's Table 1, and what each training cost."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape

import numpy as np

from nnunetv2_simple.files import read_json
from nnunetv2_simple.report.data import (
    ROLES,
    SIX_CLICKS,
    Comparison,
    UnavailableError,
    dataset_folder,
    finite,
    ratios_to_full,
    summary_of,
)
from nnunetv2_simple.report.format import NOTHING, count, duration, mean_and_std, number, p_value, title_html

# measure, decimals, scale, whether more is better
COLUMNS = (
    ("dice", 1, 100, True),
    ("jaccard", 1, 100, True),
    ("hd95_mm", 1, 1, False),
    ("assd_mm", 1, 1, False),
)
HEADS = ("Dice %", "median", "Jaccard %", "HD95 mm", "ASSD mm", "ratio", "<i>p</i>")
PAPER_HEADS = ("Dice %", "Jaccard %")
NUM_COLUMNS = 2 + len(HEADS) + len(PAPER_HEADS)


def results_table(comparison: Comparison) -> str:
    """Return the table of results, one group of rows per role, the paper's numbers at the right."""
    best = {measure: _best(comparison, measure, more) for measure, _, _, more in COLUMNS}
    bodies = []
    for role, title in ROLES.items():
        rows = [_row(method, comparison, best) for method in comparison.methods if method["role"] == role]
        if rows:
            head = f'<tr class="group"><th colspan="{NUM_COLUMNS}" scope="rowgroup">{title}</th></tr>'
            bodies.append(f"<tbody>{head}{''.join(rows)}</tbody>")
    heads = "".join(f'<th scope="col" class="number">{head}</th>' for head in HEADS)
    paper = "".join(
        f'<th scope="col" class="number paper{" first" if not place else ""}">{head}</th>'
        for place, head in enumerate(PAPER_HEADS)
    )
    return (
        '<div class="scroll"><table class="results"><thead>'
        f'<tr><td></td><th colspan="{1 + len(HEADS)}" scope="colgroup">This comparison</th>'
        f'<th colspan="{len(PAPER_HEADS)}" scope="colgroup" class="paper first">Paper, other data</th></tr>'
        f'<tr><th scope="col">Method</th>{heads}<th scope="col">Annotation</th>{paper}</tr></thead>'
        f"{''.join(bodies)}</table></div>{_legend(comparison)}"
    )


def _best(comparison: Comparison, measure: str, more: bool) -> float | None:
    """Return the best mean of the methods that learn from clicks."""
    means = [summary_of(method, measure) for method in comparison.methods if method["annotation"] == SIX_CLICKS]
    means = [mean for mean in means if mean is not None]
    return (max if more else min)(means) if len(means) > 1 else None


def _row(method: Mapping, comparison: Comparison, best: Mapping[str, float | None]) -> str:
    cells = []
    for measure, decimals, scale, _ in COLUMNS:
        mean, std = (summary_of(method, measure, statistic) for statistic in ("mean", "std"))
        text = mean_and_std(mean, std, decimals=decimals, scale=scale)
        is_best = mean is not None and mean == best[measure] and method["annotation"] == SIX_CLICKS
        median = number(summary_of(method, measure, "median"), decimals=decimals, scale=scale)
        cells.append(
            f'<td class="number" title="median {median}">{f"<strong>{text}</strong>" if is_best else text}</td>'
        )
        if measure == "dice":
            cells.append(f'<td class="number">{median}</td>')
    p = finite((method.get("wilcoxon_vs_full") or {}).get("p_value"))
    cells.append(f'<td class="number">{_ratio(method)}</td><td class="number">{escape(p_value(p))}</td>')
    cells.append(f"<td>{escape(method['annotation'])}</td>")
    for place, name in enumerate(("paper_dice", "paper_jaccard")):
        mean, std = method.get(name) or (None, None)
        text = mean_and_std(finite(mean), finite(std), decimals=2, scale=_paper_scale(method))
        cells.append(f'<td class="number paper{" first" if not place else ""}">{text}</td>')
    style = ' class="main"' if method is comparison.main else ""
    missing = len(comparison.folds) - len(method["folds"])
    some = f'<br><span class="range">fold {", ".join(method["folds"])} only</span>' if missing else ""
    return f'<tr{style}><th scope="row">{title_html(method["title"])}{some}</th>{"".join(cells)}</tr>'


def _paper_scale(method: Mapping) -> float:
    """The paper's numbers may be given as fractions, as everything else, or in %, as the paper prints them."""
    numbers = [*(method.get("paper_dice") or ()), *(method.get("paper_jaccard") or ())]
    return 1 if any(value is not None and value > 1 for value in numbers) else 100


def _ratio(method: Mapping) -> str:
    ratios = list(ratios_to_full(method).values())
    if not ratios:
        return NOTHING
    spread = f'<br><span class="range">{min(ratios):.2f}–{max(ratios):.2f}</span>' if len(ratios) > 1 else ""
    return f"{np.mean(ratios):.2f}{spread}"


def _legend(comparison: Comparison) -> str:
    versus = f"“{title_html(comparison.full['title'])}”" if comparison.full else "full supervision, which was not run"
    return (
        '<p class="note">Mean ± standard deviation over the test cases of all folds, means over the labels. HD95: 95th '
        "percentile of the distances between the surfaces; ASSD: their average; less is better. Ratio: mean Dice "
        f"over that of {versus}, the mean over the folds and its range. <i>p</i>: Wilcoxon signed-rank test of the "
        f"cases' Dice against {versus}, two-sided, not corrected for the number of methods. <strong>Bold</strong>: "
        "best of the methods that learn from clicks. The numbers of the paper (Zhong &amp; Wang, MICCAI 2023, Table 1: "
        "206 patients, breast DCE-MRI) were measured on other data and with another network: compare the order of the "
        "rows, not the values.</p>"
    )


def costs_table(comparison: Comparison) -> str:
    """Return a table of the trainings: what each took, and which methods it gave."""
    trainings: dict[tuple, list[Mapping]] = {}
    for method in comparison.methods:
        costs = tuple((fold, str(result.get("cost"))) for fold, result in method["folds"].items())
        trainings.setdefault((method.get("trainer"), method.get("dataset"), costs), []).append(method)
    device = (comparison.content.get("versions") or {}).get("device_name")
    rows = "".join(_cost_row(methods, comparison) for methods in trainings.values())
    return (
        '<div class="scroll"><table class="costs"><thead><tr><th scope="col">Training</th><th scope="col">Gives</th>'
        '<th scope="col">Annotation</th><th scope="col" class="number">Time per fold</th>'
        '<th scope="col" class="number">Peak memory</th><th scope="col" class="number">Iterations</th>'
        f'<th scope="col" class="number">Seeds</th></tr></thead><tbody>{rows}</tbody></table></div>'
        f'<p class="note">{f"On {escape(str(device))}. " if device else ""}Time: training with its pseudo-masks, up to '
        "the checkpoint that the method takes, without preprocessing and the prediction of test cases. Peak memory: of "
        "the whole training.</p>"
    )


def _cost_row(methods: Sequence[Mapping], comparison: Comparison) -> str:
    costs = [result.get("cost") or {} for result in methods[0]["folds"].values()]
    seconds, iterations = (_mean(finite(cost.get(name)) for cost in costs) for name in ("training_s", "num_iterations"))
    seeds = [NOTHING if cost.get("seed") is None else escape(str(cost["seed"])) for cost in costs]
    has_seed = any(seed != NOTHING for seed in seeds)
    trainer, dataset = (escape(str(methods[0].get(name) or NOTHING)) for name in ("trainer", "dataset"))
    style = ' class="main"' if comparison.main in methods else ""
    return (
        f'<tr{style}><th scope="row"><code>{trainer}</code><br><span class="range">{dataset}</span></th>'
        f"<td>{'<br>'.join(title_html(method['title']) for method in methods)}</td>"
        f"<td>{escape(methods[0]['annotation'])}</td>"
        f'<td class="number">{duration(seconds)}</td>'
        f'<td class="number">{_peak_memory(costs)}</td>'
        f'<td class="number">{NOTHING if iterations is None else f"{iterations:,.0f}"}</td>'
        f'<td class="number">{", ".join(seeds) if has_seed else "not set"}</td></tr>'
    )


def _peak_memory(costs: Sequence[Mapping]) -> str:
    known = [cost for cost in costs if finite(cost.get("peak_memory_mb")) is not None]
    if not known:
        return NOTHING
    # of the GPU or of the whole process: not to be compared with each other
    kinds = escape(", ".join(sorted({str(cost["peak_memory_of"]) for cost in known if cost.get("peak_memory_of")})))
    text = f"{max(cost['peak_memory_mb'] for cost in known):,.0f} MB"
    return f'{text}<br><span class="range">{kinds}</span>' if kinds else text


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def costs(comparison: Comparison) -> str:
    """Return what the annotation and each training took."""
    try:
        effort = annotation_effort(read_json(dataset_folder(comparison, "weak") / "provenance.json"))
    except (UnavailableError, OSError, ValueError):
        effort = ""  # a dataset from elsewhere does not say how it was annotated
    return effort + costs_table(comparison)


def annotation_effort(provenance: Mapping) -> str:
    """Compare the clicks of the training cases with the outlines that painted masks would have taken.

    Args:
        provenance: Of the weak dataset, see :mod:`nnunetv2_simple.conversion.dataset_files`.
    """
    cases = [case["lesions"] for case in provenance.get("cases", {}).values() if case.get("lesions")]
    lesions = [lesion for found in cases for lesion in found]
    z = [[point[0] for point in lesion["extreme_points_zyx"]] for lesion in lesions]
    if not z:
        return ""
    clicks, slices = sum(len(points) for points in z), sum(max(points) - min(points) + 1 for points in z)
    return (
        f"<p>{count(len(lesions), 'lesion').capitalize()} in {count(len(cases), 'case')} of the weak dataset: "
        f"<strong>{clicks} clicks</strong>, where painted masks take outlines on <strong>{slices} slices</strong> "
        "(the slices between the lowest and the highest click of each lesion).</p>"
    )
