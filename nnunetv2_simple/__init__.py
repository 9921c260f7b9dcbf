"""Weakly-supervised segmentation from six extreme points, as a plugin for nnU-Net v2.

The public functions are imported when they are first used, as torch takes seconds.
"""

from importlib import import_module

__version__ = "0.3.0"

_MODULES = {
    "extreme_points_from_mask": "extreme_points",
    "draw_scribbles": "pseudo_mask",
    "generate_pseudo_mask": "pseudo_mask",
    "partial_cross_entropy": "losses",
    "voxel_contrastive_loss": "losses",
    "crf_loss": "losses",
    "propagate_labels": "propagation",
}
__all__ = list(_MODULES)


def __getattr__(name: str):
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
