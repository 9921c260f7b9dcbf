"""How good a segmentation is: metrics, statistics over cases, quality measures that need no reference."""
