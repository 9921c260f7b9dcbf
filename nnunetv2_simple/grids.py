"""Comparing the voxel grids of images in mm and in voxels, with SimpleITK."""

from itertools import product

import numpy as np
import SimpleITK as sitk

# Two grids are one if their voxel centres agree to this share of a voxel, wherever the images reach. Header numbers of
# single precision move the far corner of 512 voxels by less than 1e-4; the smallest mistake that programs make, half a
# voxel (corner or centre as the origin), is ten times larger. What is more than that and harmless is a qform within 0.1
# degrees of a half turn: the rounding of its quaternion moves the far corner by up to 0.8 voxels, away from the sform.
GRID_TOLERANCE_VOXELS = 0.05
PLACEMENT_WARNING = "nnunetv2_simple_placement_warning"  # key of an image's metadata
PROPERTIES = ("Spacing", "Origin", "Direction")


def corners(size: tuple[int, int, int]) -> np.ndarray:
    """Return the (8, 3) voxels (x, y, z) at the corners of a grid."""
    return np.array(list(product(*((0, count - 1) for count in size))), dtype=float)


def affine_of(grid: sitk.Image | sitk.ImageFileReader) -> np.ndarray:
    """Return the (4, 4) matrix from voxels (x, y, z) to positions in mm (LPS)."""
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(grid.GetDirection(), (3, 3)) * grid.GetSpacing()
    affine[:3, 3] = grid.GetOrigin()
    return affine


def displacement(affine: np.ndarray, other: np.ndarray, size: tuple[int, int, int]) -> tuple[float, float]:
    """Return how far the corners of a grid are apart under two matrices, at most.

    Args:
        affine: (4, 4), from voxels to mm.
        other: As above.
        size: The grid's number of voxels (x, y, z).

    Returns:
        The distance in mm, and in voxels of the first matrix along its axes.
    """
    difference = other - affine
    apart_mm = corners(size) @ difference[:3, :3].T + difference[:3, 3]
    apart_voxels = np.linalg.solve(affine[:3, :3], apart_mm.T)
    return float(np.linalg.norm(apart_mm, axis=1).max()), float(abs(apart_voxels).max())


def check_same_geometry(
    image: sitk.Image | sitk.ImageFileReader, other: sitk.Image | sitk.ImageFileReader, *, names: tuple[str, str]
) -> None:
    """Make sure two images have one grid, voxel by voxel.

    Args:
        image: The one.
        other: The other.
        names: What to call them in the error, such as their files.

    Raises:
        ValueError: Naming what differs, both values, and by how many mm the grids are apart.
    """
    is_same = image.GetSize() == other.GetSize()
    if not is_same or displacement(affine_of(image), affine_of(other), image.GetSize())[1] > GRID_TOLERANCE_VOXELS:
        raise ValueError(_mismatch(image, other, names))


def on_grid_of(
    image: sitk.Image, grid: sitk.Image, *, names: tuple[str, str], may_be_cropped: bool = False
) -> sitk.Image:
    """Bring an image to the grid of another without changing any voxel.

    Args:
        image: Has the same grid, maybe with its axes flipped or in another order; its own header is adjusted where
            they are not.
        grid: An image of the grid that is wanted.
        names: What to call ``grid`` and ``image`` in the error, such as their files.
        may_be_cropped: Whether ``image`` may cover a part of the grid only; it is 0 elsewhere.

    Returns:
        The image on the grid.

    Raises:
        ValueError: As :func:`check_same_geometry`.
    """
    to_grid = np.linalg.solve(affine_of(grid), affine_of(image))
    on_grid = np.rint(to_grid)
    is_reordered = (abs(on_grid[:3, :3]).sum(axis=0) == 1).all() and (abs(on_grid[:3, :3]).sum(axis=1) == 1).all()
    _, apart_voxels = displacement(np.eye(4), np.eye(4) + to_grid - on_grid, image.GetSize())
    target = corners(image.GetSize()) @ on_grid[:3, :3].T + on_grid[:3, 3]
    first, last, last_of_grid = target.min(axis=0), target.max(axis=0), np.array(grid.GetSize()) - 1
    is_inside = (first >= 0).all() and (last <= last_of_grid).all()
    is_whole = is_inside and (first == 0).all() and (last == last_of_grid).all()
    if not (is_reordered and apart_voxels <= GRID_TOLERANCE_VOXELS and (is_whole or (may_be_cropped and is_inside))):
        raise ValueError(_mismatch(grid, image, names))
    if is_whole and np.array_equal(on_grid, np.eye(4)):
        image.CopyInformation(grid)
        return image
    return sitk.Resample(image, grid, sitk.Transform(), sitk.sitkNearestNeighbor, 0)  # voxel centres coincide


def make_right_angled(image: sitk.Image, file: str) -> None:
    """Replace direction cosines that are orthonormal but for rounding by the nearest ones that are exactly so.

    Raises:
        ValueError: If the grid is sheared, naming the file and how far NIfTI would displace its far corner.
    """
    sheared = affine_of(image)
    left, _, right = np.linalg.svd(np.reshape(image.GetDirection(), (3, 3)))
    right_angled = sheared.copy()
    right_angled[:3, :3] = left @ right * image.GetSpacing()
    apart_mm, apart_voxels = displacement(right_angled, sheared, image.GetSize())
    if apart_voxels > GRID_TOLERANCE_VOXELS:
        raise ValueError(
            f"{file} is sheared: its axes are not perpendicular. nnU-Net knows perpendicular axes only, and on the "
            f"nearest such grid its far corner would lie {apart_mm:.2g} mm off. Resample it to perpendicular axes"
        )
    if not np.allclose(right_angled, sheared, rtol=1e-9, atol=1e-9):
        image.SetDirection((left @ right).ravel().tolist())


def check_fits_single_precision(image: sitk.Image, file: str) -> None:
    """Make sure that NIfTI, whose numbers are of single precision, can say where an image lies.

    Raises:
        ValueError: Naming the file and how far its far corner would move.
    """
    affine = affine_of(image)
    apart_mm, apart_voxels = displacement(affine, affine.astype(np.float32), image.GetSize())
    if apart_voxels > GRID_TOLERANCE_VOXELS:
        raise ValueError(
            f"{file} has an origin, {image.GetOrigin()}, so far from 0 that NIfTI's single precision would move the "
            f"image by {apart_mm:.2g} mm; give it an origin closer to 0"
        )


def placement_warning(image: sitk.Image | sitk.ImageFileReader) -> str | None:
    """Return what :func:`nnunetv2_simple.images.read_volume` found suspicious about where a file places its image."""
    return image.GetMetaData(PLACEMENT_WARNING) if image.HasMetaDataKey(PLACEMENT_WARNING) else None


def _mismatch(
    image: sitk.Image | sitk.ImageFileReader, other: sitk.Image | sitk.ImageFileReader, names: tuple[str, str]
) -> str:
    """Say what differs between two grids, and what may be the cause."""
    values = {what: [getattr(grid, f"Get{what}")() for grid in (image, other)] for what in ("Size", *PROPERTIES)}
    differing = [what for what, pair in values.items() if not np.allclose(*pair, rtol=1e-6, atol=1e-4)] or PROPERTIES
    found = [f"{w.lower()} differs: {values[w][0]} in {names[0]}, {values[w][1]} in {names[1]}" for w in differing]
    last = [affine_of(grid) @ np.append(np.array(grid.GetSize()) - 1, 1) for grid in (image, other)]
    found.append(f"the far corners are {np.linalg.norm(last[1] - last[0]):.2g} mm apart")
    causes = {placement_warning(grid) for grid in (image, other)} - {None}
    return "; ".join([*found, *(f"the cause may be that {cause}" for cause in sorted(causes))])
