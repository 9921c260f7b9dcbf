"""Slices: which one is shown, how much of it, and what is drawn."""

import base64
import io

import numpy as np
import pytest
from PIL import Image
from support.report_example import TRAINING_CASES, write_comparison

from nnunetv2_simple.report.colours import POINT
from nnunetv2_simple.report.data import read_comparison
from nnunetv2_simple.report.pictures import (
    Outline,
    field_of_view,
    intensity_window,
    label_outlines,
    largest_slice,
    slice_picture,
)
from nnunetv2_simple.report.slices import find_training_cases, mean_dice

RED = POINT  # of the palette


def mask_with(shape, *voxels):
    mask = np.zeros(shape, dtype=bool)
    for voxel in voxels:
        mask[voxel] = True
    return mask


def test_slice_is_where_the_first_mask_with_voxels_is_largest():
    reference = mask_with((4, 5, 6), (1, 2, 2), (3, 1, 1), (3, 1, 2))
    other = mask_with((4, 5, 6), (0, 0, 0))
    empty = mask_with((4, 5, 6))
    assert largest_slice([reference, other], (3.0, 1.0, 1.0)) == (0, 3)
    assert largest_slice([empty, other], (3.0, 1.0, 1.0)) == (0, 0)
    assert largest_slice([empty, empty], (3.0, 1.0, 1.0)) == (0, 2)
    assert largest_slice([reference, other], (1.0, 1.0, 4.0)) == (2, 2)  # sagittal slices


def test_window_is_square_in_mm_and_stays_in_the_image():
    mask = mask_with((200, 100), np.s_[100:110, 50])
    # 10 rows of 1 mm and 2 x 15 mm: 40 mm, less than the least of 50 mm; 25 mm each way from (105, 50.5)
    assert field_of_view(mask, (1.0, 2.0)) == (slice(80, 130), slice(38, 63))
    corner = mask_with((200, 100), (0, 99))
    rows, columns = field_of_view(corner, (1.0, 2.0))
    assert rows.start == 0 and columns.stop == 100
    assert field_of_view(mask_with((20, 10)), (1.0, 2.0)) == (slice(0, 20), slice(0, 10))


def decode(address):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))).convert("RGB")).astype(int)


def test_picture_has_the_shape_of_the_slice_in_mm_and_its_outlines():
    pixels = np.tile(np.linspace(0, 1, 40), (20, 1))
    mask = mask_with((20, 40), np.s_[5:15, 10:30])
    options = {"spacing_mm": (3.0, 1.0), "window": (0, 1)}
    plain = decode(slice_picture(pixels, [], **options))
    assert plain.shape[0] / plain.shape[1] == pytest.approx(60 / 40, abs=0.02)
    assert np.ptp(plain, axis=2).max() < 12  # grey
    drawn = decode(slice_picture(pixels, [Outline("mask", mask, RED)], **options))
    rows, columns = np.nonzero((drawn[..., 0] > 200) & (drawn[..., 1:].max(axis=2) < 90))
    height, width = drawn.shape[:2]
    np.testing.assert_allclose((rows.min() / height, rows.max() / height), (0.25, 0.75), atol=0.02)
    np.testing.assert_allclose((columns.min() / width, columns.max() / width), (0.25, 0.75), atol=0.02)


def test_outline_of_a_mask_that_fills_the_slice_is_drawn_at_its_border():
    full = np.ones((10, 10), dtype=bool)
    drawn = decode(slice_picture(np.zeros((10, 10)), [Outline("mask", full, RED)], spacing_mm=(1, 1), window=(0, 1)))
    assert drawn[2:-2, :3, 0].max() > 100 and drawn[50:-50, 50:-50].max() < 10


def test_constant_slice_can_be_drawn():
    low, high = intensity_window(np.full((5, 5), 7.0))
    assert low < high
    slice_picture(np.full((5, 5), 7.0), [], spacing_mm=(1, 1), window=(low, high))


def test_mean_dice_over_the_labels_that_occur():
    mask, reference = np.array([1, 1, 0, 2, 0]), np.array([1, 0, 0, 2, 2])
    assert mean_dice(mask, reference, [1]) == pytest.approx(2 / 3)
    assert mean_dice(mask, reference, [1, 2, 3]) == pytest.approx(2 / 3)  # (2/3 + 2/3) / 2, label 3 nowhere
    assert mean_dice(np.array([1]), np.array([0]), [1]) == 0
    assert mean_dice(np.zeros(3), np.zeros(3), [1]) is None


def test_outlines_of_unlabelled_voxels_and_of_each_label():
    labels = np.array([[0, 1, 2, 3]])
    outlines = label_outlines(labels, {"tumor": 1, "necrosis": 2})
    assert [outline.name for outline in outlines] == ["unlabelled", "tumor", "necrosis"]
    assert [np.flatnonzero(outline.mask).tolist() for outline in outlines] == [[3], [1], [2]]
    assert len({outline.colour for outline in outlines}) == 3


def test_stages_of_training_cases_are_found(tmp_path):
    images, stages = find_training_cases(read_comparison(write_comparison(tmp_path, methods=("simple",))))
    # no method learned from the walker's dataset, so it is not looked for
    assert list(stages) == ["initial pseudo-mask", "final pseudo-mask", "reference"]
    assert all(set(files) == set(TRAINING_CASES) for files in stages.values())
    assert all(file.is_file() for files in (images, *stages.values()) for file in files.values())
