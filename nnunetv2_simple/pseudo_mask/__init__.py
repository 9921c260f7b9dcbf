"""Six extreme points -> {0, 1, ignore}: scribbles, random walker, recipes, second walk with a network."""

from nnunetv2_simple.pseudo_mask.generate import generate_pseudo_mask, merge_pseudo_masks, walk_again
from nnunetv2_simple.pseudo_mask.scribbles import draw_scribbles

__all__ = ["draw_scribbles", "generate_pseudo_mask", "merge_pseudo_masks", "walk_again"]
