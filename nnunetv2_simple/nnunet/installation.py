"""nnUNetv2_simple_trainers --check: do torch, CUDA, torchvision, nnU-Net and the trainers fit together?"""

import importlib
import io
import re
import shutil
from collections.abc import Iterator
from contextlib import redirect_stdout
from importlib.metadata import version
from typing import NamedTuple

from nnunetv2_simple.nnunet.trainer_folder import is_linked, link_file, named_trainer_folders, trainer_folder

OLDEST_NNUNET = (2, 5, 2)
FIRST_NNUNET_FOR_TORCH_2_6 = (2, 6, 0)
FIRST_NNUNET_WITH_EXTERNAL_TRAINERS = (2, 8, 0)
INSTALL_TORCH = (
    "install torch and torchvision together, from one index: "
    "https://pytorch.org/get-started/locally has the command for your CUDA"
)


class Finding(NamedTuple):
    """What is installed, and what to do if it does not fit (None if it does)."""

    about: str
    found: str
    advice: str | None = None


def check_installation() -> Iterator[Finding]:
    """Look at everything a training needs, one after the other."""
    try:
        torch = importlib.import_module("torch")
    except Exception as error:  # noqa: BLE001 (missing libraries raise anything)
        yield Finding("torch", _does_not_import(error), INSTALL_TORCH)
        return
    yield Finding("torch", torch.__version__)
    yield _check_cuda(torch)
    yield _check_torchvision()
    yield _check_nnunet(_numbers(torch.__version__))
    yield _check_trainers()


def _check_cuda(torch) -> Finding:
    has_driver = shutil.which("nvidia-smi") is not None
    build = torch.version.cuda or getattr(torch.version, "hip", None)
    if torch.cuda.is_available():
        return Finding("CUDA", f"{build}, {torch.cuda.get_device_name()}")
    if build is None:
        found = "none: this torch is built for CPUs, train and predict with -device cpu"
        return Finding("CUDA", found, f"there is an NVIDIA driver: {INSTALL_TORCH}" if has_driver else None)
    found = f"this torch is built for {build}, but finds no device: train and predict with -device cpu"
    advice = f"nvidia-smi must list a GPU, and its CUDA version be at least {build}; or {INSTALL_TORCH}"
    return Finding("CUDA", found, advice if has_driver else None)


def _check_torchvision() -> Finding:
    try:
        return Finding("torchvision", importlib.import_module("torchvision").__version__)
    except ModuleNotFoundError as error:
        if error.name == "torchvision":  # nnU-Net before 2.6.3 does without, and the trainers below need it or not
            return Finding("torchvision", "not installed")
        return Finding("torchvision", _does_not_import(error), INSTALL_TORCH)
    except Exception as error:  # noqa: BLE001 (a build for another torch raises anything)
        return Finding("torchvision", _does_not_import(error), INSTALL_TORCH)


def _check_nnunet(torch_version: tuple[int, ...]) -> Finding:
    found, advice = version("nnunetv2"), None
    if _numbers(found) < OLDEST_NNUNET:
        advice = "nnunetv2_simple needs 2.5.2 or later: pip install -U nnunetv2"
    elif _numbers(found) < FIRST_NNUNET_FOR_TORCH_2_6 and torch_version >= (2, 6):
        advice = "it cannot load checkpoints with torch 2.6 or later: pip install -U nnunetv2, or an older torch"
    return Finding("nnunetv2", found, advice)


def _check_trainers() -> Finding:
    """Look at how nnU-Net is told about the trainers, then let it look for one."""
    knows_variable = _numbers(version("nnunetv2")) >= FIRST_NNUNET_WITH_EXTERNAL_TRAINERS
    try:
        linked = is_linked()
    except FileExistsError as error:
        return Finding("trainers", str(error), f"move {link_file()} away")
    if linked:
        found = f"linked by {link_file()}"
    elif knows_variable and trainer_folder() in named_trainer_folders():
        found = "named by nnUNet_extTrainer"
    elif knows_variable:
        found = f"nnUNet_extTrainer names {list(map(str, named_trainer_folders())) or 'no folder'}"
        return Finding("trainers", found, "export nnUNet_extTrainer=$(nnUNetv2_simple_trainers), or append it with ':'")
    else:
        found = "nnunetv2 before 2.8.0 does not know nnUNet_extTrainer"
        return Finding("trainers", found, "nnUNetv2_simple_trainers --link")
    try:
        from nnunetv2_simple.nnunet.versions import find_trainer_class  # imports most of nnU-Net

        with redirect_stdout(io.StringIO()):
            trainer = find_trainer_class("SimPLeTrainer")
    except Exception as error:  # noqa: BLE001 (whatever the trainers import)
        return Finding("trainers", f"{found}, but nnU-Net fails: {type(error).__name__}: {error}", "see the error")
    advice = None if trainer else "unset nnUNet_extTrainer, run nnUNetv2_simple_trainers --unlink, and set up one anew"
    return Finding("trainers", found if trainer else f"{found}, but nnU-Net finds no SimPLeTrainer", advice)


def _does_not_import(error: Exception) -> str:
    return f"does not import: {type(error).__name__}: {error}"


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])
