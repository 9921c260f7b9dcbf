"""A small case for the annotation page, and a session of it with a clock of its own."""

import numpy as np
import SimpleITK as sitk

from nnunetv2_simple.annotate.folder import AnnotationFolder, list_cases, read_channels
from nnunetv2_simple.annotate.session import Session
from nnunetv2_simple.extreme_points import extreme_points_from_mask
from support.conversion_cases import write

SHAPE, SPACING_MM = (16, 40, 48), (3.0, 1.0, 1.0)
LABELS = {"tumor": 1, "node": 2}


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def ellipsoid(centre=(8, 20, 24), radii=(4.3, 9.3, 11.3)):
    grid = np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij")
    return sum(((g - c) / r) ** 2 for g, c, r in zip(grid, centre, radii, strict=True)) <= 1


def phantom(mask=None):
    mask = ellipsoid() if mask is None else mask
    array = 100 + 80 * mask + np.random.default_rng(0).normal(0, 8, SHAPE)
    image = sitk.GetImageFromArray(array.astype(np.float32))
    image.SetSpacing(SPACING_MM[::-1])
    return image


def clicks(mask=None):
    """Six voxels (x, y, z)."""
    points = extreme_points_from_mask(ellipsoid() if mask is None else mask)
    return [tuple(int(v) for v in point[::-1]) for point in points]


def write_images(folder, *names, image=None):
    for name in names:
        write(phantom() if image is None else image, folder / "images" / f"{name}_0000.nii.gz")


def open_folder(folder, labels=LABELS):
    cases = list_cases(folder / "images", 1)
    annotations = AnnotationFolder(folder / "clicks", labels=labels, cases={case.identifier: case for case in cases})
    return cases, annotations


def open_session(folder, *, labels=LABELS, case="a", clock=None):
    cases, annotations = open_folder(folder, labels)
    session = Session(cases, annotations, labels=labels, clock=clock or Clock())
    session.open(case, read_channels(session.case_of(case)))
    return session, annotations
