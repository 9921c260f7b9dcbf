"""How the prior of a walk follows from the lesion's shape and from a network, against a direct solution of the walk."""

import numpy as np
import pytest
from scipy import ndimage, sparse
from scipy.sparse.linalg import spsolve
from scipy.special import expit, logit

from nnunetv2_simple.extreme_points.box import LesionBox
from nnunetv2_simple.extreme_points.points import extreme_points_from_mask
from nnunetv2_simple.pseudo_mask import draw_scribbles, generate_pseudo_mask, walk_again
from nnunetv2_simple.pseudo_mask.robust_recipe import (
    contrast_weights,
    ellipsoid_fit,
    intensity_log_odds,
    robust_region,
    shape_log_odds,
)

SPACING_MM = (2.0, 1.0, 1.0)


def noisy(mask):
    return 30.0 * mask + 15 * np.random.default_rng(0).standard_normal(mask.shape)


Z, Y, X = np.ogrid[:13, :32, :32]


def arc():
    """Three quarters of a ring: the ellipsoid that touches the clicks is far from it."""
    radius, angle = np.hypot(Y - 15, X - 15), np.arctan2(Y - 15, X - 15)
    return ((radius - 9) ** 2 + 4 * (Z - 6) ** 2 <= 4**2) & (abs(angle) > np.pi / 4)


def ball():
    return 4 * (Z - 6) ** 2 + (Y - 15) ** 2 + (X - 15) ** 2 <= 10.5**2


def bitten_ball():
    return ball() & (4 * (Z - 6) ** 2 + (Y - 22) ** 2 + (X - 15) ** 2 > 12**2)


def first_walk(image, points):
    options = {"spacing_mm": SPACING_MM, "recipe": "robust", "return_probability": True}
    return generate_pseudo_mask(image, points, **options)


def dice(a, b):
    return 2 * np.count_nonzero(a & b) / (a.sum() + b.sum())


class DirectWalk:
    """One lesion's walk as a linear system of its free voxels, solved at once: (L + g) p = g q + edges to seeds."""

    def __init__(self, image, points):
        box = LesionBox(points, shape=image.shape, spacing_mm=SPACING_MM)
        self.region = robust_region(box)
        self.image, self.in_box = image[self.region], box.contains(self.region)
        self.scribbles = draw_scribbles(image, points, spacing_mm=SPACING_MM, recipe="robust")[self.region]
        self.background = ~self.in_box | (box.radius(self.region) > np.sqrt(2)) & ~self.scribbles
        self.shape = np.where(self.in_box, shape_log_odds(box.touching_radius(self.region)), -np.inf)
        number = np.arange(self.image.size).reshape(self.image.shape)
        self.laplacian = sparse.csr_array((self.image.size, self.image.size))
        for axis, weights in enumerate(contrast_weights(self.image, spacing_mm=SPACING_MM)):
            pairs = np.moveaxis(number, axis, 0)
            first, second = np.moveaxis(pairs[:-1], 0, axis).ravel(), np.moveaxis(pairs[1:], 0, axis).ravel()
            edges = sparse.coo_array((weights.ravel(), (first, second)), shape=self.laplacian.shape)
            joined = edges + edges.T
            self.laplacian = self.laplacian + sparse.diags_array(joined.sum(axis=1)) - joined

    def probability(self, log_odds, weight):
        prior = expit(log_odds + intensity_log_odds(self.image, expit(log_odds))).ravel()
        seeded = (self.scribbles | self.background).ravel()
        probability = self.scribbles.ravel().astype(float)
        rows = self.laplacian[~seeded]
        system = rows[:, ~seeded] + weight * sparse.eye_array(np.count_nonzero(~seeded))
        known = rows[:, seeded] @ probability[seeded]
        probability[~seeded] = spsolve(system.tocsc(), weight * prior[~seeded] - known)
        probability = probability.reshape(self.image.shape)
        parts, _ = ndimage.label(probability > 0.5, np.ones((3, 3, 3)))
        loose = (parts > 0) & ~np.isin(parts, parts[self.scribbles])
        return np.where(loose, 0.5, probability)

    def fit(self):
        share = (dice(self.shape > 0, self.probability(self.shape, 0.02) > 0.5) - 0.75) / 0.05
        return min(max(share, 0), 1)


@pytest.fixture(params=[arc, ball, bitten_ball])
def lesion(request):
    mask = request.param()
    image = noisy(mask)
    return image, mask, extreme_points_from_mask(mask)


def test_ellipsoid_fit_by_hand():
    ellipsoid = np.zeros(200, dtype=bool)
    ellipsoid[:100] = True
    for overlap, expected in ((100, 1), (80, 1), (78, 0.6), (75, 0), (10, 0)):
        assert ellipsoid_fit(ellipsoid, np.roll(ellipsoid, 100 - overlap)) == pytest.approx(expected)


def test_the_three_lesions_are_a_curved_one_a_blob_and_one_between():
    masks = arc(), bitten_ball(), ball()
    fits = [DirectWalk(noisy(mask), extreme_points_from_mask(mask)).fit() for mask in masks]
    assert fits[0] == 0
    assert 0 < fits[1] < 1
    assert fits[2] == 1


def test_first_walk_trusts_the_ellipsoid_as_far_as_it_fits(lesion):
    image, _, points = lesion
    direct = DirectWalk(image, points)
    expected = direct.probability(direct.shape, 0.005 * 14 ** direct.fit())
    _, probability = first_walk(image, points)
    np.testing.assert_allclose(probability[direct.region], expected, atol=2e-3)


def test_second_walk_asks_the_network_above_all_where_the_ellipsoid_does_not_fit(lesion):
    image, mask, points = lesion
    network = expit(4 * ndimage.gaussian_filter(mask.astype(float), 2) - 2)
    network[:, 15, 5:8], network[:, 15, 8:11] = 0, 1  # certain
    direct = DirectWalk(image, points)
    learned = logit(network[direct.region]).clip(-4, 4)
    mixed = direct.fit() * np.where(direct.in_box, direct.shape, 0) + (1 - 0.9 * direct.fit()) * learned
    expected = direct.probability(np.where(direct.in_box, mixed, -np.inf), 0.05 * 1.4 ** direct.fit())
    probability = walk_again(image, points, network, spacing_mm=SPACING_MM)
    np.testing.assert_allclose(probability[direct.region], expected, atol=2e-3)
    outside = np.ones(image.shape, dtype=bool)
    outside[direct.region] = ~direct.in_box
    assert (probability[outside] == 0).all()


def test_a_network_that_knows_better_helps_where_the_lesion_is_curved():
    mask = arc()
    image, points = noisy(mask), extreme_points_from_mask(mask)
    first = first_walk(image, points)[1] > 0.5
    network = expit(6 * ndimage.gaussian_filter(mask.astype(float), 1) - 3)
    second = walk_again(image, points, network, spacing_mm=SPACING_MM) > 0.5
    assert dice(second, mask) > dice(first, mask) + 0.02


def test_no_network_does_a_blob_much_harm():
    mask = ball()
    image, points = noisy(mask), extreme_points_from_mask(mask)
    first = first_walk(image, points)[1] > 0.5
    for network in (np.zeros(image.shape), np.ones(image.shape)):
        second = walk_again(image, points, network, spacing_mm=SPACING_MM) > 0.5
        assert dice(second, mask) > dice(first, mask) - 0.05


def test_labels_are_as_certain_on_either_side_of_the_border(lesion):
    image, _, points = lesion
    label, probability = first_walk(image, points)
    expected = np.select([probability > 0.7, probability < 0.3], [1, 0], 2)
    np.testing.assert_array_equal(label, expected)
    assert {0, 1, 2} == set(np.unique(label))


def test_half_precision_is_enough():
    image, points = noisy(arc()), extreme_points_from_mask(arc())
    network = np.random.default_rng(1).uniform(0, 1, image.shape)
    expected = walk_again(image, points, network, spacing_mm=SPACING_MM)
    found = walk_again(image, points, network.astype(np.float16), spacing_mm=SPACING_MM)
    np.testing.assert_allclose(found, expected, atol=5e-3)


def test_the_network_must_have_seen_this_image():
    mask = ball()
    with pytest.raises(ValueError, match=r"network_probability .*\(13, 32, 32\).*\(13, 32, 31\)"):
        walk_again(noisy(mask), extreme_points_from_mask(mask), np.zeros((13, 32, 31)), spacing_mm=SPACING_MM)
