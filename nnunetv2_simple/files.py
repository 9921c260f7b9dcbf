"""Files that are there whole or not at all: written beside their place and moved there."""

import codecs
import json
import os
import shlex
import socket
import sys
import unicodedata
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from uuid import uuid4

from batchgenerators.utilities.file_and_folder_operations import save_json
from filelock import FileLock, Timeout

PARTIAL = ".partial_"
LOCK_AWAITED_S = 5.0  # workers of a process that was killed end within a second


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
        move_into_place(beside, file)
    except BaseException as error:
        beside.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno and error.filename is None:  # a full disk: say of which file
            raise OSError(error.errno, error.strerror, str(file)) from error
        raise


def move_into_place(beside: str | Path, file: Path) -> None:
    """Give a file that is written its name, once it is on the disk; a power cut then leaves the one or the other."""
    with open(beside, "rb+") as content:
        os.fsync(content.fileno())
    os.replace(beside, file)


def printable(text: str) -> str:
    """Return text with the bytes of a file name that are not UTF-8 written out, like \\xe4."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def check_is_utf8(path: str | Path) -> None:
    """Make sure that a path is UTF-8: one that is not ends the process from inside SimpleITK.

    Raises:
        ValueError: Naming it.
    """
    if printable(str(path)) != str(path):
        raise ValueError(f"the path {printable(str(path))} is not UTF-8, rename it")


def remove_partial_files(folder: Path, name: str = "*") -> None:
    """Remove what interrupted writers of files of this name (a glob pattern) left in a folder."""
    for file in folder.glob(f"{PARTIAL}*_{name}"):
        file.unlink(missing_ok=True)


def read_text(file: str | Path) -> str:
    """Read text in UTF-8, or in UTF-16 with a byte-order mark, with composed characters (Unicode's NFC).

    Raises:
        OSError: If the file cannot be read.
        ValueError: If its text is in another encoding. Naming the file is left to the caller.
    """
    content = Path(file).read_bytes()
    is_utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    if not is_utf16 and b"\0" in content:
        raise ValueError("its text holds zero bytes: is it UTF-16 without a byte-order mark? Save it as UTF-8")
    try:
        text = content.decode("utf-16" if is_utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"its text is not {'UTF-16' if is_utf16 else 'UTF-8'} (byte 0x{content[error.start]:02x} at "
            f"{error.start}), probably it is in the code page of some language; save it as UTF-8 (Excel: 'CSV UTF-8')"
        ) from error
    return unicodedata.normalize("NFC", text)


def files_below(folder: Path, *, ignored: Collection[str | Path] = ()) -> Iterator[Path]:
    """List the files of a folder and of its sub-folders, in order, but hidden ones and those ignored.

    Args:
        folder: The folder itself is never ignored.
        ignored: Files and folders to leave out.
    """
    ignored = {os.path.realpath(path) for path in ignored}
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith(".") or os.path.realpath(entry) in ignored:
            continue
        if entry.is_dir():
            yield from files_below(entry, ignored=ignored)
        else:
            yield entry


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


@contextmanager
def only_one(lock_file: Path, what: str) -> Iterator[None]:
    """Hold a lock, so that no second process does the same at the same time. The system lets go of it after a kill.

    Args:
        lock_file: The file to lock; it stays. Beside it ``<lock_file>.json`` says who holds it, as long as it is held.
        what: What is locked, for the error.

    Raises:
        BlockingIOError: If another process holds the lock and keeps it for some seconds, naming that process.
    """
    lock, holder_file = FileLock(lock_file), lock_file.with_name(lock_file.name + ".json")
    try:
        lock.acquire(timeout=LOCK_AWAITED_S)
    except Timeout as error:
        raise BlockingIOError(f"{what} is in use by {_holder(holder_file)}: wait until it has ended") from error
    except (OSError, NotImplementedError) as error:
        warnings.warn(
            f"{what} is not protected against a second process at work there: {lock_file} cannot be locked ({error})",
            RuntimeWarning,
            stacklevel=3,
        )
        yield
        return
    try:
        with suppress(OSError):  # a full disk; the lock counts
            save_json_atomically(
                {
                    "process": os.getpid(),
                    "host": socket.gethostname(),
                    "since": f"{datetime.now():%Y-%m-%d %H:%M:%S}",
                    "command": shlex.join(sys.argv),
                },
                holder_file,
            )
        yield
    finally:
        holder_file.unlink(missing_ok=True)
        lock.release()


def _holder(holder_file: Path) -> str:
    try:
        found = read_json(holder_file)
        return f"process {found['process']} on {found['host']} since {found['since']} ({found['command']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
