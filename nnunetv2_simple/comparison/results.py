"""Scores of the predictions, and all results in one dictionary, which comparison.json holds."""

import shlex
from collections.abc import Callable
from datetime import datetime
from functools import partial
from importlib.metadata import version

from nnunetv2_simple import __version__
from nnunetv2_simple.comparison.methods import FULL_SUPERVISION, Method
from nnunetv2_simple.comparison.predictions import problem_of
from nnunetv2_simple.comparison.settings import Comparison, Fold
from nnunetv2_simple.comparison.steps import method_commands, preparations
from nnunetv2_simple.comparison.training_state import cost, read_costs
from nnunetv2_simple.evaluation.metrics import MEASURES, score_case
from nnunetv2_simple.evaluation.statistics import compare_dice, holm, summarise
from nnunetv2_simple.files import read_json, save_json_atomically
from nnunetv2_simple.parallel import open_workers

ROLES_ON_FILE = {"baseline": "rival"}  # so every comparison.json has it


def score_predictions(comparison: Comparison, say: Callable[[str], None]) -> dict[str, dict[str, dict]]:
    """Score the complete predictions, unless that has been done.

    Args:
        comparison: What is compared.
        say: Called with one line per method and fold that is left out.

    Returns:
        By method, fold and case what :func:`nnunetv2_simple.evaluation.metrics.score_case` found.

    Raises:
        ValueError: If a prediction and its reference differ in geometry.
    """
    found = {}
    for fold in comparison.folds:
        for method in comparison.methods:
            if problem := problem_of(comparison, method, fold):
                say(f"{method.key}, fold {fold} is left out: {problem}")
            else:
                found.setdefault(method.key, {})[str(fold)] = scores_of(comparison, method, fold)
    return found


def scores_of(comparison: Comparison, method: Method, fold: Fold) -> dict[str, dict]:
    """Return the scores of every test case; they are kept as long as neither predictions nor references change."""
    options = {"labels": dict(comparison.labels), "tolerance_mm": comparison.tolerance_mm}
    made_with = {"references": str(comparison.references), "measures": list(MEASURES)} | options
    predictions = comparison.case_files(comparison.predictions(method, fold))
    references = comparison.case_files(comparison.references)
    scores_file = comparison.output_folder / "scores" / method.key / f"fold_{fold}.json"
    if scores_file.is_file():
        content, scored_at = read_json(scores_file), scores_file.stat().st_mtime_ns
        is_same = all(content.get(key) == value for key, value in made_with.items())
        is_newest = all(file.stat().st_mtime_ns <= scored_at for file in (*predictions, *references))
        if is_same and is_newest and list(content["cases"]) == list(comparison.cases):
            return content["cases"]
    files = dict(zip(comparison.cases, zip(predictions, references, strict=True), strict=True))
    with open_workers(num_processes=max(comparison.num_processes, 1)) as run:
        scores = dict(run(partial(_score, files=files, options=options), list(files)))
    scores_file.parent.mkdir(parents=True, exist_ok=True)
    content = made_with | {"cases": {case: scores[case] for case in comparison.cases}}
    save_json_atomically(content, scores_file)
    return content["cases"]


def _score(case: str, *, files: dict, options: dict) -> dict:
    return score_case(*files[case], **options)


def collect_results(comparison: Comparison, scores: dict[str, dict[str, dict]]) -> dict:
    """Return settings, versions, and of every method that has scores: scores, statistics, commands and costs.

    Dice, Jaccard and NSD go from 0 to 1, distances are in mm, volumes in ml.

    Args:
        comparison: What is compared.
        scores: See :func:`score_predictions`.
    """
    made_datasets = preparations(comparison, of_converted=False)
    methods = [_method(comparison, method, scores) for method in comparison.methods if method.key in scores]
    tests = [method["wilcoxon_vs_full"] for method in methods if method["wilcoxon_vs_full"]]
    for test, p_value in zip(tests, holm([test["p_value"] for test in tests]), strict=True):
        test["holm_p_value"] = p_value
    return {
        "nnunetv2_simple": __version__,
        "created": datetime.now().astimezone().isoformat(timespec="seconds"),
        "settings": comparison.settings(),
        "preparation": [shlex.join(command) for step in made_datasets for command in step.commands],
        "versions": _versions_of_trainings(comparison),
        "reported_with": {"nnunetv2_simple": __version__, "nnunetv2": version("nnunetv2")},
        "methods": methods,
    }


def _versions_of_trainings(comparison: Comparison) -> dict[str, str]:
    """Return what the trainings ran with, as far as it was noted: not so where a scheduler ran them."""
    noted = [read_costs(training).get("versions") for training in comparison.trainings()]
    known = [versions for versions in noted if versions]
    return {
        name: ", ".join(dict.fromkeys(versions[name] for versions in known)) for name in (known[0] if known else ())
    }


def _method(comparison: Comparison, method: Method, scores: dict) -> dict:
    own, full = scores[method.key], scores.get(FULL_SUPERVISION, {})
    return {
        "key": method.key,
        "title": method.title,
        "role": ROLES_ON_FILE.get(method.role, method.role),
        "annotation": method.annotation,
        "labels": method.labels,
        "dataset": comparison.datasets[method.labels],
        "trainer": comparison.training(method, comparison.folds[0]).trainer,
        "checkpoint": method.checkpoint,
        "paper_dice": method.paper_dice and list(method.paper_dice),
        "paper_jaccard": method.paper_jaccard and list(method.paper_jaccard),
        "summary": summarise([case for cases in own.values() for case in cases.values()]),
        "wilcoxon_vs_full": None if method.key == FULL_SUPERVISION else compare_dice(own, full),
        "folds": {
            str(fold): _fold(comparison, method, fold, own[str(fold)], full.get(str(fold)))
            for fold in comparison.folds
            if str(fold) in own
        },
    }


def _fold(comparison: Comparison, method: Method, fold: Fold, cases: dict, full_cases: dict | None) -> dict:
    training = comparison.training(method, fold)
    summary = summarise(list(cases.values()))
    full_dice = summarise(list(full_cases.values()))["dice"]["mean"] if full_cases else 0
    return {
        "model_folder": str(training.folder),
        "predictions": str(comparison.predictions(method, fold)),
        "commands": [shlex.join(command) for command in method_commands(comparison, method, fold)],
        "cost": cost(training, training.folder / method.checkpoint),
        "dice_ratio_to_full": summary["dice"]["mean"] / full_dice if full_dice else None,
        "summary": summary,
        "cases": cases,
    }
