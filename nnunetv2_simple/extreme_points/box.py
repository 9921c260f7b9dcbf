"""The box that six extreme points span, and where a voxel lies in it."""

from collections.abc import Iterable, Sequence

import numpy as np

from nnunetv2_simple.extreme_points.points import along_axes, sort_extreme_points

MAX_OFFSET = 0.5  # of the centre of the ellipsoid that touches the clicks, in half-sizes of the box
MAX_TILT = 0.9  # an eigenvalue of its correlations is at least 1 - 0.9: it does not collapse into a disk


class LesionBox:
    """The smallest box along the patient axes that holds the six points, faces included.

    A lesion reaches no further than its extreme points, so it lies inside by definition.

    Args:
        extreme_points: (6, 3) voxels (z, y, x).
        shape: Of the image.
        spacing_mm: Voxel size (z, y, x).
        axes: (3, 3) patient axes of an oblique image (see :func:`nnunetv2_simple.images.patient_axes`); the image's
            own if None.

    Attributes:
        slices: The smallest block of the image that holds the box; the box itself where the image is not oblique.
    """

    def __init__(
        self,
        extreme_points: np.ndarray,
        *,
        shape: Sequence[int],
        spacing_mm: Sequence[float],
        axes: np.ndarray | None = None,
    ):
        self._shape, self._spacing_mm, self._axes = tuple(shape), tuple(spacing_mm), axes
        clicks = along_axes(sort_extreme_points(extreme_points, spacing_mm=spacing_mm, axes=axes), spacing_mm, axes)
        # faces lie half a voxel beyond the centres of the outermost voxels
        voxel = np.ones(3) if axes is None else abs(axes) @ np.array(spacing_mm)
        lower, upper = clicks.min(axis=0) - voxel / 2, clicks.max(axis=0) + voxel / 2
        self._centre, self._half_size = (lower + upper) / 2, (upper - lower) / 2
        self._ellipsoid = _touching_ellipsoid((clicks - self._centre) / self._half_size)
        corners = self._centre + self._half_size * (2 * np.array(list(np.ndindex(2, 2, 2))) - 1)
        if axes is not None:
            corners = corners @ axes / np.array(spacing_mm)
        first, last = np.ceil(corners.min(axis=0)), np.floor(corners.max(axis=0))
        self.slices = tuple(
            slice(max(int(a), 0), min(int(b) + 1, size)) for a, b, size in zip(first, last, self._shape, strict=True)
        )

    def region(self, margin_voxels: Sequence[int]) -> tuple[slice, ...]:
        """Return :attr:`slices`, extended on every side and clipped to the image."""
        return grown(self.slices, margin_voxels, self._shape)

    def contains(self, region: tuple[slice, ...]) -> np.ndarray:
        """Return (z, y, x) bool of a region of the image, True inside the box."""
        inside = [abs(u) < 1 for u in self._coordinates(region)]
        return inside[0] & inside[1] & inside[2]

    def contains_voxels(self, voxels: np.ndarray) -> np.ndarray:
        """Return (n,) bool for (n, 3) voxels (z, y, x), True inside the box."""
        positions = along_axes(voxels, self._spacing_mm, self._axes)
        return (abs((positions - self._centre) / self._half_size) < 1).all(axis=1)

    def radius(self, region: tuple[slice, ...]) -> np.ndarray:
        """Return (z, y, x) float of a region: 0 in the centre, 1 on the inscribed ellipsoid, sqrt(3) in the corners."""
        return np.sqrt(sum(u**2 for u in self._coordinates(region)))

    def touching_radius(self, region: tuple[slice, ...]) -> np.ndarray:
        """Return (z, y, x) float of a region: 0 in the centre of the ellipsoid that touches the clicks, 1 on it.

        Of all ellipsoids that fit the box it is the one that touches each face where it was clicked, as nearly as one
        can: tilted where opposite clicks lie on opposite sides, off the centre where they lie on the same side.
        """
        centre, precision = self._ellipsoid
        offsets = [_off_centre(u, c) for u, c in zip(self._coordinates(region), centre, strict=True)]
        squared = sum(precision[a, b] * offsets[a] * offsets[b] for a in range(3) for b in range(3))
        return np.sqrt(np.maximum(squared, 0))

    def _coordinates(self, region: tuple[slice, ...]) -> list[np.ndarray]:
        """Return, per axis, the position in half-sizes from the centre; the arrays broadcast to the region's shape."""
        index = np.ogrid[region]
        if self._axes is not None:
            index = [
                sum(a * s * i for a, s, i in zip(axis, self._spacing_mm, index, strict=True)) for axis in self._axes
            ]
        return [(i - c) / h for i, c, h in zip(index, self._centre, self._half_size, strict=True)]


def grown(region: Sequence[slice], margin_voxels: Sequence[int], shape: Sequence[int]) -> tuple[slice, ...]:
    """Return a region of an image, extended on every side and clipped to the image.

    Example:
        >>> grown((slice(1, 3), slice(4, 5)), (2, 1), (4, 9))
        (slice(0, 4, None), slice(3, 6, None))
    """
    return tuple(
        slice(max(side.start - margin, 0), min(side.stop + margin, size))
        for side, margin, size in zip(region, margin_voxels, shape, strict=True)
    )


def in_voxels(margin_mm: float, spacing_mm: Sequence[float]) -> list[int]:
    """Return a margin in voxels of each axis, at least as wide as in mm."""
    return [int(np.ceil(margin_mm / mm)) for mm in spacing_mm]


def near_lesions(
    lesions: Iterable, *, shape: Sequence[int], spacing_mm: Sequence[float], margin_mm: float
) -> np.ndarray:
    """Return (z, y, x) bool, True in the block of the image around the box of any lesion, extended by a margin.

    Args:
        lesions: See :class:`nnunetv2_simple.extreme_points.lesions.Lesion`.
        shape: Of the image.
        spacing_mm: Voxel size (z, y, x).
        margin_mm: On every side of the box.
    """
    near = np.zeros(shape, dtype=bool)
    for lesion in lesions:
        near[lesion.box(shape, spacing_mm).region(in_voxels(margin_mm, spacing_mm))] = True
    return near


def _touching_ellipsoid(clicks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return centre and inverse correlations of the ellipsoid that touches the faces of the box [-1, 1]^3 at clicks.

    An ellipsoid x^T R^-1 x = 1 whose diagonal of R is one touches the faces of axis a at R_ab and -R_ab along every
    other axis b. So each R_ab is seen four times: by two clicks on the faces of a, by two on those of b. Their mean is
    taken. What opposite clicks have in common moves the centre; the axes are stretched on its either side so that the
    faces stay where they are.

    Args:
        clicks: (6, 3) in half-sizes of the box from its centre, on the lower and upper face of each axis in turn.

    Returns:
        (3,) centre, and (3, 3) R^-1.
    """
    lower, upper = clicks[::2], clicks[1::2]
    others = ~np.eye(3, dtype=bool)
    centre = np.clip(((lower + upper) * others).sum(axis=0) / 4, -MAX_OFFSET, MAX_OFFSET)
    seen = (_off_centre(upper, centre) - _off_centre(lower, centre)) / 2 * others
    tilt = (seen + seen.T) / 2
    flattest = -np.linalg.eigvalsh(tilt)[0]
    tilt *= min(1, MAX_TILT / flattest) if flattest > 0 else 1
    return centre, np.linalg.inv(np.eye(3) + tilt)


def _off_centre(coordinates: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """Return coordinates in [-1, 1] from the centre on, in the distance between the centre and the face beyond them."""
    return (coordinates - centre) / np.where(coordinates < centre, 1 + centre, 1 - centre)
