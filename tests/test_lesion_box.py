import numpy as np
import pytest

from nnunetv2_simple.extreme_points import bounding_box, extreme_points_from_mask
from nnunetv2_simple.lesion_box import LesionBox

SHAPE, SPACING_MM = (9, 20, 17), (3.0, 0.7, 1.1)
POINTS = np.array([[2, 8, 9], [6, 9, 8], [4, 5, 7], [4, 14, 9], [3, 8, 3], [5, 9, 16]])
EVERYWHERE = tuple(slice(0, size) for size in SHAPE)


def box_of(points=POINTS, **options):
    return LesionBox(points, **{"shape": SHAPE, "spacing_mm": SPACING_MM} | options)


def rotation(degrees, axis):
    cosine, sine = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    matrix = np.eye(3)
    a, b = [i for i in range(3) if i != axis]
    matrix[[a, a, b, b], [a, b, a, b]] = cosine, -sine, sine, cosine
    return matrix


def test_box_of_an_upright_image_is_its_slices():
    box = box_of()
    assert box.slices == bounding_box(POINTS) == (slice(2, 7), slice(5, 15), slice(3, 17))
    expected = np.zeros(SHAPE, dtype=bool)
    expected[box.slices] = True
    np.testing.assert_array_equal(box.contains(EVERYWHERE), expected)
    assert box.contains(box.slices).all()


def test_region_is_clipped_to_the_image():
    assert box_of().region((1, 6, 3)) == (slice(1, 8), slice(0, 20), slice(0, 17))


def test_radius_is_one_on_the_inscribed_ellipsoid():
    radius = box_of().radius(EVERYWHERE)
    assert radius[4, 9, 9] == pytest.approx(np.hypot(0.5 / 5, 0.5 / 7))  # centre (4, 9.5, 9.5), half-sizes 2.5, 5, 7
    assert radius[2, 9, 9] == pytest.approx(np.sqrt((2 / 2.5) ** 2 + 0.01 + (0.5 / 7) ** 2))
    assert radius[2, 5, 3] == pytest.approx(np.sqrt(0.8**2 + 0.9**2 + (6.5 / 7) ** 2))


def test_radius_of_a_part_is_the_part_of_the_radius():
    box = box_of()
    np.testing.assert_array_equal(box.radius(box.slices), box.radius(EVERYWHERE)[box.slices])


def test_patient_axes_that_are_the_image_s_change_nothing():
    upright, turned = box_of(), box_of(axes=np.eye(3))
    assert upright.slices == turned.slices
    np.testing.assert_array_equal(upright.contains(EVERYWHERE), turned.contains(EVERYWHERE))
    np.testing.assert_allclose(upright.radius(EVERYWHERE), turned.radius(EVERYWHERE))


@pytest.mark.parametrize(("degrees", "axis"), [(20, 0), (-35, 1), (44, 2)])
def test_oblique_box_holds_the_lesion_whose_extreme_points_span_it(degrees, axis):
    axes = rotation(degrees, axis)
    shape, spacing_mm = (21, 40, 35), (2.0, 0.9, 1.1)
    position = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1) * spacing_mm - (20, 18, 19)
    lesion = np.linalg.norm(position @ axes.T / (12.0, 9.0, 6.0), axis=-1) < 1
    points = extreme_points_from_mask(lesion, spacing_mm=spacing_mm, axes=axes)
    box = LesionBox(points, shape=shape, spacing_mm=spacing_mm, axes=axes)
    inside = box.contains(tuple(slice(0, size) for size in shape))
    assert inside[lesion].all()
    # 24 x 18 x 12 mm, a voxel more at most on either side of each axis
    volume_mm3 = inside.sum() * np.prod(spacing_mm)
    assert 24 * 18 * 12 * 0.8 < volume_mm3 < 28 * 20 * 14.5
    outside_slices = inside.copy()
    outside_slices[box.slices] = False
    assert not outside_slices.any()
    # and the ellipsoid that was drawn is the inscribed one
    radius = box.radius(tuple(slice(0, size) for size in shape))
    assert np.count_nonzero((radius < 1) ^ lesion) < 0.25 * lesion.sum()


def test_one_voxel():
    box = box_of(np.full((6, 3), 4))
    assert box.slices == (slice(4, 5),) * 3
    assert box.radius(box.slices).item() == 0
