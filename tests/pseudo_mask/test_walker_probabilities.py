import numpy as np
import pytest
import SimpleITK as sitk

from nnunetv2_simple.pseudo_mask.walker_probabilities import (
    as_stored,
    label_digest,
    read_walker_mask,
    walker_file,
)


def store(folder, case, *foregrounds):
    for label, foreground in enumerate(foregrounds, start=1):
        file = walker_file(folder, case, label)
        file.parent.mkdir(exist_ok=True)
        sitk.WriteImage(sitk.GetImageFromArray(as_stored(foreground)), str(file))


def test_several_classes_compete(tmp_path):
    # background: 0.2, 0.6 * 0.6, 1, 0.4 * 0.4, 0.7 * 0.7, 0.3 * 0.9
    first, second = np.array([[[0.8, 0.4, 0.0, 0.6, 0.3, 0.7]]]), np.array([[[0.0, 0.4, 0.0, 0.6, 0.3, 0.1]]])
    store(tmp_path, "case", second, first)
    np.testing.assert_array_equal(read_walker_mask(tmp_path, "case", [1, 2]), [[[2, 1, 0, 1, 0, 2]]])


def test_missing_probabilities_are_named(tmp_path):
    store(tmp_path, "a", np.full((1, 1, 1), 0.5))
    with pytest.raises(FileNotFoundError, match="case b .*walkerTr/b_0001.nii.gz"):
        read_walker_mask(tmp_path, "b", [1, 2])
    with pytest.raises(FileNotFoundError, match="case a .*walkerTr/a_0002.nii.gz"):
        read_walker_mask(tmp_path, "a", [1, 2])


def test_probabilities_that_end_early_are_named(tmp_path):
    store(tmp_path, "case", np.random.default_rng(0).random((9, 20, 20)))
    file = walker_file(tmp_path, "case", 1)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(ValueError, match="walkerTr/case_0001.nii.gz"):
        read_walker_mask(tmp_path, "case", [1])


def test_the_digest_is_that_of_the_voxels():
    label = np.arange(24).reshape(2, 3, 4) % 3
    assert label_digest(label.astype(np.uint8)) == label_digest(label.astype(np.float32))
    assert label_digest(label) != label_digest(label.reshape(3, 2, 4))
    changed = label.copy()
    changed[1, 2, 3] += 1
    assert label_digest(label) != label_digest(changed)


def test_only_what_exceeds_one_half_is_foreground_when_read_back(tmp_path):
    foreground = np.array([[[0.0, 0.499, 0.5, np.nextafter(0.5, 1), 0.501, 1.0]]])
    assert as_stored(foreground).tolist() == [[[0, 127, 127, 128, 128, 255]]]
    store(tmp_path, "case", foreground)
    np.testing.assert_array_equal(read_walker_mask(tmp_path, "case", [1]), foreground > 0.5)
