"""What of the label of a converted case is certain."""

import numpy as np
import pytest
import SimpleITK as sitk

from nnunetv2_simple.conversion.converted_case import kept_voxels

IGNORE = 3
LESION = {"extreme_points_zyx": [[0, 1, 1], [2, 1, 1], [1, 0, 1], [1, 2, 1], [1, 1, 0], [1, 1, 2]], "label": 1}


@pytest.mark.parametrize(("margin_mm", "ignored_are_kept"), [(None, []), (1.0, [5, 6, 7]), (3.0, [6, 7])])
def test_painted_voxels_and_ignored_ones_far_from_all_boxes_keep_their_label(margin_mm, ignored_are_kept):
    label = np.zeros((3, 3, 8), dtype=np.uint8)
    label[1, 1] = [1, 1, IGNORE, 0, 2, IGNORE, IGNORE, IGNORE]  # of the class 1 a lesion was clicked, 2 was painted
    image = sitk.GetImageFromArray(label)
    record = {"lesions": [LESION | {"axes_zyx": None}], "unannotated_margin_mm": margin_mm}
    kept = kept_voxels(label, record, image, ignore_label=IGNORE)
    expected = np.zeros_like(kept)
    expected[1, 1, [4, *ignored_are_kept]] = True
    np.testing.assert_array_equal(kept, expected)
