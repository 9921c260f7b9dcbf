import itertools

import numpy as np
import pytest

from nnunetv2_simple.extreme_points.points import bounding_box, extreme_points_from_mask, sort_extreme_points

# No coordinate is shared along the axis for which a point is extreme.
ORDERED = np.array([[1, 5, 5], [9, 6, 4], [4, 2, 7], [6, 11, 3], [5, 7, 0], [3, 4, 12]])


def blob(shape, seed):
    """Random connected-looking mask of odd outline, never empty."""
    generator = np.random.default_rng(seed)
    mask = generator.random(shape) < 0.03
    mask[tuple(n // 2 for n in shape)] = True
    return mask


def assert_points_are_on_the_faces(points, mask):
    voxels = np.argwhere(mask)
    assert points.shape == (6, 3)
    assert np.issubdtype(points.dtype, np.integer)
    for row, point in enumerate(points):
        axis = row // 2
        expected = voxels[:, axis].min() if row % 2 == 0 else voxels[:, axis].max()
        assert mask[tuple(point)], f"row {row} lies outside the mask"
        assert point[axis] == expected, f"row {row} is not on its face"


def test_hand_computed_example():
    mask = np.zeros((4, 5, 6), dtype=np.uint8)
    mask[1, 1, 0:5] = 1
    mask[2, 1:4, 1] = 1
    expected = [
        [1, 1, 2],  # z_min: the middle of the row x = 0..4
        [2, 2, 1],  # z_max: the middle of the column y = 1..3
        [1, 1, 2],  # y_min: centroid of the face is (7/6, 1, 11/6)
        [2, 3, 1],
        [1, 1, 0],
        [1, 1, 4],
    ]
    np.testing.assert_array_equal(extreme_points_from_mask(mask), expected)


@pytest.mark.parametrize("seed", range(10))
def test_every_click_is_a_voxel_of_the_mask_on_its_face(seed):
    mask = blob((9, 14, 11), seed)
    assert_points_are_on_the_faces(extreme_points_from_mask(mask), mask)


@pytest.mark.parametrize("seed", range(5))
def test_click_is_the_voxel_of_the_face_nearest_to_its_centroid(seed):
    mask = np.random.default_rng(seed).random((3, 9, 8)) < 0.4
    mask[0, 4, 4] = True
    face = np.argwhere(mask[0])
    distances = np.linalg.norm(face - face.mean(axis=0), axis=1)
    click = extreme_points_from_mask(mask)[0]
    assert click[0] == 0
    assert np.linalg.norm(click[1:] - face.mean(axis=0)) == pytest.approx(distances.min())


def test_ring_whose_centroid_is_a_hole_is_clicked_on_the_ring():
    mask = np.zeros((3, 9, 9), dtype=bool)
    mask[1, 1:8, 1:8] = True
    mask[1, 2:7, 2:7] = False
    assert_points_are_on_the_faces(extreme_points_from_mask(mask), mask)


def test_mask_that_fills_the_image_touches_every_border():
    points = extreme_points_from_mask(np.ones((3, 5, 7)))
    np.testing.assert_array_equal(points, [[0, 2, 3], [2, 2, 3], [1, 0, 3], [1, 4, 3], [1, 2, 0], [1, 2, 6]])


@pytest.mark.parametrize("corner", list(itertools.product((0, 1), repeat=3)))
def test_mask_in_a_corner_of_the_image(corner):
    mask = np.zeros((6, 7, 8), dtype=bool)
    mask[tuple(slice(-2, None) if last else slice(0, 2) for last in corner)] = True
    assert_points_are_on_the_faces(extreme_points_from_mask(mask), mask)


def test_one_voxel_is_all_six_points():
    mask = np.zeros((4, 5, 6))
    mask[3, 0, 5] = 7
    np.testing.assert_array_equal(extreme_points_from_mask(mask), [[3, 0, 5]] * 6)


def test_two_components_share_one_box():
    mask = np.zeros((8, 8, 8), dtype=bool)
    mask[1, 2, 3] = mask[6, 5, 4] = True
    points = extreme_points_from_mask(mask)
    np.testing.assert_array_equal(points, [[1, 2, 3], [6, 5, 4]] * 3)


def test_empty_mask_is_refused():
    with pytest.raises(ValueError, match=r"empty.*\(3, 4, 5\)"):
        extreme_points_from_mask(np.zeros((3, 4, 5)))


@pytest.mark.parametrize("shape", [(4, 4), (1, 4, 4, 4), (4,)])
def test_mask_of_other_than_three_dimensions_is_refused(shape):
    with pytest.raises(ValueError, match="three-dimensional") as error:
        extreme_points_from_mask(np.ones(shape))
    assert str(shape) in str(error.value)


def test_any_order_gives_the_points_in_order():
    for permutation in itertools.permutations(range(6)):
        np.testing.assert_array_equal(sort_extreme_points(ORDERED[list(permutation)]), ORDERED)


@pytest.mark.parametrize("seed", range(20))
def test_any_order_gives_the_same_box_and_extremes_despite_ties(seed):
    generator = np.random.default_rng(seed)
    points = generator.integers(0, 3, (6, 3))
    shuffled = generator.permutation(points)
    result = sort_extreme_points(shuffled)
    assert {tuple(p) for p in result} <= {tuple(p) for p in points}
    assert bounding_box(result) == bounding_box(points)
    for axis in range(3):
        assert result[2 * axis, axis] == points[:, axis].min()
        assert result[2 * axis + 1, axis] == points[:, axis].max()


FLAT = [[4, 3, 3], [4, 5, 5], [4, 1, 4], [4, 8, 4], [4, 5, 2], [4, 5, 9]]  # one slice: every z is tied
TIED = [[0, 1, 1], [5, 2, 2], [0, 0, 4], [5, 6, 3], [0, 3, 0], [5, 4, 7]]  # z_min and z_max three times each
TWO_ON_AN_EDGE = [[0, 2, 4], [5, 3, 3], [0, 0, 3], [4, 6, 3], [2, 3, 0], [3, 0, 7]]  # z_min and y_min twice each


@pytest.mark.parametrize(
    "points", [FLAT, TIED, TWO_ON_AN_EDGE, *np.random.default_rng(3).integers(0, 3, (5, 6, 3)).tolist()]
)
def test_the_order_of_the_points_does_not_matter_despite_ties(points):
    results = {sort_extreme_points(order).tobytes() for order in itertools.permutations(points)}
    assert len(results) == 1


@pytest.mark.parametrize("points", [TIED, TWO_ON_AN_EDGE, extreme_points_from_mask(np.ones((2, 2, 2))).tolist()])
def test_every_point_finds_its_place_despite_ties(points):
    np.testing.assert_array_equal(sort_extreme_points(points[::-1]), points)


def test_of_several_lowest_points_the_one_nearest_to_the_middle_of_the_face_is_taken():
    middle, beside = [0, 4, 4], [0, 1, 4]  # nobody clicked the highest x, which is that of the highest z
    points = [beside, [5, 4, 8], middle, [2, 0, 4], [3, 8, 4], [2, 4, 0]]
    result = sort_extreme_points(points).tolist()
    assert result == [middle, [5, 4, 8], [2, 0, 4], [3, 8, 4], [2, 4, 0], [5, 4, 8]]


def test_float_points_are_rounded_to_voxels():
    result = sort_extreme_points(ORDERED + 0.3)
    np.testing.assert_array_equal(result, ORDERED)
    assert np.issubdtype(result.dtype, np.integer)


@pytest.mark.parametrize("points", [ORDERED[:5], np.vstack((ORDERED, ORDERED[:1])), ORDERED[:, :2], ORDERED.ravel()])
def test_wrong_number_of_points_or_coordinates_is_refused(points):
    with pytest.raises(ValueError, match="six extreme points") as error:
        sort_extreme_points(points)
    assert str(points.shape) in str(error.value)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_points_that_are_not_finite_are_refused(value):
    points = ORDERED.astype(float)
    points[2, 1] = value
    with pytest.raises(ValueError, match="finite") as error:
        sort_extreme_points(points)
    assert str(value) in str(error.value)


def test_bounding_box_includes_its_faces():
    assert bounding_box(ORDERED) == (slice(1, 10), slice(2, 12), slice(0, 13))
