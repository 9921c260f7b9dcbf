"""Small cases with pseudo-masks, whose measures can be worked out by hand from the sizes of the blocks of voxels."""

import numpy as np

from nnunetv2_simple.evaluation.quality import LabelledCase, measure_case
from nnunetv2_simple.extreme_points.lesions import Lesion

SPACING_MM = (5.0, 2.5, 1.0)  # a voxel has 0.0125 ml; the shell of 5 mm is 1, 2 and 5 voxels wide
SHAPE = (7, 10, 15)
IGNORE = 3


def make_lesion(lower, upper, label=1):
    """A lesion whose points lie in the middle of the faces of the box from ``lower`` to ``upper``, both included."""
    points = np.tile((np.array(lower) + np.array(upper)) // 2, (6, 1))
    for axis in range(3):
        points[2 * axis, axis], points[2 * axis + 1, axis] = lower[axis], upper[axis]
    return Lesion(points, label)


def make_case(lesions, shape=SHAPE, **changed):
    """A case whose boxes are unlabelled throughout."""
    case = {
        "image": np.zeros(shape),
        "label": np.zeros(shape, dtype=np.uint8),
        "scribbles": np.zeros(shape, dtype=bool),
        "lesions": lesions,
        "spacing_mm": SPACING_MM,
        "ignore_label": IGNORE,
    }
    for lesion in lesions:
        case["label"][box_of(lesion)] = IGNORE
    return case | changed


def box_of(lesion):
    lower, upper = lesion.extreme_points.min(axis=0), lesion.extreme_points.max(axis=0)
    return tuple(slice(a, b + 1) for a, b in zip(lower, upper, strict=True))


def blocks_case():
    """A box of 3 x 4 x 5 voxels: one row of background, one of foreground, two unlabelled along y."""
    case = make_case([make_lesion((2, 3, 4), (4, 6, 8))])
    case["label"][2:5, 3, 4:9] = 0
    case["label"][2:5, 4, 4:9] = 1
    case["scribbles"][3, 4, 4:9] = True
    return case


def ball_case():
    """A good pseudo-mask: the ellipsoid inscribed in a box of 9 x 9 x 9 voxels, on a dark background."""
    generator = np.random.default_rng(0)
    lesion = make_lesion((3, 4, 5), (11, 12, 13))
    case = make_case([lesion], shape=(15, 17, 19))
    z, y, x = np.indices(case["label"].shape)
    case["label"][(z - 7) ** 2 + (y - 8) ** 2 + (x - 9) ** 2 <= 4**2] = 1
    case["scribbles"] = (case["label"] == 1) & (z == 7) & (y == 8)
    case["image"] = 100.0 * (case["label"] == 1) + generator.normal(0, 10, case["label"].shape)
    return case


def measure(case, **changed):
    return measure_case(LabelledCase(**case | changed))
