"""Random walker on a volume: the probability that a walk meets a foreground seed before a background seed.

Neighbouring voxels (6-neighbourhood) are joined by edges of weight w_ij. With the graph Laplacian L of these weights,
split into seeded (S) and unseeded (U) voxels, and p_S = 1 on foreground and 0 on background seeds, the probabilities
solve

    (L_UU + g) p_U = -L_US p_S + g q_U        (the discrete Dirichlet problem; Grady 2006, eq. 11),

where a prior probability q, if there is one, pulls on every voxel with weight g (Grady 2005, eq. 7).

References:
    Grady, Random walks for image segmentation, IEEE TPAMI 28(11), 2006.
    Grady, Multilabel random walker image segmentation using prior models, CVPR 2005.
"""

from collections.abc import Sequence

import numpy as np
from scipy import sparse

from nnunetv2_simple.pseudo_mask.graph_multigrid import solve_bipartite_laplacian

SMALLEST_WEIGHT = 1e-10
PROBABILITY_TOLERANCE = 5e-5


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
        is_odd = (sum(np.indices(self._shape, sparse=True)) % 2 == 1).ravel()
        self._even, self._odd = np.flatnonzero(~is_odd), np.flatnonzero(is_odd)
        number = np.empty(is_odd.size, dtype=np.int32)  # of each voxel among those of its colour
        number[self._even], number[self._odd] = np.arange(len(self._even)), np.arange(len(self._odd))
        voxels = np.arange(is_odd.size, dtype=np.int32).reshape(self._shape)
        first = np.concatenate([voxels[_all_but_last(axis)].ravel() for axis in range(3)])
        second = np.concatenate([voxels[_all_but_first(axis)].ravel() for axis in range(3)])
        odd_first = is_odd[first]
        even, odd = np.where(odd_first, second, first), np.where(odd_first, first, second)
        self._between = sparse.coo_array(
            (np.concatenate([along.ravel() for along in edge_weights]), (number[even], number[odd])),
            shape=(len(self._even), len(self._odd)),
        ).tocsr()
        self._transposed = self._between.T.tocsr()

    def walk(
        self,
        foreground: np.ndarray,
        background: np.ndarray,
        *,
        prior: np.ndarray | None = None,
        prior_weight: float = 0.0,
        initial: np.ndarray | None = None,
    ) -> np.ndarray:
        """Return the foreground probability of every voxel.

        Args:
            foreground: (z, y, x) bool, foreground seeds.
            background: (z, y, x) bool, background seeds. Without any, and without prior, the probability is 1.
            prior: (z, y, x) prior foreground probability in [0, 1].
            prior_weight: The weight g of the prior, comparable to that of an edge.
            initial: (z, y, x) probabilities to start the solver from, such as those of an earlier walk.

        Returns:
            (z, y, x) float in [0, 1]; 1 and 0 on the seeds.

        Raises:
            RuntimeError: If the solver does not converge.
        """
        seeded = (foreground | background).ravel()
        probability = foreground.astype(float).ravel()
        pull = np.zeros(seeded.size) if prior is None else prior_weight * prior.ravel()
        even, odd = self._even, self._odd
        free_even, free_odd = np.flatnonzero(~seeded[even]), np.flatnonzero(~seeded[odd])
        if len(free_even) or len(free_odd):
            rows, columns = self._between[free_even], self._transposed[free_odd]
            even_free, odd_free = even[free_even], odd[free_odd]
            probability[even_free], probability[odd_free] = solve_bipartite_laplacian(
                rows[:, free_odd],
                (rows @ seeded[odd].astype(float) + prior_weight, columns @ seeded[even].astype(float) + prior_weight),
                (rows @ probability[odd] + pull[even_free], columns @ probability[even] + pull[odd_free]),
                start=None if initial is None else initial.ravel()[even_free],
                tolerance=PROBABILITY_TOLERANCE,
            )
        return probability.clip(0, 1).reshape(self._shape)


def _all_but_last(axis: int) -> tuple[slice, ...]:
    return tuple(slice(0, -1) if a == axis else slice(None) for a in range(3))


def _all_but_first(axis: int) -> tuple[slice, ...]:
    return tuple(slice(1, None) if a == axis else slice(None) for a in range(3))
