"""Files that are there whole or not at all: written beside their place and moved there."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from batchgenerators.utilities.file_and_folder_operations import save_json

PARTIAL = ".partial_"


@contextmanager
def written_atomically(file: Path) -> Iterator[Path]:
    """Give a path beside a file to write to, and move it to the file's place when the block ends without an error.

    The path ends like the file's name, so that writers find the format. An interruption leaves it behind, see
    :func:`remove_partial_files`; an error removes it.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "notes.txt"
        >>> with written_atomically(file) as beside:
        ...     _ = beside.write_text("whole")
        >>> file.read_text()
        'whole'
    """
    beside = file.with_name(f"{PARTIAL}{uuid4().hex}_{file.name}")
    try:
        yield beside
        with open(beside, "rb+") as content:  # on disk before it has its name
            os.fsync(content.fileno())
        os.replace(beside, file)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def remove_partial_files(folder: Path, name: str = "*") -> None:
    """Remove what interrupted writers of files of this name (a glob pattern) left in a folder."""
    for file in folder.glob(f"{PARTIAL}*_{name}"):
        file.unlink(missing_ok=True)


def read_json(file: Path) -> dict | list:
    """Read a JSON file.

    Raises:
        ValueError: If it is not valid JSON, naming it.
    """
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file} is not valid JSON: {error}") from error


def save_json_atomically(content: dict | list, file: Path) -> None:
    """Write a JSON file; see :func:`written_atomically`."""
    with written_atomically(file) as beside:
        save_json(content, str(beside), sort_keys=False)
