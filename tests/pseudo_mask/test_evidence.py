"""What another model says: believed where it agrees with the walk, never outside the box."""

import numpy as np
import pytest
from scipy import ndimage

from nnunetv2_simple.evaluation.metrics import dice
from nnunetv2_simple.extreme_points.points import extreme_points_from_mask
from nnunetv2_simple.pseudo_mask import generate_pseudo_mask
from nnunetv2_simple.pseudo_mask.robust_recipe import evidence_trust

SHAPE, SPACING = (16, 28, 28), (2.0, 1.0, 1.0)


@pytest.fixture(scope="module")
def faint_shell():
    """Two thirds of a faint ring, which no ellipsoid fits, and its mask."""
    z, y, x = np.meshgrid(*(np.arange(n) - n // 2 for n in SHAPE), indexing="ij")
    radius = np.hypot(y, x)
    mask = (abs(z) <= 3) & (radius > 4) & (radius < 10) & ~((y > 0) & (abs(x) < y))
    image = 100 + 25 * ndimage.gaussian_filter(mask.astype(float), 0.7)
    return image + np.random.default_rng(0).normal(0, 4, SHAPE), mask


def walked(faint_shell, **options):
    image, mask = faint_shell
    points = extreme_points_from_mask(mask, spacing_mm=SPACING)
    options |= {"spacing_mm": SPACING, "recipe": "robust", "return_probability": True}
    return generate_pseudo_mask(image, points, **options)[1] > 0.5


def test_right_evidence_makes_the_mask_better(faint_shell):
    evidence = np.where(faint_shell[1], 0.9, 0.1)
    before, after = (dice(walked(faint_shell, evidence=e), faint_shell[1]) for e in (None, evidence))
    assert after > before + 0.03


@pytest.mark.parametrize("noise", ["voxels", "blobs", "all", "nothing"])
def test_noise_is_not_believed(noise, faint_shell):
    generator = np.random.default_rng(1)
    evidence = {
        "voxels": generator.random(SHAPE),
        "blobs": (ndimage.gaussian_filter(generator.standard_normal(SHAPE), 2) > 0).astype(float),
        "all": np.ones(SHAPE),
        "nothing": np.zeros(SHAPE),
    }[noise]
    np.testing.assert_array_equal(walked(faint_shell, evidence=evidence), walked(faint_shell))


def test_nothing_follows_outside_the_box(faint_shell):
    evidence = ndimage.binary_dilation(faint_shell[1], iterations=4).astype(float)
    outside = np.ones(SHAPE, bool)
    outside[tuple(slice(a.min(), a.max() + 1) for a in np.nonzero(faint_shell[1]))] = False
    assert not walked(faint_shell, evidence=evidence)[outside].any()


def test_trust_is_the_agreement_beyond_chance():
    mask = np.array([1, 1, 0, 0, 0, 0, 0, 0], bool)
    assert evidence_trust(mask, mask, 0.0) == 1
    assert evidence_trust(np.ones(8, bool), mask, 0.0) == evidence_trust(~mask, mask, 0.0) == 0
    # one of two hit: agreement 7/8, by chance 1/8 * 2/8 + 7/8 * 6/8 = 44/64, kappa 12/20
    assert evidence_trust(np.array([1, 0, 0, 0, 0, 0, 0, 0], bool), mask, 0.0) == pytest.approx(1)
    # and one false alarm: agreement 6/8, by chance 40/64, kappa 1/3
    assert evidence_trust(np.array([1, 0, 1, 0, 0, 0, 0, 0], bool), mask, 0.0) == pytest.approx((1 / 3 - 0.3) / 0.3)
    assert evidence_trust(np.array([1, 0, 0, 0, 0, 0, 0, 0], bool), mask, 1.0) == pytest.approx(0)
    assert evidence_trust(mask, mask, 1.0) == 1


@pytest.mark.parametrize("wrong", [{"evidence": np.zeros((2, 3, 4))}, {"evidence_weight": 2}, {"recipe": "paper"}])
def test_bad_evidence_is_refused(wrong, faint_shell):
    image, mask = faint_shell
    options = {"spacing_mm": SPACING, "recipe": "robust", "evidence": mask.astype(float)} | wrong
    with pytest.raises(ValueError, match="evidence"):
        generate_pseudo_mask(image, extreme_points_from_mask(mask), **options)
