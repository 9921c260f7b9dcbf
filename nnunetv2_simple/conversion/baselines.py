"""Datasets to compare SimPLe with: the images and clicks of a converted dataset, under other labels.

    Dataset503_Name_walker/
        labelsTr/          one label per training case of Dataset501_Name
                           (see :mod:`nnunetv2_simple.conversion.baseline_labels`)
        provenance.json    what they are made from: written before the first of them
        dataset.json       points at the images of Dataset501_Name; written last

Lesions and parameters come from the provenance.json of the converted dataset. Labels are written beside their places
and moved, so that a run that is interrupted at any moment is completed by the next one; labels of lesions or images
that have changed meanwhile are made anew.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from uuid import uuid4

import SimpleITK as sitk

from nnunetv2_simple import __version__
from nnunetv2_simple.conversion.baseline_labels import RIVAL_KINDS, SPARSE_KINDS, rival_label
from nnunetv2_simple.conversion.case_files import FILE_ENDING
from nnunetv2_simple.conversion.cases import WalkerImage
from nnunetv2_simple.conversion.dataset_files import CONVERTED_BY, is_own_dataset_json
from nnunetv2_simple.files import PARTIAL, read_json, remove_partial_files, save_json_atomically
from nnunetv2_simple.images import image_like, patient_axes, read_volume, spacing_zyx_mm, write_image
from nnunetv2_simple.parallel import open_workers

LESION_KEYS = ("extreme_points_zyx", "axes_zyx", "label")

__all__ = ["RIVAL_KINDS", "is_of", "rival_dataset_name", "write_rival_dataset"]


def rival_dataset_name(weak_dataset_folder: Path, kind: str, dataset_id: int) -> str:
    """Return ``Dataset<ID>_<name of the weak dataset>_<kind>``."""
    return f"Dataset{dataset_id:03d}_{Path(weak_dataset_folder).name.partition('_')[2]}_{kind}"


def is_of(weak_dataset_folder: Path, kind: str, rival_dataset_folder: Path) -> bool:
    """Tell whether a dataset of a kind is made from the lesions, images and parameters the converted one has now."""
    made_from = _earlier_provenance_file(rival_dataset_folder)
    keys = ("kind", "weak_dataset", "parameters", "cases")
    now = _provenance(weak_dataset_folder, kind)
    return all(made_from.get(key) == now[key] for key in keys)


def write_rival_dataset(
    weak_dataset_folder: Path,
    kind: str,
    rival_dataset_folder: Path,
    *,
    num_processes: int = 1,
    progress: Callable[[Sequence[str], Iterator], Iterator] = lambda cases, finished: finished,
) -> None:
    """Write a raw dataset of the same training cases and images as a converted one, with labels of another kind.

    Args:
        weak_dataset_folder: What nnUNetv2_simple_convert wrote.
        kind: "walker", "ellipsoid" or "paper".
        rival_dataset_folder: The dataset to write, beside the other one. Labels that are there already are kept.
        num_processes: Cases labelled at the same time.
        progress: Wraps the iterator over the finished cases, given the cases to label; e.g. a progress bar.

    Raises:
        ValueError: If there is no such kind, if the converted dataset is none or not complete or has labels of this
            kind itself, or if a case cannot be labelled.
        FileExistsError: If the folder to write holds files that did not come from here.
        ConnectionError: If worker processes keep dying.
    """
    weak, rival = (Path(os.path.abspath(folder)) for folder in (weak_dataset_folder, rival_dataset_folder))
    provenance = _provenance(weak, kind)
    to_label = _begin(rival, provenance, before=_earlier_provenance(rival, provenance))
    failures = {}
    with open_workers(num_processes=num_processes) as run:
        function = partial(_try_to_label, weak=weak, rival=rival, provenance=provenance)
        for case, reason in progress(to_label, run(function, to_label)):
            if reason is not None:
                failures[case] = reason
    if failures:
        raise ValueError("; ".join(f"{case}: {reason}" for case, reason in sorted(failures.items())))
    save_json_atomically(_dataset_json(weak, rival, provenance), rival / "dataset.json")


def _provenance(weak: Path, kind: str) -> dict:
    """Return all that decides on the labels."""
    if kind not in RIVAL_KINDS:
        raise ValueError(f"kind must be one of {RIVAL_KINDS}, got {kind!r}")
    if not (weak / "provenance.json").is_file():
        raise ValueError(f"{weak} has no provenance.json: convert the dataset with nnUNetv2_simple_convert")
    if not (weak / "dataset.json").is_file():
        raise ValueError(f"{weak} has no dataset.json: run its conversion again, it goes on where it stopped")
    content = read_json(weak / "provenance.json")
    if kind == "paper" and content["parameters"]["recipe"] == "paper":
        raise ValueError(f"the labels of {weak} are of the recipe paper already, there is nothing to derive")
    cases = {
        name: {
            "images_sha256": [image["sha256"] for image in case["inputs"]["images"]],
            "lesions": [{key: lesion[key] for key in LESION_KEYS if key in lesion} for lesion in case["lesions"]],
        }
        for name, case in content["cases"].items()
        if "lesions" in case  # test cases have none
    }
    return {
        "nnunetv2_simple": __version__,
        "kind": kind,
        "weak_dataset": weak.name,
        "parameters": content["parameters"],
        "cases": cases,
    }


def _earlier_provenance_file(rival: Path) -> dict:
    with suppress(OSError, ValueError):
        content = read_json(rival / "provenance.json")
        return content if isinstance(content, dict) else {}
    return {}


def _earlier_provenance(rival: Path, provenance: Mapping) -> dict | None:
    """Return what an earlier run wrote; refuse a folder that holds anything else."""
    file, before = rival / "provenance.json", _earlier_provenance_file(rival)
    if not all(before.get(key) == provenance[key] for key in ("kind", "weak_dataset")):
        before = None
    own = {_label_file(rival, case) for case in before["cases"]} | {file} if before else set()
    if before and is_own_dataset_json(rival / "dataset.json"):
        own.add(rival / "dataset.json")
    for found in (file, rival / "dataset.json", *sorted(rival.glob("*/[!.]*"))):
        if found.exists() and found not in own:
            raise FileExistsError(
                f"{found} holds no labels of the kind {provenance['kind']!r} of {provenance['weak_dataset']}: "
                f"somebody else put it there; remove it or choose another dataset id"
            )
    return before


def _begin(rival: Path, provenance: Mapping, *, before: Mapping | None) -> list[str]:
    """Clear what interrupted runs left and what has become outdated; return the cases to label."""
    (rival / "labelsTr").mkdir(parents=True, exist_ok=True)
    for folder in (rival, rival / "labelsTr"):
        remove_partial_files(folder, "*")
    if before != provenance:
        (rival / "dataset.json").unlink(missing_ok=True)
        settings = [key for key in provenance if key != "cases"]
        for case, made_from in before["cases"].items() if before else ():
            same_settings = all(before.get(key) == provenance[key] for key in settings)
            if not same_settings or made_from != provenance["cases"].get(case):
                _label_file(rival, case).unlink(missing_ok=True)
        save_json_atomically(provenance, rival / "provenance.json")
    to_label = [case for case in provenance["cases"] if not _label_file(rival, case).is_file()]
    if to_label:
        (rival / "dataset.json").unlink(missing_ok=True)
    return to_label


def _try_to_label(case: str, *, weak: Path, rival: Path, provenance: Mapping) -> str | None:
    """Label a case; return why it could not be labelled, if so."""
    try:
        _label_case(case, weak=weak, rival=rival, provenance=provenance)
    except ValueError as error:
        return str(error)
    except Exception as error:  # whatever happens to one case must not stop the others
        return f"{type(error).__name__}: {error}"
    return None


def _label_case(case: str, *, weak: Path, rival: Path, provenance: Mapping) -> None:
    parameters = provenance["parameters"]
    channels = [read_volume(str(file)) for file in _image_files(weak, case, parameters)]
    axes = patient_axes(channels[0])  # of the lesions of a conversion that did not record any
    walker_image = WalkerImage(parameters["walker_channel"], parameters["walker_subtracts_channel"])
    label = rival_label(
        provenance["kind"],
        walker_image([sitk.GetArrayViewFromImage(channel) for channel in channels]),
        [{"axes_zyx": axes} | lesion for lesion in provenance["cases"][case]["lesions"]],
        spacing_mm=spacing_zyx_mm(channels[0]),
        parameters=parameters,
    )
    file = _label_file(rival, case)
    beside = file.with_name(f"{PARTIAL}{uuid4().hex}{FILE_ENDING}")
    write_image(image_like(label, channels[0]), str(beside))
    os.replace(beside, file)


def _label_file(dataset: Path, case: str) -> Path:
    return dataset / "labelsTr" / (case + FILE_ENDING)


def _image_files(weak: Path, case: str, parameters: Mapping) -> list[Path]:
    return [weak / "imagesTr" / f"{case}_{i:04d}{FILE_ENDING}" for i in range(len(parameters["channel_names"]))]


def _dataset_json(weak: Path, rival: Path, provenance: Mapping) -> dict:
    parameters = provenance["parameters"]
    labels = {"background": 0, **parameters["labels"]}
    if provenance["kind"] in SPARSE_KINDS:
        labels["ignore"] = parameters["ignore_label"]
    entries = {
        case: {
            "images": [os.path.relpath(file, rival) for file in _image_files(weak, case, parameters)],
            "label": f"labelsTr/{case}{FILE_ENDING}",
        }
        for case in provenance["cases"]
    }
    content = read_json(weak / "dataset.json")
    return content | {"labels": labels, "converted_by": f"{CONVERTED_BY} {__version__}", "dataset": entries}
