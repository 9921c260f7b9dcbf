import numpy as np
import pytest
from scipy import ndimage

from nnunetv2_simple.demo.phantom import TUMOUR_SHAPES, generate_phantom
from nnunetv2_simple.extreme_points.points import bounding_box, extreme_points_from_mask
from nnunetv2_simple.pseudo_mask.generate import draw_scribbles, generate_pseudo_mask
from nnunetv2_simple.pseudo_mask.robust_recipe import contrast_weights, intensity_log_odds, shape_log_odds

SPACING_MM = (3.0, 0.8, 1.2)


def robust(image, points, **options):
    return generate_pseudo_mask(image, points, **{"spacing_mm": SPACING_MM, "recipe": "robust"} | options)


def dice(prediction, mask):
    return 2 * np.count_nonzero(prediction & mask) / (prediction.sum() + mask.sum())


@pytest.fixture
def tumor(make_tumor):
    image, mask = make_tumor((13, 40, 30), SPACING_MM, noise=10.0)
    return image, mask, extreme_points_from_mask(mask)


def test_shape_log_odds_by_hand():
    np.testing.assert_allclose(shape_log_odds(np.array([0, 0.65, 0.9, 1.1, 1.6, 9])), [1, 1, 0, -1.6, -5.6, -6])


def test_contrast_weights_by_hand():
    image = np.array([[[0.0, 1.0], [0.0, 3.0]]])  # differences: along y 0 and 2, along x 1 and 3
    largest = 2.98  # the 99th percentile of 1, 2 and 3
    scale = 2 * 0.7**2 * (0 + 4 + 1 + largest**2) / 4
    along_z, along_y, along_x = contrast_weights(image, spacing_mm=(5.0, 2.0, 1.0))
    assert along_z.shape == (0, 2, 2)
    np.testing.assert_allclose(along_y, 0.25 * np.exp(-np.array([[[0.0, 4.0]]]) / scale))
    np.testing.assert_allclose(along_x, np.exp(-np.array([[[1.0], [9.0]]]) / scale))


def test_intensity_log_odds_tell_bright_from_dark_and_stay_within_their_bounds():
    generator = np.random.default_rng(0)
    mask = generator.random((8, 30, 30)) < 0.3
    image = np.where(mask, 100.0, 50.0) + generator.standard_normal(mask.shape)
    log_odds = intensity_log_odds(image, np.where(mask, 0.9, 0.1))
    assert abs(log_odds).max() <= 3
    assert (log_odds[mask] > 0).all()
    assert (log_odds[~mask] < 0).all()


def test_intensity_log_odds_follow_the_shares_of_the_two_histograms():
    # half of the lesion and a tenth of the surroundings are bright, whatever their volumes
    image = np.repeat([0.0, 1.0], 500).reshape(10, 10, 10)
    probability = np.zeros(1000)
    probability[:100] = probability[500:600] = 1.0
    probability = probability.reshape(image.shape)
    surroundings = 400 + 400
    log_odds = intensity_log_odds(image, probability)
    expected = np.log((0.5 + 1e-3) / (400 / surroundings + 1e-3))  # smoothing spreads both alike
    np.testing.assert_allclose(log_odds, expected, atol=1e-6)


def test_labels_and_shape(tumor):
    image, _, points = tumor
    pseudo_mask = robust(image, points, ignore_label=5)
    assert pseudo_mask.dtype == np.uint8
    assert pseudo_mask.shape == image.shape
    assert set(np.unique(pseudo_mask)) == {0, 1, 5}


def test_outside_the_box_is_background_and_points_are_foreground(tumor):
    image, _, points = tumor
    pseudo_mask = robust(image, points)
    outside = np.ones(image.shape, dtype=bool)
    outside[bounding_box(points)] = False
    assert (pseudo_mask[outside] == 0).all()
    assert (pseudo_mask[tuple(points.T)] == 1).all()


def test_background_inside_the_box_is_background(tumor):
    image, mask, points = tumor
    box = bounding_box(points)
    background = robust(image, points)[box] == 0
    assert background.sum() > 0.1 * background.size
    assert np.count_nonzero(background & mask[box]) < 0.02 * background.sum()


@pytest.mark.parametrize(("factor", "offset"), [(1e-3, 0.0), (1000.0, -5e4), (-1.0, 0.0)])
def test_scale_offset_and_sign_of_the_intensities_do_not_matter(tumor, factor, offset):
    image, _, points = tumor
    expected = robust(image, points)
    differing = np.count_nonzero(robust(factor * image + offset, points) != expected)
    assert differing <= 0.002 * np.count_nonzero(expected)  # a voxel may fall on the other side of a bin's edge


@pytest.mark.parametrize("axes", [(2, 1, 0), (1, 2, 0)])
def test_orientation_of_the_image_does_not_matter(tumor, axes):
    image, mask, points = tumor
    turned = robust(image.transpose(axes), points[:, axes], spacing_mm=[SPACING_MM[a] for a in axes])
    expected = robust(image, points).transpose(axes)
    assert dice(turned == 1, expected == 1) > 0.98  # shortest paths may differ where two cost the same


def test_order_of_the_points_does_not_matter(tumor):
    image, _, points = tumor
    np.testing.assert_array_equal(robust(image, points[[3, 5, 0, 1, 4, 2]]), robust(image, points))


def test_noise_without_any_lesion_leaves_the_core_of_the_ellipsoid():
    shape = (21, 41, 41)
    image = np.random.default_rng(1).standard_normal(shape)
    points = [(4, 20, 20), (16, 20, 20), (10, 6, 20), (10, 34, 20), (10, 20, 6), (10, 20, 34)]
    pseudo_mask, probability = robust(image, points, spacing_mm=(1, 1, 1), return_probability=True)
    z, y, x = np.ogrid[:21, :41, :41]
    radius = np.sqrt(((z - 10) / 6.5) ** 2 + ((y - 20) / 14.5) ** 2 + ((x - 20) / 14.5) ** 2)
    assert np.mean(probability[radius < 0.5] > 0.5) > 0.9
    assert np.mean(radius[probability > 0.5] < 1) > 0.97
    assert (pseudo_mask[radius > np.sqrt(2)] == 0).all()


@pytest.mark.parametrize("kind", ["homogeneous", "rim", "faint"])
@pytest.mark.slow
def test_beats_paper_recipe_and_ellipsoid_on_phantoms(kind):
    scores = []
    for number, shape in enumerate(TUMOUR_SHAPES):
        phantom = generate_phantom(np.random.default_rng([5, number]), tumor_kind=kind, tumor_shape=shape)
        mask, spacing_mm = phantom.tumor > 0, phantom.spacing_mm
        points = extreme_points_from_mask(mask)
        box = bounding_box(points)
        coordinates = [
            (np.arange(size) - (side.start + side.stop - 1) / 2) / ((side.stop - side.start) / 2)
            for side, size in zip(box, mask.shape, strict=True)
        ]
        ellipsoid = sum(u**2 for u in np.ix_(*coordinates)) <= 1
        masks = [
            generate_pseudo_mask(phantom.post_contrast, points, spacing_mm=spacing_mm, recipe=recipe) == 1
            for recipe in ("robust", "paper")
        ]
        scores.append([dice(m, mask) for m in (*masks, ellipsoid)])
    of_robust, of_paper, of_ellipsoid = np.mean(scores, axis=0)
    assert of_robust > of_paper
    assert of_robust > of_ellipsoid


def test_scribbles_stay_inside_where_the_background_is_flat():
    z, y, x = np.ogrid[:15, :40, :40]
    mask = ((z - 7) / 5) ** 2 + ((y - 20) / 11) ** 2 + ((x - 20) / 11) ** 2 <= 1
    inside = np.random.default_rng(2).uniform(3, 12, mask.shape)  # hot and heterogeneous on zero
    image = np.where(mask, inside, 0.0)
    points = extreme_points_from_mask(mask)
    share = {}
    for recipe in ("paper", "robust"):
        scribbles = draw_scribbles(image, points, spacing_mm=SPACING_MM, recipe=recipe)
        share[recipe] = np.count_nonzero(scribbles & mask) / scribbles.sum()
    assert share["robust"] > 0.85
    assert share["robust"] > share["paper"] + 0.2


@pytest.mark.parametrize(("width", "thick_up_to"), [(5, 1), (21, 9)])
def test_scribbles_are_dilated_half_a_voxel_inside_the_ellipsoid_only(width, thick_up_to):
    half, centre = width // 2, np.full(3, width)
    points = [centre + sign * half * axis for axis in np.eye(3, dtype=int) for sign in (-1, 1)]
    scribbles = draw_scribbles(np.zeros([2 * width + 1] * 3), points, spacing_mm=(1.0, 1.0, 1.0), recipe="robust")
    expected = set()
    for axis in range(3):
        for along in range(-half, half + 1):
            # sqrt(along^2 + 1) <= width / 2 * (1 - 1 / width), the half-size of the box less half a voxel
            sides = (-1, 0, 1) if abs(along) <= thick_up_to else (0,)
            for side in sides:
                expected |= {tuple(np.roll(centre + (along, *across), axis)) for across in ((side, 0), (0, side))}
    assert set(map(tuple, np.argwhere(scribbles).tolist())) == expected


def test_points_on_the_image_border_and_flat_boxes_are_legal():
    image = np.random.default_rng(3).standard_normal((4, 9, 8))
    for points in (
        [(0, 4, 4), (3, 4, 4), (1, 0, 4), (1, 8, 4), (2, 4, 0), (2, 4, 7)],
        [(2, 4, 4), (2, 5, 4), (2, 2, 4), (2, 6, 4), (2, 4, 1), (2, 4, 6)],
        [(2, 4, 4)] * 6,
    ):
        pseudo_mask = robust(image, points)
        assert (pseudo_mask[tuple(np.transpose(points))] == 1).all()


def test_single_slice_image():
    image = np.random.default_rng(4).standard_normal((1, 20, 20))
    assert (robust(image, [(0, 9, 9), (0, 9, 9), (0, 4, 9), (0, 15, 9), (0, 9, 3), (0, 9, 16)]) == 1).any()


def test_refuses_options_of_the_other_recipe(tumor):
    image, _, points = tumor
    with pytest.raises(ValueError, match="has no options, got .*beta.*200"):
        robust(image, points, beta=200.0)


def test_refuses_unknown_recipes(tumor):
    image, _, points = tumor
    with pytest.raises(ValueError, match="recipe must be one of .* got 'papr'"):
        robust(image, points, recipe="papr")


def test_refuses_a_constant_image():
    with pytest.raises(ValueError, match="constant"):
        robust(np.full((5, 6, 7), 3.0), [(1, 3, 3), (3, 3, 3), (2, 1, 3), (2, 4, 3), (2, 3, 1), (2, 3, 5)])


def test_what_does_not_hang_on_the_scribbles_is_no_foreground():
    shape = (15, 41, 41)
    z, y, x = np.ogrid[:15, :41, :41]
    lesion = ((z - 7) / 5) ** 2 + ((y - 20) / 14) ** 2 + ((x - 20) / 14) ** 2 <= 1
    image = np.where(lesion, 100.0, 0.0) + np.random.default_rng(5).standard_normal(shape)
    spot = (slice(6, 9), slice(8, 11), slice(8, 11))
    lesion[5:10, 6:13, 6:13] = False  # a gap round a spot that is as bright as the lesion
    image[~lesion] = 0
    image[spot] = 100
    points = [(2, 20, 20), (12, 20, 20), (7, 6, 20), (7, 34, 20), (7, 20, 6), (7, 20, 34)]
    pseudo_mask = robust(image, points, spacing_mm=(1, 1, 1))
    assert (pseudo_mask[spot] != 1).all()
    components = ndimage.label(pseudo_mask == 1, np.ones((3, 3, 3)))[1]
    assert components == 1


@pytest.mark.parametrize("brightness", [2000.0, 1e9])
def test_a_clip_much_brighter_than_everything_else_changes_little(tumor, brightness):
    image, _, points = tumor
    expected = robust(image, points)
    box = bounding_box(points)
    image = image.copy()
    image[box[0].start : box[0].start + 2, box[1].start - 3 : box[1].start - 1, 10:13] = brightness
    assert dice(robust(image, points) == 1, expected == 1) > 0.95
