"""Solver for Laplacian systems of grounded graphs whose edge weights spread over many orders of magnitude.

Aggregation multigrid as preconditioner of conjugate gradients. A level's nodes are merged along their heaviest edges
to the nodes of the next level, which moves what hangs together as one; a damped Jacobi step before and after takes
care of the rest. The edge weights decide which nodes are merged and the levels are many (about half the nodes are
left each time), so the number of iterations depends neither on the spread of the weights nor on the size of the graph.

References:
    Livne & Brandt, Lean algebraic multigrid (LAMG): fast graph Laplacian linear solver, SIAM J. Sci. Comput. 34(4),
    2012 (aggregation by affinity).
    Karypis & Kumar, A fast and high quality multilevel scheme for partitioning irregular graphs, SIAM J. Sci. Comput.
    20(1), 1998 (heavy-edge matching).
"""

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import splu

STRONG_SHARE = 0.1  # an edge of at least this share of a node's total weight is strong
MATCHING_ROUNDS = 2
JACOBI_DAMPING = 0.8
MAX_COARSEST_NODES = 500  # or fewer than 5 % could be merged
MAX_ITERATIONS = 500


def solve_grounded_laplacian(
    weights: sparse.csr_array,
    ground: np.ndarray,
    right_hand_side: np.ndarray,
    *,
    start: np.ndarray | None = None,
    tolerance: float,
) -> np.ndarray:
    """Solve (diag(ground + sum_j w_ij) - W) x = right_hand_side by preconditioned conjugate gradients.

    The residual itself would say little: where a node is tied to the ground by 1e-10 alone, a residual of 1e-10 is an
    error of one. The preconditioned residual estimates the error of x, so it decides when to stop.

    Args:
        weights: (n, n) symmetric, positive, without diagonal.
        ground: (n,) non-negative; positive somewhere in every connected component.
        right_hand_side: (n,).
        start: (n,) first guess; zero if None.
        tolerance: Largest preconditioned residual, about the largest absolute error of x.

    Returns:
        (n,) solution.

    Raises:
        RuntimeError: If it does not converge.
    """
    levels = _build_levels(weights, ground)
    finest = levels[0]
    solution = np.zeros(len(ground)) if start is None else start.astype(float)
    residual = right_hand_side - finest.laplacian(solution)
    correction = _v_cycle(levels, residual)
    direction, energy = correction, residual @ correction
    for _ in range(MAX_ITERATIONS):
        if abs(correction).max() < tolerance:
            return solution
        image = finest.laplacian(direction)
        step = energy / (direction @ image)
        solution += step * direction
        residual -= step * image
        correction = _v_cycle(levels, residual)
        energy, previous_energy = residual @ correction, energy
        direction = correction + energy / previous_energy * direction
    raise RuntimeError(f"the solver did not converge on {len(ground)} nodes within {MAX_ITERATIONS} iterations")


@dataclass
class _Level:
    weights: sparse.csr_array
    degrees: np.ndarray
    aggregates: np.ndarray | None = None  # the node of the next level each node belongs to; None on the last level

    def __post_init__(self):
        if self.aggregates is None:
            self.factors = splu(
                (sparse.diags_array(self.degrees) - self.weights).tocsc(),
                permc_spec="MMD_AT_PLUS_A",
                diag_pivot_thresh=0.0,
                options={"SymmetricMode": True},
            )

    def laplacian(self, x: np.ndarray) -> np.ndarray:
        return self.degrees * x - self.weights @ x

    def jacobi(self, residual: np.ndarray) -> np.ndarray:
        return JACOBI_DAMPING / self.degrees * residual


def _build_levels(weights: sparse.csr_array, ground: np.ndarray) -> list[_Level]:
    levels = []
    while True:
        degrees = ground + weights.sum(axis=1)
        aggregates = _aggregate(weights, degrees)
        num_aggregates = aggregates.max() + 1
        if len(ground) <= MAX_COARSEST_NODES or num_aggregates > 0.95 * len(ground):
            return [*levels, _Level(weights, degrees)]
        levels.append(_Level(weights, degrees, aggregates))
        rows, columns = aggregates[_row_of_entries(weights)], aggregates[weights.indices]
        between = rows != columns
        weights = sparse.coo_array(
            (weights.data[between], (rows[between], columns[between])), shape=(num_aggregates, num_aggregates)
        ).tocsr()
        ground = np.bincount(aggregates, weights=ground)


def _v_cycle(levels: list[_Level], residual: np.ndarray) -> np.ndarray:
    level, *coarser = levels
    if not coarser:
        return level.factors.solve(residual)
    correction = level.jacobi(residual)
    remaining = residual - level.laplacian(correction)
    correction += _v_cycle(coarser, np.bincount(level.aggregates, weights=remaining))[level.aggregates]
    return correction + level.jacobi(residual - level.laplacian(correction))


def _aggregate(weights: sparse.csr_array, degrees: np.ndarray) -> np.ndarray:
    """Pair nodes that are each other's heaviest strong neighbour; give the others to their heaviest neighbour's pair.

    Returns:
        (n,) number of the aggregate of each node.
    """
    aggregates = np.full(len(degrees), -1, dtype=np.int32)
    single, weights_between_singles = np.arange(len(degrees)), weights
    for _ in range(MATCHING_ROUNDS):
        heaviest = _heaviest_strong_neighbour(weights_between_singles, degrees[single])
        here = np.arange(len(single))
        paired = (heaviest >= 0) & (heaviest[heaviest] == here)
        first = paired & (here < heaviest)
        pairs = aggregates.max() + 1 + np.arange(first.sum())
        aggregates[single[first]] = aggregates[single[heaviest[first]]] = pairs
        single, weights_between_singles = single[~paired], weights_between_singles[~paired][:, ~paired]
    heaviest = _heaviest_strong_neighbour(weights[single], degrees[single])
    aggregates[single] = np.where(heaviest >= 0, aggregates[heaviest], -1)
    alone = aggregates < 0
    aggregates[alone] = aggregates.max() + 1 + np.arange(alone.sum())
    return aggregates


def _heaviest_strong_neighbour(weights: sparse.csr_array, degrees: np.ndarray) -> np.ndarray:
    """Return the column of the largest weight of each row, -1 where that weight is not strong."""
    neighbour = np.full(len(degrees), -1)
    rows = _row_of_entries(weights)
    strong = weights.data >= STRONG_SHARE * degrees[rows]
    rows, columns = rows[strong], weights.indices[strong]
    if len(rows):
        # where weights are equal, as in constant regions, each node would choose the same side and none would pair
        preference = weights.data[strong] * (1 + 0.01 * _symmetric_noise(rows, columns))
        starts = np.flatnonzero(np.diff(rows, prepend=-1))
        largest = np.repeat(np.maximum.reduceat(preference, starts), np.diff(starts, append=len(rows)))
        heaviest = preference == largest
        neighbour[rows[heaviest]] = columns[heaviest]
    return neighbour


def _symmetric_noise(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Return, for each edge, a number in [0, 1) that looks random and is the same in both directions."""
    product = (rows.astype(np.uint64) + 1) * (columns.astype(np.uint64) + 1)
    return (product * np.uint64(0x9E3779B97F4A7C15) >> np.uint64(40)) / 2.0**24  # Fibonacci hashing


def _row_of_entries(weights: sparse.csr_array) -> np.ndarray:
    return np.repeat(np.arange(weights.shape[0], dtype=np.int32), np.diff(weights.indptr))
