"""What a training runs with."""

import os
import platform
from importlib.metadata import version

import torch

from nnunetv2_simple import __version__

PACKAGES = ("torch", "nnunetv2", "batchgenerators", "numpy", "scipy", "scikit-image", "SimpleITK")


def versions_here(device: str) -> dict[str, str]:
    """Return the versions of the packages that matter, and the name of the device.

    Args:
        device: "cuda", "cpu" or "mps".
    """
    if device == "cuda" and torch.cuda.is_available():
        device_name = torch.cuda.get_device_name()
    else:
        device_name = f"{device} ({platform.processor() or platform.machine()}, {os.cpu_count()} cores)"
    return {
        "nnunetv2_simple": __version__,
        **{package: version(package) for package in PACKAGES},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device_name": device_name,
    }
