"""Random walker on a volume: the probability that a walk meets a foreground seed before a background seed.

Neighbouring voxels i, j (6-neighbourhood) with intensities g are joined by an edge of weight

    w_ij = exp(-beta * ((g_i - g_j) / spacing_mm)^2 / (10 * std(g))) + 1e-10,

scikit-image's scale. With the graph Laplacian L of these weights, split into seeded (S) and unseeded (U) voxels, and
p_S = 1 on foreground and 0 on background seeds, the probabilities solve

    L_UU p_U = -L_US p_S        (the discrete Dirichlet problem; Grady 2006, eq. 11).

The weights spread over ten orders of magnitude, so Jacobi or algebraic multigrid preconditioners leave regions that
hang on by faint edges only far from converged. Here conjugate gradients are preconditioned on two levels: Jacobi, plus
an exact solution on coarse nodes, each a set of voxels that strong edges join within one block of the volume. What
hangs together moves together, and the faint edges between are left to the direct solver.

References:
    Grady, Random walks for image segmentation, IEEE TPAMI 28(11), 2006.
    Nicolaides, Deflation of conjugate gradients with applications to boundary value problems, SIAM J. Numer. Anal.
    24(2), 1987 (coarse nodes that are indicator vectors of subdomains).
"""

from collections.abc import Sequence

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import LinearOperator, cg, splu

SMALLEST_WEIGHT = 1e-10
RESIDUAL_TOLERANCE = 1e-10  # relative; probabilities then agree with a direct solver's to about 1e-5
STRONG_WEIGHT = 0.01  # joins two voxels to one coarse node
BLOCK_VOXELS = (4, 8, 8)  # (z, y, x), the largest extent of a coarse node


class RandomWalker:
    """The graph of one image, built once for any number of walks.

    Args:
        image: (z, y, x) float intensities, not constant.
        spacing_mm: Voxel size (z, y, x).
        beta: Penalty on intensity differences.
        intensity_std: The std(g) of the formula; the image's own if None.
    """

    def __init__(
        self,
        image: np.ndarray,
        *,
        spacing_mm: Sequence[float],
        beta: float,
        intensity_std: float | None = None,
    ):
        self._shape = image.shape
        scale = -beta / (10 * (image.std() if intensity_std is None else intensity_std))
        voxels = np.arange(image.size).reshape(image.shape)
        first, second, weights = [], [], []
        for axis in range(3):
            along = np.moveaxis(voxels, axis, 0)
            difference = np.diff(image, axis=axis) / spacing_mm[axis]
            first.append(along[:-1].ravel())
            second.append(along[1:].ravel())
            weights.append(np.moveaxis(np.exp(scale * difference**2) + SMALLEST_WEIGHT, axis, 0).ravel())
        self._weights = _symmetric(
            np.concatenate(first), np.concatenate(second), np.concatenate(weights), size=image.size
        )
        self._degrees = self._weights.sum(axis=1)
        block_index = [np.arange(size) // extent for size, extent in zip(image.shape, BLOCK_VOXELS, strict=True)]
        self._blocks = np.ravel_multi_index(
            np.meshgrid(*block_index, indexing="ij"), [index[-1] + 1 for index in block_index]
        ).ravel()

    def walk(self, foreground: np.ndarray, background: np.ndarray, *, initial: np.ndarray | None = None) -> np.ndarray:
        """Return the foreground probability of every voxel.

        Args:
            foreground: (z, y, x) bool, foreground seeds.
            background: (z, y, x) bool, background seeds. Without any the probability is 1 everywhere.
            initial: (z, y, x) probabilities to start the solver from, such as those of an earlier walk.

        Returns:
            (z, y, x) float in [0, 1]; 1 and 0 on the seeds.

        Raises:
            RuntimeError: If the solver does not converge.
        """
        probability = foreground.astype(float).ravel()
        unseeded = np.flatnonzero(~(foreground | background).ravel())
        if len(unseeded):
            rows = self._weights[unseeded]
            probability[unseeded] = _solve_dirichlet(
                rows[:, unseeded],
                self._degrees[unseeded],
                right_hand_side=rows @ probability,
                blocks=self._blocks[unseeded],
                start=None if initial is None else initial.ravel()[unseeded],
            )
        return probability.clip(0, 1).reshape(self._shape)


def _solve_dirichlet(
    weights: sparse.csr_array,
    degrees: np.ndarray,
    *,
    right_hand_side: np.ndarray,
    blocks: np.ndarray,
    start: np.ndarray | None,
) -> np.ndarray:
    """Solve (diag(degrees) - weights) p = right_hand_side, scaled to unit diagonal."""
    scaling = 1 / np.sqrt(degrees)
    scale = sparse.diags_array(scaling)
    laplacian = (scale @ (sparse.diags_array(degrees) - weights) @ scale).tocsr()
    coarse_nodes = _coarse_nodes(weights, blocks)
    prolongation = sparse.csr_array((1 / scaling, (np.arange(len(degrees)), coarse_nodes)))  # constant p on a node
    coarse = splu(
        (prolongation.T @ laplacian @ prolongation).tocsc(),
        permc_spec="MMD_AT_PLUS_A",
        diag_pivot_thresh=0.0,
        options={"SymmetricMode": True},
    )
    solution, not_converged = cg(
        laplacian,
        scaling * right_hand_side,
        x0=None if start is None else start / scaling,
        rtol=RESIDUAL_TOLERANCE,
        atol=0.0,
        M=LinearOperator(
            laplacian.shape, lambda residual: residual + prolongation @ coarse.solve(prolongation.T @ residual)
        ),
    )
    if not_converged:
        raise RuntimeError(f"the random walker did not converge on {len(degrees)} voxels within {not_converged} steps")
    return scaling * solution


def _coarse_nodes(weights: sparse.csr_array, blocks: np.ndarray) -> np.ndarray:
    """Number the sets of voxels that strong edges join within one block; one number per voxel."""
    edges = weights.tocoo()
    joined = (edges.data > STRONG_WEIGHT) & (blocks[edges.row] == blocks[edges.col])
    strong = sparse.coo_array((edges.data[joined], (edges.row[joined], edges.col[joined])), shape=edges.shape)
    _, coarse_nodes = connected_components(strong, directed=False)
    return coarse_nodes


def _symmetric(first: np.ndarray, second: np.ndarray, weights: np.ndarray, *, size: int) -> sparse.csr_array:
    rows, columns = np.concatenate((first, second)), np.concatenate((second, first))
    return sparse.coo_array((np.concatenate((weights, weights)), (rows, columns)), shape=(size, size)).tocsr()
