"""The head of the report: the main result in one sentence, computed from the numbers."""

from collections.abc import Mapping
from html import escape

from nnunetv2_simple.report.data import SIX_CLICKS, Comparison, common_folds, finite, mean_dice, summary_of
from nnunetv2_simple.report.format import count, number, p_value, title_html

SIGNIFICANT = 0.05


def headline(comparison: Comparison) -> str:
    """Return the main result as a sentence, what limits it, and the key figures."""
    facts = "".join(f"<div><dt>{title}</dt><dd>{value}</dd></div>" for title, value in _facts(comparison))
    limits = " ".join(_limits(comparison))
    return (
        f'<p class="result">{_result(comparison)}</p>\n<p>{_rival(comparison)}{limits}</p>\n'
        f'<dl class="facts">{facts}</dl>'
    )


def _result(comparison: Comparison) -> str:
    main, full = comparison.main, comparison.full
    name, dice = title_html(main["title"]), summary_of(main, "dice")
    if dice is None:
        return f"{name} has no Dice."
    clicks = "From six clicks per lesion, " if main["annotation"] == SIX_CLICKS else ""
    sentence = f"{clicks}{name} reached a mean Dice of {_percent(dice)}"
    together = common_folds(main, full) if full is not None and full is not main else []
    if not together:
        return f"{sentence} on {_sample(comparison)}. Full supervision was not scored beside it."
    full_dice, ratio = mean_dice(full, together), _ratio(main, full)
    share = f"{ratio:.2f} of full supervision's" if ratio is not None else "full supervision"
    where = "" if together == list(main["folds"]) else f" (both on fold {' and '.join(together)})"
    return f"{sentence}, {share} {_percent(full_dice)}{where}, on {_sample(comparison)}{_test(main)}."


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.1f}&nbsp;%"


def _ratio(method: Mapping, full: Mapping) -> float | None:
    """Return the ratio of the mean Dice of two methods over the folds they have in common."""
    dice, full_dice = (mean_dice(each, common_folds(method, full)) for each in (method, full))
    return dice / full_dice if dice is not None and full_dice else None


def _sample(comparison: Comparison) -> str:
    folds = list(comparison.main["folds"])
    trained = "trained once on all training cases" if folds == ["all"] else f"trained on {count(len(folds), 'fold')}"
    return f"{count(len(comparison.cases), 'test case')}, {trained}"


def _test(method: Mapping) -> str:
    test = method.get("wilcoxon_vs_full") or {}
    p = finite(test.get("p_value"))
    if p is None:
        return ""
    pairs = f", {count(test['num_pairs'], 'pair')}" if test.get("num_pairs") else ""
    sign = "" if p_value(p).startswith("<") else "= "
    return f" (Wilcoxon signed-rank test on the cases' Dice: <i>p</i> {escape(sign + p_value(p))}{pairs})"


def _rival(comparison: Comparison) -> str:
    main, rival = comparison.main, comparison.rival
    if rival is None or rival is main or summary_of(main, "dice") is None:
        return ""
    together = common_folds(main, rival)
    if not together:
        return ""
    points = 100 * (mean_dice(main, together) - mean_dice(rival, together))
    size = f"{abs(points):.1f}"
    difference = "the same" if size == "0.0" else f"{size} points {'less' if points > 0 else 'more'}"
    num_rivals = sum(method["role"] == "rival" for method in comparison.methods)
    which = "The rival" if num_rivals == 1 else f"The strongest of {num_rivals} rivals"
    return f"{which}, “{title_html(rival['title'])}”, reached {_percent(mean_dice(rival, together))}: {difference}. "


def _limits(comparison: Comparison) -> list[str]:
    """Say what the numbers do not show."""
    sentences = []
    test = comparison.main.get("wilcoxon_vs_full") or {}
    p, pairs = finite(test.get("p_value")), test.get("num_pairs")
    if pairs and 2.0 ** (1 - pairs) > SIGNIFICANT:
        sentences.append(
            f"With {count(pairs, 'pair')} no <i>p</i> below {p_value(2.0 ** (1 - pairs))} is possible, whatever the "
            "difference."
        )
    elif p is not None and p >= SIGNIFICANT:
        sentences.append(
            f"That <i>p</i> is not below {SIGNIFICANT} does not show that the two are equal: "
            f"{count(len(comparison.cases), 'case')} cannot tell a small difference from none."
        )
    if len(comparison.main["folds"]) == 1:
        sentences.append("One training each: how much the result varies from training to training is not in here.")
    else:
        sentences.append(
            "All folds were scored on the same test cases; the test takes the mean over the folds as a value per case."
        )
    return sentences


def _facts(comparison: Comparison) -> list[tuple[str, str]]:
    main, full = comparison.main, comparison.full
    facts = [("Dice, " + title_html(main["title"]), number(summary_of(main, "dice"), decimals=1, scale=100) + " %")]
    if full is not None and full is not main:
        dice = number(mean_dice(full, common_folds(main, full)), decimals=1, scale=100)
        facts += [("Dice, full supervision", dice + " %"), ("ratio", number(_ratio(main, full), decimals=2))]
    facts += [("test cases", str(len(comparison.cases)))]
    folds = "all" if list(comparison.folds) == ["all"] else str(len(comparison.folds))
    facts += [("methods", str(len(comparison.methods))), ("folds", folds)]
    return facts
