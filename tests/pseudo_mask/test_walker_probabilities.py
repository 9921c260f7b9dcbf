import numpy as np
import pytest
import SimpleITK as sitk

from nnunetv2_simple.pseudo_mask.walker_probabilities import (
    as_stored,
    label_digest,
    read_walker_probabilities,
    walker_file,
)


def store(folder, case, *foregrounds):
    for label, foreground in enumerate(foregrounds, start=1):
        file = walker_file(folder, case, label)
        file.parent.mkdir(exist_ok=True)
        sitk.WriteImage(sitk.GetImageFromArray(as_stored(foreground)), str(file))


def two_classes(foreground):
    return np.stack((1 - foreground, foreground))


def test_several_classes_compete(tmp_path):
    first, second = np.array([[[0.8, 0.4, 0.0, 0.6]]]), np.array([[[0.0, 0.4, 0.0, 0.6]]])
    store(tmp_path, "case", first, second)
    walker = read_walker_probabilities(tmp_path, "case", [1, 2])
    np.testing.assert_allclose(walker.sum(axis=0), 1, atol=1e-6)
    np.testing.assert_allclose(walker[:, 0, 0, 1], np.array([0.36, 0.4, 0.4]) / 1.16, atol=2e-3)
    np.testing.assert_array_equal(walker.argmax(axis=0), [[[1, 1, 0, 1]]])


def test_probabilities_survive_being_stored(tmp_path):
    foreground = np.linspace(0, 1, 60).reshape(3, 4, 5)
    store(tmp_path, "case", foreground)
    np.testing.assert_allclose(
        read_walker_probabilities(tmp_path, "case", [1]), two_classes(foreground), atol=0.5 / 255 + 1e-6
    )


def test_missing_probabilities_are_named(tmp_path):
    store(tmp_path, "a", np.full((1, 1, 1), 0.5))
    with pytest.raises(FileNotFoundError, match="case b .*walkerTr/b_0001.nii.gz"):
        read_walker_probabilities(tmp_path, "b", [1, 2])
    with pytest.raises(FileNotFoundError, match="case a .*walkerTr/a_0002.nii.gz"):
        read_walker_probabilities(tmp_path, "a", [1, 2])


def test_probabilities_that_end_early_are_named(tmp_path):
    store(tmp_path, "case", np.random.default_rng(0).random((9, 20, 20)))
    file = walker_file(tmp_path, "case", 1)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(ValueError, match="walkerTr/case_0001.nii.gz"):
        read_walker_probabilities(tmp_path, "case", [1])


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
    walker = read_walker_probabilities(tmp_path, "case", [1])
    np.testing.assert_array_equal(walker.argmax(axis=0), foreground > 0.5)
