"""Files that are there whole or not at all: written beside their place and moved there."""

import json
import os
from pathlib import Path
from uuid import uuid4

from batchgenerators.utilities.file_and_folder_operations import save_json

PARTIAL = ".partial_"


def remove_partial_files(folder: Path, name: str = "*.json") -> None:
    """Remove what interrupted calls of :func:`save_json_atomically` left in a folder."""
    for file in folder.glob(f"{name}{PARTIAL}*"):
        file.unlink(missing_ok=True)


def read_json(file: Path) -> dict | list:
    """Read a JSON file.

    Raises:
        ValueError: If it is none, naming it.
    """
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file} is no JSON file: {error}") from error


def save_json_atomically(content: dict | list, file: Path) -> None:
    """Write a JSON file beside its place and move it there."""
    partial = file.with_name(f"{file.name}{PARTIAL}{uuid4().hex}")
    save_json(content, str(partial), sort_keys=False)
    os.replace(partial, file)
