import numpy as np
import pytest
from scipy import sparse

from nnunetv2_simple.graph_multigrid import _aggregate, _build_levels, _v_cycle, solve_grounded_laplacian


def random_graph(generator, *, nodes, edges, decades):
    """A connected random graph whose weights spread over so many decades."""
    chain = np.arange(nodes - 1)
    first = np.concatenate((chain, generator.integers(nodes, size=edges)))
    second = np.concatenate((chain + 1, generator.integers(nodes, size=edges)))
    weights = 10.0 ** -generator.uniform(0, decades, len(first))
    keep = first != second
    half = sparse.coo_array((weights[keep], (first[keep], second[keep])), shape=(nodes, nodes)).tocsr()
    return (half + half.T).tocsr()


def dense_laplacian(weights, ground):
    full = weights.toarray()
    return np.diag(ground + full.sum(axis=1)) - full


@pytest.mark.parametrize("decades", [0, 3, 10])
@pytest.mark.parametrize("nodes", [1, 2, 7, 600, 1500])
def test_agrees_with_a_dense_solver(nodes, decades):
    generator = np.random.default_rng(nodes)
    weights = random_graph(generator, nodes=nodes, edges=2 * nodes, decades=decades)
    ground = np.zeros(nodes)
    ground[generator.integers(nodes)] = 0.1
    expected = generator.uniform(0, 1, nodes)
    right_hand_side = dense_laplacian(weights, ground) @ expected
    solution = solve_grounded_laplacian(weights, ground, right_hand_side, tolerance=1e-9)
    np.testing.assert_allclose(solution, np.linalg.solve(dense_laplacian(weights, ground), right_hand_side), atol=2e-5)


def test_two_nodes_by_hand():
    # node 0 is grounded by 1, joined to node 1 by 2: (1 + 2) x0 - 2 x1 = 1 and 2 x1 - 2 x0 = 0
    weights = sparse.csr_array(np.array([[0.0, 2.0], [2.0, 0.0]]))
    solution = solve_grounded_laplacian(weights, np.array([1.0, 0.0]), np.array([1.0, 0.0]), tolerance=1e-12)
    np.testing.assert_allclose(solution, [1.0, 1.0], atol=1e-10)


def test_cluster_that_hangs_on_a_faint_edge_gets_its_value():
    # a strong triangle tied by 1e-10 to a node held at 1: the residual of a wrong triangle would be 1e-10 only
    full = np.zeros((4, 4))
    for i, j, weight in ((0, 1, 1e-10), (1, 2, 1.0), (2, 3, 1.0), (1, 3, 1.0)):
        full[i, j] = full[j, i] = weight
    ground = np.array([5.0, 0.0, 0.0, 0.0])
    solution = solve_grounded_laplacian(sparse.csr_array(full), ground, 5.0 * np.eye(4)[0], tolerance=1e-5)
    np.testing.assert_allclose(solution, 1.0, atol=1e-5)


def test_start_at_the_solution_is_returned_as_it_is():
    generator = np.random.default_rng(3)
    weights = random_graph(generator, nodes=800, edges=1600, decades=2)
    ground = np.full(800, 0.1)
    expected = generator.uniform(0, 1, 800)
    solution = solve_grounded_laplacian(
        weights, ground, dense_laplacian(weights, ground) @ expected, start=expected, tolerance=1e-6
    )
    np.testing.assert_array_equal(solution, expected)


def test_start_is_left_alone():
    weights = random_graph(np.random.default_rng(4), nodes=50, edges=50, decades=1)
    start = np.zeros(50)
    solve_grounded_laplacian(weights, np.ones(50), np.ones(50), start=start, tolerance=1e-6)
    assert (start == 0).all()


def test_v_cycle_is_symmetric_as_conjugate_gradients_demand():
    generator = np.random.default_rng(5)
    weights = random_graph(generator, nodes=1200, edges=3000, decades=6)
    levels = _build_levels(weights, generator.uniform(0, 1, 1200))
    assert len(levels) > 1
    a, b = generator.standard_normal((2, 1200))
    assert a @ _v_cycle(levels, b) == pytest.approx(b @ _v_cycle(levels, a), rel=1e-8)


def test_aggregates_number_every_node_and_join_the_heaviest_edge():
    generator = np.random.default_rng(6)
    weights = random_graph(generator, nodes=300, edges=600, decades=4)
    aggregates = _aggregate(weights, weights.sum(axis=1))
    assert set(aggregates) == set(range(aggregates.max() + 1))
    heaviest = weights.tocoo()
    edge = np.argmax(heaviest.data)
    assert aggregates[heaviest.row[edge]] == aggregates[heaviest.col[edge]]


def test_iterations_do_not_grow_with_the_spread_of_the_weights(monkeypatch):
    def iterations(decades):
        generator = np.random.default_rng(7)
        weights = random_graph(generator, nodes=4000, edges=8000, decades=decades)
        ground = np.zeros(4000)
        ground[:40] = 1.0
        count = []
        monkeypatch.setattr(
            "nnunetv2_simple.graph_multigrid._v_cycle",
            lambda levels, residual: count.append(len(residual)) or _v_cycle(levels, residual),
        )
        solve_grounded_laplacian(weights, ground, generator.uniform(0, 1, 4000) * ground, tolerance=1e-8)
        return count.count(4000)

    assert iterations(10) < 3 * iterations(1)


@pytest.mark.parametrize("weight", [1.0, 1e-10])
def test_equal_weights_are_merged_as_fast_as_any(weight):
    # a constant region of an image: a grid of 30 x 30 x 30
    index = np.arange(27000).reshape(30, 30, 30)
    first = np.concatenate([np.moveaxis(index, axis, 0)[:-1].ravel() for axis in range(3)])
    second = np.concatenate([np.moveaxis(index, axis, 0)[1:].ravel() for axis in range(3)])
    half = sparse.coo_array((np.full(len(first), weight), (first, second)), shape=(27000, 27000)).tocsr()
    weights = (half + half.T).tocsr()
    ground = np.zeros(27000)
    ground[0] = 1.0
    sizes = [len(level.degrees) for level in _build_levels(weights, ground)]
    assert sizes[1] < 0.6 * sizes[0]
    assert sizes[-1] < 1000
