"""Writing what a dataset says of all its cases together, from their records."""

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from nnunetv2.dataset_conversion.generate_dataset_json import generate_dataset_json

from nnunetv2_simple import __version__
from nnunetv2_simple.conversion.case_files import FILE_ENDING
from nnunetv2_simple.conversion.cases import Case, Conversion, unannotated_cases
from nnunetv2_simple.conversion.converted_case import image_files
from nnunetv2_simple.conversion.record import difference, is_done, known_record
from nnunetv2_simple.files import only_one, read_json, remove_partial_files, save_json_atomically
from nnunetv2_simple.nnunet.datasets import SPLITS_FILE, SUBTRACTION
from nnunetv2_simple.report.quality_page import write_page

LOCK = ".lock"
CONVERTED_BY = "nnunetv2_simple"
UNANNOTATED = "unannotated"  # key of dataset.json: what is outside the neighbourhood of the boxes, where not background
LEFT_OUT = ("dataset", "files", "parameters", "warnings", "quality")


def is_own_dataset_json(file: Path) -> bool:
    """Tell whether a dataset.json was written by :func:`write_dataset_files`."""
    try:
        return read_json(file)["converted_by"].startswith(CONVERTED_BY + " ")
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return False


@contextmanager
def locked(folders: Sequence[Path], *, part_id: int = 0, num_parts: int = 1) -> Iterator[None]:
    """Keep other conversions out of some datasets; parts of the same division may work in them together.

    Args:
        folders: The datasets' folders.
        part_id: Which part is at work.
        num_parts: Of how many.

    Raises:
        BlockingIOError: If a conversion is at work there, naming it.
    """
    with ExitStack() as held:
        for folder in folders:
            os.makedirs(folder, exist_ok=True)
            gate, what = only_one(folder / LOCK, str(folder)), f"part {part_id} of {num_parts} of {folder}"
            own = folder / f"{LOCK}_part_{part_id}_of_{num_parts}"
            with ExitStack() as while_looking:
                (held if num_parts == 1 else while_looking).enter_context(gate)
                for other in folder.glob(f"{LOCK}_part_*[0-9]"):
                    if num_parts == 1 or not other.name.endswith(f"_of_{num_parts}"):
                        with only_one(other, str(folder)):
                            pass
                if num_parts > 1:
                    held.enter_context(only_one(own, what))
        yield


def remove_dataset_json(conversion: Conversion) -> None:
    """Take back the promise that the dataset is complete."""
    for folder in conversion.folders:
        (folder / "dataset.json").unlink(missing_ok=True)


def remove_leftovers(conversion: Conversion) -> None:
    """Remove whatever interrupted runs left half-written. No other run may be at work."""
    for folder in conversion.folders:
        for place in (folder, *folder.glob("*/")):
            remove_partial_files(place)
        shutil.rmtree(folder / "partial_conversion", ignore_errors=True)  # of earlier versions
    for file in split_files(conversion):
        remove_partial_files(file.parent, file.name)


def split_files(conversion: Conversion) -> list[Path]:
    """Return where the split belongs: beside the raw data and, for each dataset, beside the preprocessed data."""
    preprocessed = conversion.preprocessed_folder
    folders = [preprocessed / folder.name for folder in conversion.folders] if preprocessed else []
    return [folder / SPLITS_FILE for folder in [conversion.dataset_folder, *folders]]


def write_dataset_files(cases: Sequence[Case], conversion: Conversion) -> None:
    """Write provenance.json, the page of the quality control, the split and dataset.json, the last one last.

    Nothing is written while a case is neither done nor failed, and no dataset.json without a training case.
    """
    folder = conversion.dataset_folder
    done, failed = {}, {}
    for case in sorted(cases, key=lambda case: case.identifier):
        record = known_record(conversion, case.identifier)
        # where parts convert all cases again, those of other parts may still be the old ones
        if is_done(conversion, case.identifier, record) and difference(record, case, conversion) is None:
            done[case.identifier] = record
        elif "reason" in record:
            failed[case.identifier] = record["reason"]
        else:
            return
    save_json_atomically(
        {
            "nnunetv2_simple": __version__,
            "parameters": conversion.parameters(),
            "cases": {name: _provenance(record) for name, record in done.items()},
            "failed": failed,
        },
        folder / "provenance.json",
    )
    training = [name for name, record in done.items() if not record["parameters"]["is_test"]]
    if training:
        quality = {name: done[name]["quality"] for name in training}
        write_page(
            folder,
            quality,
            failed=failed,
            unannotated_margin_mm=conversion.unannotated_margin_mm,
            unannotated_cases=unannotated_cases(cases),
        )
        if any(case.is_validation for case in cases):
            _write_split(training, {case.identifier for case in cases if case.is_validation}, conversion)
        _write_dataset_jsons(training, conversion)


def classes_without_lesion(conversion: Conversion) -> list[str]:
    """Return the classes of a finished dataset of which no training case has a lesion."""
    cases = read_json(conversion.dataset_folder / "provenance.json")["cases"].values()
    labels = {lesion["label"] for case in cases for lesion in case.get("lesions", [])}
    return [name for name, label in conversion.labels.items() if label not in labels]


def _provenance(record: Mapping) -> dict:
    return {key: value for key, value in record.items() if key not in LEFT_OUT}


def _write_split(training: Sequence[str], validation: set[str], conversion: Conversion) -> None:
    """Write nnU-Net's split, one fold, where people see it and where nnU-Net looks for it."""
    split = [
        {
            "train": [name for name in training if name not in validation],
            "val": [name for name in training if name in validation],
        }
    ]
    for file in split_files(conversion):
        file.parent.mkdir(parents=True, exist_ok=True)
        save_json_atomically(split, file)


def _write_dataset_jsons(training: Sequence[str], conversion: Conversion) -> None:
    weak, dense = conversion.dataset_folder, conversion.dense_dataset_folder
    labels = {"background": 0, **conversion.labels}
    if dense:
        entries = entries_of_shared_images(training, weak, dense, len(conversion.written_channels))
        _write_dataset_json(dense, conversion, labels, len(training), dataset=entries)
    unannotated = {} if conversion.unannotated_margin_mm is None else {UNANNOTATED: "ignore"}
    labels["ignore"] = conversion.ignore_label
    _write_dataset_json(weak, conversion, labels, len(training), **unannotated)


def entries_of_shared_images(cases: Iterable[str], converted: Path, folder: Path, num_channels: int) -> dict[str, dict]:
    """Return dataset.json's entries of a dataset with labels of its own for the images of a converted one."""
    return {
        case: {
            "images": [os.path.relpath(file, folder) for file in image_files(converted, case, num_channels)],
            "label": f"labelsTr/{case}{FILE_ENDING}",
        }
        for case in cases
    }


def _write_dataset_json(
    folder: Path, conversion: Conversion, labels: dict[str, int], num_training_cases: int, **extra
) -> None:
    if conversion.subtraction_channel:
        extra[SUBTRACTION] = [conversion.walker_image.channel, conversion.walker_image.subtract]
    with TemporaryDirectory() as scratch:
        generate_dataset_json(
            scratch,
            dict(enumerate(conversion.written_channels)),
            labels,
            num_training_cases,
            FILE_ENDING,
            license="see the source of the images",
            converted_by=f"{CONVERTED_BY} {__version__}",
            **extra,
        )
        content = json.loads((Path(scratch) / "dataset.json").read_text())
    save_json_atomically(content, folder / "dataset.json")
