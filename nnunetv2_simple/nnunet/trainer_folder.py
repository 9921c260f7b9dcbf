"""nnUNetv2_simple_trainers: how nnU-Net finds the trainers of this package.

nnU-Net >= 2.8.0 searches the folders that the environment variable nnUNet_extTrainer names. Older versions search
their own package only; there ``--link`` puts one small module which hands over the classes.
"""

import importlib
import os
import pkgutil
import sys
from collections.abc import Sequence
from pathlib import Path

import nnunetv2

from nnunetv2_simple import trainers
from nnunetv2_simple.arguments import command_parser
from nnunetv2_simple.files import written_atomically

TRAINER_FOLDERS_VARIABLE = "nnUNet_extTrainer"
# nnU-Net imports this module whatever trainer it looks for, so it must not fail. It is the same in every version, so
# that links survive upgrades: a file of any other content is somebody's own.
LINK = '''"""Hands the trainers of nnunetv2_simple to nnU-Net.

Written by nnUNetv2_simple_trainers --link, removed by nnUNetv2_simple_trainers --unlink.
"""

import warnings

try:
    from nnunetv2_simple.trainer_folder import trainer_classes

    globals().update(trainer_classes())
except Exception as error:
    if getattr(error, "name", None) != "nnunetv2_simple":  # otherwise it was uninstalled
        warnings.warn(f"The trainers of nnunetv2_simple cannot be imported: {type(error).__name__}: {error}")
'''


def named_trainer_folders() -> list[Path]:
    """Return the folders that the environment variable nnUNet_extTrainer names."""
    names = os.environ.get(TRAINER_FOLDERS_VARIABLE, "").split(os.pathsep)
    return [Path(name).resolve() for name in names if name.strip()]


def trainer_folder() -> Path:
    """Return the folder to put into the environment variable nnUNet_extTrainer."""
    return Path(trainers.__path__[0]).resolve()


def trainer_classes() -> dict[str, type]:
    """Return the trainers of this package by class name."""
    # takes seconds, which printing a folder need not
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    modules = [
        importlib.import_module(f"{trainers.__name__}.{module.name}")
        for module in pkgutil.iter_modules(trainers.__path__)
    ]
    return {
        name: value
        for module in modules
        for name, value in vars(module).items()
        if isinstance(value, type)
        and issubclass(value, nnUNetTrainer)
        and value.__module__ == module.__name__
        and not name.startswith("_")
    }


def link_file() -> Path:
    """Return where the module lies that hands the trainers to nnU-Net, linked or not."""
    return Path(nnunetv2.__path__[0]) / "training" / "nnUNetTrainer" / "variants" / "nnunetv2_simple_trainers.py"


def is_linked() -> bool:
    """Tell whether the module is there.

    Raises:
        FileExistsError: If there is another file of its name.
    """
    file = link_file()
    if not os.path.lexists(file):
        return False
    if not file.is_file() or file.read_text(errors="replace") != LINK:
        raise FileExistsError(f"{file} was not written by this version of nnunetv2_simple and is left alone")
    return True


def link() -> None:
    """Put the module into nnU-Net's package. Nothing happens if it is there.

    Raises:
        FileExistsError: If there is another file of its name.
        OSError: If it cannot be written.
    """
    if is_linked():
        return
    with written_atomically(link_file()) as beside:
        beside.write_text(LINK)


def unlink() -> None:
    """Remove the module from nnU-Net's package. Nothing happens if it is not there.

    Raises:
        FileExistsError: If there is another file of its name.
        OSError: If it cannot be removed.
    """
    if is_linked():
        link_file().unlink()


def main(argv: Sequence[str] | None = None) -> None:
    parser = command_parser(
        "Print the folder of the trainers, for the environment variable nnUNet_extTrainer. nnunetv2 before 2.8.0 does "
        "not know that variable: --link the trainers there instead.",
        "export nnUNet_extTrainer=$(nnUNetv2_simple_trainers)",
        "nnUNetv2_simple_trainers --check",
    )
    task = parser.add_mutually_exclusive_group()
    task.add_argument(
        "--link",
        action="store_true",
        help="[OPTIONAL] Add one module to the installed nnunetv2 that names the trainers",
    )
    task.add_argument("--unlink", action="store_true", help="[OPTIONAL] Remove that module")
    task.add_argument(
        "--check",
        action="store_true",
        help="[OPTIONAL] Say whether torch, CUDA, torchvision, nnU-Net and nnUNet_extTrainer (or the link) fit "
        "together, and what to do; the exit status is 1 if they do not",
    )
    args = parser.parse_args(argv)
    if args.check:
        sys.exit(check())
    try:
        if args.link:
            names = ", ".join(sorted(trainer_classes()))  # before anything is written: they must import
            link()
            print(f"{link_file()}\nnames these trainers to nnU-Net: {names}")
        elif args.unlink:
            unlink()
            print(f"{link_file()}\ndoes not exist: nnU-Net finds the trainers only through nnUNet_extTrainer")
        else:
            print(trainer_folder())
    except OSError as error:
        sys.exit(f"ERROR: nnU-Net's package was not changed: {error}")


def check() -> int:
    """Print what :func:`nnunetv2_simple.nnunet.installation.check_installation` finds; return the exit status."""
    from nnunetv2_simple.nnunet.installation import check_installation  # imports this module

    status = 0
    for finding in check_installation():
        print(f"{'ok' if finding.advice is None else 'PROBLEM':<8} {finding.about}: {finding.found}", flush=True)
        if finding.advice is not None:
            print(f"         -> {finding.advice}", flush=True)
            status = 1
    return status


if __name__ == "__main__":
    main()
