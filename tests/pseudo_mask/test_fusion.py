import numpy as np
import pytest
import SimpleITK as sitk
from scipy.special import expit, logit

from nnunetv2_simple.pseudo_mask.fusion import (
    as_stored,
    label_digest,
    read_walker_probabilities,
    walker_file,
    weigh_evidence,
)


def store(folder, case, *foregrounds):
    for label, foreground in enumerate(foregrounds, start=1):
        file = walker_file(folder, case, label)
        file.parent.mkdir(exist_ok=True)
        sitk.WriteImage(sitk.GetImageFromArray(as_stored(foreground)), str(file))


def two_classes(foreground):
    return np.stack((1 - foreground, foreground))


@pytest.mark.parametrize("network_weight", [0.0, 0.25, 1.0])
def test_one_class_is_decided_by_the_sum_of_log_odds(network_weight):
    generator = np.random.default_rng(0)
    walker, network = generator.uniform(0.01, 0.99, (2, 3, 5, 4))
    expected = expit(logit(walker) + network_weight * logit(network)) > 0.5
    mask = weigh_evidence(two_classes(walker), two_classes(network), network_weight=network_weight)
    np.testing.assert_array_equal(mask, expected)
    assert mask.dtype == np.uint8
    assert 0 < mask.mean() < 1


def test_by_hand():
    # walker 2 : 1 against; the network 81 : 1 for it, whose fourth root is 3 : 1
    walker, network = two_classes(np.full((1, 1, 1), 1 / 3)), two_classes(np.full((1, 1, 1), 81 / 82))
    assert weigh_evidence(walker, network, network_weight=0.25).item() == 1
    assert weigh_evidence(walker, network, network_weight=0.15).item() == 0  # 81 ** 0.15 is 1.93


def test_certainty_can_be_outweighed_but_never_makes_nan():
    walker, network = two_classes(np.array([[[0.0, 1.0, 0.0]]])), two_classes(np.array([[[1.0, 0.0, 0.0]]]))
    np.testing.assert_array_equal(weigh_evidence(walker, network, network_weight=0.25), [[[0, 1, 0]]])
    np.testing.assert_array_equal(weigh_evidence(walker, network, network_weight=2.0), [[[1, 0, 0]]])


def test_several_classes_compete(tmp_path):
    first, second = np.array([[[0.8, 0.4, 0.0, 0.6]]]), np.array([[[0.0, 0.4, 0.0, 0.6]]])
    store(tmp_path, "case", first, second)
    walker = read_walker_probabilities(tmp_path, "case", [1, 2])
    np.testing.assert_allclose(walker.sum(axis=0), 1, atol=1e-6)
    np.testing.assert_allclose(walker[:, 0, 0, 1], np.array([0.36, 0.4, 0.4]) / 1.16, atol=2e-3)
    network = np.full((3, 1, 1, 4), 0.25)
    network[2] = 0.5
    np.testing.assert_array_equal(weigh_evidence(walker, network, network_weight=0.25), [[[1, 2, 0, 2]]])


def test_probabilities_survive_being_stored(tmp_path):
    foreground = np.linspace(0, 1, 60).reshape(3, 4, 5)
    store(tmp_path, "case", foreground)
    np.testing.assert_allclose(
        read_walker_probabilities(tmp_path, "case", [1]), two_classes(foreground), atol=0.5 / 255 + 1e-6
    )


def test_a_case_may_have_no_probabilities_but_not_those_of_some_labels_only(tmp_path):
    store(tmp_path, "a", np.full((1, 1, 1), 0.5))
    assert read_walker_probabilities(tmp_path, "b", [1]) is None
    with pytest.raises(FileNotFoundError, match="case a .*walkerTr/a_0002.nii.gz"):
        read_walker_probabilities(tmp_path, "a", [1, 2])


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
    undecided = np.full((2, 1, 1, 6), 0.5)
    np.testing.assert_array_equal(weigh_evidence(walker, undecided, network_weight=0.25), foreground > 0.5)


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="one shape"):
        weigh_evidence(np.ones((2, 1, 1, 3)), np.ones((2, 1, 3, 1)), network_weight=0.25)
