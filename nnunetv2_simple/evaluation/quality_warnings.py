"""Warnings about a pseudo-mask, from its measures alone."""

from collections.abc import Sequence

import numpy as np

ELLIPSOID_FRACTION = np.pi / 6  # of a box, filled by the ellipsoid inscribed in it
MAX_FOREGROUND_FRACTION = 0.9
MIN_FOREGROUND_FRACTION = 0.05
MIN_CORE_FRACTION = 0.5
MIN_GROWN_FRACTION = 0.05
MIN_LARGEST_COMPONENT = 0.95
MIN_CONTRAST = 0.5
ANNOTATION = "annotation"


def lesion_warnings(measures: dict) -> dict[str, str]:
    """Judge the measures of one lesion.

    Args:
        measures: What :func:`nnunetv2_simple.evaluation.quality.measure_lesion` measured.

    Returns:
        One sentence per kind of warning.
    """
    if measures["num_components"] == 0:
        return {"no foreground": "the box holds no foreground voxel"}
    found = {}
    filled, core, contrast = (measures[name] for name in ("foreground_fraction", "core_fraction", "contrast"))
    fills = f"foreground fills {filled:.1%} of the box, an ellipsoid {ELLIPSOID_FRACTION:.0%}"
    if filled < MIN_FOREGROUND_FRACTION:
        found["hardly any foreground"] = fills
    elif filled > MAX_FOREGROUND_FRACTION:
        found["box nearly full"] = fills
    elif core is not None and core < MIN_CORE_FRACTION:
        found["hollow foreground"] = (
            f"foreground fills {core:.0%} of the core of the box: the scribbles may run around the lesion"
        )
    # in a box of few voxels the scribbles alone fill more than an ellipsoid: nothing is left to grow into
    if measures["grown_fraction"] < MIN_GROWN_FRACTION and measures["scribble_fraction"] < ELLIPSOID_FRACTION:
        found["walker did not grow"] = f"{1 - measures['grown_fraction']:.0%} of the foreground is scribble"
    if measures["reached_points"] < 6:
        found["points not reached"] = f"foreground reaches {measures['reached_points']} of the 6 extreme points"
    if measures["largest_component_fraction"] < MIN_LARGEST_COMPONENT:
        found["several components"] = (
            f"foreground has {measures['num_components']} parts, the largest holds "
            f"{measures['largest_component_fraction']:.0%} of it"
        )
    if contrast is not None and abs(contrast) < MIN_CONTRAST:
        found["low contrast"] = (
            f"the mean intensities of foreground and surrounding background differ by only {abs(contrast):.2f} "
            "standard deviations"
        )
    return found


def annotation_sentences(warnings: Sequence[str]) -> list[str]:
    """Return sentences about an annotation as warnings of the kind :data:`ANNOTATION`."""
    return [f"{ANNOTATION}: {warning}" for warning in warnings]


def is_about_annotation(warning: str) -> bool:
    return warning.startswith(f"{ANNOTATION}: ")


def case_warnings(measured_lesions: Sequence[dict]) -> list[str]:
    """Return the warnings of all lesions as sentences, which name the lesion where there are several."""
    return [
        f"{kind} (lesion {number}): {sentence}" if len(measured_lesions) > 1 else f"{kind}: {sentence}"
        for number, lesion in enumerate(measured_lesions, start=1)
        for kind, sentence in lesion["warnings"].items()
    ]
