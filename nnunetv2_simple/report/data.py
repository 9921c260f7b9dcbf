"""What the report is made from: comparison.json, and what follows from it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from nnunetv2_simple.files import read_json

# titles by role; comparison.json calls baselines "rival"
ROLES = {"paper": "The paper’s rows", "rival": "Baselines", "full supervision": "Full supervision"}
MAIN_METHOD, REFERENCE_METHOD = "simple", "full"
SIX_CLICKS = "six clicks"


class UnavailableError(Exception):
    """A part of the report that cannot be shown; the message says why, on the page."""


@dataclass(frozen=True, eq=False)
class Comparison:
    """The content of comparison.json, see :func:`nnunetv2_simple.comparison.results.collect_results`."""

    content: Mapping

    @property
    def settings(self) -> Mapping:
        return self.content["settings"]

    @property
    def methods(self) -> Sequence[Mapping]:
        """The methods in the order of the tables."""
        return self.content["methods"]

    @cached_property
    def main(self) -> Mapping:
        """The method that the report is about."""
        from_clicks = [method for method in self.methods if method["annotation"] == SIX_CLICKS] or self.methods
        complete = [method for method in from_clicks if method["role"] == "paper"][-1:]  # phases stand before the whole
        return next((method for method in self.methods if method["key"] == MAIN_METHOD), (complete or from_clicks)[0])

    @cached_property
    def full(self) -> Mapping | None:
        """Full supervision, against which everything is measured; None if it was not run."""
        dense = dict(self.groups).get("Full supervision", [None])
        return next((method for method in self.methods if method["key"] == REFERENCE_METHOD), dense[0])

    @property
    def baselines(self) -> Sequence[Mapping]:
        return dict(self.groups).get("Baselines", ())

    @cached_property
    def best_baseline(self) -> Mapping | None:
        """The baseline with the highest mean Dice; None without baselines."""
        return max(self.baselines, key=lambda method: method["summary"]["dice"]["mean"], default=None)

    @property
    def groups(self) -> list[tuple[str, list[Mapping]]]:
        """The methods by role, with a title."""
        groups = {title: [m for m in self.methods if m["role"] == role] for role, title in ROLES.items()}
        return [(title, methods) for title, methods in groups.items() if methods]

    @property
    def shown(self) -> list[Mapping]:
        """The methods whose predictions are shown in pictures: main method, best baseline, full supervision."""
        return list({m["key"]: m for m in (self.main, self.best_baseline, self.full) if m is not None}.values())

    @property
    def main_first(self) -> list[Mapping]:
        """The methods, the main one in front."""
        return sorted(self.methods, key=lambda method: method is not self.main)

    @cached_property
    def cases(self) -> list[str]:
        """All case identifiers that any method was scored on."""
        return sorted({case for m in self.methods for fold in m["folds"].values() for case in fold["cases"]})

    @cached_property
    def folds(self) -> list[str]:
        return list(dict.fromkeys(fold for method in self.methods for fold in method["folds"]))

    def pictured_fold(self, method: Mapping) -> str:
        """Return the fold whose predictions are shown: the main method's first, where this method has it too."""
        first = next(iter(self.main["folds"]))
        return first if first in method["folds"] else next(iter(method["folds"]))

    def dataset_folder(self, labels: str) -> Path:
        """Return the folder of the raw dataset that holds a kind of labels, such as "weak".

        Raises:
            UnavailableError: If it is not there.
        """
        name = self.settings["datasets"].get(labels)
        folder = Path(self.settings["nnUNet_raw"]) / str(name)
        if name is None or not folder.is_dir():
            raise UnavailableError(f"there is no dataset of {labels} labels" + (f", {folder}" if name else ""))
        return folder


def read_comparison(file: Path) -> Comparison:
    """Read comparison.json.

    Args:
        file: The file ``nnUNetv2_simple_compare`` wrote.

    Raises:
        ValueError: Naming the file, if it is damaged or not the result of a comparison.
    """
    try:
        content = read_json(file)
    except (OSError, ValueError) as error:
        raise ValueError(f"cannot read the comparison: {error}") from error
    if not isinstance(content, dict) or "settings" not in content or not content.get("methods"):
        raise ValueError(
            f"{file} is not the result of a comparison: it must hold settings and at least one method; "
            "nnUNetv2_simple_compare writes it"
        )
    return Comparison(content)


def common_folds(method: Mapping, other: Mapping) -> list[str]:
    """Return the folds that both methods were scored on: only over these can their means be compared."""
    return [fold for fold in method["folds"] if fold in other["folds"]]


def mean_dice(method: Mapping, folds: Sequence[str]) -> float:
    """Return the mean Dice over all cases of some folds."""
    return float(np.mean([case["dice"] for fold in folds for case in method["folds"][fold]["cases"].values()]))


def case_means(method: Mapping, measure: str, folds: Sequence[str] | None = None) -> dict[str, float]:
    """Return a measure by case, the mean over the folds (all by default)."""
    values: dict[str, list[float]] = {}
    for fold in method["folds"] if folds is None else folds:
        for case, scores in method["folds"][fold]["cases"].items():
            values.setdefault(case, []).append(scores[measure])
    return {case: float(np.mean(found)) for case, found in sorted(values.items())}


def worst_median_best(scores: Mapping[str, float]) -> dict[str, str]:
    """Return a title ("worst", "median", "best") for the cases to show; fewer where there are fewer cases.

    Args:
        scores: By case identifier, higher is better.
    """
    ordered = sorted(scores, key=lambda case: (scores[case], case))
    titles = {(len(ordered) - 1) // 2: "median", len(ordered) - 1: "best", 0: "worst"} if ordered else {}
    return {ordered[place]: titles[place] for place in sorted(titles)}
