"""Datasets of the same images and clicks under other labels."""

import json
import shutil

import numpy as np
import pytest
import SimpleITK as sitk
from nnunetv2.experiment_planning.verify_dataset_integrity import verify_dataset_integrity
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

from nnunetv2_simple.conversion.baselines import baseline_dataset_name, is_up_to_date, write_baseline
from nnunetv2_simple.pseudo_mask.generate import generate_pseudo_mask, merge_pseudo_masks
from nnunetv2_simple.pseudo_mask.walker_probabilities import as_stored, walker_file

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
    return run(monkeypatch, folder / "raw", *command(kind, dataset_id), *options)


def command(kind, baseline_id=7, converted_id=5):
    return ["-d", converted_id, "-baseline", kind, "-baseline_id", baseline_id]


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


def baseline(folder, kind):
    return folder / "raw" / f"Dataset007_Weak_{kind}"


def the_larger_wins(foregrounds, certainties):
    """Of the classes 1 and 2; of equals the node, whose file comes first."""
    tumor, node = (np.where(f, c, -np.inf) for f, c in zip(foregrounds, certainties, strict=True))
    return np.where(foregrounds[0] | foregrounds[1], np.where(tumor > node, 1, 2), 0)


@pytest.mark.parametrize("options", [[], ["-recipe", "paper", "-beta", 400]])
def test_walker_is_what_the_conversions_walks_find_most_probable(tmp_path, monkeypatch, options):
    make_source(tmp_path, upright_image)
    convert(tmp_path, monkeypatch, *options)
    assert derive(tmp_path, monkeypatch, "walker") == 0
    recipe = {"recipe": "paper", "beta": 400} if options else {"recipe": "robust"}
    for seed, case in training_cases():
        walks = [
            generate_pseudo_mask(walker_image(seed), points, spacing_mm=SPACING_MM, return_probability=True, **recipe)[
                1
            ]
            for points in LESIONS.values()
        ]
        expected = np.argmax([(1 - walks[0]) * (1 - walks[1]), *walks], axis=0)
        label = array_of(baseline(tmp_path, "walker") / "labelsTr" / f"{case}.nii.gz")
        assert label.dtype == np.uint8
        assert set(np.unique(label)) == {0, 1, 2}
        assert np.count_nonzero(label != expected) <= 0.001 * label.size  # stored in steps of 1 / 255


def test_a_probability_of_one_half_is_no_foreground(folder, monkeypatch):
    """The recipe robust gives it to what is as bright as the lesion but loose: it may be another one."""
    probabilities = np.zeros(SHAPE)
    probabilities[2, 3, :4] = 0.5, 0.51, 1, 0.49
    for label, probability in ((1, probabilities), (2, np.zeros(SHAPE))):
        write(upright_image(as_stored(probability)), walker_file(folder / "raw" / WEAK, "case_0", label))
    assert derive(folder, monkeypatch, "walker") == 0
    label = array_of(baseline(folder, "walker") / "labelsTr" / "case_0.nii.gz")
    assert label[2, 3, :4].tolist() == [0, 1, 1, 0]
    assert label.sum() == 2


def test_walker_reads_no_image(folder, monkeypatch):
    for file in (folder / "raw" / WEAK / "imagesTr").iterdir():
        file.write_bytes(b"")
    assert derive(folder, monkeypatch, "walker") == 0
    assert derive(folder, monkeypatch, "ellipsoid", dataset_id=8) == 0


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
    for seed, case in training_cases():
        pseudo_masks = [
            generate_pseudo_mask(walker_image(seed), points, spacing_mm=SPACING_MM) for points in LESIONS.values()
        ]
        expected = merge_pseudo_masks(pseudo_masks, list(LABELS.values()), ignore_label=3)
        np.testing.assert_array_equal(array_of(baseline(folder, "paper") / "labelsTr" / f"{case}.nii.gz"), expected)
    labels = json.loads((baseline(folder, "paper") / "dataset.json").read_text())["labels"]
    assert list(labels.items()) == [("background", 0), ("tumor", 1), ("node", 2), ("ignore", 3)]


# ------------------------------------------------------------------------------------------------------------- dataset


@pytest.mark.parametrize("kind", ["walker", "ellipsoid", "paper"])
@pytest.mark.slow
def test_nnunet_finds_the_dataset_sound(kind, folder, monkeypatch):
    assert derive(folder, monkeypatch, kind, "-np", 2) == 0
    weak, derived = folder / "raw" / WEAK, baseline(folder, kind)
    assert derived.name == baseline_dataset_name(weak, kind, 7)
    verify_dataset_integrity(str(derived), num_processes=1)
    training = [case for _, case in training_cases()]
    assert names_in(derived) == ["dataset.json", "labelsTr", "provenance.json"]
    assert names_in(derived / "labelsTr") == [f"{case}.nii.gz" for case in training]
    content = json.loads((derived / "dataset.json").read_text())
    assert content["numTraining"] == 2
    assert content["channel_names"] == {"0": "pre", "1": "post"}
    if kind != "paper":
        assert list(content["labels"].items()) == [("background", 0), ("tumor", 1), ("node", 2)]
    for case in training:
        images = [f"../{WEAK}/imagesTr/{case}_{index:04d}.nii.gz" for index in range(2)]
        assert content["dataset"][case]["images"] == images
        assert geometry(derived / "labelsTr" / f"{case}.nii.gz") == geometry(weak / "imagesTr" / f"{case}_0000.nii.gz")


@pytest.mark.slow
def test_killed_at_any_step_it_goes_on_to_the_same_dataset(folder, monkeypatch):
    assert derive(folder, monkeypatch, "ellipsoid") == 0
    derived, num_kills = baseline(folder, "ellipsoid"), 0
    expected = files_below(derived)
    shutil.rmtree(derived)
    while dies_after(2 * num_kills, folder / "raw", *command("ellipsoid")):
        assert not (derived / "dataset.json").exists()
        assert derive(folder, monkeypatch, "ellipsoid") == 0
        assert files_below(derived) == expected
        shutil.rmtree(derived)
        num_kills += 1
    assert num_kills > 3


def times_below(folder):
    return {file.name: file.stat().st_mtime_ns for file in folder.rglob("*.nii.gz")}


def test_a_rerun_touches_no_finished_case(folder, monkeypatch):
    assert derive(folder, monkeypatch, "ellipsoid") == 0
    derived = baseline(folder, "ellipsoid")
    files, times = files_below(derived), times_below(derived)
    (derived / "labelsTr" / "case_2.nii.gz").unlink()
    assert derive(folder, monkeypatch, "ellipsoid") == 0
    assert files_below(derived) == files
    assert times_below(derived)["case_0.nii.gz"] == times["case_0.nii.gz"]


@pytest.mark.slow
def test_other_clicks_make_another_label(folder, monkeypatch):
    assert derive(folder, monkeypatch, "ellipsoid") == 0
    derived = baseline(folder, "ellipsoid")
    files = files_below(derived)
    write_points(folder / "clicks" / "case_2.node.json", np.array(LESIONS["node"]) + (0, 1, 1))
    weak = folder / "raw" / WEAK
    assert is_up_to_date(derived, "ellipsoid", weak)
    convert(folder, monkeypatch, "--overwrite")
    assert not is_up_to_date(derived, "ellipsoid", weak)
    assert derive(folder, monkeypatch, "ellipsoid") == 0
    assert is_up_to_date(derived, "ellipsoid", weak)
    assert files_below(derived)["labelsTr/case_0.nii.gz"] == files["labelsTr/case_0.nii.gz"]
    assert files_below(derived)["labelsTr/case_2.nii.gz"] != files["labelsTr/case_2.nii.gz"]
    convert(folder, monkeypatch, "--overwrite", "-num_test", 2)
    assert derive(folder, monkeypatch, "ellipsoid") == 0
    assert len(names_in(derived / "labelsTr")) == 1
    verify_dataset_integrity(str(derived), num_processes=1)


# -------------------------------------------------------------------------------------------------------------- errors


def test_a_dataset_of_another_origin_is_refused(folder, monkeypatch, capsys):
    (folder / "raw" / WEAK / "provenance.json").unlink()
    assert derive(folder, monkeypatch, "walker") == 1
    assert "nnUNetv2_simple_convert" in capsys.readouterr().err


def test_an_unfinished_conversion_is_refused(folder, monkeypatch, capsys):
    (folder / "raw" / WEAK / "dataset.json").unlink()
    assert derive(folder, monkeypatch, "walker") == 1
    assert "nnUNetv2_simple_convert" in capsys.readouterr().err
    assert names_in(folder / "raw") == [WEAK]


def test_labels_of_the_recipe_paper_are_not_derived_from_themselves(folder, monkeypatch, capsys):
    convert(folder, monkeypatch, "-recipe", "paper", "--overwrite")
    assert derive(folder, monkeypatch, "paper") == 1
    assert "recipe paper" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["dataset.json", "provenance.json", "labelsTr/case_0.nii.gz", "imagesTr/case_0.nii"])
def test_files_of_others_are_left_alone(name, folder, monkeypatch, capsys):
    file = baseline(folder, "ellipsoid") / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("{}")
    before = files_below(folder / "raw")
    assert derive(folder, monkeypatch, "ellipsoid") == 1
    assert "Dataset007_Weak_ellipsoid" in capsys.readouterr().err
    assert files_below(folder / "raw") == before


def test_labels_of_another_kind_or_dataset_are_left_alone(folder, monkeypatch):
    weak, derived = folder / "raw" / WEAK, baseline(folder, "ellipsoid")
    write_baseline(weak, "ellipsoid", derived)
    with pytest.raises(FileExistsError, match="'walker' of Dataset005_Weak"):
        write_baseline(weak, "walker", derived)
    weak.rename(weak.with_name("Dataset006_Weak"))
    with pytest.raises(FileExistsError, match="'ellipsoid' of Dataset006_Weak"):
        write_baseline(weak.with_name("Dataset006_Weak"), "ellipsoid", derived)


@pytest.mark.parametrize(("converted_id", "baseline_id"), [(5, 5), (9, 7)])
def test_ids_must_be_those_of_one_dataset(converted_id, baseline_id, folder, monkeypatch, capsys):
    assert run(monkeypatch, folder / "raw", *command("walker", baseline_id, converted_id)) == 1
    assert "dataset" in capsys.readouterr().err
    assert names_in(folder / "raw") == [WEAK]


def test_unknown_kind(folder):
    with pytest.raises(ValueError, match="walker, ellipsoid, paper.*'sphere'"):
        write_baseline(folder / "raw" / WEAK, "sphere", folder / "raw" / "Dataset007_Weak_sphere")


@pytest.mark.parametrize("words", [["-baseline", "walker"], ["-baseline_id", 7], ["-n", "Weak"]])
def test_incomplete_command_lines(words, folder, monkeypatch):
    with pytest.raises(SystemExit):
        run(monkeypatch, folder / "raw", "-d", 5, *words)


@pytest.mark.slow
def test_a_case_that_cannot_be_labelled_is_named_and_the_others_kept(folder, monkeypatch, capsys):
    missing = walker_file(folder / "raw" / WEAK, "case_0", 2)
    missing.rename(missing.with_name("aside"))
    assert derive(folder, monkeypatch, "walker") == 1
    assert f"case_0 are missing, expected {missing}" in capsys.readouterr().err
    derived = baseline(folder, "walker")
    assert names_in(derived / "labelsTr") == ["case_2.nii.gz"]
    assert not (derived / "dataset.json").exists()
    missing.with_name("aside").rename(missing)
    assert derive(folder, monkeypatch, "walker") == 0
    verify_dataset_integrity(str(derived), num_processes=1)
