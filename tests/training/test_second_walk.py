"""The second walk on what a conversion left: several lesions, several classes, a difference of channels."""

import json

import numpy as np
import pytest
from support.conversion_cases import SHAPE, SPACING_ZYX_MM, channels_of, oblique_image, run, write, write_points

from nnunetv2_simple.conversion.record import read_record
from nnunetv2_simple.pseudo_mask import walk_again
from nnunetv2_simple.training.second_walk import images_with_points, second_walk_mask

LESIONS = {  # of case "two": overlapping boxes of different classes, and a second one of the first class
    "node1": [(1, 5, 4), (5, 5, 4), (3, 2, 4), (3, 8, 4), (3, 5, 1), (3, 5, 7)],
    "mass1": [(3, 9, 7), (7, 9, 7), (5, 6, 7), (5, 12, 7), (5, 9, 4), (5, 9, 10)],
    "node2": [(5, 3, 10), (8, 3, 10), (6, 1, 10), (6, 5, 10), (6, 3, 9), (6, 3, 12)],
}


@pytest.fixture
def dataset(tmp_path, monkeypatch):
    for seed, channel in enumerate(channels_of(3)):
        for case in ("one", "two"):
            write(oblique_image(channel), tmp_path / "images" / f"{case}_{seed:04d}.nii.gz")
    write_points(tmp_path / "clicks" / "one.mass.json", LESIONS["mass1"])
    for name, points in LESIONS.items():
        write_points(tmp_path / "clicks" / f"two.{name}.json", points)
    arguments = [
        "-i",
        tmp_path / "images",
        "-a",
        tmp_path / "clicks",
        "-d",
        77,
        "-n",
        "Two",
        "-channels",
        "pre",
        "post",
    ]
    classes = ["-labels", "node=1", "mass=2", "-walker_channel", 1, "-walker_subtract", 0]
    assert run(monkeypatch, tmp_path / "raw", *arguments, *classes) == 0
    return tmp_path / "raw" / "Dataset077_Two"


def images_of(dataset, case):
    return images_with_points(dataset, case, read_record(dataset, case))


def second_walk(dataset, case, network):
    return second_walk_mask(images_of(dataset, case), read_record(dataset, case), network)


@pytest.fixture
def network():
    return np.random.default_rng(0).dirichlet((1, 1, 1), SHAPE).transpose(3, 0, 1, 2)


def test_every_lesion_walks_with_the_opinion_on_its_class_and_the_most_probable_wins(dataset, network):
    pre, post = channels_of(3)
    image = post.astype(float) - pre
    walks = {
        name: walk_again(image, points, network[1 if "node" in name else 2], spacing_mm=SPACING_ZYX_MM)
        for name, points in LESIONS.items()
    }
    node, mass = np.maximum(walks["node1"], walks["node2"]), walks["mass1"]
    expected = np.select([(mass > 0.5) & (mass > node), node > 0.5], [2, 1], 0)
    found = second_walk(dataset, "two", network)
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == np.uint8
    assert np.count_nonzero((node > 0.5) & (mass > 0.5)), "without overlap this test is weaker than it should be"


def test_images_with_points(dataset):
    images = [dataset / "imagesTr" / f"one_000{channel}.nii.gz" for channel in range(2)]
    assert images_of(dataset, "one") == images
    images[1].unlink()
    assert images_of(dataset, "one") == []
    assert images_of(dataset, "three") == []
    (dataset / "provenance" / "two.json").write_text(json.dumps({"status": "failed", "files": [], "reason": "."}))
    assert images_of(dataset, "two") == []


def test_a_prediction_of_another_shape_is_refused(dataset, network):
    with pytest.raises(ValueError, match=r"\(9, 15, 13\).*\(9, 15, 12\)"):
        second_walk(dataset, "one", network[..., :-1])


def test_strokes_are_seeds_of_the_second_walk_too(dataset, network):
    file = dataset / "provenance" / "one.json"
    record = json.loads(file.read_text())
    record["lesions"][0]["strokes"] = [{"is_lesion": False, "points_zyx": [[5, 9, 7]]}]
    before = second_walk(dataset, "one", network)
    file.write_text(json.dumps(record))
    assert (before[5, 9, 7], second_walk(dataset, "one", network)[5, 9, 7]) == (2, 0)
