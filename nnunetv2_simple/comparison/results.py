"""All results of a comparison in one dictionary: what comparison.json holds and tables and report are made from."""

import shlex
from datetime import datetime
from importlib.metadata import version

from nnunetv2_simple import __version__
from nnunetv2_simple.comparison.commands import predict_command, train_command
from nnunetv2_simple.comparison.methods import FULL_SUPERVISION, Method
from nnunetv2_simple.comparison.predictions import what_is_wrong
from nnunetv2_simple.comparison.preparation import preparation_commands
from nnunetv2_simple.comparison.scores import is_scored, read_scores
from nnunetv2_simple.comparison.settings import Comparison, Fold
from nnunetv2_simple.comparison.training_state import cost, read_costs
from nnunetv2_simple.evaluation.statistics import compare_dice, summarise

ROLES_ON_FILE = {"baseline": "rival"}  # so every comparison.json has it


def collect_results(comparison: Comparison) -> dict:
    """Return settings, versions, and of every method that has scores: scores, statistics, commands and costs.

    Dice and Jaccard go from 0 to 1, distances are in mm, volumes in ml.
    """
    scores = {}
    for method in comparison.methods:
        folds = [
            fold
            for fold in comparison.folds
            if what_is_wrong(comparison, method, fold) is None and is_scored(comparison, method, fold)
        ]
        if folds:
            scores[method.key] = {str(fold): read_scores(comparison, method, fold) for fold in folds}
    return {
        "nnunetv2_simple": __version__,
        "created": datetime.now().astimezone().isoformat(timespec="seconds"),
        "settings": comparison.settings(),
        "preparation": preparation_commands(comparison),
        "versions": _versions_of_trainings(comparison),
        "reported_with": {"nnunetv2_simple": __version__, "nnunetv2": version("nnunetv2")},
        "methods": [_method(comparison, method, scores) for method in comparison.methods if method.key in scores],
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
    is_full = method.key == FULL_SUPERVISION
    return {
        "key": method.key,
        "title": method.title,
        "role": ROLES_ON_FILE.get(method.role, method.role),
        "annotation": method.annotation,
        "labels": method.labels,
        "dataset": comparison.dataset(method),
        "trainer": comparison.training(method, comparison.folds[0]).trainer,
        "checkpoint": method.checkpoint,
        "paper_dice": method.paper_dice and list(method.paper_dice),
        "paper_jaccard": method.paper_jaccard and list(method.paper_jaccard),
        "summary": summarise([case for cases in own.values() for case in cases.values()]),
        "wilcoxon_vs_full": None if is_full else compare_dice(own, full),
        "folds": {
            str(fold): _fold(comparison, method, fold, own[str(fold)], full.get(str(fold)))
            for fold in comparison.folds
            if str(fold) in own
        },
    }


def _fold(comparison: Comparison, method: Method, fold: Fold, cases: dict, full_cases: dict | None) -> dict:
    training, predictions = comparison.training(method, fold), comparison.predictions(method, fold)
    commands = train_command(comparison, training), predict_command(comparison, method, fold, predictions)
    summary = summarise(list(cases.values()))
    full_dice = summarise(list(full_cases.values()))["dice"]["mean"] if full_cases else 0
    return {
        "model_folder": str(training.folder),
        "predictions": str(predictions),
        "commands": [shlex.join(command) for command in commands],
        "cost": cost(training, training.folder / method.checkpoint),
        "dice_ratio_to_full": summary["dice"]["mean"] / full_dice if full_dice else None,
        "summary": summary,
        "cases": cases,
    }
