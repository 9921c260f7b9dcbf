"""Surfaces of masks, and how far one surface is from another."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from acvl_utils.cropping_and_padding.bounding_boxes import bounding_box_to_slice, get_bbox_from_mask
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
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


def make_surfaces(
    masks: Sequence[np.ndarray], *, spacing_mm: Sequence[float], max_vertices: int = MAX_VERTICES
) -> tuple[list[Surface | None], float | None]:
    """Make the surfaces of masks of one image, all on one isotropic grid, so that they can be compared.

    The signed distance to the border of the mask is interpolated onto the grid (shape-based interpolation), which
    leaves no steps between thick slices; its zero level is the surface. Sharp edges are rounded by up to half a voxel.

    Args:
        masks: bool (z, y, x).
        spacing_mm: Voxel size (z, y, x).
        max_vertices: Of the largest surface; the grid is made as coarse as that takes.

    Returns:
        A surface per mask, None of an empty one; the voxel size of the grid in mm, None if all masks are empty.

    Reference:
        Raya & Udupa, Shape-based interpolation of multidimensional objects, IEEE TMI 9 (1990).
    """
    spacing_mm = np.asarray(spacing_mm, dtype=float)
    occupied = np.any(masks, axis=0)
    if not occupied.any():
        return [None] * len(masks), None
    block = bounding_box_to_slice(get_bbox_from_mask(occupied))
    step_mm = max(spacing_mm.min(), np.cbrt((occupied[block].shape * spacing_mm).prod() / MAX_GRID_VOXELS))
    strides = np.maximum(step_mm / spacing_mm, 1).astype(int)  # no finer than the grid will be
    coarse_mm = strides * spacing_mm
    origin_mm = [side.start for side in block] * spacing_mm - coarse_mm  # one voxel of padding
    distances = [_signed_distance(mask[block], strides, coarse_mm) if mask.any() else None for mask in masks]
    for _ in range(MAX_ATTEMPTS):
        surfaces = [None if d is None else _surface(d, coarse_mm, step_mm, origin_mm) for d in distances]
        largest = max(len(surface.vertices_mm) for surface in surfaces if surface is not None)
        if largest <= max_vertices:
            break
        step_mm *= 1.05 * np.sqrt(largest / max_vertices)  # vertices go with the area
    return surfaces, float(step_mm)


def _signed_distance(mask: np.ndarray, strides: np.ndarray, spacing_mm: np.ndarray) -> np.ndarray:
    """Return the distance to the border in mm, negative inside, of every stride-th voxel and one voxel around."""
    taken = mask[tuple(slice(None, None, stride) for stride in strides)]
    if not taken.any():  # it lies between the voxels taken
        taken = block_reduce(mask, tuple(strides), np.max)
    padded = np.pad(taken, 1)
    outside, inside = (ndimage.distance_transform_edt(m, sampling=spacing_mm) for m in (~padded, padded))
    return (outside - inside).astype(np.float32)


def _surface(distance: np.ndarray, spacing_mm: np.ndarray, step_mm: float, origin_mm: np.ndarray) -> Surface:
    """Return the zero level of a signed distance, on a grid of another voxel size."""
    lengths_mm = (np.array(distance.shape) - 1) * spacing_mm
    counts = np.maximum(np.ceil(lengths_mm / step_mm).astype(int) + 1, 2)
    grid = ndimage.affine_transform(distance, step_mm / spacing_mm, output_shape=tuple(counts), order=1, mode="nearest")
    grid = np.pad(grid, 1, constant_values=max(float(grid.max()), step_mm))  # closes every surface
    if grid.min() >= 0:  # what is too small for the grid is shown where it comes closest to a point of it
        grid[np.unravel_index(grid.argmin(), grid.shape)] = -1e-3 * step_mm
    vertices, faces, _, _ = marching_cubes(grid, 0.0, spacing=(step_mm,) * 3)
    return Surface(vertices - step_mm + origin_mm, faces)


def largest_part(surface: Surface) -> np.ndarray:
    """Return which vertices belong to the connected part of a surface that has most of them, as (n,) bool."""
    num_vertices, edges = len(surface.vertices_mm), np.concatenate([surface.faces[:, :2], surface.faces[:, 1:]])
    graph = coo_array((np.ones(len(edges)), edges.T), shape=(num_vertices, num_vertices))
    _, parts = connected_components(graph, directed=False)
    return parts == np.bincount(parts).argmax()


def signed_distance_to(
    surface: Surface, reference: Surface, reference_mask: np.ndarray, spacing_mm: Sequence[float]
) -> np.ndarray:
    """Return how far each vertex of a surface lies from the reference surface, in mm.

    Args:
        surface: The surface.
        reference: Of the reference mask.
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
