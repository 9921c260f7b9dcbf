"""What nnUNetv2_find_best_configuration left beside a model: scores, postprocessing, ensembles, instructions.

It names the trainer, and folders of the machine it ran on; in an export, nnU-Net's own trainer and $nnUNet_results.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from batchgenerators.utilities.file_and_folder_operations import load_json, save_json
from nnunetv2.utilities.file_path_utilities import (
    convert_ensemble_folder_to_model_identifiers_and_folds,
    convert_trainer_plans_config_to_identifier,
    folds_tuple_to_string,
)

# of nnU-Net's own export, and the two that its command for the postprocessing asks for
RESULT_FILES = ("summary.json", "postprocessing.pkl", "postprocessing.json", "plans.json", "dataset.json")
CASES = "dataset"  # key of dataset.json: images and label of each case
SCORES = "summary.json"  # of every case, named by its file


def copy_cross_validation(
    source: Path,
    target: Path,
    folds: Mapping[str, Sequence[int | str]],
    *,
    prefix: str,
    stock_prefix: str,
    with_scores: bool = False,
) -> list[str]:
    """Copy what is about exported models only, and about all their folds.

    Args:
        source: The dataset's folder in nnUNet_results.
        target: The one in the export.
        folds: The exported folds of each exported configuration.
        prefix: ``<trainer>__<plans>__``, with which the names of the models begin.
        stock_prefix: The same in the export.
        with_scores: Whether to copy the scores of each case.

    Returns:
        What was copied, as named in the export.
    """
    validated = {
        prefix + configuration: folds_tuple_to_string(sorted(fold for fold in some if fold != "all"))
        for configuration, some in folds.items()
        if any(fold != "all" for fold in some)
    }
    names = [f"{identifier}/crossval_results_folds_{folds}" for identifier, folds in validated.items()]
    names += [
        f"ensembles/{folder.name}"
        for folder in sorted(source.glob("ensembles/ensemble___*"))
        if _is_about(folder.name, validated)
    ]
    copied = []
    for name in names:
        files = [source / name / file for file in RESULT_FILES if with_scores or file != SCORES]
        files = [file for file in files if file.is_file()]
        if files:
            copied.append(name.replace(prefix, stock_prefix))
            (target / copied[-1]).mkdir(parents=True)
            for file in files:
                copy = copy_dataset_json if file.name == "dataset.json" else shutil.copyfile
                copy(file, target / copied[-1] / file.name)
    return copied + _copy_instructions(source, target, validated, prefix=prefix, stock_prefix=stock_prefix)


def copy_dataset_json(source: Path, target: Path) -> None:
    save_json(without_cases(load_json(str(source))), str(target))


def without_cases(dataset_json: Mapping) -> dict:
    """Return the content of a dataset.json without the list of its cases, which some have."""
    return {key: value for key, value in dataset_json.items() if key != CASES}


def _is_about(name: str, validated: Mapping[str, str]) -> bool:
    """Tell whether a model or an ensemble consists of exported models, and of the folds that are exported."""
    if not name.startswith("ensemble___"):
        return name in validated
    identifiers, folds = convert_ensemble_folder_to_model_identifiers_and_folds(name)
    return all(validated.get(identifier) == folds for identifier in identifiers)


def _copy_instructions(
    source: Path, target: Path, validated: Mapping[str, str], *, prefix: str, stock_prefix: str
) -> list[str]:
    """Copy nnU-Net's choice of the best model and how to predict with it, if that model is exported."""
    file = source / "inference_information.json"
    content = load_json(str(file)) if file.is_file() else None
    if content is None:
        return []
    best = content["best_model_or_ensemble"]
    folds = folds_tuple_to_string(sorted(content["folds"]))
    if any(validated.get(_identifier(model)) != folds for model in best["selected_model_or_models"]):
        return []
    content["considered_models"] = [model for model in content["considered_models"] if _identifier(model) in validated]
    content["all_results"] = {
        name: score for name, score in content["all_results"].items() if _is_about(name, validated)
    }
    trainer, stock_trainer = prefix.split("__")[0], stock_prefix.split("__")[0]
    renamed = {path: _below_results(path, source.name) for key, path in best.items() if key.endswith("_file")} | {
        prefix: stock_prefix,
        f'"trainer": "{trainer}"': f'"trainer": "{stock_trainer}"',
        f"-tr {trainer} ": f"-tr {stock_trainer} ",
    }
    (target / file.name).write_text(_replace(json.dumps(content, indent=4, ensure_ascii=False), renamed))
    instructions = source / "inference_instructions.txt"
    if not instructions.is_file():
        return [file.name]
    (target / instructions.name).write_text(_replace(instructions.read_text(), renamed))
    return [file.name, instructions.name]


def _identifier(model: Mapping[str, str]) -> str:
    plans = model["plans_identifier" if "plans_identifier" in model else "plans"]
    return convert_trainer_plans_config_to_identifier(model["trainer"], plans, model["configuration"])


def _below_results(path: str, dataset: str) -> str:
    return f"$nnUNet_results/{dataset}/" + path.rpartition(f"/{dataset}/")[2]


def _replace(text: str, renamed: Mapping[str, str]) -> str:
    for old, new in renamed.items():
        text = text.replace(old, new)
    return text
