"""Solver for Laplacian systems of grounded bipartite graphs whose edge weights spread over many orders of magnitude.

Nodes are even or odd and edges join an even node to an odd one, as on a chessboard or a voxel grid. An odd node is the
weighted mean of its neighbours, so the odd half is eliminated exactly. What remains is solved by conjugate gradients,
with aggregation multigrid as preconditioner: each level's nodes are merged along their heaviest edges to the nodes of
the next level, which moves what hangs together as one; a damped Jacobi step before and after takes care of the rest.
The edge weights decide which nodes are merged and the levels are many (less than half of the nodes are left each time),
so the number of iterations hardly depends on the spread of the weights and the size of the graph. The preconditioner
works in single precision, which is half the memory to move.

References:
    Livne & Brandt, Lean algebraic multigrid (LAMG): fast graph Laplacian linear solver, SIAM J. Sci. Comput. 34(4),
    2012 (elimination, aggregation by affinity).
    Karypis & Kumar, A fast and high quality multilevel scheme for partitioning irregular graphs, SIAM J. Sci. Comput.
    20(1), 1998 (heavy-edge matching).
"""

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import splu

STRONG_SHARE = 0.1  # an edge of at least this share of a node's total weight is strong
HELD_SHARE = 0.9  # a node without strong edges and with this share of its weight to the ground needs no coarser level
MATCHING_ROUNDS = 2
JACOBI_DAMPING = 0.8
MAX_COARSEST_NODES = 500  # or fewer than 5 % could be merged
MAX_ITERATIONS = 500


def solve_bipartite_laplacian(
    between: sparse.csr_array,
    grounds: tuple[np.ndarray, np.ndarray],
    right_hand_sides: tuple[np.ndarray, np.ndarray],
    *,
    start: np.ndarray | None = None,
    tolerance: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Solve (diag(ground + sum_j w_ij) - W) x = right_hand_side with W = [[0, between], [between^T, 0]].

    The residual itself would say little: where a node is tied to the ground by 1e-10 alone, a residual of 1e-10 is an
    error of one. The preconditioned residual estimates the error of x, so it decides when to stop.

    Args:
        between: (m, n) positive weights of the edges between even (rows) and odd nodes (columns).
        grounds: (m,) and (n,) non-negative; positive somewhere in every connected component.
        right_hand_sides: (m,) and (n,).
        start: (m,) first guess of the even nodes; zero if None.
        tolerance: Largest preconditioned residual, about the largest absolute error of x.

    Returns:
        (m,) and (n,) solution.

    Raises:
        RuntimeError: If it does not converge.
    """
    system = _EvenSystem(between, grounds)
    even_side, odd_side = right_hand_sides
    solution = np.zeros(len(even_side)) if start is None else start.astype(float)
    residual = even_side + between @ (odd_side / system.odd_degrees) - system.multiply(solution)
    correction = system.precondition(residual)
    direction, energy = correction, residual @ correction
    for _ in range(MAX_ITERATIONS):
        if abs(correction).max(initial=0) < tolerance:
            return solution, (odd_side + system.transposed @ solution) / system.odd_degrees
        image = system.multiply(direction)
        step = energy / (direction @ image)
        solution += step * direction
        residual -= step * image
        correction = system.precondition(residual)
        energy, previous_energy = residual @ correction, energy
        direction = correction + energy / previous_energy * direction
    raise RuntimeError(f"the solver did not converge on {sum(between.shape)} nodes within {MAX_ITERATIONS} iterations")


class _EvenSystem:
    """The system of the even nodes, the odd ones eliminated, and its multigrid preconditioner."""

    def __init__(self, between: sparse.csr_array, grounds: tuple[np.ndarray, np.ndarray]):
        self.between, self.transposed = between, between.T.tocsr()
        self.even_degrees = grounds[0] + between.sum(axis=1)
        self.odd_degrees = grounds[1] + self.transposed.sum(axis=1)
        self.levels = _build_levels(*_merge_odd_into_even(self.transposed, grounds))
        self._single = [
            array.astype(np.float32)
            for array in (self.between, self.transposed, 1 / self.even_degrees, 1 / self.odd_degrees, self.even_degrees)
        ]

    def multiply(self, x: np.ndarray) -> np.ndarray:
        return self.even_degrees * x - self.between @ ((self.transposed @ x) / self.odd_degrees)

    def precondition(self, residual: np.ndarray) -> np.ndarray:
        between, transposed, per_even_degree, per_odd_degree, even_degrees = self._single
        residual = residual.astype(np.float32)
        correction = per_even_degree * residual
        # the residual less the even degrees times the correction is zero: what remains comes by way of the odd nodes
        correction += _v_cycle(self.levels, between @ (per_odd_degree * (transposed @ correction)))
        remaining = residual - even_degrees * correction + between @ (per_odd_degree * (transposed @ correction))
        return (correction + per_even_degree * remaining).astype(float)


def _merge_odd_into_even(
    transposed: sparse.csr_array, grounds: tuple[np.ndarray, np.ndarray]
) -> tuple[sparse.csr_array, np.ndarray]:
    """Merge each odd node with its heaviest neighbour.

    An odd node tied to the ground more than to any neighbour becomes ground of its neighbours instead.

    Returns:
        (m, m) weights and (m,) ground of the graph of the even nodes.
    """
    num_even = transposed.shape[1]
    rows, columns, weights = _row_of_entries(transposed), transposed.indices, transposed.data
    heaviest = _heaviest(*_edges_above(grounds[1], transposed, rows), transposed.shape[0])
    merged = np.flatnonzero(heaviest >= 0)
    targets = heaviest[rows]
    held = np.flatnonzero(targets < 0)
    ground = (
        grounds[0]
        + np.bincount(heaviest[merged], weights=grounds[1][merged], minlength=num_even)
        + np.bincount(columns[held], weights=weights[held], minlength=num_even)
    )
    edges = np.flatnonzero((targets >= 0) & (targets != columns))
    half = sparse.coo_array((weights[edges], (targets[edges], columns[edges])), shape=(num_even, num_even)).tocsr()
    return half + half.T.tocsr(), ground


@dataclass
class _Level:
    weights: sparse.csr_array
    degrees: np.ndarray
    aggregates: np.ndarray | None = None  # the next level's node each node belongs to, -1 for none; None on the last

    def __post_init__(self):
        if self.aggregates is None:
            self.factors = splu(
                (sparse.diags_array(self.degrees) - self.weights).tocsc(),
                permc_spec="MMD_AT_PLUS_A",
                diag_pivot_thresh=0.0,
                options={"SymmetricMode": True},
            )
        else:
            belongs = self.aggregates >= 0
            starts = np.concatenate(([0], np.cumsum(belongs, dtype=np.int32)), dtype=np.int32)
            self.prolongation = sparse.csr_array(
                (np.ones(starts[-1], dtype=np.float32), self.aggregates[belongs], starts),
                shape=(len(belongs), self.aggregates.max() + 1),
            )
            self.restriction = self.prolongation.T.tocsr()
            self.damping = (JACOBI_DAMPING / self.degrees).astype(np.float32)
            self.weights, self.degrees = self.weights.astype(np.float32), self.degrees.astype(np.float32)

    def laplacian(self, x: np.ndarray) -> np.ndarray:
        return self.degrees * x - self.weights @ x


def _build_levels(weights: sparse.csr_array, ground: np.ndarray) -> list[_Level]:
    levels = []
    while True:
        degrees = ground + weights.sum(axis=1)
        rows = _row_of_entries(weights)
        aggregates = _aggregate(weights, rows, degrees, held=ground > HELD_SHARE * degrees)
        num_aggregates = aggregates.max(initial=-1) + 1
        if len(ground) <= MAX_COARSEST_NODES or not 0 < num_aggregates <= 0.95 * len(ground):
            return [*levels, _Level(weights, degrees)]
        levels.append(_Level(weights, degrees, aggregates))
        rows, columns = aggregates[rows], aggregates[weights.indices]
        between = np.flatnonzero((rows >= 0) & (columns >= 0) & (rows != columns))
        to_held = np.flatnonzero((rows >= 0) & (columns < 0))
        belongs = np.flatnonzero(aggregates >= 0)
        ground = np.bincount(aggregates[belongs], weights=ground[belongs], minlength=num_aggregates)
        ground += np.bincount(rows[to_held], weights=weights.data[to_held], minlength=num_aggregates)
        weights = sparse.coo_array(
            (weights.data[between], (rows[between], columns[between])), shape=(num_aggregates, num_aggregates)
        ).tocsr()


def _v_cycle(levels: list[_Level], residual: np.ndarray) -> np.ndarray:
    level, *coarser = levels
    if not coarser:
        return level.factors.solve(residual.astype(float)).astype(np.float32)
    correction = level.damping * residual
    remaining = residual - level.laplacian(correction)
    correction += level.prolongation @ _v_cycle(coarser, level.restriction @ remaining)
    return correction + level.damping * (residual - level.laplacian(correction))


def _aggregate(weights: sparse.csr_array, rows: np.ndarray, degrees: np.ndarray, *, held: np.ndarray) -> np.ndarray:
    """Pair nodes that are each other's heaviest strong neighbour; give the others to their heaviest neighbour's pair.

    Returns:
        (n,) number of the aggregate of each node, -1 for nodes that are held and have no strong neighbour.
    """
    aggregates = np.full(len(degrees), -1, dtype=np.int32)
    here, count = np.arange(len(degrees), dtype=np.int32), 0
    strong = among_singles = _edges_above(STRONG_SHARE * degrees, weights, rows)
    for _ in range(MATCHING_ROUNDS):
        heaviest = _heaviest(*among_singles, len(degrees))
        first = np.flatnonzero((heaviest > here) & (heaviest[heaviest] == here))
        aggregates[first] = aggregates[heaviest[first]] = count + np.arange(len(first))
        count += len(first)
        single = aggregates < 0
        among_singles = _where(single[among_singles[0]] & single[among_singles[1]], *among_singles)
    heaviest = _heaviest(*_where(single[strong[0]], *strong), len(degrees))
    joining = np.flatnonzero(heaviest >= 0)
    aggregates[joining] = aggregates[heaviest[joining]]
    alone = np.flatnonzero((aggregates < 0) & ~held)
    aggregates[alone] = count + np.arange(len(alone))
    return aggregates


def _edges_above(
    thresholds: np.ndarray, weights: sparse.csr_array, rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return row, column and preference of the edges that reach their row's threshold, row by row."""
    rows, columns, values = _where(weights.data >= thresholds[rows], rows, weights.indices, weights.data)
    # where weights are equal, as in constant regions, each node would choose the same side and none would pair
    return rows, columns, values * (1 + 0.01 * _symmetric_noise(rows, columns))


def _heaviest(rows: np.ndarray, columns: np.ndarray, preference: np.ndarray, num_rows: int) -> np.ndarray:
    """Return the column of the largest preference of each row, -1 where the row has no edges."""
    heaviest = np.full(num_rows, -1, dtype=np.int32)
    if len(rows):
        starts = np.flatnonzero(np.diff(rows, prepend=-1))
        largest = np.repeat(np.maximum.reduceat(preference, starts), np.diff(starts, append=len(rows)))
        rows, columns = _where(preference == largest, rows, columns)
        heaviest[rows] = columns
    return heaviest


def _symmetric_noise(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Return, for each edge, a number in [0, 1) that looks random and is the same in both directions."""
    product = (rows.astype(np.uint64) + 1) * (columns.astype(np.uint64) + 1)
    return (product * np.uint64(0x9E3779B97F4A7C15) >> np.uint64(40)) / 2.0**24  # Fibonacci hashing


def _row_of_entries(weights: sparse.csr_array) -> np.ndarray:
    return np.repeat(np.arange(weights.shape[0], dtype=np.int32), np.diff(weights.indptr))


def _where(condition: np.ndarray, *arrays: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return the elements of each array where the condition holds (faster than indexing by bool)."""
    indices = np.flatnonzero(condition)
    return tuple(array[indices] for array in arrays)
