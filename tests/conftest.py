import os

import numpy as np
import pytest
from scipy import ndimage

os.environ.setdefault("nnUNet_def_n_proc", "2")  # nnU-Net's own default would start 8 processes per test


@pytest.fixture
def make_tumor():
    """Factory of a noisy volume with one bright ellipsoid, and the ellipsoid's mask."""

    def make(shape, spacing_mm, *, centre=None, radii=None, noise=8.0, contrast=60.0, seed=0):
        generator = np.random.default_rng(seed)
        centre = [(n - 1) / 2 for n in shape] if centre is None else centre
        radii = [n / 4 for n in shape] if radii is None else radii
        grid = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij")
        mask = sum(((g - c) / r) ** 2 for g, c, r in zip(grid, centre, radii, strict=True)) <= 1
        sigma_mm = min(spacing_mm)
        blurred = ndimage.gaussian_filter(mask.astype(float), [0.5 * sigma_mm / s for s in spacing_mm])
        image = 100 + contrast * blurred + generator.normal(0, noise, shape)
        return image, mask

    return make


def pytest_collection_modifyitems(items):
    """Mark what trains or runs nnU-Net's commands, which is what the fixture ``environment`` is for, as slow."""
    for item in items:
        if "environment" in item.fixturenames:
            item.add_marker("slow")
