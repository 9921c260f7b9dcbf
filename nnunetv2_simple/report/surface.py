"""Surfaces of masks, and how far one surface is from another."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree
from skimage.measure import block_reduce, marching_cubes

MAX_VERTICES = 13_000  # about 0.6 MB in the page
MAX_GRID_VOXELS = 2_000_000
MAX_ATTEMPTS = 8


@dataclass(frozen=True, eq=False)
class Surface:
    """A triangle mesh.

    Attributes:
        vertices_mm: (n, 3), along the axes of the array (z, y, x), from the centre of its first voxel.
        faces: (m, 3) places of vertices.
    """

    vertices_mm: np.ndarray
    faces: np.ndarray

    @property
    def is_empty(self) -> bool:
        return len(self.faces) == 0


class SurfaceMaker:
    """Makes the surfaces of masks of one image, all on one isotropic grid, so that they can be compared.

    The signed distance to the border of the mask is interpolated onto the grid (shape-based interpolation), which
    leaves no steps between thick slices; its zero level is the surface. Sharp edges are rounded by up to half a voxel.

    Args:
        masks: bool (z, y, x), all that will be asked for.
        spacing_mm: Voxel size (z, y, x).
        max_vertices: Of the largest surface; the grid is made as coarse as that takes.

    Attributes:
        step_mm: Voxel size of the grid; None if all masks are empty.

    Reference:
        Raya & Udupa, Shape-based interpolation of multidimensional objects, IEEE TMI 9 (1990).
    """

    def __init__(self, masks: Sequence[np.ndarray], *, spacing_mm: Sequence[float], max_vertices: int = MAX_VERTICES):
        spacing_mm = np.asarray(spacing_mm, dtype=float)
        self.step_mm: float | None = None
        occupied = np.any(masks, axis=0)
        if not occupied.any():
            return
        found = [np.flatnonzero(occupied.any(axis=tuple(a for a in range(3) if a != axis))) for axis in range(3)]
        self._block = tuple(slice(int(places[0]), int(places[-1]) + 1) for places in found)
        first, size = (np.array(sides) for sides in zip(*((p[0], p[-1] + 1 - p[0]) for p in found), strict=True))
        self.step_mm = max(float(spacing_mm.min()), float(np.cbrt((size * spacing_mm).prod() / MAX_GRID_VOXELS)))
        self._strides = np.maximum(self.step_mm / spacing_mm, 1).astype(int)  # no finer than the grid will be
        self._spacing_mm = self._strides * spacing_mm
        self._origin_mm = first * spacing_mm - self._spacing_mm  # one voxel of padding
        distances = [self._signed_distance(mask) for mask in masks if mask.any()]
        for _ in range(MAX_ATTEMPTS):
            largest = max(len(self._surface(distance).vertices_mm) for distance in distances)
            if largest <= max_vertices:
                return
            self.step_mm *= 1.05 * float(np.sqrt(largest / max_vertices))  # vertices go with the area

    def __call__(self, mask: np.ndarray) -> Surface:
        """Return the surface of a mask; one without faces of an empty mask."""
        if not mask.any():
            return Surface(np.zeros((0, 3)), np.zeros((0, 3), dtype=int))
        return self._surface(self._signed_distance(mask))

    def _signed_distance(self, mask: np.ndarray) -> np.ndarray:
        """Return the distance to the border in mm, negative inside, in the block and one voxel around it."""
        block = mask[self._block]
        taken = block[tuple(slice(None, None, stride) for stride in self._strides)]
        if not taken.any():  # it lies between the voxels taken
            taken = block_reduce(block, tuple(self._strides), np.max)
        padded = np.pad(taken, 1)
        outside, inside = (ndimage.distance_transform_edt(m, sampling=self._spacing_mm) for m in (~padded, padded))
        return (outside - inside).astype(np.float32)

    def _surface(self, distance: np.ndarray) -> Surface:
        lengths_mm = (np.array(distance.shape) - 1) * self._spacing_mm
        counts = np.maximum(np.ceil(lengths_mm / self.step_mm).astype(int) + 1, 2)
        grid = ndimage.affine_transform(
            distance, self.step_mm / self._spacing_mm, output_shape=tuple(counts), order=1, mode="nearest"
        )
        grid = np.pad(grid, 1, constant_values=max(float(grid.max()), self.step_mm))  # closes every surface
        if grid.min() >= 0:  # what is too small for the grid is shown where it comes closest to a point of it
            grid[np.unravel_index(grid.argmin(), grid.shape)] = -1e-3 * self.step_mm
        vertices, faces, _, _ = marching_cubes(grid, 0.0, spacing=(self.step_mm,) * 3)
        return Surface(vertices - self.step_mm + self._origin_mm, faces)


def signed_distance_to(surface: Surface, reference: Surface, reference_mask: np.ndarray, spacing_mm: Sequence[float]):
    """Return how far each vertex of a surface lies from the reference surface, in mm.

    Args:
        surface: The surface.
        reference: Of the reference mask, not empty.
        reference_mask: bool (z, y, x), the reference itself.
        spacing_mm: Voxel size (z, y, x).

    Returns:
        (n,) float; positive outside the reference (too much), negative inside (too little).
    """
    corners = reference.vertices_mm[reference.faces]
    middles = [corners.mean(axis=1)] + [(corners[:, a] + corners[:, b]) / 2 for a, b in ((0, 1), (1, 2), (2, 0))]
    distances, _ = cKDTree(np.concatenate([reference.vertices_mm, *middles])).query(surface.vertices_mm)
    voxels = (surface.vertices_mm / np.asarray(spacing_mm)).T
    inside = ndimage.map_coordinates(reference_mask.astype(np.float32), voxels, order=1, mode="constant") > 0.5
    return np.where(inside, -distances, distances)
