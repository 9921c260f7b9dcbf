"""Tiny cases on disk, and what is expected of their conversion."""

import json
import os
import signal
import subprocess
import sys

import numpy as np
import SimpleITK as sitk

from nnunetv2_simple.conversion import command_line as convert
from nnunetv2_simple.conversion.cases import DEFAULT_RECIPE
from nnunetv2_simple.extreme_points.points import extreme_points_from_mask
from nnunetv2_simple.images import patient_axes
from nnunetv2_simple.pseudo_mask.generate import generate_pseudo_mask

SHAPE = (9, 15, 13)
SPACING_ZYX_MM = (2.7, 1.1, 0.8)


def oblique_image(array, *, seed=0):
    """An image whose axes are rotated, away from the origin and anisotropic; another one for every seed."""
    rotation = sitk.Euler3DTransform()
    rotation.SetRotation(0.2 + 0.05 * seed, -0.1, 0.3)
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(SPACING_ZYX_MM[::-1])
    image.SetOrigin((-31.5 + seed, 12.25, 70.0))
    image.SetDirection(rotation.GetMatrix())
    return image


def tumor_mask(seed=0):
    centre = (4 + seed % 2, 7, 6)
    grid = np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij")
    return sum(((g - c) / r) ** 2 for g, c, r in zip(grid, centre, (2.2, 4, 3.3), strict=True)) <= 1


def channels_of(seed=0):
    """Pre- and post-contrast image; only their difference shows the tumor well."""
    generator = np.random.default_rng(seed)
    pre = generator.normal(300, 60, SHAPE).round().astype(np.int16)
    post = (pre + 40 * tumor_mask(seed) + generator.normal(0, 5, SHAPE)).round().astype(np.int16)
    return pre, post


def write(image, file):
    file.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(file))


def write_points(file, voxels_zyx, *, coordinates="voxel", image=None):
    points = [[int(c) for c in voxel[::-1]] for voxel in voxels_zyx]
    if coordinates != "voxel":
        points = [image.TransformIndexToPhysicalPoint(point) for point in points]
        if coordinates == "RAS":
            points = [(-x, -y, z) for x, y, z in points]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"coordinates": coordinates, "points": points}))


def write_single_channel_case(folder, identifier, *, seed=0):
    write(oblique_image(channels_of(seed)[1], seed=seed), folder / "images" / f"{identifier}_0000.nii.gz")
    write(oblique_image(tumor_mask(seed).astype(np.uint8), seed=seed), folder / "masks" / f"{identifier}.nii.gz")


def rotation(degrees, axis):
    """Written out; columns are the image axes x, y, z in LPS."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return {
        "x": np.array([[1, 0, 0], [0, c, -s], [0, s, c]]),
        "y": np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]),
        "z": np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]),
    }[axis]


def geometry(file):
    image = sitk.ReadImage(str(file))
    return image.GetSize(), image.GetSpacing(), image.GetOrigin(), image.GetDirection()


def array_of(file):
    return sitk.GetArrayFromImage(sitk.ReadImage(str(file)))


def names_in(folder):
    """Return what lies in a folder, but for locks, which stay."""
    return sorted(file.name for file in folder.iterdir() if not file.name.startswith(".lock"))


def files_below(folder):
    """Return the content of all files but locks, which stay."""
    found = [file for file in folder.rglob("*") if file.is_file() and not file.name.startswith(".lock")]
    return {str(file.relative_to(folder)): file.read_bytes() for file in found}


def run(monkeypatch, raw, *arguments, main=convert.main):
    """Run a conversion script in this process; a later -np takes precedence."""
    monkeypatch.setenv("nnUNet_raw", str(raw))
    return main(["-np", "1"] + [str(argument) for argument in arguments])


DYING_RUN = """
import os, sys
from importlib import import_module
from pathlib import Path
import SimpleITK as sitk

main = import_module(sys.argv[1]).main
steps_left, mkdir = int(sys.argv[2]), Path.mkdir

def dying(function):
    def step(*arguments, **options):
        global steps_left
        is_lock = any(".lock" in str(argument) for argument in arguments)
        steps_left -= not (is_lock or function is mkdir and arguments[0].is_dir())
        if steps_left < 0:
            os.kill(os.getpid(), 9)
        return function(*arguments, **options)
    return step

os.replace, sitk.WriteImage = dying(os.replace), dying(sitk.WriteImage)
Path.mkdir, Path.unlink = dying(Path.mkdir), dying(Path.unlink)
sys.exit(main(sys.argv[3:]))
"""


def dies_after(num_steps, raw, *arguments, main=convert.main):
    """Run a conversion script in a process that kills itself after so many steps on the disk; whether it got so far."""
    words = [str(word) for word in [main.__module__, num_steps, *arguments, "-np", 1]]
    finished = subprocess.run(
        [sys.executable, "-c", DYING_RUN, *words], env=os.environ | {"nnUNet_raw": str(raw)}, capture_output=True
    )
    assert finished.returncode in (0, -signal.SIGKILL), finished.stderr.decode()
    return finished.returncode != 0


def expected_points(mask_image):
    """What is clicked on a mask of one lesion."""
    array = sitk.GetArrayFromImage(mask_image)
    return extreme_points_from_mask(array, spacing_mm=SPACING_ZYX_MM, axes=patient_axes(mask_image))


def expected_label(image, points, like, **options):
    """The pseudo-mask of one lesion, by the default recipe unless told otherwise."""
    options = {"recipe": DEFAULT_RECIPE, "spacing_mm": SPACING_ZYX_MM, "axes": patient_axes(like)} | options
    return generate_pseudo_mask(np.asarray(image, dtype=float), points, **options)
