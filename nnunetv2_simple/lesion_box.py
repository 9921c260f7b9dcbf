"""The box that six extreme points span, and where a voxel lies in it."""

from collections.abc import Sequence

import numpy as np

from nnunetv2_simple.extreme_points import along_axes


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
        positions = along_axes(extreme_points, spacing_mm, axes)
        # faces lie half a voxel beyond the centres of the outermost voxels
        voxel = np.ones(3) if axes is None else abs(axes) @ np.array(spacing_mm)
        lower, upper = positions.min(axis=0) - voxel / 2, positions.max(axis=0) + voxel / 2
        self._centre, self._half_size = (lower + upper) / 2, (upper - lower) / 2
        corners = self._centre + self._half_size * (2 * np.array(list(np.ndindex(2, 2, 2))) - 1)
        if axes is not None:
            corners = corners @ axes / np.array(spacing_mm)
        first, last = np.ceil(corners.min(axis=0)), np.floor(corners.max(axis=0))
        self.slices = tuple(
            slice(max(int(a), 0), min(int(b) + 1, size)) for a, b, size in zip(first, last, self._shape, strict=True)
        )

    def region(self, margin_voxels: Sequence[int]) -> tuple[slice, ...]:
        """Return :attr:`slices`, extended on every side and clipped to the image."""
        return tuple(
            slice(max(side.start - margin, 0), min(side.stop + margin, size))
            for side, margin, size in zip(self.slices, margin_voxels, self._shape, strict=True)
        )

    def contains(self, region: tuple[slice, ...]) -> np.ndarray:
        """Return (z, y, x) bool of a region of the image, True inside the box."""
        inside = [abs(u) < 1 for u in self._coordinates(region)]
        return inside[0] & inside[1] & inside[2]

    def radius(self, region: tuple[slice, ...]) -> np.ndarray:
        """Return (z, y, x) float of a region: 0 in the centre, 1 on the inscribed ellipsoid, sqrt(3) in the corners."""
        return np.sqrt(sum(u**2 for u in self._coordinates(region)))

    def _coordinates(self, region: tuple[slice, ...]) -> list[np.ndarray]:
        """Return, per axis, the position in half-sizes from the centre; the arrays broadcast to the region's shape."""
        index = np.ogrid[region]
        if self._axes is not None:
            index = [
                sum(a * s * i for a, s, i in zip(axis, self._spacing_mm, index, strict=True)) for axis in self._axes
            ]
        return [(i - c) / h for i, c, h in zip(index, self._centre, self._half_size, strict=True)]
