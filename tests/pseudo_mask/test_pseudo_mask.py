import itertools
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage, sparse
from scipy.sparse.csgraph import dijkstra
from skimage.segmentation import random_walker

from nnunetv2_simple.extreme_points.points import extreme_points_from_mask
from nnunetv2_simple.pseudo_mask.generate import draw_scribbles, generate_pseudo_mask, merge_pseudo_masks

CUBE = np.ones((3, 3, 3))


def box_of(points, shape, margin=(0, 0, 0)):
    return tuple(
        slice(max(low - m, 0), min(high + 1 + m, n))
        for low, high, m, n in zip(np.min(points, axis=0), np.max(points, axis=0), margin, shape, strict=True)
    )


def inside_box(points, shape):
    inside = np.zeros(shape, dtype=bool)
    inside[box_of(points, shape)] = True
    return inside


def foreground_probability(image, seeds, *, spacing_mm, beta, **solver):
    """scikit-image's probability of label 1; what it cannot be asked: one label alone, or nothing left to label."""
    if not (seeds == 2).any():
        return np.ones(image.shape)
    if not (seeds == 0).any():
        return (seeds == 1).astype(float)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about probabilities slightly outside [0, 1]
        return random_walker(image, seeds, beta=beta, spacing=spacing_mm, return_full_prob=True, **solver)[0]


def reference_pseudo_mask(
    image,
    points,
    *,
    spacing_mm,
    beta=130.0,
    foreground_threshold=0.8,
    background_threshold=0.1,
    num_refinements=7,
    ignore_label=2,
    mode="bf",
    tol=1e-3,
):
    """The published procedure: scikit-image's walks on the crop scaled to [0, 1]; "bf" is its direct solver."""
    in_box = inside_box(points, image.shape)
    scribbles = draw_scribbles(image, points, spacing_mm=spacing_mm)
    crop = box_of(points, image.shape, margin=(10, 20, 20))
    seeds = np.where(scribbles, 1, np.where(in_box, 0, 2))[crop]
    scaled = (image[crop] - image[crop].min()) / np.ptp(image[crop])
    for _ in range(1 + num_refinements):
        probability = foreground_probability(scaled, seeds, spacing_mm=spacing_mm, beta=beta, mode=mode, tol=tol)
        seeds[probability > foreground_threshold] = 1
        seeds[probability < background_threshold] = 2
    result = np.where(in_box, ignore_label, 0)
    result[crop][(probability > foreground_threshold) & in_box[crop]] = 1
    return result


def path_graph(image, points, spacing_mm):
    """26-neighbour graph of the box: edge cost = length in mm * mean gradient magnitude of the two voxels."""
    magnitude = np.sqrt(sum(g**2 for g in np.gradient(image, *spacing_mm)))[box_of(points, image.shape)]
    index = np.arange(magnitude.size).reshape(magnitude.shape)
    rows, columns, costs = [], [], []
    for voxel in np.ndindex(magnitude.shape):
        for step in itertools.product((-1, 0, 1), repeat=3):
            other = tuple(np.add(voxel, step))
            if any(step) and all(0 <= c < n for c, n in zip(other, magnitude.shape, strict=True)):
                length_mm = np.sqrt(sum((a * s) ** 2 for a, s in zip(step, spacing_mm, strict=True)))
                rows.append(index[voxel])
                columns.append(index[other])
                costs.append(length_mm * (magnitude[voxel] + magnitude[other]) / 2)
    return sparse.csr_array((costs, (rows, columns)), shape=(magnitude.size,) * 2), index


def shortest_paths(image, points, spacing_mm):
    """The three undilated paths as a mask over the box."""
    graph, index = path_graph(image, points, spacing_mm)
    corner = np.min(points, axis=0)
    on_path = np.zeros(index.shape, dtype=bool)
    for start, end in zip(points[::2] - corner, points[1::2] - corner, strict=True):
        start, voxel = index[tuple(start)], index[tuple(end)]
        _, predecessors = dijkstra(graph, indices=start, return_predecessors=True)
        while voxel != start:
            on_path.flat[voxel] = True
            voxel = predecessors[voxel]
        on_path.flat[start] = True
    return on_path


# shape, spacing_mm, centre, radii, noise
PHANTOMS = {
    "anisotropic": ((14, 26, 23), (3.1, 0.9, 1.2), (6, 12, 11), (3.2, 6, 5), 8.0),
    "isotropic": ((15, 17, 16), (1.0, 1.0, 1.0), (7, 8, 7), (4, 4, 4), 5.0),
    "strong noise": ((13, 21, 24), (2.0, 1.0, 1.0), (6, 10, 12), (3, 6, 5), 30.0),
    "little noise": ((13, 21, 24), (2.0, 1.0, 1.0), (6, 10, 12), (3, 6, 5), 1.0),
    "wider than the margin": ((25, 47, 50), (1.5, 1.0, 0.8), (12, 22, 25), (3, 5, 4), 6.0),
    "touches the first slice, row and column": ((12, 19, 17), (2.5, 1.0, 1.1), (1, 3, 2), (3, 6, 5), 6.0),
    "touches the last slice, row and column": ((12, 19, 17), (2.5, 1.0, 1.1), (10, 15, 14), (3, 6, 5), 6.0),
}


@pytest.fixture(params=PHANTOMS, ids=lambda name: name.replace(" ", "_"))
def phantom(request, make_tumor):
    shape, spacing_mm, centre, radii, noise = PHANTOMS[request.param]
    image, mask = make_tumor(shape, spacing_mm, centre=centre, radii=radii, noise=noise)
    return image, extreme_points_from_mask(mask), spacing_mm


@pytest.fixture
def small(make_tumor):
    spacing_mm = (2.5, 1.0, 1.2)
    image, mask = make_tumor((11, 17, 15), spacing_mm, radii=(2.6, 4.4, 4.2))
    return image, extreme_points_from_mask(mask), spacing_mm


# ---------------------------------------------------------------------------------------------------- pseudo-mask


def test_pseudo_mask_equals_scikit_image_step_by_step(phantom):
    image, points, spacing_mm = phantom
    result = generate_pseudo_mask(image, points, spacing_mm=spacing_mm)
    expected = reference_pseudo_mask(image, points, spacing_mm=spacing_mm)
    assert result.dtype == np.uint8
    assert np.count_nonzero(result != expected) <= 1


@pytest.mark.parametrize(("scale", "offset"), [(1e-3, 0.0), (1.0, -1000.0), (40.0, 7.0), (1e5, -1e7)])
def test_pseudo_mask_does_not_depend_on_the_scale_of_the_intensities(scale, offset, phantom):
    image, points, spacing_mm = phantom
    expected = generate_pseudo_mask(image, points, spacing_mm=spacing_mm)
    result = generate_pseudo_mask(scale * image + offset, points, spacing_mm=spacing_mm)
    assert np.count_nonzero(result != expected) <= 1


SARCOMAS = Path(__file__).parents[3] / "shared" / "data" / "ibsi_sts" / "nifti"


@pytest.mark.skipif(not SARCOMAS.is_dir(), reason=f"the real cases are not there, expected in {SARCOMAS}")
@pytest.mark.parametrize("case", ["STS_025", "STS_042"])
def test_pseudo_mask_of_a_real_case_equals_scikit_image_step_by_step(case):
    image, mask = (sitk.ReadImage(str(SARCOMAS / case / f"MR_T1_{name}.nii.gz")) for name in ("image", "mask"))
    voxels, spacing_mm = sitk.GetArrayFromImage(image).astype(float), image.GetSpacing()[::-1]
    points = extreme_points_from_mask(sitk.GetArrayFromImage(mask))
    result = generate_pseudo_mask(voxels, points, spacing_mm=spacing_mm)
    expected = reference_pseudo_mask(voxels, points, spacing_mm=spacing_mm, mode="cg_mg", tol=1e-8)
    assert np.count_nonzero(result != expected) <= 1
    assert 1000 < np.count_nonzero(result == 1) < 0.5 * np.count_nonzero(result != 0)


# Noise among which the probabilities of the first walk are far from 0 and 1: every further walk adds seeds.
FAINT = {"noise": 1.0, "contrast": 2.0}
LOOSE = {"foreground_threshold": 0.5, "background_threshold": 0.1}


@pytest.mark.parametrize(
    ("appearance", "usual", "changed"),
    [
        ({"noise": 6.0, "contrast": 12.0}, {}, {"beta": 1000.0}),
        ({"noise": 6.0, "contrast": 12.0}, {}, {"beta": 5.0}),
        ({"noise": 6.0, "contrast": 12.0}, {}, {"foreground_threshold": 0.55}),
        ({"noise": 6.0, "contrast": 20.0}, {}, {"background_threshold": 0.4}),
        ({"noise": 6.0, "contrast": 20.0}, {}, {"num_refinements": 0}),
        ({"noise": 6.0, "contrast": 20.0}, {}, {"num_refinements": 1}),
        (FAINT, LOOSE, {"num_refinements": 0}),
        (FAINT, LOOSE, {"num_refinements": 1}),
        (FAINT, LOOSE, {"background_threshold": 0.05}),
        (FAINT, LOOSE, {"foreground_threshold": 0.45}),
    ],
)
def test_options_mean_what_they_say(appearance, usual, changed, make_tumor):
    spacing_mm = (2.0, 1.0, 1.0)
    image, mask = make_tumor((16, 34, 30), spacing_mm, radii=(4, 8, 7), **appearance)
    points = extreme_points_from_mask(mask)
    results = []
    for options in (usual, usual | changed):
        results.append(generate_pseudo_mask(image, points, spacing_mm=spacing_mm, **options))
        expected = reference_pseudo_mask(image, points, spacing_mm=spacing_mm, **options)
        assert np.count_nonzero(results[-1] != expected) <= 1
    assert not np.array_equal(*results)


def test_seven_walks_follow_the_first():
    # One far voxel makes the noise small among the intensities, so that it hardly holds the walker back: the foreground
    # advances in every walk.
    image = np.random.default_rng(0).normal(0, 1, (1, 35, 35))
    image[0, 0, 0] = 20
    points = np.array([[0, 17, 2], [0, 17, 2], [0, 2, 17], [0, 32, 17], [0, 17, 2], [0, 17, 32]])
    spacing_mm = (1.0, 1.0, 1.0)
    result = generate_pseudo_mask(image, points, spacing_mm=spacing_mm)
    assert np.count_nonzero(result != reference_pseudo_mask(image, points, spacing_mm=spacing_mm)) <= 1
    for num_refinements in (6, 8):
        other = generate_pseudo_mask(image, points, spacing_mm=spacing_mm, num_refinements=num_refinements)
        assert np.count_nonzero(other != result) > 5


def test_intensities_beyond_the_margin_do_not_matter_those_within_it_do(make_tumor):
    spacing_mm = (1.5, 1.0, 0.8)
    image, mask = make_tumor((31, 57, 55), spacing_mm, centre=(15, 28, 27), radii=(3, 5, 4), noise=6.0)
    points = extreme_points_from_mask(mask)
    plain = generate_pseudo_mask(image, points, spacing_mm=spacing_mm)
    margins, centre, last = (10, 20, 20), (15, 28, 27), points.max(axis=0)
    for axis in range(3):
        beyond, edge = image.copy(), list(centre)
        edge[axis] = last[axis] + margins[axis] + 1
        beyond[tuple(edge)] = 1e6
        np.testing.assert_array_equal(generate_pseudo_mask(beyond, points, spacing_mm=spacing_mm), plain)
        within = image.copy()
        edge[axis] -= 1
        within[tuple(edge)] = 1e6
        changed = generate_pseudo_mask(within, points, spacing_mm=spacing_mm)
        assert not np.array_equal(changed, plain)


def test_background_outside_the_box_and_only_foreground_or_unlabelled_inside(phantom):
    image, points, spacing_mm = phantom
    result = generate_pseudo_mask(image, points, spacing_mm=spacing_mm)
    in_box = inside_box(points, image.shape)
    assert (result[~in_box] == 0).all()
    assert set(np.unique(result[in_box])) <= {1, 2}
    assert (result == 2).any()


def test_extreme_points_and_scribbles_are_foreground(phantom):
    image, points, spacing_mm = phantom
    result = generate_pseudo_mask(image, points, spacing_mm=spacing_mm)
    assert (result[tuple(points.T)] == 1).all()
    assert (result[draw_scribbles(image, points, spacing_mm=spacing_mm)] == 1).all()


@pytest.mark.parametrize("ignore_label", [3, 7])
def test_ignore_label_replaces_the_label_of_unlabelled_voxels_alone(ignore_label, small):
    image, points, spacing_mm = small
    usual = generate_pseudo_mask(image, points, spacing_mm=spacing_mm)
    result = generate_pseudo_mask(image, points, spacing_mm=spacing_mm, ignore_label=ignore_label)
    np.testing.assert_array_equal(result, np.where(usual == 2, ignore_label, usual))
    assert (result == ignore_label).any()


def test_order_of_the_points_does_not_matter(small):
    image, _, spacing_mm = small
    points = np.array([[2, 8, 7], [8, 7, 8], [5, 3, 6], [4, 13, 8], [6, 9, 2], [5, 7, 12]])  # no ties
    expected = generate_pseudo_mask(image, points, spacing_mm=spacing_mm)
    for seed in range(3):
        shuffled = np.random.default_rng(seed).permutation(points)
        np.testing.assert_array_equal(generate_pseudo_mask(image, shuffled, spacing_mm=spacing_mm), expected)
        result = generate_pseudo_mask(image, shuffled.tolist(), spacing_mm=list(spacing_mm))
        np.testing.assert_array_equal(result, expected)


def test_same_input_gives_the_same_mask_and_is_left_alone(small):
    image, points, spacing_mm = small
    image_before, points_before = image.copy(), points.copy()
    first, second = (generate_pseudo_mask(image, points, spacing_mm=spacing_mm) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(image, image_before)
    np.testing.assert_array_equal(points, points_before)


@pytest.mark.parametrize("dtype", [np.int16, np.uint8, np.float32])
def test_image_of_any_number_type_gives_the_mask_of_the_same_numbers_as_float(dtype, small):
    image, points, spacing_mm = small
    image = image.round().astype(dtype)
    expected = generate_pseudo_mask(image.astype(float), points, spacing_mm=spacing_mm)
    np.testing.assert_array_equal(generate_pseudo_mask(image, points, spacing_mm=spacing_mm), expected)


@pytest.mark.parametrize("axis", range(3))
def test_box_one_voxel_thick(axis, make_tumor):
    spacing_mm = (2.0, 1.0, 1.3)
    image, mask = make_tumor((13, 14, 15), spacing_mm, radii=(4, 4, 5))
    for other in set(range(13)) - {6}:
        mask[(slice(None),) * axis + (other,)] = False
    mask[(slice(None),) * axis + (slice(13, None),)] = False
    points = extreme_points_from_mask(mask)
    assert np.ptp(points, axis=0)[axis] == 0
    result = generate_pseudo_mask(image, points, spacing_mm=spacing_mm)
    assert np.count_nonzero(result != reference_pseudo_mask(image, points, spacing_mm=spacing_mm)) <= 1
    assert (result != 0).sum() == inside_box(points, image.shape).sum()


def test_box_of_one_voxel_is_that_voxel(small):
    image, _, spacing_mm = small
    result = generate_pseudo_mask(image, [[5, 8, 7]] * 6, spacing_mm=spacing_mm)
    assert result[5, 8, 7] == 1
    assert result.sum() == 1


def test_image_of_a_single_slice(make_tumor):
    spacing_mm = (4.0, 1.0, 1.0)
    image, mask = make_tumor((1, 23, 21), spacing_mm, radii=(1, 6, 5))
    points = extreme_points_from_mask(mask)
    result = generate_pseudo_mask(image, points, spacing_mm=spacing_mm)
    assert np.count_nonzero(result != reference_pseudo_mask(image, points, spacing_mm=spacing_mm)) <= 1
    assert {0, 1, 2} == set(np.unique(result))


def test_box_that_fills_the_image_has_no_background_so_all_becomes_foreground(make_tumor):
    image, _ = make_tumor((6, 9, 8), (2.0, 1.0, 1.0))
    points = extreme_points_from_mask(np.ones(image.shape))
    assert (generate_pseudo_mask(image, points, spacing_mm=(2.0, 1.0, 1.0)) == 1).all()


def test_clear_tumor_is_found(make_tumor):
    spacing_mm = (2.0, 1.0, 1.0)
    image, mask = make_tumor((16, 30, 28), spacing_mm, radii=(4, 8, 7), noise=1.0)
    result = generate_pseudo_mask(image, extreme_points_from_mask(mask), spacing_mm=spacing_mm)
    assert (result == 1)[mask].mean() > 0.8
    assert mask[result == 1].mean() > 0.8


def test_spacing_changes_the_pseudo_mask(small):
    image, points, _ = small
    masks = [generate_pseudo_mask(image, points, spacing_mm=s) for s in ((1, 1, 1), (6, 1, 1), (1, 1, 6))]
    assert not any(np.array_equal(a, b) for a, b in itertools.combinations(masks, 2))


# ------------------------------------------------------------------------------------------------------ scribbles


def test_scribbles_are_the_dilated_shortest_paths(phantom):
    image, points, spacing_mm = phantom
    scribbles = draw_scribbles(image, points, spacing_mm=spacing_mm)
    paths = shortest_paths(image, points, spacing_mm)
    expected = np.zeros(image.shape, dtype=bool)
    expected[box_of(points, image.shape)] = ndimage.binary_dilation(paths, CUBE)
    assert scribbles.dtype == bool
    np.testing.assert_array_equal(scribbles, expected)


def test_scribbles_stay_in_the_box_and_join_opposite_points(phantom):
    image, points, spacing_mm = phantom
    scribbles = draw_scribbles(image, points, spacing_mm=spacing_mm)
    assert not scribbles[~inside_box(points, image.shape)].any()
    components = ndimage.label(scribbles, CUBE)[0]
    for start, end in zip(points[::2], points[1::2], strict=True):
        assert components[tuple(start)] == components[tuple(end)] > 0


def test_within_the_scribbles_the_way_is_as_cheap_as_in_the_whole_box(small):
    image, points, spacing_mm = small
    graph, index = path_graph(image, points, spacing_mm)
    scribbles = draw_scribbles(image, points, spacing_mm=spacing_mm)[box_of(points, image.shape)].ravel()
    among = np.flatnonzero(scribbles)
    position = np.cumsum(scribbles) - 1
    corner = points.min(axis=0)
    for start, end in zip(points[::2] - corner, points[1::2] - corner, strict=True):
        start, end = index[tuple(start)], index[tuple(end)]
        cheapest = dijkstra(graph, indices=start)[end]
        along_scribbles = dijkstra(graph[among][:, among], indices=position[start])[position[end]]
        assert along_scribbles == pytest.approx(cheapest, rel=1e-12)


def test_scribble_bends_round_a_ridge_through_the_gap_beneath_it():
    # A ridge in column 4, rows 0 to 6: its flanks are steep. Row 8 is the only nearly flat way across. The slight
    # ramp makes every other step cost a little, so that no path wanders.
    image = np.zeros((1, 9, 9))
    image[0, :7, 4] = 100
    image += 0.1 * np.arange(9)[:, None]
    points = [[0, 4, 0], [0, 4, 0], [0, 0, 0], [0, 8, 0], [0, 4, 0], [0, 4, 8]]
    scribbles = draw_scribbles(image, points, spacing_mm=(1.0, 1.0, 1.0))
    assert scribbles[0, 8, 4]
    assert not scribbles[0, :6, 4].any()
    assert scribbles[0, 4, [0, 8]].all()


def test_scribbles_in_a_ramp_are_straight_lines_one_voxel_dilated():
    # Constant gradient: the cheapest path is the shortest, here along the axes through the centre.
    image = np.arange(7.0)[:, None, None] + np.zeros((7, 7, 7))
    points = [[1, 3, 3], [5, 3, 3], [3, 1, 3], [3, 5, 3], [3, 3, 1], [3, 3, 5]]
    expected = np.zeros((7, 7, 7), dtype=bool)
    for axis in range(3):
        line = [slice(2, 5)] * 3
        line[axis] = slice(1, 6)
        expected[tuple(line)] = True
    np.testing.assert_array_equal(draw_scribbles(image, points, spacing_mm=(3.0, 1.0, 1.0)), expected)


def test_path_cannot_leave_the_box_where_the_cheap_way_is_outside():
    # The same ridge, but the box ends above the gap.
    image = np.zeros((1, 12, 9))
    image[0, :9, 4] = 100
    image += 0.1 * np.arange(12)[:, None]
    points = [[0, 4, 0], [0, 4, 0], [0, 2, 0], [0, 6, 0], [0, 4, 0], [0, 4, 8]]
    scribbles = draw_scribbles(image, points, spacing_mm=(1.0, 1.0, 1.0))
    assert not scribbles[0, 7:].any()
    assert scribbles[0, 2:7, 4].any()


def test_spacing_changes_the_path(small):
    image, points, _ = small
    drawn = [draw_scribbles(image, points, spacing_mm=s) for s in ((1, 1, 1), (6, 1, 1), (1, 1, 6))]
    assert not any(np.array_equal(a, b) for a, b in itertools.combinations(drawn, 2))


def test_constant_image_still_gets_scribbles():
    points = [[1, 4, 4], [6, 4, 4], [4, 1, 4], [4, 6, 4], [4, 4, 1], [4, 4, 6]]
    scribbles = draw_scribbles(np.full((8, 8, 8), 5.0), points, spacing_mm=(2.0, 1.0, 1.0))
    assert scribbles[tuple(np.transpose(points))].all()


# --------------------------------------------------------------------------------------------------------- errors

BOTH = pytest.mark.parametrize("function", [draw_scribbles, generate_pseudo_mask])
POINTS = np.array([[2, 8, 7], [8, 7, 8], [5, 3, 6], [4, 13, 8], [6, 9, 2], [5, 7, 12]])


@BOTH
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_image_that_is_not_finite_is_refused(function, value, small):
    image = small[0]
    image[0, 0, :3] = value
    with pytest.raises(ValueError, match=r"image must be finite, got 3\b"):
        function(image, POINTS, spacing_mm=(1, 1, 1))


@BOTH
@pytest.mark.parametrize("shape", [(11, 17), (1, 11, 17, 15)])
def test_image_of_other_than_three_dimensions_is_refused(function, shape):
    with pytest.raises(ValueError, match="three-dimensional") as error:
        function(np.ones(shape), POINTS, spacing_mm=(1, 1, 1))
    assert str(shape) in str(error.value)


@BOTH
@pytest.mark.parametrize("point", [(11, 7, 8), (8, 17, 8), (8, 7, 15), (-1, 7, 8)])
def test_points_outside_the_image_are_refused(function, point, small):
    points = POINTS.copy()
    points[1] = point
    with pytest.raises(ValueError, match="inside the image") as error:
        function(small[0], points, spacing_mm=(1, 1, 1))
    assert str(list(point)) in str(error.value)
    assert "(11, 17, 15)" in str(error.value)


@BOTH
@pytest.mark.parametrize("spacing_mm", [(0, 1, 1), (1, -2.5, 1), (1, 1, float("nan")), (1, 1, float("inf")), (1, 1)])
def test_spacing_that_is_not_three_positive_numbers_is_refused(function, spacing_mm, small):
    with pytest.raises(ValueError, match="spacing_mm") as error:
        function(small[0], POINTS, spacing_mm=spacing_mm)
    assert str(tuple(float(s) for s in spacing_mm)) in str(error.value)


@BOTH
def test_wrong_number_of_points_is_refused(function, small):
    with pytest.raises(ValueError, match=r"six extreme points.*\(5, 3\)"):
        function(small[0], POINTS[:5], spacing_mm=(1, 1, 1))


def test_constant_image_is_refused():
    with pytest.raises(ValueError, match=r"constant.*37\.5"):
        generate_pseudo_mask(np.full((11, 17, 15), 37.5), POINTS, spacing_mm=(1, 1, 1))


@pytest.mark.parametrize(
    "option",
    [
        {"ignore_label": 1},
        {"ignore_label": 300},
        {"beta": 0},
        {"num_refinements": -1},
        {"foreground_threshold": 0.1},
        {"background_threshold": 0.0},
        {"foreground_threshold": 1.0},
    ],
)
def test_options_out_of_range_are_refused(option):
    image = np.random.default_rng(0).normal(size=(5, 6, 7))
    points = [[0, 3, 3], [4, 3, 3], [2, 0, 3], [2, 5, 3], [2, 3, 0], [2, 3, 6]]
    with pytest.raises(ValueError, match=str(next(iter(option.values())))):
        generate_pseudo_mask(image, points, spacing_mm=(1, 1, 1), **option)


@pytest.mark.parametrize("recipe", ["paper", "robust"])
def test_scribbles_that_were_drawn_before_are_taken_as_they_are(recipe, small):
    image, points, spacing_mm = small
    options = {"spacing_mm": spacing_mm, "recipe": recipe}
    drawn = draw_scribbles(image, points, **options)
    expected = generate_pseudo_mask(image, points, **options)
    np.testing.assert_array_equal(generate_pseudo_mask(image, points, scribbles=drawn, **options), expected)
    in_box = inside_box(points, image.shape)
    np.testing.assert_array_equal(generate_pseudo_mask(image, points, scribbles=in_box, **options) == 1, in_box)


@pytest.mark.parametrize("kind", ["another shape", "no booleans", "outside the box", "empty"])
def test_scribbles_that_cannot_have_been_drawn_are_refused(kind, small):
    image, points, spacing_mm = small
    scribbles = draw_scribbles(image, points, spacing_mm=spacing_mm)
    if kind == "another shape":
        scribbles, named = scribbles[1:], str(scribbles[1:].shape)
    elif kind == "no booleans":
        scribbles, named = scribbles.astype(np.uint8), "uint8"
    elif kind == "empty":
        scribbles, named = scribbles & False, "0 of 0 voxels inside"
    else:
        scribbles[0, 0, 0], named = True, f"got {scribbles.sum()} of {scribbles.sum() + 1} voxels inside"
    with pytest.raises(ValueError, match=f"scribbles.*{re.escape(named)}"):
        generate_pseudo_mask(image, points, spacing_mm=spacing_mm, scribbles=scribbles)


def sampled_lesion(positions_mm):
    """An ellipsoid of 24 x 18 x 14 mm on a flat background, with a soft edge, at positions (..., 3) in mm."""
    distance = np.linalg.norm(positions_mm / (12.0, 9.0, 7.0), axis=-1)
    return 100 / (1 + np.exp((distance - 1) * 12)), distance < 1


@pytest.mark.parametrize("recipe", ["paper", "robust"])
@pytest.mark.parametrize("degrees", [10, 30])
def test_oblique_image_gives_the_pseudo_mask_of_the_upright_one(recipe, degrees):
    spacing_mm, centre = np.array((1.5, 1.0, 1.1)), np.array((11, 17, 15))
    cosine, sine = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    axes = np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]])  # rows: patient axes in the image's axes
    index = np.stack(np.meshgrid(*map(np.arange, 2 * centre + 1), indexing="ij"), axis=-1)
    along_image_mm = (index - centre) * spacing_mm
    noise = np.random.default_rng(0).standard_normal(index.shape[:3])

    masks = {}
    for name, own_axes in (("upright", None), ("oblique", axes)):
        image, lesion = sampled_lesion(along_image_mm if own_axes is None else along_image_mm @ own_axes.T)
        points = extreme_points_from_mask(lesion, spacing_mm=spacing_mm, axes=own_axes)
        masks[name] = generate_pseudo_mask(image + noise, points, spacing_mm=spacing_mm, recipe=recipe, axes=own_axes)
    # where the voxels of the oblique image lie in the upright one
    nearest = np.rint(along_image_mm @ axes.T / spacing_mm).astype(int) + centre
    seen = ((nearest >= 0) & (nearest <= 2 * centre)).all(axis=-1)
    expected, result = masks["upright"][tuple(nearest[seen].T)], masks["oblique"][seen]
    for label in (0, 1):
        overlap = 2 * np.count_nonzero((expected == label) & (result == label))
        assert overlap > 0.85 * (np.count_nonzero(expected == label) + np.count_nonzero(result == label))


def test_merging_one_lesion_changes_nothing(make_tumor):
    image, mask = make_tumor((9, 30, 26), (3.0, 0.8, 1.2), noise=5.0)
    pseudo_mask = generate_pseudo_mask(image, extreme_points_from_mask(mask), spacing_mm=(3.0, 0.8, 1.2))
    np.testing.assert_array_equal(merge_pseudo_masks([pseudo_mask], [1], ignore_label=2), pseudo_mask)


def test_merging_by_hand():
    first = np.array([0, 0, 1, 1, 2, 2, 1, 2])
    second = np.array([0, 1, 0, 1, 0, 2, 2, 1])
    np.testing.assert_array_equal(merge_pseudo_masks([first, second], [1, 1], ignore_label=2), [0, 1, 1, 1, 2, 2, 1, 1])
    np.testing.assert_array_equal(merge_pseudo_masks([first, second], [1, 2], ignore_label=3), [0, 2, 1, 3, 3, 3, 1, 2])
