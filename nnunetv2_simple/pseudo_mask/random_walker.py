"""Random walker on a volume: the probability that a walk meets a foreground seed before a background seed.

Neighbouring voxels (6-neighbourhood) are joined by edges of weight w_ij. With the graph Laplacian L of these weights,
split into seeded (S) and unseeded (U) voxels, and p_S = 1 on foreground and 0 on background seeds, the probabilities
solve

    (L_UU + g) p_U = -L_US p_S + g q_U        (the discrete Dirichlet problem; Grady 2006, eq. 11),

where a prior probability q, if there is one, pulls on every voxel with weight g (Grady 2005, eq. 7). Conjugate
gradients solve it. Edge weights spread over ten orders of magnitude, so the preconditioner is pyamg's algebraic
multigrid (Ruge & Stueben). With a prior, which holds every voxel by g, the diagonal will do: it bounds the condition
number by 2 (6 w_max + g) / g, whatever the image.

References:
    Grady, Random walks for image segmentation, IEEE TPAMI 28(11), 2006.
    Grady, Multilabel random walker image segmentation using prior models, CVPR 2005.
"""

from collections.abc import Sequence

import numpy as np
import pyamg
from pyamg.krylov import cg
from scipy import sparse
from scipy.sparse.linalg import LinearOperator

SMALLEST_WEIGHT = 1e-10
TOLERANCE = 1e-5
MAX_ITERATIONS = 1000


def gradient_weights(
    image: np.ndarray, *, spacing_mm: Sequence[float], beta: float, intensity_std: float
) -> list[np.ndarray]:
    """Return the weight of every edge, scikit-image's way.

        w_ij = exp(-beta * ((g_i - g_j) / spacing_mm)^2 / (10 * std)) + 1e-10

    The exponent grows with the scale of the intensities: a beta means nothing without it.

    Args:
        image: (z, y, x) float intensities g.
        spacing_mm: Voxel size (z, y, x).
        beta: Penalty on intensity differences.
        intensity_std: The std of the formula.

    Returns:
        Per axis the weights of the edges along it: the image's shape, less one along that axis.
    """
    scale = -beta / (10 * intensity_std)
    return [np.exp(scale * (np.diff(image, axis=axis) / spacing_mm[axis]) ** 2) + SMALLEST_WEIGHT for axis in range(3)]


class RandomWalker:
    """The graph of one image, built once for any number of walks.

    Args:
        edge_weights: Per axis (z, y, x) the positive weights of the edges along it.
    """

    def __init__(self, edge_weights: Sequence[np.ndarray]):
        self._shape = tuple(along.shape[axis] + 1 for axis, along in enumerate(edge_weights))
        strides = {axis: int(np.prod(self._shape[axis + 1 :])) for axis in range(3) if self._shape[axis] > 1}
        ahead = {  # of each voxel, the weight of its edge to the next one along the axis
            axis: np.pad(edge_weights[axis], [(0, int(a == axis)) for a in range(3)]).ravel() for axis in strides
        }
        behind = {axis: np.roll(ahead[axis], stride) for axis, stride in strides.items()}
        size = int(np.prod(self._shape))
        degrees = sum([*ahead.values(), *behind.values()], np.zeros(size))
        diagonals = [degrees, *(-w for w in ahead.values()), *(-w for w in behind.values())]
        offsets = [0, *(-stride for stride in strides.values()), *strides.values()]
        self._laplacian = sparse.dia_array((diagonals, offsets), shape=(size, size)).tocsr()

    def walk(
        self,
        foreground: np.ndarray,
        background: np.ndarray,
        *,
        prior: np.ndarray | None = None,
        prior_weight: float = 0.0,
        initial: np.ndarray | None = None,
        tolerance: float = TOLERANCE,
    ) -> np.ndarray:
        """Return the foreground probability of every voxel.

        Args:
            foreground: (z, y, x) bool, foreground seeds.
            background: (z, y, x) bool, background seeds. Without any, and without prior, the probability is 1.
            prior: (z, y, x) prior foreground probability in [0, 1].
            prior_weight: The weight g of the prior, comparable to that of an edge.
            initial: (z, y, x) probabilities to start the solver from, such as those of an earlier walk.
            tolerance: Of the error, as the preconditioned residual estimates it, relative to the solution.

        Returns:
            (z, y, x) float in [0, 1]; 1 and 0 on the seeds.

        Raises:
            RuntimeError: If the solver does not converge.
        """
        seeded = (foreground | background).ravel()
        probability = foreground.astype(float).ravel()
        free = np.flatnonzero(~seeded)
        if len(free):
            rows = self._laplacian[free]
            system, right_hand_side = rows[:, free], -rows @ probability
            if prior is not None:
                system.setdiag(system.diagonal() + prior_weight)
                right_hand_side += prior_weight * prior.ravel()[free]
            preconditioner = _multigrid(system) if prior_weight == 0 else sparse.diags_array(1 / system.diagonal())
            start = None if initial is None else initial.ravel()[free]
            probability[free] = _solve(system, right_hand_side, start, preconditioner, tolerance)
        return probability.clip(0, 1).reshape(self._shape)


def _multigrid(system: sparse.csr_array) -> LinearOperator:
    """Return a symmetric preconditioner that sees clusters of voxels however loosely they are tied to the seeds.

    That takes the second pass of Ruge and Stueben's coarsening, which leaves no voxel without coarse neighbours.
    """
    return pyamg.ruge_stuben_solver(
        system,
        CF=("RS", {"second_pass": True}),
        interpolation="direct",
        presmoother=("gauss_seidel", {"sweep": "forward"}),
        postsmoother=("gauss_seidel", {"sweep": "backward"}),  # the mirror image of the presmoother
    ).aspreconditioner()


def _solve(
    system: sparse.csr_array,
    right_hand_side: np.ndarray,
    start: np.ndarray | None,
    preconditioner: sparse.dia_array | LinearOperator,
    tolerance: float,
) -> np.ndarray:
    """Solve a symmetric positive definite system.

    Where voxels are tied to the seeds by 1e-10 alone, a residual of 1e-10 is an error of one. The preconditioned
    residual ("MrMr") estimates the error, so it decides when to stop.
    """
    solution, status = cg(
        system,
        right_hand_side,
        x0=start,
        tol=tolerance,
        criteria="MrMr",
        maxiter=MAX_ITERATIONS,
        M=preconditioner,
    )
    if status != 0:
        raise RuntimeError(f"the solver did not converge on {len(solution)} voxels, status {status} of pyamg's cg")
    return solution
