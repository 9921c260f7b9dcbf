"""Random walker on a volume: the probability that a walk meets a foreground seed before a background seed.

Neighbouring voxels i, j (6-neighbourhood) with intensities g are joined by an edge of weight

    w_ij = exp(-beta * ((g_i - g_j) / spacing_mm)^2 / (10 * std(g))) + 1e-10,

scikit-image's scale. With the graph Laplacian L of these weights, split into seeded (S) and unseeded (U) voxels, and
p_S = 1 on foreground and 0 on background seeds, the probabilities solve

    L_UU p_U = -L_US p_S        (the discrete Dirichlet problem; Grady 2006, eq. 11).

References:
    Grady, Random walks for image segmentation, IEEE TPAMI 28(11), 2006.
"""

from collections.abc import Sequence

import numpy as np
from scipy import sparse

from nnunetv2_simple.graph_multigrid import solve_grounded_laplacian

SMALLEST_WEIGHT = 1e-10
PROBABILITY_TOLERANCE = 1e-5


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
            probability[unseeded] = solve_grounded_laplacian(
                rows[:, unseeded],
                ground=rows @ (foreground | background).ravel().astype(float),
                right_hand_side=rows @ probability,
                start=None if initial is None else initial.ravel()[unseeded],
                tolerance=PROBABILITY_TOLERANCE,
            )
        return probability.clip(0, 1).reshape(self._shape)


def _symmetric(first: np.ndarray, second: np.ndarray, weights: np.ndarray, *, size: int) -> sparse.csr_array:
    rows, columns = np.concatenate((first, second)), np.concatenate((second, first))
    return sparse.coo_array((np.concatenate((weights, weights)), (rows, columns)), shape=(size, size)).tocsr()
