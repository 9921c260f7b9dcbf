"""The three planes in which a volume is looked at, in radiological orientation: the patient's right is on the left."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from scipy.optimize import linear_sum_assignment

from nnunetv2_simple.annotate.marks import Voxel

LETTERS = (("R", "L"), ("A", "P"), ("I", "S"))  # the low and the high end of the patient's axes (LPS)
# patient axis and direction that point to the right, and those that point up
VIEWS = {"axial": ((0, 1), (1, -1)), "coronal": ((0, 1), (2, 1)), "sagittal": ((1, 1), (2, 1))}


@dataclass(frozen=True)
class Plane:
    """How the slices along one image axis lie on the screen; positions on it are mm from the lower left corner.

    Attributes:
        name: "axial", "coronal" or "sagittal"; of an oblique image the closest of these.
        axes: Image axes (0 is x) that run to the right, up and across.
        is_reversed: Whether the first two run the other way.
        size: Voxels along the three axes.
        spacing_mm: Voxel size along them.
        ends: The letters of the patient's directions left, right, bottom and top.
    """

    name: str
    axes: tuple[int, int, int]
    is_reversed: tuple[bool, bool]
    size: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    ends: tuple[str, str, str, str]

    @property
    def extent_mm(self) -> tuple[float, float]:
        return self.size[0] * self.spacing_mm[0], self.size[1] * self.spacing_mm[1]

    @property
    def num_slices(self) -> int:
        return self.size[2]

    def cut(self, volume: np.ndarray, index: int) -> np.ndarray:
        """Return the slice (rows from the bottom up, columns from left to right) of a volume (z, y, x)."""
        across = 2 - self.axes[2]
        found = np.take(volume, index, axis=across)
        array_axes = [axis for axis in range(3) if axis != across]
        if array_axes[0] != 2 - self.axes[1]:
            found = found.T
        columns, rows = (slice(None, None, -1 if reverse else 1) for reverse in self.is_reversed)
        return np.ascontiguousarray(found[rows, columns])

    def on_screen(self, voxel: Voxel) -> tuple[float, float]:
        """Return where the centre of a voxel lies."""
        places = (
            (self.size[k] - 1 - voxel[self.axes[k]]) if self.is_reversed[k] else voxel[self.axes[k]] for k in range(2)
        )
        right, up = ((place + 0.5) * mm for place, mm in zip(places, self.spacing_mm[:2], strict=True))
        return right, up

    def voxel_at(self, right_mm: float, up_mm: float, index: int) -> Voxel | None:
        """Return the voxel at a place of a slice; None outside the image."""
        voxel = [0, 0, 0]
        for k, place in enumerate((right_mm, up_mm)):
            number = int(np.floor(place / self.spacing_mm[k]))
            if not 0 <= number < self.size[k]:
                return None
            voxel[self.axes[k]] = self.size[k] - 1 - number if self.is_reversed[k] else number
        voxel[self.axes[2]] = index
        return tuple(voxel)


def planes_of(image: sitk.Image) -> dict[str, Plane]:
    """Return the planes of an image by name."""
    direction = np.reshape(image.GetDirection(), (3, 3))  # rows: patient axes, columns: image axes
    image_axis = linear_sum_assignment(-abs(direction))[1].tolist()
    planes = {}
    for name, ((right, right_sign), (up, up_sign)) in VIEWS.items():
        axes = (image_axis[right], image_axis[up], image_axis[3 - right - up])
        runs = [direction[right, axes[0]] * right_sign, direction[up, axes[1]] * up_sign]
        planes[name] = Plane(
            name,
            axes,
            (runs[0] < 0, runs[1] < 0),
            _pick(image.GetSize(), axes),
            _pick(image.GetSpacing(), axes),
            (*LETTERS[right][::right_sign], *LETTERS[up][::up_sign]),
        )
    return planes


def _pick(values: Sequence, axes: tuple[int, int, int]) -> tuple:
    return tuple(values[axis] for axis in axes)
