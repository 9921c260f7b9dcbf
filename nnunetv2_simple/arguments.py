"""What the command lines have in common: --version, options as nnU-Net has them, examples at the end of the help."""

import argparse
import shutil
import textwrap
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path

from nnunetv2.configuration import default_num_processes

from nnunetv2_simple import __version__

DEFAULT_CLASS = "tumor"
HELP_WIDTH = 100
MAX_NAMED = 20  # of which the same is said


def command_parser(description: str, *examples: str, epilog: str = "") -> argparse.ArgumentParser:
    """Return a parser with --version, which takes no abbreviated options.

    Args:
        description: What the command does.
        examples: Lines at the end of the help: commands as one would type them, each after a comment.
        epilog: A sentence before them.
    """
    width = min(shutil.get_terminal_size().columns - 2, HELP_WIDTH)
    ending = [textwrap.fill(epilog, width)] if epilog else []
    if examples:
        ending.append("\n".join(["examples:", *(f"  {line}" for line in examples)]))
    parser = argparse.ArgumentParser(
        description=textwrap.fill(description, width),
        epilog="\n\n".join(ending),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"nnunetv2_simple {__version__}")
    return parser


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
    if options.get("default") is not None:
        help += f". Default: {as_typed(options['default'])}"
    names = [f"-{name}"] if len(name) == 1 else [f"-{name}", f"--{name}"]
    parser.add_argument(*names, help=f"[OPTIONAL] {help}", **options)


def add_flag(parser: argparse.ArgumentParser, name: str, help: str) -> None:
    """Add a switch such as --dry-run, also understood as --dry_run and -dry_run."""
    spelled = name.replace("-", "_")
    parser.add_argument(f"--{name}", f"--{spelled}", f"-{spelled}", action="store_true", help=f"[OPTIONAL] {help}")


def add_num_processes(parser: argparse.ArgumentParser, what: str) -> None:
    """Add -np, which is nnU-Net's own number of processes unless it is given."""
    what += f". Default: nnUNet_def_n_proc, which is {default_num_processes} here"
    parser.add_argument("-np", "--np", type=int, default=default_num_processes, help=f"[OPTIONAL] {what}")


def listed(names: Sequence[str]) -> str:
    """Return names for a line of output, of very many the first twenty."""
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return ", ".join(names[:MAX_NAMED]) + more


def as_typed(value) -> str:
    """Return a value as one would type it.

    Example:
        >>> as_typed(["pre", "post"]), as_typed(2.0)
        ('pre post', '2')
    """
    if isinstance(value, list | tuple):
        return " ".join(map(as_typed, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


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


def check_labels(labels: Mapping[str, int]) -> None:
    """Make sure that labels are those of a dataset's foreground classes, 1 to K.

    Raises:
        ValueError: If they are numbered otherwise, or a class is called background or ignore.
    """
    if list(labels.values()) != list(range(1, len(labels) + 1)) or not 1 <= len(labels) <= 254:
        raise ValueError(f"labels must be numbered 1, 2, ... in order, got {dict(labels)}")
    if {"background", "ignore"} & labels.keys():
        raise ValueError(f"'background' and 'ignore' are nnU-Net's own labels, got {dict(labels)}")
