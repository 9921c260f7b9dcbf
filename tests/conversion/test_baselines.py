"""Datasets of the same images and clicks under other labels."""

import json
import shutil
import warnings

import numpy as np
import pytest
import SimpleITK as sitk
from nnunetv2.experiment_planning.verify_dataset_integrity import verify_dataset_integrity
from scipy import ndimage, sparse
from scipy.sparse.linalg import spsolve
from skimage.segmentation import random_walker
from support.conversion_cases import (
    array_of,
    dies_after,
    files_below,
    geometry,
    names_in,
    oblique_image,
    run,
    write,
    write_points,
)

from nnunetv2_simple.conversion import baselines_command as rivals
from nnunetv2_simple.conversion.baseline_labels import rival_label
from nnunetv2_simple.conversion.baselines import is_of, rival_dataset_name, write_rival_dataset
from nnunetv2_simple.extreme_points.box import LesionBox
from nnunetv2_simple.pseudo_mask.generate import (
    dense_pseudo_mask,
    draw_scribbles,
    generate_pseudo_mask,
    merge_pseudo_masks,
)
from nnunetv2_simple.pseudo_mask.robust_recipe import contrast_weights, intensity_log_odds, shape_log_odds

SHAPE, SPACING_MM = (10, 26, 28), (2.7, 1.1, 0.8)
LESIONS = {  # class: points (z, y, x); their boxes overlap
    "tumor": [[2, 9, 9], [7, 10, 9], [4, 3, 8], [5, 16, 10], [4, 9, 3], [5, 9, 16]],
    "node": [[3, 15, 16], [8, 15, 15], [5, 9, 16], [6, 20, 15], [5, 15, 10], [6, 14, 21]],
}
LABELS = {"tumor": 1, "node": 2}
CASES, TEST_CASE = ("case_0", "case_1", "case_2"), "case_1"
WEAK = "Dataset005_Weak"


def channels_of(seed):
    """Pre- and post-contrast image; only their difference shows the lesions."""
    generator = np.random.default_rng(seed)
    pre = generator.normal(300, 60, SHAPE)
    grid = np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij")
    post = pre + generator.normal(0, 12, SHAPE)
    for points in LESIONS.values():
        centre, radius = (np.max(points, axis=0) + np.min(points, axis=0)) / 2, np.ptp(points, axis=0) / 2
        post += 40 * (sum(((g - c) / r) ** 2 for g, c, r in zip(grid, centre, radius, strict=True)) <= 1)
    return [channel.round().astype(np.int16) for channel in (pre, post)]


def walker_image(seed):
    pre, post = channels_of(seed)
    return post.astype(float) - pre


def upright_image(array, *, seed=0):
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(SPACING_MM[::-1])
    return image


def make_source(folder, make_image):
    """Images of three cases, and the clicks of two lesions each."""
    for seed, case in enumerate(CASES):
        for index, channel in enumerate(channels_of(seed)):
            write(make_image(channel, seed=seed), folder / "images" / f"{case}_{index:04d}.nii.gz")
        for name, points in LESIONS.items():
            write_points(folder / "clicks" / f"{case}.{name}.json", np.array(points))


def convert(folder, monkeypatch, *options):
    """The second case is kept out of training."""
    arguments = ["-i", folder / "images", "-a", folder / "clicks", "-d", 5, "-n", "Weak", "-labels", "tumor=1"]
    arguments += ["node=2", "-channels", "pre", "post", "-walker_channel", 1, "-walker_subtract", 0]
    assert run(monkeypatch, folder / "raw", *arguments, "-num_test", 1, "-test_seed", 5, *options) == 0


def derive(folder, monkeypatch, kind, *options, dataset_id=7):
    words = ["-weak", 5, "-kind", kind, "-d", dataset_id, *options]
    return run(monkeypatch, folder / "raw", *words, main=rivals.main)


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("converted")
    make_source(folder, upright_image)
    with pytest.MonkeyPatch.context() as monkeypatch:
        convert(folder, monkeypatch)
    return folder


@pytest.fixture
def folder(converted, tmp_path):
    """A dataset of upright images, converted by the recipe robust, and what it was converted from."""
    return shutil.copytree(converted, tmp_path / "copy")


def training_cases():
    return [(seed, case) for seed, case in enumerate(CASES) if case != TEST_CASE]


# -------------------------------------------------------------------------------------------------------------- labels


def in_box_of(points):
    inside = np.zeros(SHAPE, dtype=bool)
    inside[tuple(slice(a, b + 1) for a, b in zip(np.min(points, axis=0), np.max(points, axis=0), strict=True))] = True
    return inside


def the_larger_wins(foregrounds, certainties):
    """Of the classes 1 and 2; of equals the node, whose file comes first."""
    tumor, node = (np.where(f, c, -np.inf) for f, c in zip(foregrounds, certainties, strict=True))
    return np.where(foregrounds[0] | foregrounds[1], np.where(tumor > node, 1, 2), 0)


def published_probability(image, points, *, beta):
    """The last of eight walks by scikit-image; its standard deviation is that of the box and its margins."""
    in_box = in_box_of(points)
    scribbles = draw_scribbles(image, points, spacing_mm=SPACING_MM)
    lower, upper = np.min(points, axis=0), np.max(points, axis=0) + 1
    margins = zip(lower, upper, (10, 20, 20), SHAPE, strict=True)
    crop = tuple(slice(max(a - m, 0), min(b + m, n)) for a, b, m, n in margins)
    seeds = np.where(scribbles, 1, np.where(in_box, 0, 2))[crop]
    for _ in range(8):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about probabilities slightly outside [0, 1]
            options = {"beta": beta, "mode": "bf", "spacing": SPACING_MM, "return_full_prob": True}
            found = random_walker(image[crop], seeds, **options)[0]
        seeds[found > 0.8], seeds[found < 0.1] = 1, 2
    probability = np.zeros(SHAPE)
    probability[crop] = found
    return probability


def robust_probability(image, points):
    """A direct solution of the walk with prior, in the box and a fifth of it around."""
    lower, upper = np.min(points, axis=0), np.max(points, axis=0)
    margin = [max(3, round(0.2 * (b - a + 1))) for a, b in zip(lower, upper, strict=True)]
    region = tuple(
        slice(max(a - m, 0), min(b + 1 + m, n)) for a, b, m, n in zip(lower, upper, margin, SHAPE, strict=True)
    )
    grid = np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij")
    half = (upper - lower + 1) / 2
    radius = np.sqrt(sum(((g - c) / h) ** 2 for g, c, h in zip(grid, (lower + upper) / 2, half, strict=True)))[region]
    touching_radius = LesionBox(np.array(points), shape=SHAPE, spacing_mm=SPACING_MM).touching_radius(region)
    in_box, seeds = in_box_of(points)[region], draw_scribbles(image, points, spacing_mm=SPACING_MM, recipe="robust")
    seeds = seeds[region]
    logit = np.where(in_box, shape_log_odds(touching_radius), -np.inf)
    logit = logit + intensity_log_odds(image[region], 1 / (1 + np.exp(-logit)))
    prior = 1 / (1 + np.exp(-logit))
    background = ~in_box | (radius > np.sqrt(2)) & ~seeds

    index = np.arange(radius.size).reshape(radius.shape)
    matrix = sparse.lil_array((radius.size, radius.size))
    for axis, weights in enumerate(contrast_weights(image[region], spacing_mm=SPACING_MM)):
        first, second = np.delete(index, -1, axis).ravel(), np.delete(index, 0, axis).ravel()
        matrix[first, second] = matrix[second, first] = weights.ravel()
    free = np.flatnonzero(~(seeds | background).ravel())
    matrix = matrix.tocsr()
    system = sparse.diags_array(matrix.sum(axis=1) + 0.02) - matrix
    known = matrix[free] @ seeds.ravel().astype(float) + 0.02 * prior.ravel()[free]
    solved = seeds.astype(float).ravel()
    solved[free] = spsolve(system[free][:, free].tocsc(), known)
    probability = np.zeros(SHAPE)
    probability[region] = solved.reshape(radius.shape)
    components, _ = ndimage.label(probability > 0.5, np.ones((3, 3, 3)))
    on_scribbles = np.unique(components[region][seeds])
    return np.isin(components, on_scribbles), probability


def test_walker_of_the_recipe_paper_equals_scikit_image(tmp_path, monkeypatch):
    make_source(tmp_path, upright_image)
    convert(tmp_path, monkeypatch, "-recipe", "paper", "-beta", 400)
    assert derive(tmp_path, monkeypatch, "walker") == 0
    for seed, case in training_cases():
        found = [published_probability(walker_image(seed), points, beta=400) for points in LESIONS.values()]
        expected = the_larger_wins([p > 0.5 for p in found], found)
        assert ((found[0] > 0.5) & (found[1] > 0.5)).any()
        label = array_of(tmp_path / "raw" / "Dataset007_Weak_walker" / "labelsTr" / f"{case}.nii.gz")
        assert label.dtype == np.uint8
        assert np.count_nonzero(label != expected) <= 1


def test_walker_of_the_recipe_robust_equals_a_direct_solution(folder, monkeypatch):
    assert derive(folder, monkeypatch, "walker") == 0
    for seed, case in training_cases():
        found = [robust_probability(walker_image(seed), points) for points in LESIONS.values()]
        expected = the_larger_wins(*zip(*found, strict=True))
        label = array_of(folder / "raw" / "Dataset007_Weak_walker" / "labelsTr" / f"{case}.nii.gz")
        assert np.count_nonzero(label != expected) <= 1
        assert set(np.unique(label)) == {0, 1, 2}


def test_foreground_of_the_recipe_robust_hangs_on_the_scribbles():
    """A bright ball with bright spikes, where the scribbles run, and a bright cube that is no part of it."""
    image = np.random.default_rng(0).normal(0, 1, (24, 24, 24))
    image[((np.indices(image.shape) - 11) ** 2).sum(axis=0) <= 25] += 100
    image[3:21, 11, 11] = image[11, 3:21, 11] = image[11, 11, 3:21] = 100
    cube = (slice(15, 18),) * 3
    image[cube] = 100
    points = [[3, 11, 11], [20, 11, 11], [11, 3, 11], [11, 20, 11], [11, 11, 3], [11, 11, 20]]
    foreground, probability = dense_pseudo_mask(image, points, spacing_mm=(1.0, 1.0, 1.0), recipe="robust")
    np.testing.assert_array_equal(foreground, probability > 0.5)
    np.testing.assert_array_equal(probability[cube], 0.5)  # as bright as the ball, and yet it may be another lesion
    assert foreground[11, 11, 11]
    assert probability[:3].max() == probability[21:].max() == 0


def test_ellipsoids_lie_in_the_boxes_along_the_patient_axes(tmp_path, monkeypatch):
    make_source(tmp_path, oblique_image)
    for seed, case in enumerate(CASES):
        for name, points in LESIONS.items():
            image = oblique_image(channels_of(0)[0], seed=seed)
            write_points(tmp_path / "clicks" / f"{case}.{name}.json", np.array(points), coordinates="LPS", image=image)
    convert(tmp_path, monkeypatch)
    assert derive(tmp_path, monkeypatch, "ellipsoid") == 0
    for seed, case in training_cases():
        image = oblique_image(channels_of(0)[0], seed=seed)
        direction, voxels = np.reshape(image.GetDirection(), (3, 3)), np.indices(SHAPE).reshape(3, -1).T[:, ::-1]
        lps_mm, half_voxel_mm = (voxels * SPACING_MM[::-1]) @ direction.T, abs(direction) @ SPACING_MM[::-1] / 2
        squares = []
        for points in LESIONS.values():
            points_mm = (np.array(points)[:, ::-1] * SPACING_MM[::-1]) @ direction.T
            lower, upper = points_mm.min(axis=0) - half_voxel_mm, points_mm.max(axis=0) + half_voxel_mm
            squares.append((((lps_mm - (lower + upper) / 2) / ((upper - lower) / 2)) ** 2).sum(axis=1).reshape(SHAPE))
        expected = the_larger_wins([s <= 1 for s in squares], [-s for s in squares])
        assert ((squares[0] <= 1) & (squares[1] <= 1)).any()
        label = array_of(tmp_path / "raw" / "Dataset007_Weak_ellipsoid" / "labelsTr" / f"{case}.nii.gz")
        np.testing.assert_array_equal(label, expected)


def test_paper_is_the_other_recipe(folder, monkeypatch):
    assert derive(folder, monkeypatch, "paper") == 0
    rival = folder / "raw" / "Dataset007_Weak_paper"
    for seed, case in training_cases():
        pseudo_masks = [
            generate_pseudo_mask(walker_image(seed), points, spacing_mm=SPACING_MM) for points in LESIONS.values()
        ]
        expected = merge_pseudo_masks(pseudo_masks, list(LABELS.values()), ignore_label=3)
        np.testing.assert_array_equal(array_of(rival / "labelsTr" / f"{case}.nii.gz"), expected)
    labels = json.loads((rival / "dataset.json").read_text())["labels"]
    assert list(labels.items()) == [("background", 0), ("tumor", 1), ("node", 2), ("ignore", 3)]


def test_the_first_of_equals_wins():
    lesions = [
        {"extreme_points_zyx": [[1, 4, 4], [5, 4, 4], [3, 1, 4], [3, 7, 4], [3, 4, 1], [3, 4, 7]], "axes_zyx": None}
        | {"label": label}
        for label in (2, 1)
    ]
    label = rival_label("ellipsoid", np.zeros((7, 9, 9)), lesions, spacing_mm=(1, 1, 1), parameters={})
    assert set(np.unique(label)) == {0, 2}


# ------------------------------------------------------------------------------------------------------------- dataset


@pytest.mark.parametrize("kind", ["walker", "ellipsoid", "paper"])
def test_nnunet_finds_the_dataset_sound(kind, folder, monkeypatch):
    assert derive(folder, monkeypatch, kind, "-np", 2) == 0
    weak, rival = folder / "raw" / WEAK, folder / "raw" / f"Dataset007_Weak_{kind}"
    assert rival.name == rival_dataset_name(weak, kind, 7)
    verify_dataset_integrity(str(rival), num_processes=1)
    training = [case for _, case in training_cases()]
    assert names_in(rival) == ["dataset.json", "labelsTr", "provenance.json"]
    assert names_in(rival / "labelsTr") == [f"{case}.nii.gz" for case in training]
    content = json.loads((rival / "dataset.json").read_text())
    assert content["numTraining"] == 2
    assert content["channel_names"] == {"0": "pre", "1": "post"}
    if kind != "paper":
        assert list(content["labels"].items()) == [("background", 0), ("tumor", 1), ("node", 2)]
    for case in training:
        images = [f"../{WEAK}/imagesTr/{case}_{index:04d}.nii.gz" for index in range(2)]
        assert content["dataset"][case]["images"] == images
        assert geometry(rival / "labelsTr" / f"{case}.nii.gz") == geometry(weak / "imagesTr" / f"{case}_0000.nii.gz")


def test_killed_at_any_step_it_goes_on_to_the_same_dataset(folder, monkeypatch):
    assert derive(folder, monkeypatch, "ellipsoid") == 0
    rival, num_kills = folder / "raw" / "Dataset007_Weak_ellipsoid", 0
    expected = files_below(rival)
    words = ["-weak", 5, "-kind", "ellipsoid", "-d", 7]
    shutil.rmtree(rival)
    while dies_after(2 * num_kills, folder / "raw", *words, main=rivals.main):
        assert not (rival / "dataset.json").exists()
        assert derive(folder, monkeypatch, "ellipsoid") == 0
        assert files_below(rival) == expected
        shutil.rmtree(rival)
        num_kills += 1
    assert num_kills > 3


def times_below(folder):
    return {file.name: file.stat().st_mtime_ns for file in folder.rglob("*.nii.gz")}


def test_a_rerun_touches_no_finished_case(folder, monkeypatch):
    assert derive(folder, monkeypatch, "ellipsoid") == 0
    rival = folder / "raw" / "Dataset007_Weak_ellipsoid"
    files, times = files_below(rival), times_below(rival)
    (rival / "labelsTr" / "case_2.nii.gz").unlink()
    assert derive(folder, monkeypatch, "ellipsoid") == 0
    assert files_below(rival) == files
    assert times_below(rival)["case_0.nii.gz"] == times["case_0.nii.gz"]


def test_other_clicks_make_another_label(folder, monkeypatch):
    assert derive(folder, monkeypatch, "ellipsoid") == 0
    rival = folder / "raw" / "Dataset007_Weak_ellipsoid"
    files, times = files_below(rival), times_below(rival)
    write_points(folder / "clicks" / "case_2.node.json", np.array(LESIONS["node"]) + (0, 1, 1))
    weak = folder / "raw" / WEAK
    assert is_of(weak, "ellipsoid", rival)
    convert(folder, monkeypatch, "--overwrite")
    assert not is_of(weak, "ellipsoid", rival)
    assert derive(folder, monkeypatch, "ellipsoid") == 0
    assert is_of(weak, "ellipsoid", rival)
    assert times_below(rival)["case_0.nii.gz"] == times["case_0.nii.gz"]
    assert files_below(rival)["labelsTr/case_2.nii.gz"] != files["labelsTr/case_2.nii.gz"]
    convert(folder, monkeypatch, "--overwrite", "-num_test", 2)
    assert derive(folder, monkeypatch, "ellipsoid") == 0
    assert len(names_in(rival / "labelsTr")) == 1
    verify_dataset_integrity(str(rival), num_processes=1)


# -------------------------------------------------------------------------------------------------------------- errors


def test_a_dataset_of_another_origin_is_refused(folder, monkeypatch, capsys):
    (folder / "raw" / WEAK / "provenance.json").unlink()
    assert derive(folder, monkeypatch, "walker") == 1
    assert "nnUNetv2_simple_convert" in capsys.readouterr().err


def test_an_unfinished_conversion_is_refused(folder, monkeypatch, capsys):
    (folder / "raw" / WEAK / "dataset.json").unlink()
    assert derive(folder, monkeypatch, "walker") == 1
    assert "conversion again" in capsys.readouterr().err
    assert names_in(folder / "raw") == [WEAK]


def test_labels_of_the_recipe_paper_are_not_derived_from_themselves(folder, monkeypatch, capsys):
    convert(folder, monkeypatch, "-recipe", "paper", "--overwrite")
    assert derive(folder, monkeypatch, "paper") == 1
    assert "recipe paper already" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["dataset.json", "provenance.json", "labelsTr/case_0.nii.gz", "imagesTr/case_0.nii"])
@pytest.mark.parametrize("is_finished", [False, True])
def test_files_of_others_are_left_alone(is_finished, name, folder, monkeypatch, capsys):
    if is_finished:
        assert derive(folder, monkeypatch, "ellipsoid") == 0
        name = name.replace("case_0", "case_9")
    file = folder / "raw" / "Dataset007_Weak_ellipsoid" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("{}")
    before = files_below(folder / "raw")
    assert derive(folder, monkeypatch, "ellipsoid") == 1
    assert "Dataset007_Weak_ellipsoid" in capsys.readouterr().err
    assert files_below(folder / "raw") == before


def test_labels_of_another_kind_or_dataset_are_left_alone(folder, monkeypatch):
    weak, rival = folder / "raw" / WEAK, folder / "raw" / "Dataset007_Weak_ellipsoid"
    write_rival_dataset(weak, "ellipsoid", rival)
    with pytest.raises(FileExistsError, match="'walker' of Dataset005_Weak"):
        write_rival_dataset(weak, "walker", rival)
    weak.rename(weak.with_name("Dataset006_Weak"))
    with pytest.raises(FileExistsError, match="'ellipsoid' of Dataset006_Weak"):
        write_rival_dataset(weak.with_name("Dataset006_Weak"), "ellipsoid", rival)


@pytest.mark.parametrize(("weak_id", "rival_id"), [(5, 5), (9, 7)])
def test_ids_must_be_those_of_one_dataset(weak_id, rival_id, folder, monkeypatch, capsys):
    words = ["-weak", weak_id, "-kind", "walker", "-d", rival_id]
    assert run(monkeypatch, folder / "raw", *words, main=rivals.main) == 1
    assert "dataset" in capsys.readouterr().err
    assert names_in(folder / "raw") == [WEAK]


def test_unknown_kind(folder):
    with pytest.raises(ValueError, match="'walker', 'ellipsoid', 'paper'.*'sphere'"):
        write_rival_dataset(folder / "raw" / WEAK, "sphere", folder / "raw" / "Dataset007_Weak_sphere")


def test_a_case_that_cannot_be_labelled_is_named_and_the_others_kept(folder, monkeypatch, capsys):
    image = folder / "raw" / WEAK / "imagesTr" / "case_0_0001.nii.gz"
    good = image.read_bytes()
    image.write_bytes(b"broken")
    assert derive(folder, monkeypatch, "walker") == 1
    assert "case_0" in capsys.readouterr().err
    rival = folder / "raw" / "Dataset007_Weak_walker"
    assert names_in(rival / "labelsTr") == ["case_2.nii.gz"]
    assert not (rival / "dataset.json").exists()
    image.write_bytes(good)
    assert derive(folder, monkeypatch, "walker") == 0
    verify_dataset_integrity(str(rival), num_processes=1)
