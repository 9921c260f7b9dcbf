"""Baselines: the images and clicks of a converted dataset under other labels, for stock nnU-Net and comparisons.

walker      the class that the random walker finds most probable (walkerTr/)
ellipsoid   the ellipsoid inscribed in the box of the extreme points; no image is used
paper       the pseudo-masks of the recipe "paper", with unlabelled voxels

Dataset503_Name_walker/
    labelsTr/          one label per training case of Dataset501_Name
    provenance.json    what they are made from; written before the first of them
    dataset.json       points at the images of Dataset501_Name; written last
"""

import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from nnunetv2_simple import __version__
from nnunetv2_simple.conversion.case_files import FILE_ENDING
from nnunetv2_simple.conversion.cases import IDENTIFIER
from nnunetv2_simple.conversion.converted_case import image_files, kept_voxels, load_walker_image, recorded_lesions
from nnunetv2_simple.conversion.dataset_files import (
    CONVERTED_BY,
    UNANNOTATED,
    entries_of_shared_images,
    locked,
)
from nnunetv2_simple.extreme_points.box import LesionBox
from nnunetv2_simple.files import read_json, remove_partial_files, save_json_atomically, written_atomically
from nnunetv2_simple.images import image_like, read_volume, spacing_zyx_mm, write_image
from nnunetv2_simple.parallel import open_workers, reason_of
from nnunetv2_simple.pseudo_mask.generate import generate_pseudo_mask, merge_pseudo_masks
from nnunetv2_simple.pseudo_mask.walker_probabilities import read_walker_mask

BASELINES = ("walker", "ellipsoid", "paper")
LESION_KEYS = ("extreme_points_zyx", "axes_zyx", "label", "strokes")


def baseline_dataset_name(converted: Path, kind: str, dataset_id: int) -> str:
    """Return ``Dataset<ID>_<name of the converted dataset>_<kind>``."""
    return f"Dataset{dataset_id:03d}_{converted.name.partition('_')[2]}_{kind}"


def is_up_to_date(folder: Path, kind: str, converted: Path) -> bool:
    """Tell whether a baseline is made from the lesions, images and parameters the converted dataset has now."""
    before, now = _recorded(folder), _provenance(converted, kind)
    return all(before.get(key) == now[key] for key in ("kind", "weak_dataset", "parameters", "cases"))


def write_baseline(
    converted: Path,
    kind: str,
    folder: Path,
    *,
    num_processes: int = 1,
    progress: Callable[[Sequence[str], Iterator], Iterator] = lambda cases, finished: finished,
) -> None:
    """Write a raw dataset of the training cases and images of a converted one, with labels of another kind.

    Labels that are up to date are kept, so the same call completes an interrupted one.

    Args:
        converted: What nnUNetv2_simple_convert wrote.
        kind: One of ``BASELINES``.
        folder: The dataset to write, beside the converted one.
        num_processes: Cases labelled at the same time.
        progress: Wraps the iterator over the finished cases, given the cases to label; e.g. a progress bar.

    Raises:
        ValueError: If the converted dataset is incomplete or has labels of this kind itself, or a case cannot be
            labelled; the other cases then are.
        FileExistsError: If the folder holds files of another origin.
        BlockingIOError: If another process writes the same baseline.
        ConnectionError: If worker processes keep dying.
    """
    converted, folder = (Path(os.path.abspath(path)) for path in (converted, folder))
    provenance = _provenance(converted, kind)
    _check_is_own(folder, provenance)  # nothing is written before
    with open_workers(num_processes=num_processes) as run, locked([folder]):
        to_label = _begin(folder, provenance)
        label = partial(_try_to_label, converted=converted, folder=folder, provenance=provenance)
        found = dict(progress(to_label, run(label, to_label)))
        if failures := [f"{case}: {reason}" for case, reason in sorted(found.items()) if reason]:
            raise ValueError("; ".join(failures))
        _write_dataset_json(converted, folder, provenance)


def _provenance(converted: Path, kind: str) -> dict:
    """Return everything the labels depend on."""
    if kind not in BASELINES:
        raise ValueError(f"the baselines are {', '.join(BASELINES)}; got {kind!r}")
    for name in ("provenance.json", "dataset.json"):
        if not (converted / name).is_file():
            raise ValueError(f"{converted} has no {name}: convert the dataset with nnUNetv2_simple_convert first")
    content = read_json(converted / "provenance.json")
    if kind == "paper" and content["parameters"]["recipe"] == "paper":
        raise ValueError(f"{converted} was converted with the recipe paper: its labels are this baseline already")
    cases = {
        name: {
            "images_sha256": [image["sha256"] for image in case["inputs"]["images"]],
            "lesions": [{key: lesion[key] for key in LESION_KEYS if key in lesion} for lesion in case["lesions"]],
            "unannotated_margin_mm": case.get("unannotated_margin_mm"),
        }
        for name, case in content["cases"].items()
        if "lesions" in case  # test cases have none
    }
    if wrong := [name for name in cases if not re.fullmatch(IDENTIFIER, name)]:
        raise ValueError(f"{converted / 'provenance.json'} names cases that no conversion calls so: {wrong}")
    made_of = {"kind": kind, "weak_dataset": converted.name, "parameters": content["parameters"], "cases": cases}
    return {"nnunetv2_simple": __version__} | made_of


def _recorded(folder: Path) -> dict:
    with suppress(OSError, ValueError):
        content = read_json(folder / "provenance.json")
        return content if isinstance(content, dict) else {}
    return {}


def _check_is_own(folder: Path, provenance: dict) -> None:
    before = _recorded(folder)
    is_own = all(before.get(key) == provenance[key] for key in ("kind", "weak_dataset"))
    if not is_own and any(folder.glob("[!.]*")):
        raise FileExistsError(
            f"{folder} holds something other than the baseline {provenance['kind']!r} of "
            f"{provenance['weak_dataset']}: remove it or choose another dataset id"
        )


def _begin(folder: Path, provenance: dict) -> list[str]:
    """Remove leftovers and outdated labels; return the cases to label."""
    _check_is_own(folder, provenance)
    labels = folder / "labelsTr"
    if _recorded(folder) != provenance:
        (folder / "dataset.json").unlink(missing_ok=True)
        if labels.is_dir():
            shutil.rmtree(labels)
        folder.mkdir(exist_ok=True)
        save_json_atomically(provenance, folder / "provenance.json")
    labels.mkdir(exist_ok=True)
    for place in (folder, labels):
        remove_partial_files(place)
    to_label = [case for case in provenance["cases"] if not _is_whole(_label_file(folder, case))]
    if to_label:
        (folder / "dataset.json").unlink(missing_ok=True)
    return to_label


def _is_whole(label_file: Path) -> bool:
    try:
        read_volume(str(label_file))
    except ValueError:
        return False
    return True


def _try_to_label(case: str, *, converted: Path, folder: Path, provenance: dict) -> str | None:
    """Label a case; return why it could not be labelled, if so."""
    try:
        like = read_volume(str(_label_file(converted, case)))
        label = _label(case, like, converted, provenance)
        with written_atomically(_label_file(folder, case)) as beside:
            write_image(image_like(label.astype(np.uint8), like), str(beside))
    except Exception as error:  # whatever happens to one case must not stop the others
        return reason_of(error)
    return None


def _label(case: str, like: sitk.Image, converted: Path, provenance: dict) -> np.ndarray:
    """Return the label (z, y, x) of a case; ``like`` has its geometry."""
    record, weak = provenance["cases"][case], sitk.GetArrayFromImage(like)
    if not record["lesions"]:
        return weak  # painted, or all background
    label = _label_of_lesions(case, like, converted, provenance)
    return np.where(kept_voxels(weak, record, like, ignore_label=provenance["parameters"]["ignore_label"]), weak, label)


def _label_of_lesions(case: str, like: sitk.Image, converted: Path, provenance: dict) -> np.ndarray:
    parameters = provenance["parameters"]
    if provenance["kind"] == "walker":
        return read_walker_mask(converted, case, list(parameters["labels"].values()))
    lesions = recorded_lesions(provenance["cases"][case], like)
    labels, shape, spacing_mm = [lesion.label for lesion in lesions], like.GetSize()[::-1], spacing_zyx_mm(like)
    if provenance["kind"] == "ellipsoid":
        return _nearest_ellipsoid([lesion.box(shape, spacing_mm) for lesion in lesions], labels, shape)
    image, _ = load_walker_image(image_files(converted, case, len(parameters["channel_names"])), parameters)
    options = {"spacing_mm": spacing_mm, "ignore_label": parameters["ignore_label"]}
    pseudo_masks = (
        generate_pseudo_mask(
            image, lesion.extreme_points, axes=lesion.axes, seeds=lesion.seeds(shape, spacing_mm), **options
        )
        for lesion in lesions
    )
    return merge_pseudo_masks(pseudo_masks, labels, ignore_label=parameters["ignore_label"])


def _nearest_ellipsoid(boxes: Sequence[LesionBox], labels: Sequence[int], shape: Sequence[int]) -> np.ndarray:
    """Give every voxel the label of the ellipsoid it lies in; of several, that of the smallest radius."""
    label, nearest = np.zeros(shape, dtype=np.uint8), np.full(shape, np.inf)
    for box, own_label in zip(boxes, labels, strict=True):
        radius = box.radius(tuple(slice(0, size) for size in shape))
        wins = (radius <= 1) & (radius < nearest)
        label[wins], nearest[wins] = own_label, radius[wins]
    return label


def _write_dataset_json(converted: Path, folder: Path, provenance: dict) -> None:
    parameters = provenance["parameters"]
    labels = {"background": 0, **parameters["labels"]}
    if provenance["kind"] == "paper" or UNANNOTATED in read_json(converted / "dataset.json"):
        labels["ignore"] = parameters["ignore_label"]
    entries = entries_of_shared_images(provenance["cases"], converted, folder, len(parameters["channel_names"]))
    own = {"labels": labels, "converted_by": f"{CONVERTED_BY} {__version__}", "dataset": entries}
    save_json_atomically(read_json(converted / "dataset.json") | own, folder / "dataset.json")


def _label_file(dataset: Path, case: str) -> Path:
    return dataset / "labelsTr" / (case + FILE_ENDING)
