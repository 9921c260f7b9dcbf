"""nnU-Net's datasets: what they are called, and what their images look like."""

from collections.abc import Iterable
from pathlib import Path

from nnunetv2.paths import nnUNet_preprocessed, nnUNet_raw, nnUNet_results
from nnunetv2.utilities.dataset_name_id_conversion import maybe_convert_to_dataset_name

from nnunetv2_simple.files import read_json

SPLITS_FILE = "splits_final.json"
SUBTRACTION = "subtraction_channel"  # key of dataset.json: of which two channels the last one is the difference


def dataset_name(dataset: str | int) -> str:
    """Return the name of a dataset, DatasetXXX_Name, from its id or name.

    Raises:
        ValueError: If there is none of that id, or several.
    """
    try:
        return str(maybe_convert_to_dataset_name(dataset))
    except RuntimeError as error:
        raise ValueError(str(error)) from error


def find_dataset(number: int, folder: Path) -> Path:
    """Return the folder of the dataset of an id in one of nnU-Net's folders.

    Raises:
        ValueError: If there is none, or more than one.
    """
    found = sorted(folder.glob(f"Dataset{number:03d}_*"))
    if len(found) != 1:
        names = [dataset.name for dataset in found] or "none"
        raise ValueError(f"expected exactly one dataset of the id {number} in {folder}, got {names}")
    return found[0]


def draw_folds(cases: Iterable[str]) -> list[dict[str, list[str]]]:
    """Return the five folds that nnU-Net draws of some cases, each with ``train`` and ``val``.

    Raises:
        ValueError: With fewer than five cases.
    """
    from nnunetv2.utilities.crossval_split import generate_crossval_split  # takes seconds to import

    folds = generate_crossval_split(sorted(cases), seed=12345, n_splits=5)
    return [{part: list(map(str, names)) for part, names in fold.items()} for fold in folds]


def images_of_dataset(dataset: str | int) -> tuple[list[str], str, tuple[int, int] | None]:
    """Return what nnU-Net expects of a dataset's images, new ones too.

    Args:
        dataset: Its id or name. Raw, preprocessed and trained ones are looked at, in this order.

    Returns:
        The channel names, the file ending, and the channels whose difference the last one is, if it is one.

    Raises:
        ValueError: If there is no dataset.json, or it does not say them.
    """
    name = dataset_name(dataset)
    raw, preprocessed, results = (
        Path(folder) / name if folder else None for folder in (nnUNet_raw, nnUNet_preprocessed, nnUNet_results)
    )
    files = [folder / "dataset.json" for folder in (raw, preprocessed) if folder is not None]
    files += sorted(results.glob("*/dataset.json")) if results is not None else []
    file = next((file for file in files if file.is_file()), None)
    if file is None:
        raise ValueError(f"there is no dataset.json of {name}, neither raw nor preprocessed nor of a trained model")
    content = read_json(file)
    try:
        channels = list(content.get("channel_names", content.get("modality")).values())
        return channels, content["file_ending"], tuple(content[SUBTRACTION]) if SUBTRACTION in content else None
    except (AttributeError, KeyError) as error:
        raise ValueError(f"{file} must hold 'channel_names' and 'file_ending'") from error
