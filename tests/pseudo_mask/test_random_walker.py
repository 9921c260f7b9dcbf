import itertools

import numpy as np
import pytest
from skimage.segmentation import random_walker

from nnunetv2_simple.pseudo_mask.random_walker import RandomWalker, gradient_weights

BETA = 130.0
TOLERANCE = 1e-4


def walker_on(image, *, spacing_mm, beta, intensity_std=None):
    std = image.std() if intensity_std is None else intensity_std
    return RandomWalker(gradient_weights(image, spacing_mm=spacing_mm, beta=beta, intensity_std=std))


def dense_walk(image, foreground, background, *, spacing_mm, beta, intensity_std=None):
    """Solve the Dirichlet problem with a full matrix, edge by edge."""
    std = image.std() if intensity_std is None else intensity_std
    laplacian = np.zeros((image.size, image.size))
    index = np.arange(image.size).reshape(image.shape)
    for voxel in np.ndindex(image.shape):
        for axis in range(3):
            neighbour = tuple(c + (a == axis) for a, c in enumerate(voxel))
            if neighbour[axis] == image.shape[axis]:
                continue
            slope = (image[neighbour] - image[voxel]) / spacing_mm[axis]
            weight = np.exp(-beta * slope**2 / (10 * std)) + 1e-10
            i, j = index[voxel], index[neighbour]
            laplacian[i, j] -= weight
            laplacian[j, i] -= weight
            laplacian[i, i] += weight
            laplacian[j, j] += weight
    seeded = (foreground | background).ravel()
    probability = foreground.astype(float).ravel()
    among, to_seeds = laplacian[np.ix_(~seeded, ~seeded)], laplacian[np.ix_(~seeded, seeded)]
    probability[~seeded] = np.linalg.solve(among, -to_seeds @ probability[seeded])
    return probability.reshape(image.shape)


def shell_and_core(shape):
    """Foreground seeds in the middle, background seeds on the outermost layer."""
    background = np.ones(shape, dtype=bool)
    background[tuple(slice(1, -1) for _ in shape)] = False
    foreground = np.zeros(shape, dtype=bool)
    foreground[tuple(n // 2 for n in shape)] = True
    return foreground, background


@pytest.mark.parametrize("noise", [0.5, 3.0, 10.0, 40.0])
@pytest.mark.parametrize(("shape", "spacing_mm"), [((5, 7, 9), (3.0, 0.9, 1.3)), ((8, 5, 6), (1.0, 2.5, 0.7))])
def test_agrees_with_a_dense_direct_solver(noise, shape, spacing_mm, make_tumor):
    image, _ = make_tumor(shape, spacing_mm, noise=noise)
    foreground, background = shell_and_core(shape)
    walker = walker_on(image, spacing_mm=spacing_mm, beta=BETA)
    expected = dense_walk(image, foreground, background, spacing_mm=spacing_mm, beta=BETA)
    np.testing.assert_allclose(walker.walk(foreground, background), expected, atol=TOLERANCE)


def test_noise_of_that_strength_spreads_the_weights_over_ten_orders_of_magnitude(make_tumor):
    image, _ = make_tumor((5, 7, 9), (3.0, 0.9, 1.3), noise=40.0)
    exponents = BETA * (np.diff(image, axis=1) / 0.9) ** 2 / (10 * image.std())
    assert (exponents > -np.log(1e-10)).any()
    assert (exponents < 1).any()


@pytest.mark.parametrize("intensity_std", [0.5, 4.0, 200.0])
def test_given_standard_deviation_scales_beta(intensity_std, make_tumor):
    shape, spacing_mm = (5, 6, 7), (2.0, 1.0, 1.5)
    image, _ = make_tumor(shape, spacing_mm)
    foreground, background = shell_and_core(shape)
    walker = walker_on(image, spacing_mm=spacing_mm, beta=BETA, intensity_std=intensity_std)
    expected = dense_walk(image, foreground, background, spacing_mm=spacing_mm, beta=BETA, intensity_std=intensity_std)
    np.testing.assert_allclose(walker.walk(foreground, background), expected, atol=TOLERANCE)


def test_corridor_by_hand():
    # Three unseeded voxels between the seeds; std = 2, beta = 20: weights exp(-(step / spacing)^2).
    image = np.array([0.0, 0.0, 1.0, 1.0, 0.0]).reshape(5, 1, 1)
    foreground, background = np.zeros((2, 5, 1, 1), dtype=bool)
    foreground[0] = background[4] = True
    walker = walker_on(image, spacing_mm=(2.0, 1.0, 1.0), beta=20.0, intensity_std=2.0)
    resistances = np.array([1, np.exp(0.25), 1, np.exp(0.25)])  # a chain of resistors, voltage divider
    expected = 1 - np.cumsum(resistances) / resistances.sum()
    np.testing.assert_allclose(walker.walk(foreground, background).ravel(), [1, *expected], atol=1e-7)


def test_cluster_tied_to_both_seeds_by_faint_edges_alone_lies_halfway():
    weights = [np.array([1e-10, 1.0, 0.5, 1.0, 1e-10]).reshape(5, 1, 1), np.zeros((6, 0, 1)), np.zeros((6, 1, 0))]
    foreground, background = np.zeros((2, 6, 1, 1), dtype=bool)
    foreground[0] = background[5] = True
    probability = RandomWalker(weights).walk(foreground, background).ravel()
    np.testing.assert_allclose(probability, [1, 0.5, 0.5, 0.5, 0.5, 0], atol=1e-6)


# With seed 2 and noise 3 a cluster of six voxels is tied by 1e-10 only, and a single pass of coarsening misses it.
@pytest.mark.parametrize(("noise", "seed"), [(3.0, 0), (3.0, 2), (20.0, 0), (30.0, 0), (60.0, 0)])
def test_agrees_with_scikit_image(noise, seed, make_tumor):
    shape, spacing_mm = (9, 12, 11), (2.7, 0.8, 1.1)
    image, _ = make_tumor(shape, spacing_mm, noise=noise, seed=seed)
    foreground, background = shell_and_core(shape)
    seeds = foreground + 2 * background
    expected = random_walker(image, seeds, beta=BETA, mode="bf", spacing=spacing_mm, return_full_prob=True)[0]
    result = walker_on(image, spacing_mm=spacing_mm, beta=BETA).walk(foreground, background)
    np.testing.assert_allclose(result, expected, atol=TOLERANCE)


def test_probabilities_lie_between_zero_and_one_and_seeds_are_exact(make_tumor):
    shape = (7, 9, 8)
    for seed, noise in itertools.product(range(3), (1.0, 10.0, 60.0)):
        image, _ = make_tumor(shape, (2.0, 1.0, 1.0), noise=noise, seed=seed)
        foreground, background = shell_and_core(shape)
        result = walker_on(image, spacing_mm=(2.0, 1.0, 1.0), beta=BETA).walk(foreground, background)
        assert result.shape == shape
        assert result.min() >= 0
        assert result.max() <= 1
        assert (result[foreground] == 1).all()
        assert (result[background] == 0).all()


@pytest.mark.parametrize("noise", [3.0, 30.0])
def test_where_the_solver_starts_does_not_change_the_result(noise, make_tumor):
    shape, spacing_mm = (7, 10, 9), (2.0, 1.0, 1.0)
    image, _ = make_tumor(shape, spacing_mm, noise=noise)
    foreground, background = shell_and_core(shape)
    walker = walker_on(image, spacing_mm=spacing_mm, beta=BETA)
    cold = walker.walk(foreground, background)
    for initial in (cold, np.zeros(shape), np.ones(shape), np.random.default_rng(0).random(shape)):
        np.testing.assert_allclose(walker.walk(foreground, background, initial=initial), cold, atol=TOLERANCE)


def test_second_walk_on_the_same_graph_is_as_good_as_the_first(make_tumor):
    shape, spacing_mm = (6, 7, 8), (2.0, 1.0, 1.0)
    image, _ = make_tumor(shape, spacing_mm)
    foreground, background = shell_and_core(shape)
    walker = walker_on(image, spacing_mm=spacing_mm, beta=BETA)
    walker.walk(foreground, background)
    foreground[2, 3, 2:5] = True
    expected = dense_walk(image, foreground, background, spacing_mm=spacing_mm, beta=BETA)
    np.testing.assert_allclose(walker.walk(foreground, background), expected, atol=TOLERANCE)


def test_without_background_seed_every_walk_ends_in_the_foreground(make_tumor):
    image, _ = make_tumor((5, 6, 7), (2.0, 1.0, 1.0), noise=20.0)
    foreground, _ = shell_and_core(image.shape)
    walker = walker_on(image, spacing_mm=(2.0, 1.0, 1.0), beta=BETA)
    np.testing.assert_allclose(walker.walk(foreground, np.zeros_like(foreground)), 1, atol=TOLERANCE)


def test_all_voxels_seeded_come_back_as_they_are(make_tumor):
    image, mask = make_tumor((5, 6, 7), (2.0, 1.0, 1.0))
    walker = walker_on(image, spacing_mm=(2.0, 1.0, 1.0), beta=BETA)
    np.testing.assert_array_equal(walker.walk(mask, ~mask), mask.astype(float))


def test_walk_leaves_its_seeds_alone(make_tumor):
    image, _ = make_tumor((5, 6, 7), (2.0, 1.0, 1.0))
    foreground, background = shell_and_core(image.shape)
    before = foreground.copy(), background.copy()
    walker_on(image, spacing_mm=(2.0, 1.0, 1.0), beta=BETA).walk(foreground, background)
    np.testing.assert_array_equal(foreground, before[0])
    np.testing.assert_array_equal(background, before[1])


def test_prior_pulls_as_in_a_dense_direct_solution(make_tumor):
    image, _ = make_tumor((5, 7, 9), (3.0, 0.9, 1.3), noise=3.0)
    foreground, background = shell_and_core(image.shape)
    prior = np.random.default_rng(0).uniform(0, 1, image.shape)
    weights = gradient_weights(image, spacing_mm=(3.0, 0.9, 1.3), beta=BETA, intensity_std=image.std())
    result = RandomWalker(weights).walk(foreground, background, prior=prior, prior_weight=0.2)

    laplacian = np.zeros((image.size, image.size))
    index = np.arange(image.size).reshape(image.shape)
    for axis, along in enumerate(weights):
        ahead = np.moveaxis(index, axis, 0)[1:].ravel()
        behind = np.moveaxis(index, axis, 0)[:-1].ravel()
        weight = np.moveaxis(along, axis, 0).ravel()
        np.add.at(laplacian, (ahead, behind), -weight)
        np.add.at(laplacian, (behind, ahead), -weight)
        np.add.at(laplacian, (ahead, ahead), weight)
        np.add.at(laplacian, (behind, behind), weight)
    # the prior is two more seeds at every voxel: foreground with weight 0.2 q, background with weight 0.2 (1 - q)
    system = laplacian + 0.2 * np.eye(image.size)
    right_hand_side = 0.2 * prior.ravel()
    seeded = np.flatnonzero((foreground | background).ravel())
    system[seeded] = np.eye(image.size)[seeded]
    right_hand_side[seeded] = foreground.ravel()[seeded]
    np.testing.assert_allclose(result.ravel(), np.linalg.solve(system, right_hand_side), atol=TOLERANCE)


def test_a_solver_that_does_not_converge_is_no_result(make_tumor, monkeypatch):
    image, _ = make_tumor((7, 9, 8), (2.0, 1.0, 1.0))
    monkeypatch.setattr("nnunetv2_simple.pseudo_mask.random_walker.MAX_ITERATIONS", 1)
    with pytest.raises(RuntimeError, match=r"did not converge on \d+ voxels"):
        walker_on(image, spacing_mm=(2.0, 1.0, 1.0), beta=BETA).walk(*shell_and_core(image.shape))


def test_edges_of_weight_zero_hold_nothing():
    # two voxels beside each other, the second one joined to the seed behind it only; the prior pulls as an edge does
    weights = [np.array([0.0, 0.5]).reshape(2, 1, 1), np.zeros((3, 0, 1)), np.zeros((3, 1, 0))]
    foreground = np.array([False, False, True]).reshape(3, 1, 1)
    prior = np.array([0.25, 0.0, 0.0]).reshape(3, 1, 1)
    found = RandomWalker(weights).walk(foreground, np.zeros_like(foreground), prior=prior, prior_weight=0.5)
    np.testing.assert_allclose(found.ravel(), [0.25, 0.5, 1.0], atol=1e-6)


def test_without_seeds_and_edges_the_prior_remains():
    prior = np.random.default_rng(1).uniform(0, 1, (3, 4, 5))
    weights = [np.zeros((2, 4, 5)), np.zeros((3, 3, 5)), np.zeros((3, 4, 4))]
    nothing = np.zeros(prior.shape, dtype=bool)
    result = RandomWalker(weights).walk(nothing, nothing, prior=prior, prior_weight=0.5)
    np.testing.assert_allclose(result, prior, atol=TOLERANCE)
