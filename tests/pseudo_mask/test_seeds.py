"""Seeds that somebody drew."""

import numpy as np
import pytest

from nnunetv2_simple.extreme_points import extreme_points_from_mask
from nnunetv2_simple.extreme_points.points import bounding_box
from nnunetv2_simple.pseudo_mask import generate_pseudo_mask, walk_again

SPACING_MM = (2.0, 1.0, 1.0)


@pytest.fixture
def tumor(make_tumor):
    image, mask = make_tumor((20, 40, 40), SPACING_MM, radii=(6, 12, 12), noise=2)
    return image, extreme_points_from_mask(mask)


@pytest.mark.parametrize("recipe", ["robust", "paper"])
def test_seeds_stay_as_they_are(tumor, recipe):
    image, points = tumor
    before = generate_pseudo_mask(image, points, spacing_mm=SPACING_MM, recipe=recipe)
    wrong = tuple(np.argwhere(before == 1)[len(np.argwhere(before == 1)) // 3])
    box = bounding_box(points)
    missed = tuple(np.argwhere(before[box] != 1)[0] + [side.start for side in box])
    seeds = np.zeros(image.shape, dtype=np.int8)
    seeds[wrong], seeds[missed] = -1, 1
    after = generate_pseudo_mask(image, points, spacing_mm=SPACING_MM, recipe=recipe, seeds=seeds)
    assert after[wrong] == 0
    assert after[missed] == 1
    nothing_said = generate_pseudo_mask(image, points, spacing_mm=SPACING_MM, recipe=recipe, seeds=np.zeros_like(seeds))
    assert np.array_equal(nothing_said, before)


def test_a_stroke_changes_more_than_its_voxels(tumor):
    image, points = tumor
    before = generate_pseudo_mask(image, points, spacing_mm=SPACING_MM, recipe="robust")
    seeds = np.zeros(image.shape, dtype=np.int8)
    seeds[10, 14:27, 26] = -1
    after = generate_pseudo_mask(image, points, spacing_mm=SPACING_MM, recipe="robust", seeds=seeds)
    lost = (before == 1) & (after != 1) & (seeds == 0)
    assert np.count_nonzero(lost) > 3 * np.count_nonzero(seeds)


def test_a_scribble_that_is_called_not_lesion_is_none(tumor):
    image, points = tumor
    seeds = np.zeros(image.shape, dtype=np.int8)
    seeds[tuple(points[0])] = -1
    after = generate_pseudo_mask(image, points, spacing_mm=SPACING_MM, recipe="robust", seeds=seeds)
    assert after[tuple(points[0])] == 0


def test_a_second_walk_keeps_seeds(tumor):
    image, points = tumor
    seeds = np.zeros(image.shape, dtype=np.int8)
    seeds[9, 20, 20], seeds[9, 20, 30] = -1, 1
    probability = walk_again(image, points, np.full(image.shape, 0.5), spacing_mm=SPACING_MM, seeds=seeds)
    assert probability[9, 20, 20] == 0
    assert probability[9, 20, 30] == 1


@pytest.mark.parametrize(("place", "value", "named"), [((0, 0, 0), 1, "[0, 0, 0]"), ((10, 20, 20), 2, "-1, 0 or 1")])
def test_wrong_seeds_are_refused(tumor, place, value, named):
    image, points = tumor
    seeds = np.zeros(image.shape, dtype=np.int8)
    seeds[place] = value
    with pytest.raises(ValueError, match="seeds") as error:
        generate_pseudo_mask(image, points, spacing_mm=SPACING_MM, seeds=seeds)
    assert named in str(error.value)


def test_seeds_that_leave_nothing_or_have_another_shape_are_refused(tumor):
    image, points = tumor
    with pytest.raises(ValueError, match="nothing is left"):
        generate_pseudo_mask(image, points, spacing_mm=SPACING_MM, seeds=np.full(image.shape, -1))
    with pytest.raises(ValueError, match="shape"):
        generate_pseudo_mask(image, points, spacing_mm=SPACING_MM, seeds=np.zeros((1, 2, 3)))
