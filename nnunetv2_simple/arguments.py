"""What the command lines have in common."""

import argparse
import unicodedata
from collections.abc import Sequence
from pathlib import Path

DEFAULT_CLASS = "tumor"


def existing_path(text: str) -> Path:
    """Return an absolute path (workers on other machines have their own current folder), which must exist."""
    path = Path(text).absolute()
    if not path.exists():
        raise argparse.ArgumentTypeError(f"{text} does not exist")
    return path


def existing_folder(text: str) -> Path:
    path = existing_path(text)
    if not path.is_dir():
        raise argparse.ArgumentTypeError(f"{text} is not a folder")
    return path


def add_option(parser: argparse.ArgumentParser, name: str, help: str, **options) -> None:
    """Add an option with nnU-Net's single dash; the usual double one is understood as well, but for single letters."""
    if "default" in options:
        help += f". Default: {options['default']}"
    names = [f"-{name}"] if len(name) == 1 else [f"-{name}", f"--{name}"]
    parser.add_argument(*names, help=f"[OPTIONAL] {help}", **options)


def add_walker_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say what the random walker sees."""
    add_option(parser, "walker_channel", "Index of the channel the random walker uses. Default: 0", type=int)
    add_option(parser, "walker_subtract", "Index of the channel to subtract from it, such as pre-contrast", type=int)


def parse_labels(words: Sequence[str]) -> dict[str, int]:
    """Return the label of each class, from words like tumor=1 node=2; one class of a default name without any.

    Raises:
        ValueError: If the words are others.
    """
    if not words:
        return {DEFAULT_CLASS: 1}
    labels = {}
    for word in words:
        name, _, value = unicodedata.normalize("NFC", word).partition("=")
        if not (name and value.isdecimal()) or name in labels:
            raise ValueError(f"labels must be given like tumor=1 node=2, got {' '.join(words)}")
        labels[name] = int(value)
    return dict(sorted(labels.items(), key=lambda label: label[1]))
