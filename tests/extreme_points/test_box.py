import numpy as np
import pytest

from nnunetv2_simple.extreme_points.box import LesionBox
from nnunetv2_simple.extreme_points.points import bounding_box, extreme_points_from_mask

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


def tilted_covariance(seed, half_sizes):
    """A covariance whose ellipsoid x^T S^-1 x = 1 has these half-sizes along the axes."""
    factor = np.random.default_rng(seed).standard_normal((3, 9))
    covariance = factor @ factor.T
    scale = half_sizes / np.sqrt(np.diag(covariance))
    return covariance * np.outer(scale, scale)


def mahalanobis(position, covariance):
    return np.sqrt(np.einsum("...a,ab,...b->...", position, np.linalg.inv(covariance), position))


@pytest.mark.parametrize("seed", range(5))
def test_touching_ellipsoid_is_the_one_with_these_extreme_points(seed):
    centre, covariance = np.array([450, 700, 600]), tilted_covariance(seed, np.array([400.0, 600.0, 500.0]))
    reach = covariance / np.sqrt(np.diag(covariance))  # column a: from the centre to where it reaches furthest along a
    points = [centre + sign * reach[:, axis] for axis in range(3) for sign in (-1, 1)]
    box = LesionBox(np.rint(points).astype(int), shape=(901, 1401, 1201), spacing_mm=(2.0, 0.5, 0.7))
    for voxel in np.random.default_rng(seed).integers((901, 1401, 1201), size=(50, 3)):
        radius = box.touching_radius(tuple(slice(i, i + 1) for i in voxel)).item()
        assert radius == pytest.approx(mahalanobis(voxel - centre, covariance), rel=0.02)


@pytest.mark.parametrize("axes", [None, rotation(25, 1)])
def test_touching_ellipsoid_of_a_tilted_lesion_is_the_lesion(axes):
    shape, spacing_mm = (61, 101, 91), (1.0, 0.6, 0.7)
    position = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1) * spacing_mm - (30, 30, 31)
    covariance = tilted_covariance(1, np.array([18.0, 24.0, 17.0]))
    lesion = mahalanobis(position if axes is None else position @ axes.T, covariance) <= 1
    points = extreme_points_from_mask(lesion, spacing_mm=spacing_mm, axes=axes)
    box = LesionBox(points, shape=shape, spacing_mm=spacing_mm, axes=axes)
    whole = tuple(slice(0, size) for size in shape)
    touching, inscribed = box.touching_radius(whole) <= 1, box.radius(whole) <= 1
    assert np.count_nonzero(touching ^ lesion) < 0.15 * lesion.sum()
    assert np.count_nonzero(inscribed ^ lesion) > 0.25 * lesion.sum()


def test_touching_ellipsoid_is_off_centre_where_opposite_clicks_are():
    points = np.array([[0, 14, 6], [8, 14, 6], [4, 0, 6], [4, 19, 6], [4, 14, 0], [4, 14, 12]])
    box = box_of(points)  # the centre of the box is (4, 9.5, 6), its half-sizes 4.5, 10, 6.5; the clicks lie 4.5 off
    radius = box.touching_radius(EVERYWHERE)
    assert radius[4, 14, 6] == pytest.approx(0)
    assert radius[4, 19, 6] == pytest.approx(5 / 5.5)
    assert radius[4, 0, 6] == pytest.approx(14 / 14.5)
    assert radius[0, 14, 6] == radius[8, 14, 6] == pytest.approx(4 / 4.5)
    assert radius[2, 14, 3] == pytest.approx(np.hypot(2 / 4.5, 3 / 6.5))


def test_clicks_on_the_middle_of_the_faces_give_the_inscribed_ellipsoid():
    points = np.array([[2, 9, 9], [6, 9, 9], [4, 5, 9], [4, 13, 9], [4, 9, 3], [4, 9, 15]])
    box = box_of(points)
    np.testing.assert_allclose(box.touching_radius(EVERYWHERE), box.radius(EVERYWHERE))


def test_clicks_in_opposite_corners_give_no_flat_ellipsoid():
    box = box_of(np.array([[0, 0, 0], [1000, 1000, 1000]] * 3), shape=(1001,) * 3)
    # across the diagonal the correlations have the eigenvalue 0.1: (0.2, -0.2, 0) half-sizes are sqrt(0.08 / 0.1) far
    across = box.touching_radius((slice(600, 601), slice(400, 401), slice(500, 501)))
    assert across.item() == pytest.approx(np.sqrt(0.8), rel=0.01)
    contradicting = box_of(np.array([[0, 0, 0], [8, 19, 16], [0, 0, 16], [8, 19, 0], [8, 0, 0], [0, 19, 16]]))
    assert np.isfinite(contradicting.touching_radius(EVERYWHERE)).all()


def test_one_voxel():
    box = box_of(np.full((6, 3), 4))
    assert box.slices == (slice(4, 5),) * 3
    assert box.radius(box.slices).item() == box.touching_radius(box.slices).item() == 0
