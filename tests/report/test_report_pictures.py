"""Slices and training curves."""

import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image
from support.report_example import TRAINING_CASES, write_checkpoint, write_comparison

from nnunetv2_simple.report.curves import draw_training, read_training, training_curves
from nnunetv2_simple.report.data import UnavailableError, read_comparison
from nnunetv2_simple.report.slices import draw_slice, grey_range_of, slice_across, window_around
from nnunetv2_simple.report.stages import find_training_cases, mean_dice


def mask_with(shape, *voxels):
    mask = np.zeros(shape, dtype=bool)
    for voxel in voxels:
        mask[voxel] = True
    return mask


def test_slice_is_where_the_first_mask_with_voxels_is_largest():
    reference = mask_with((4, 5, 6), (1, 2, 2), (3, 1, 1), (3, 1, 2))
    other = mask_with((4, 5, 6), (0, 0, 0))
    empty = mask_with((4, 5, 6))
    assert slice_across([reference, other], (3.0, 1.0, 1.0)) == (0, 3)
    assert slice_across([empty, other], (3.0, 1.0, 1.0)) == (0, 0)
    assert slice_across([empty, empty], (3.0, 1.0, 1.0)) == (0, 2)
    assert slice_across([reference, other], (1.0, 1.0, 4.0)) == (2, 2)  # sagittal slices


def test_window_is_square_in_mm_and_stays_in_the_image():
    mask = mask_with((200, 100), np.s_[100:110, 50])
    # 10 rows of 1 mm and 2 x 15 mm: 40 mm, less than the least of 50 mm; 25 mm each way from (105, 50.5)
    assert window_around(mask, (1.0, 2.0)) == (slice(80, 130), slice(38, 63))
    corner = mask_with((200, 100), (0, 99))
    rows, columns = window_around(corner, (1.0, 2.0))
    assert rows.start == 0 and columns.stop == 100
    assert window_around(mask_with((20, 10)), (1.0, 2.0)) == (slice(0, 20), slice(0, 10))


def decode(address):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))).convert("RGB")).astype(int)


def test_picture_has_the_shape_of_the_slice_in_mm_and_its_outlines():
    pixels = np.tile(np.linspace(0, 1, 40), (20, 1))
    mask = mask_with((20, 40), np.s_[5:15, 10:30])
    options = {"spacing_mm": (3.0, 1.0), "grey_range": (0, 1)}
    plain = decode(draw_slice(pixels, [], **options))
    assert plain.shape[0] / plain.shape[1] == pytest.approx(60 / 40, abs=0.02)
    assert np.ptp(plain, axis=2).max() < 12  # grey
    drawn = decode(draw_slice(pixels, [(mask, "#ff0000", "-")], **options))
    rows, columns = np.nonzero((drawn[..., 0] > 200) & (drawn[..., 1:].max(axis=2) < 60))
    height, width = drawn.shape[:2]
    np.testing.assert_allclose((rows.min() / height, rows.max() / height), (0.25, 0.75), atol=0.02)
    np.testing.assert_allclose((columns.min() / width, columns.max() / width), (0.25, 0.75), atol=0.02)


def test_outline_of_a_mask_that_fills_the_slice_is_drawn_at_its_border():
    full = np.ones((10, 10), dtype=bool)
    drawn = decode(draw_slice(np.zeros((10, 10)), [(full, "#ff0000", "-")], spacing_mm=(1, 1), grey_range=(0, 1)))
    assert drawn[2:-2, :3, 0].max() > 100 and drawn[50:-50, 50:-50].max() < 10


def test_constant_slice_can_be_drawn():
    low, high = grey_range_of(np.full((5, 5), 7.0))
    assert low < high
    draw_slice(np.full((5, 5), 7.0), [], spacing_mm=(1, 1), grey_range=(low, high))


def test_mean_dice_over_the_labels_that_occur():
    mask, reference = np.array([1, 1, 0, 2, 0]), np.array([1, 0, 0, 2, 2])
    assert mean_dice(mask, reference, [1]) == pytest.approx(2 / 3)
    assert mean_dice(mask, reference, [1, 2, 3]) == pytest.approx(2 / 3)  # (2/3 + 2/3) / 2, label 3 nowhere
    assert mean_dice(np.array([1]), np.array([0]), [1]) == 0
    assert mean_dice(np.zeros(3), np.zeros(3), [1]) is None


def test_stages_of_training_cases_are_found(tmp_path):
    cases = find_training_cases(read_comparison(write_comparison(tmp_path, methods=("simple",))))
    # no method learned from the walker's dataset, so it is not looked for
    assert list(cases.stages) == ["initial pseudo-mask", "final pseudo-mask", "reference"]
    assert all(set(files) == set(TRAINING_CASES) for files in cases.stages.values())
    assert all(file.is_file() for files in (cases.images, *cases.stages.values()) for file in files.values())


# --- training curves


def test_phases_end_where_their_checkpoints_were_written(tmp_path):
    for name, num_epochs in (("train", 4), ("finetune", 6), ("final", 9), ("best", 8)):
        write_checkpoint(tmp_path, name, num_epochs)
    (tmp_path / "pseudo_masks").mkdir()
    training = read_training(tmp_path)
    assert training.phases == (("train", 0, 4), ("finetune", 4, 6), ("retrain", 6, 9))
    assert training.is_finished
    figure = draw_training(training)
    assert "nonnegative" in {getattr(figure.layout, f"yaxis{n}").rangemode for n in ("", 2, 3, 4)}
    lines = {line.name: line for line in figure.data}
    assert set(lines) == {"training", "validation", "contrastive", "propagated share", "pseudo Dice", "learning rate"}
    np.testing.assert_allclose(lines["training"].y, 1 / np.arange(1, 10), rtol=1e-6)
    assert list(lines["contrastive"].y) == [0.5] * 4 + [None] * 5
    assert [(shape.x0, shape.x1) for shape in figure.layout.shapes] == [(3.5, 5.5)]
    assert [(name.text, name.x) for name in figure.layout.annotations] == [
        *(("train", 1.5), ("finetune", 4.5), ("retrain", 7)),
    ]


def test_training_of_one_phase_that_still_runs(tmp_path):
    write_checkpoint(tmp_path, "latest", 3)
    training = read_training(tmp_path)
    assert training.phases == () and not training.is_finished
    assert not draw_training(training).layout.shapes


def test_training_is_shown_once_with_all_methods_it_gives(tmp_path):
    html = training_curves(read_comparison(write_comparison(tmp_path)))
    assert html.count("<option") == 1
    assert "SimPLeTrainer, Dataset501_Blocks, fold 0" in html
    assert "9 epochs, 9 min" in html  # 60 s each
    assert html.count("no checkpoint in") == 2  # of walker and full


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", {"network_weights": 1}, {"current_epoch": 1}])
def test_broken_checkpoints_are_named(tmp_path, content):
    file = tmp_path / "checkpoint_final.pth"
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        torch.save(content, file)
    with pytest.raises(UnavailableError, match="checkpoint_final.pth"):
        read_training(tmp_path)
