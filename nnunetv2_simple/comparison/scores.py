"""Scores of the predictions of a method, kept as long as neither predictions nor references change."""

from functools import partial

from nnunetv2_simple.comparison.methods import Method
from nnunetv2_simple.comparison.settings import Comparison, Fold
from nnunetv2_simple.evaluation.metrics import score_case
from nnunetv2_simple.files import read_json, save_json_atomically
from nnunetv2_simple.parallel import open_workers


def score_predictions(comparison: Comparison, method: Method, fold: Fold) -> None:
    """Score every test case, unless that has been done.

    Raises:
        ValueError: If a prediction and its reference differ in geometry.
    """
    if is_scored(comparison, method, fold):
        return
    folder = comparison.predictions(method, fold)
    files = {case: (file, comparison.reference_file(case)) for case, file in _predictions(comparison, folder)}
    with open_workers(num_processes=max(comparison.num_processes, 1)) as run:
        options = {"labels": dict(comparison.labels), "tolerance_mm": comparison.tolerance_mm}
        scores = dict(run(partial(_score, files=files, **options), list(files)))
    output_file = comparison.scores_file(method, fold)
    output_file.parent.mkdir(parents=True, exist_ok=True)
    content = _made_with(comparison)
    save_json_atomically(content | {"cases": {case: scores[case] for case in comparison.cases}}, output_file)


def is_scored(comparison: Comparison, method: Method, fold: Fold) -> bool:
    """Tell whether there are scores of all test cases as they are now."""
    scores_file = comparison.scores_file(method, fold)
    if not scores_file.is_file():
        return False
    content = read_json(scores_file)
    if any(content.get(key) != value for key, value in _made_with(comparison).items()) or list(
        content["cases"]
    ) != list(comparison.cases):
        return False
    scored_at = scores_file.stat().st_mtime_ns
    predictions = [file for _, file in _predictions(comparison, comparison.predictions(method, fold))]
    references = [comparison.reference_file(case) for case in comparison.cases]
    return all(file.is_file() and file.stat().st_mtime_ns <= scored_at for file in (*predictions, *references))


def read_scores(comparison: Comparison, method: Method, fold: Fold) -> dict[str, dict]:
    """Return what :func:`nnunetv2_simple.evaluation.metrics.score_case` found, by case."""
    return read_json(comparison.scores_file(method, fold))["cases"]


def _predictions(comparison: Comparison, folder):
    return zip(comparison.cases, comparison.prediction_files(folder), strict=True)


def _made_with(comparison: Comparison) -> dict:
    labels, tolerance_mm = dict(comparison.labels), comparison.tolerance_mm
    return {"references": str(comparison.references), "labels": labels, "tolerance_mm": tolerance_mm}


def _score(case: str, *, files: dict, **options) -> dict:
    return score_case(*files[case], **options)
