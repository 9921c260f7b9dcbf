"""What people clicked or drew, in any of the formats they have, as the extreme points of lesions."""

from nnunetv2_simple.extreme_points.points import extreme_points_from_mask

__all__ = ["extreme_points_from_mask"]
