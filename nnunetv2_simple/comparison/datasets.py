"""The datasets of a comparison: found, and shown to be the same cases under the same plans and splits."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from nnunetv2.utilities.utils import (
    get_filenames_of_train_images_and_targets,
    get_identifiers_from_splitted_dataset_folder,
)

from nnunetv2_simple.comparison.settings import Comparison, dataset_id
from nnunetv2_simple.conversion.baselines import BASELINES, baseline_dataset_name, is_up_to_date
from nnunetv2_simple.files import read_json
from nnunetv2_simple.grids import check_same_geometry
from nnunetv2_simple.image_folders import foreground_labels
from nnunetv2_simple.images import read_header
from nnunetv2_simple.nnunet.datasets import SPLITS_FILE, draw_folds


def find_datasets(kinds: Collection[str], *, weak: str, dense: str | None, folders: Sequence[Path]) -> dict[str, str]:
    """Return the dataset of each kind of labels, and the weak one; those still to be written get the smallest free ids.

    Args:
        kinds: The kinds of labels the methods learn from.
        weak: Folder name of the converted dataset.
        dense: Folder name of the dataset of dense masks.
        folders: nnUNet_raw first, then the other folders where an id must be free.

    Raises:
        ValueError: If there are several datasets of a kind, or the converted dataset does not tell how it was made.
    """
    datasets = {"weak": weak} | ({"dense": dense} if dense else {})
    name = weak.partition("_")[2]
    number = max(dataset_id(dataset) for dataset in datasets.values()) + 1
    for kind in (kind for kind in BASELINES if kind in kinds):
        if kind == "paper" and walker_parameters(folders[0] / weak).get("recipe") == "paper":
            datasets[kind] = weak
            continue
        found = [folder.name for folder in sorted(folders[0].glob(f"Dataset*_{name}_{kind}")) if folder.is_dir()]
        found = [dataset for dataset in found if dataset.partition("_")[2] == f"{name}_{kind}"]
        if len(found) > 1:
            raise ValueError(f"expected exactly one dataset of the kind {kind} in {folders[0]}, got {found}")
        if not found:
            walker_parameters(folders[0] / weak)
            while _datasets_of_id(number, folders):
                number += 1
            found = [baseline_dataset_name(folders[0] / weak, kind, number)]
            number += 1
        datasets[kind] = found[0]
    return {kind: dataset for kind, dataset in datasets.items() if kind == "weak" or kind in kinds}


def _datasets_of_id(number: int, folders: Sequence[Path]) -> list[Path]:
    return [found for folder in folders for found in sorted(folder.glob(f"Dataset{number:03d}_*"))]


def walker_parameters(weak_folder: Path) -> dict:
    """Return what nnUNetv2_simple_convert made a dataset with."""
    file = weak_folder / "provenance.json"
    if not file.is_file():
        raise ValueError(f"{weak_folder} has no provenance.json, it was not written by nnUNetv2_simple_convert")
    return _read_with_keys(file, "parameters")["parameters"]


def walker_channel(weak_folder: Path) -> int:
    """Return the channel the random walker saw; the first one of datasets nnUNetv2_simple_convert did not write."""
    file = weak_folder / "provenance.json"
    return walker_parameters(weak_folder)["walker_channel"] if file.is_file() else 0


def dataset_json(dataset_folder: Path) -> dict:
    if not (dataset_folder / "dataset.json").is_file():
        raise ValueError(f"{dataset_folder} has no dataset.json")
    content = _read_with_keys(dataset_folder / "dataset.json", "channel_names", "labels", "file_ending")
    if not all(isinstance(label, int) for label in content["labels"].values()):
        raise ValueError(f"{dataset_folder} has region-based labels, which are not compared: {content['labels']}")
    return content


def _read_with_keys(file: Path, *keys: str) -> dict:
    content = read_json(file)
    if missing := [key for key in keys if key not in content]:
        raise ValueError(f"{file} lacks {', '.join(missing)}")
    return content


def training_cases(dataset_folder: Path) -> list[str]:
    """Return the identifiers of the training cases of a raw dataset."""
    return sorted(map(str, get_filenames_of_train_images_and_targets(str(dataset_folder))))


def find_test_cases(images: Path, references: Path, content: Mapping) -> list[str]:
    """Return the test cases, each of which must have all its channels and a reference on the same grid.

    Args:
        images: Holds ``<case>_0000<ending>``, ``<case>_0001<ending>``, ...
        references: Holds ``<case><ending>``.
        content: The converted dataset's dataset.json.

    Raises:
        ValueError: Naming the file that is missing or does not fit.
    """
    ending = content["file_ending"]
    cases = list(map(str, get_identifiers_from_splitted_dataset_folder(str(images), ending)))
    if not cases:
        raise ValueError(f"found no test images <case>_0000{ending} in {images}")
    for case in cases:
        channels = [images / f"{case}_{channel:04d}{ending}" for channel in range(len(content["channel_names"]))]
        reference = references / (case + ending)
        for file in (*channels, reference):
            if not file.is_file():
                raise ValueError(f"test case {case} lacks {'its reference ' if file == reference else ''}{file}")
        headers = read_header(channels[0]), read_header(reference)
        check_same_geometry(*headers, names=(str(channels[0]), str(reference)))
    return cases


def check_datasets(comparison: Comparison) -> None:
    """Make sure that the datasets differ in their labels alone, as far as they are there.

    Raises:
        ValueError: If the converted dataset has no ignore label or no plans, another one has other cases, classes,
            plans or splits or labels of an earlier conversion, the dense one is not dense, or a test case is a training
            case.
    """
    weak = comparison.datasets["weak"]
    if "ignore" not in dataset_json(comparison.raw / weak)["labels"]:
        raise ValueError(
            f"-weak must be a dataset with unlabelled voxels, {comparison.raw / weak} has no label 'ignore'"
        )
    _check_kinds(comparison)
    plans_file = comparison.preprocessed / weak / f"{comparison.plans}.json"
    if not plans_file.is_file():
        raise ValueError(
            f"{plans_file} is missing, plan the dataset first: nnUNetv2_plan_and_preprocess -d {dataset_id(weak)} "
            f"-c {comparison.configuration} (and whatever else made the plans {comparison.plans})"
        )
    configurations = read_json(plans_file)["configurations"]
    if comparison.configuration not in configurations:
        raise ValueError(f"{plans_file} has the configurations {list(configurations)}, not {comparison.configuration}")
    cases = training_cases(comparison.raw / weak)
    if known := sorted(set(cases) & set(comparison.cases)):
        raise ValueError(f"{comparison.images} must not hold training cases of {weak}, got {known}")
    for dataset in set(comparison.datasets.values()) - {weak}:
        _check_plans_and_splits(comparison, dataset)
        folder = comparison.raw / dataset
        if (folder / "dataset.json").is_file():
            if different := sorted(set(cases) ^ set(training_cases(folder))):
                raise ValueError(f"{folder} and {weak} must have the same training cases; they differ in {different}")
            labels = foreground_labels(dataset_json(folder))
            if labels != comparison.labels:
                raise ValueError(f"{folder} must have the classes {dict(comparison.labels)} of {weak}, got {labels}")


def _check_kinds(comparison: Comparison) -> None:
    weak = comparison.raw / comparison.datasets["weak"]
    for kind, dataset in comparison.datasets.items():
        folder = comparison.raw / dataset
        provenance = folder / "provenance.json"
        if kind == "dense":
            found = read_json(provenance).get("kind") if provenance.is_file() else None
            if found in BASELINES or "ignore" in dataset_json(folder)["labels"]:
                raise ValueError(
                    f"-dense must be a dataset of dense masks, as nnUNetv2_simple_convert -dense writes it; {folder} "
                    f"has {f'labels of the kind {found}' if found else 'unlabelled voxels'}"
                )
        is_there = kind in BASELINES and folder != weak and (folder / "dataset.json").is_file()
        if is_there and not is_up_to_date(folder, kind, weak):
            raise ValueError(
                f"the labels of {folder} are not those of {weak.name} as it is now, was it converted again since? "
                f"Remove {dataset} from nnUNet_raw, nnUNet_preprocessed and nnUNet_results, it is then made anew"
            )


def _check_plans_and_splits(comparison: Comparison, dataset: str) -> None:
    weak_folder, folder = (comparison.preprocessed / name for name in (comparison.datasets["weak"], dataset))
    for name in (f"{comparison.plans}.json", SPLITS_FILE):
        if not (folder / name).is_file():
            continue
        own = read_json(folder / name)
        if name == SPLITS_FILE:
            is_same = own == weak_splits(comparison)
        else:
            is_same = own | {"dataset_name": None} == read_json(weak_folder / name) | {"dataset_name": None}
        if not is_same:
            raise ValueError(
                f"{folder / name} must be the same as {weak_folder / name} for a fair comparison: remove {folder}, "
                f"which is then made anew from that of {weak_folder.name}, or choose another dataset"
            )


def weak_splits(comparison: Comparison) -> list[dict[str, list[str]]]:
    """Return the splits of the converted dataset; where there are none yet, the five folds nnU-Net would draw.

    Raises:
        ValueError: With fewer than five cases, of which nnU-Net cannot make five folds.
    """
    weak = comparison.datasets["weak"]
    file = comparison.preprocessed / weak / SPLITS_FILE
    if file.is_file():
        return read_json(file)
    cases = training_cases(comparison.raw / weak)
    if len(cases) < 5:
        raise ValueError(f"nnU-Net needs at least 5 cases to draw five folds, got {len(cases)}: use -f all")
    return draw_folds(cases)
