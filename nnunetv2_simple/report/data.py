"""What the report reads: comparison.json, checked, and what follows from it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from nnunetv2_simple.files import read_json

ROLES = {"paper": "The paper's rows", "rival": "Rivals", "full supervision": "Full supervision"}
MAIN_METHOD, FULL_SUPERVISION = "simple", "full"
SIX_CLICKS = "six clicks"


class UnavailableError(Exception):
    """A part of the report that cannot be shown; the message says why, on the page."""


@dataclass(frozen=True, eq=False)
class Comparison:
    """The content of comparison.json.

    Attributes:
        file: comparison.json.
        content: All of it.
        methods: The methods in the order of the tables.
    """

    file: Path
    content: Mapping
    methods: tuple[Mapping, ...]

    @property
    def settings(self) -> Mapping:
        return self.content["settings"]

    @cached_property
    def main(self) -> Mapping:
        """The method that the report is about."""
        by_clicks = [method for method in self.methods if method["annotation"] == SIX_CLICKS]
        return self.method(MAIN_METHOD) or (by_clicks or self.methods)[0]

    @cached_property
    def full(self) -> Mapping | None:
        """Full supervision, which everything is measured by; None if it was not run."""
        dense = [method for method in self.methods if method["role"] == "full supervision"]
        return self.method(FULL_SUPERVISION) or (dense[0] if dense else None)

    @cached_property
    def rival(self) -> Mapping | None:
        """The rival with the highest mean Dice; None without rivals."""
        rivals = [m for m in self.methods if m["role"] == "rival" and summary_of(m, "dice") is not None]
        return max(rivals, key=lambda method: summary_of(method, "dice"), default=None)

    @property
    def shown(self) -> list[Mapping]:
        """The methods whose predictions are shown in pictures: main method, strongest rival, full supervision."""
        found = {method["key"]: method for method in (self.main, self.rival, self.full) if method is not None}
        return list(found.values())

    @cached_property
    def cases(self) -> list[str]:
        """All case identifiers that any method was scored on."""
        return sorted({case for m in self.methods for fold in m["folds"].values() for case in fold["cases"]})

    @cached_property
    def folds(self) -> list[str]:
        return list(dict.fromkeys(fold for method in self.methods for fold in method["folds"]))

    def method(self, key: str) -> Mapping | None:
        return next((method for method in self.methods if method["key"] == key), None)

    def setting(self, name: str):
        """Return a setting that a part of the report cannot do without.

        Raises:
            UnavailableError: If it is not there.
        """
        if self.settings.get(name) is None:
            raise UnavailableError(f"{self.file.name} does not say {name!r}")
        return self.settings[name]


def read_comparison(file: str | Path) -> Comparison:
    """Read comparison.json.

    Args:
        file: The file ``nnUNetv2_simple_compare`` wrote.

    Raises:
        ValueError: Naming the file and what is wrong with it.
    """
    file = Path(file)
    try:
        content = read_json(file)
    except (OSError, ValueError) as error:
        raise ValueError(f"cannot read the comparison: {error}") from error
    problem = _problem(content)
    if problem:
        raise ValueError(f"{file} is not the result of a comparison: {problem}")
    return Comparison(file, content, tuple(content["methods"]))


def _problem(content) -> str | None:
    """Return the first reason why the content cannot be reported."""
    if not isinstance(content, dict):
        return f"expected a JSON object, got {type(content).__name__}"
    for name, kind in (("settings", dict), ("methods", list)):
        if not isinstance(content.get(name), kind):
            return f"expected {name!r} as a {kind.__name__}, got {type(content.get(name)).__name__}"
    if not content["methods"]:
        return "'methods' is empty, there is nothing to report"
    problems = (_method_problem(number, method) for number, method in enumerate(content["methods"]))
    problem = next((problem for problem in problems if problem), None)
    keys = [method["key"] for method in content["methods"]] if problem is None else []
    if len(set(keys)) < len(keys):
        problem = f"every method must be there once, got the keys {keys}"
    return problem


def _method_problem(number: int, method) -> str | None:
    name = f"methods[{number}]"
    if not isinstance(method, dict):
        return f"expected {name} as a JSON object, got {type(method).__name__}"
    for entry in ("key", "title", "role", "annotation"):
        if not isinstance(method.get(entry), str):
            return f"{name} has no text {entry!r}, got {method.get(entry)!r}"
    name = f"the method {method['key']!r}"
    if method["role"] not in ROLES:
        return f"the role of {name} must be one of {list(ROLES)}, got {method['role']!r}"
    if not isinstance(method.get("summary"), dict):
        return f"{name} has no 'summary', got {method.get('summary')!r}"
    folds = method.get("folds")
    if not isinstance(folds, dict) or not folds:
        return f"{name} has no 'folds', got {folds!r}"
    for fold, result in folds.items():
        if not isinstance(result, dict) or not isinstance(result.get("cases"), dict) or not result["cases"]:
            return f"fold {fold} of {name} has no 'cases'"
    return None


def finite(value) -> float | None:
    """Return a number of comparison.json; None for null, NaN and infinity."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if is_number else None


def summary_of(method: Mapping, measure: str, statistic: str = "mean") -> float | None:
    """Return a statistic over all cases of all folds, such as the mean Dice."""
    return finite((method["summary"].get(measure) or {}).get(statistic))


def common_folds(method: Mapping, other: Mapping) -> list[str]:
    """Return the folds that both methods were scored on: only over these can their means be compared."""
    return [fold for fold in method["folds"] if fold in other["folds"]]


def mean_dice(method: Mapping, folds: Sequence[str]) -> float | None:
    """Return the mean Dice over all cases of some folds; None if there is none."""
    scores = [scores.get("dice") for fold in folds for scores in method["folds"][fold]["cases"].values()]
    known = [value for value in map(finite, scores) if value is not None]
    return float(np.mean(known)) if known else None


def case_means(method: Mapping, measure: str, folds: Sequence[str] | None = None) -> dict[str, float]:
    """Return a measure by case, the mean over the folds (all by default); cases without a finite value are left out."""
    values: dict[str, list[float]] = {}
    for fold in method["folds"] if folds is None else folds:
        for case, scores in method["folds"][fold]["cases"].items():
            value = finite(scores.get(measure))
            if value is not None:
                values.setdefault(case, []).append(value)
    return {case: float(np.mean(found)) for case, found in sorted(values.items())}


def ratios_to_full(method: Mapping) -> dict[str, float]:
    """Return the ratio of the mean Dice to that of full supervision, by fold."""
    ratios = {name: finite(fold.get("dice_ratio_to_full")) for name, fold in method["folds"].items()}
    return {name: ratio for name, ratio in ratios.items() if ratio is not None}


def pictured_fold(comparison: Comparison, method: Mapping) -> str:
    """Return the fold whose predictions are shown: the main method's first, where this method has it too."""
    first = next(iter(comparison.main["folds"]))
    return first if first in method["folds"] else next(iter(method["folds"]))


def dataset_folder(comparison: Comparison, labels: str) -> Path:
    """Return the folder of the raw dataset that holds a kind of labels, such as "weak".

    Raises:
        UnavailableError: If it is not there.
    """
    raw = Path(comparison.setting("nnUNet_raw"))
    name = (comparison.settings.get("datasets") or {}).get(labels)
    if name is None:
        used = (method.get("dataset") for method in comparison.methods if method.get("labels") == labels)
        name = next((dataset for dataset in used if dataset), None)
    if name is None or not (raw / name).is_dir():
        raise UnavailableError(f"there is no dataset of {labels} labels" + (f", {name}, in {raw}" if name else ""))
    return raw / name


def worst_median_best(scores: Mapping[str, float]) -> dict[str, str]:
    """Return a title ("worst", "median", "best") for the cases to show; fewer where there are fewer cases.

    Args:
        scores: By case identifier, higher is better.
    """
    ordered = sorted(scores, key=lambda case: (scores[case], case))
    titles = {}
    if ordered:
        for title, place in (("worst", 0), ("best", len(ordered) - 1), ("median", (len(ordered) - 1) // 2)):
            titles.setdefault(ordered[place], title)
    return {case: titles[case] for case in ordered if case in titles}
