"""Quality control of pseudo-masks: measures and a picture of each case, and one page over all cases.

    measure_case    what can be said of a pseudo-mask without knowing the truth, in numbers and warnings
    draw_sheet      three orthogonal planes through each lesion, quality_control/<case>.png
    write_page      all cases in one table, quality_control/index.html

They are for someone who decides whether to train on a dataset. Where dense references exist the pseudo-masks are also
scored against them, under the key ``evaluation_only``: no such number reaches the other measures or the warnings.
"""

from nnunetv2_simple.quality_control.measures import measure_case
from nnunetv2_simple.quality_control.page import write_page
from nnunetv2_simple.quality_control.sheet import draw_sheet

__all__ = ["draw_sheet", "measure_case", "write_page"]
