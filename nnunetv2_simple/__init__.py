"""Weakly-supervised segmentation from six extreme points, as a plugin for nnU-Net v2."""

__version__ = "0.2.0"
