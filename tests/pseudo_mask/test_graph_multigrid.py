import numpy as np
import pytest
from scipy import sparse

from nnunetv2_simple.pseudo_mask.graph_multigrid import (
    _aggregate,
    _build_levels,
    _EvenSystem,
    _row_of_entries,
    solve_bipartite_laplacian,
)


def random_bipartite_graph(generator, *, even, odd, edges, decades):
    """The (even, odd) weights of a connected random graph; they spread over so many decades."""
    along = np.arange(max(even, odd))  # a chain even 0, odd 0, even 1, ...; the longer half's rest hangs on its end
    first = np.concatenate((along, along + 1, generator.integers(even, size=edges))).clip(max=even - 1)
    second = np.concatenate((along, along, generator.integers(odd, size=edges))).clip(max=odd - 1)
    weights = 10.0 ** -generator.uniform(0, decades, len(first))
    return sparse.coo_array((weights, (first, second)), shape=(even, odd)).tocsr()


def both_halves(between):
    return sparse.block_array([[None, between], [between.T, None]]).tocsr()


def random_graph(generator, *, nodes, edges, decades):
    return both_halves(
        random_bipartite_graph(generator, even=nodes // 2, odd=nodes - nodes // 2, edges=edges, decades=decades)
    )


def dense_laplacian(between, grounds):
    weights = both_halves(between).toarray()
    return np.diag(np.concatenate(grounds) + weights.sum(axis=1)) - weights


@pytest.mark.parametrize("decades", [0, 3, 10])
@pytest.mark.parametrize(("even", "odd"), [(1, 1), (1, 6), (4, 3), (600, 1), (700, 800), (900, 300)])
def test_agrees_with_a_dense_solver(even, odd, decades):
    generator = np.random.default_rng(even)
    between = random_bipartite_graph(generator, even=even, odd=odd, edges=even + odd, decades=decades)
    grounds = np.zeros(even), np.zeros(odd)
    grounds[0][generator.integers(even)] = 0.1
    laplacian = dense_laplacian(between, grounds)
    right_hand_side = laplacian @ generator.uniform(0, 1, even + odd)
    solution = solve_bipartite_laplacian(between, grounds, np.split(right_hand_side, [even]), tolerance=1e-9)
    np.testing.assert_allclose(np.concatenate(solution), np.linalg.solve(laplacian, right_hand_side), atol=2e-5)


def test_two_nodes_by_hand():
    # the even node is grounded by 1, joined to the odd one by 2: (1 + 2) x0 - 2 x1 = 1 and 2 x1 - 2 x0 = 0
    solution = solve_bipartite_laplacian(
        sparse.csr_array([[2.0]]), (np.ones(1), np.zeros(1)), (np.ones(1), np.zeros(1)), tolerance=1e-12
    )
    np.testing.assert_allclose(solution, 1.0, atol=1e-10)


def test_half_without_nodes():
    # 2 x = 1 for the lonely node
    even, odd = solve_bipartite_laplacian(
        sparse.csr_array((0, 1)), (np.zeros(0), 2 * np.ones(1)), (np.zeros(0), np.ones(1)), tolerance=1e-12
    )
    assert (even.tolist(), odd.tolist()) == ([], [0.5])
    even, odd = solve_bipartite_laplacian(
        sparse.csr_array((1, 0)), (2 * np.ones(1), np.zeros(0)), (np.ones(1), np.zeros(0)), tolerance=1e-12
    )
    assert (even.tolist(), odd.tolist()) == ([0.5], [])


def test_cluster_that_hangs_on_a_faint_edge_gets_its_value():
    # a strong square tied by 1e-10 to a node held at 1: the residual of a wrong square would be 1e-10 only
    between = sparse.csr_array([[1.0, 1.0, 0.0], [1.0, 1.0, 1e-10]])
    grounds = np.zeros(2), np.array([0.0, 0.0, 5.0])
    even, odd = solve_bipartite_laplacian(between, grounds, grounds, tolerance=1e-5)
    np.testing.assert_allclose([*even, *odd], 1.0, atol=1e-5)


def test_start_at_the_solution_is_returned_as_it_is():
    generator = np.random.default_rng(3)
    between = random_bipartite_graph(generator, even=400, odd=500, edges=1600, decades=2)
    grounds = np.full(400, 0.1), np.full(500, 0.2)
    expected = generator.uniform(0, 1, 900)
    sides = np.split(dense_laplacian(between, grounds) @ expected, [400])
    even, odd = solve_bipartite_laplacian(between, grounds, sides, start=expected[:400], tolerance=1e-6)
    np.testing.assert_array_equal(even, expected[:400])
    np.testing.assert_allclose(odd, expected[400:], atol=1e-12)


def test_start_is_left_alone():
    between = random_bipartite_graph(np.random.default_rng(4), even=20, odd=30, edges=50, decades=1)
    start, ones = np.zeros(20), (np.ones(20), np.ones(30))
    solve_bipartite_laplacian(between, ones, ones, start=start, tolerance=1e-6)
    assert (start == 0).all()


def test_preconditioner_is_symmetric_and_positive_as_conjugate_gradients_demand():
    generator = np.random.default_rng(5)
    between = random_bipartite_graph(generator, even=1400, odd=1300, edges=5000, decades=6)
    system = _EvenSystem(between, tuple(generator.uniform(0, 0.1, n) for n in between.shape))
    assert len(system.levels) > 1
    a, b = generator.standard_normal((2, 1400))
    assert a @ system.precondition(b) == pytest.approx(b @ system.precondition(a), rel=1e-4)
    assert a @ system.precondition(a) > 0


def test_aggregates_number_every_node_and_join_the_heaviest_edge():
    generator = np.random.default_rng(6)
    weights = random_graph(generator, nodes=300, edges=600, decades=4)
    rows = _row_of_entries(weights)
    aggregates = _aggregate(weights, rows, weights.sum(axis=1), held=np.zeros(300, dtype=bool))
    assert set(aggregates) == set(range(aggregates.max() + 1))
    heaviest = weights.tocoo()
    edge = np.argmax(heaviest.data)
    assert aggregates[heaviest.row[edge]] == aggregates[heaviest.col[edge]]


def test_nodes_held_by_the_ground_belong_to_no_aggregate():
    weights = sparse.csr_array(np.array([[0, 1, 1e-3], [1, 0, 0], [1e-3, 0, 0]]))
    degrees = weights.sum(axis=1) + np.array([0, 0, 1])
    aggregates = _aggregate(weights, _row_of_entries(weights), degrees, held=np.array([False, False, True]))
    assert aggregates.tolist() == [0, 0, -1]


def test_iterations_do_not_grow_with_the_spread_of_the_weights(monkeypatch):
    precondition = _EvenSystem.precondition

    def iterations(decades):
        generator = np.random.default_rng(7)
        between = random_bipartite_graph(generator, even=2000, odd=2000, edges=8000, decades=decades)
        grounds = np.zeros(2000), np.zeros(2000)
        grounds[0][:40] = 1.0
        count = []
        monkeypatch.setattr(
            _EvenSystem, "precondition", lambda self, residual: count.append(1) or precondition(self, residual)
        )
        sides = generator.uniform(0, 1, 2000) * grounds[0], grounds[1]
        solve_bipartite_laplacian(between, grounds, sides, tolerance=1e-8)
        return len(count)

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
