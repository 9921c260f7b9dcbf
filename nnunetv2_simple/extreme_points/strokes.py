"""Strokes: what somebody drew to correct a pseudo-mask, as seeds of the random walk."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from skimage.draw import line_nd

from nnunetv2_simple.extreme_points.box import LesionBox

LESION_SEED, OTHER_SEED = 1, -1


@dataclass(frozen=True, eq=False)
class Stroke:
    """A line that says of its voxels what they are.

    Attributes:
        is_lesion: Whether they belong to the lesion or certainly do not.
        points: (n, 3) int array of voxels (z, y, x), the corners of the line; n is at least 1.
    """

    is_lesion: bool
    points: np.ndarray

    def voxels(self) -> np.ndarray:
        """Return (m, 3), every voxel on the line."""
        lines = [self.points[:1], *(_between(*ends) for ends in zip(self.points[:-1], self.points[1:], strict=True))]
        return np.unique(np.concatenate(lines), axis=0)

    def to_json(self) -> dict:
        return {"is_lesion": self.is_lesion, "points_zyx": self.points.tolist()}

    @classmethod
    def from_json(cls, content: dict) -> "Stroke":
        return cls(content["is_lesion"], np.asarray(content["points_zyx"], dtype=int).reshape(-1, 3))


def stroke_seeds(strokes: Sequence[Stroke], box: LesionBox, shape: Sequence[int]) -> np.ndarray | None:
    """Return what the strokes of one lesion say of every voxel.

    Outside the box nothing is lesion, so strokes have no say there.

    Args:
        strokes: Of the lesion; where they cross, the later one counts.
        box: Of the lesion.
        shape: Of the image.

    Returns:
        (z, y, x) int8: 1 is lesion, -1 is not, 0 nothing is said. None without strokes.

    Example:
        >>> points = [[0, 1, 1], [2, 1, 1], [1, 0, 1], [1, 2, 1], [1, 1, 0], [1, 1, 2]]
        >>> box = LesionBox(points, shape=(3, 3, 5), spacing_mm=(1, 1, 1))
        >>> stroke_seeds([Stroke(False, np.array([[1, 1, 1], [1, 1, 4]]))], box, (3, 3, 5))[1, 1].tolist()
        [0, -1, -1, 0, 0]
    """
    if not strokes:
        return None
    seeds = np.zeros(shape, dtype=np.int8)
    for stroke in strokes:
        voxels = stroke.voxels()
        seeds[tuple(voxels[box.contains_voxels(voxels)].T)] = LESION_SEED if stroke.is_lesion else OTHER_SEED
    return seeds


def stroke_warnings(strokes: Sequence[Stroke], box: LesionBox) -> Iterator[str]:
    """Say which strokes mark voxels as lesion where none can be."""
    for number, stroke in enumerate(strokes, start=1):
        outside = np.count_nonzero(~box.contains_voxels(stroke.voxels())) if stroke.is_lesion else 0
        if outside:
            yield (
                f"{outside} voxels of its stroke {number}, which says that they are lesion, lie outside the box of its "
                f"extreme points and do not count: does the lesion reach further than its points?"
            )


def _between(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    return np.transpose(line_nd(start, end, endpoint=True))
