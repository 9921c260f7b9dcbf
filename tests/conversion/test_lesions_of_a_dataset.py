"""Several lesions per case, several classes, recipes, and simulated clicks that are off."""

import json
import shutil

import numpy as np
import pytest
from support.conversion_cases import array_of, expected_label, oblique_image, run, write, write_points

from nnunetv2_simple.conversion import command_line as convert
from nnunetv2_simple.pseudo_mask.generate import draw_scribbles, merge_pseudo_masks

SHAPE = (10, 26, 28)
CENTRES = {"tumor1": (4, 6, 6), "tumor2": (5, 19, 7), "node": (5, 13, 21)}
RADII = (2.2, 3.4, 4.2)
LABELS = {"tumor": 1, "node": 2}


def ball(name):
    grid = np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij")
    return sum(((g - c) / r) ** 2 for g, c, r in zip(grid, CENTRES[name], RADII, strict=True)) <= 1


def points_of(name):
    z, y, x = CENTRES[name]
    dz, dy, dx = (int(r) for r in RADII)
    return np.array([[z - dz, y, x], [z + dz, y, x], [z, y - dy, x], [z, y + dy, x], [z, y, x - dx], [z, y, x + dx]])


def mask_array():
    return sum(ball(name) * LABELS[name.rstrip("12")] for name in CENTRES).astype(np.uint8)


def image_array():
    generator = np.random.default_rng(0)
    return (300 + 60 * (mask_array() > 0) + generator.normal(0, 12, SHAPE)).round().astype(np.int16)


@pytest.fixture
def folder(tmp_path):
    """Images, masks, and clicks of each lesion in a file of its own, of a single case."""
    write(oblique_image(image_array()), tmp_path / "images" / "case_1_0000.nii.gz")
    write(oblique_image(mask_array()), tmp_path / "masks" / "case_1.nii.gz")
    for name in CENTRES:
        write_points(tmp_path / "clicks" / f"case_1.{name}.json", points_of(name))
    return tmp_path


def convert_clicks(folder, monkeypatch, *options, number=5):
    arguments = ["-i", folder / "images", "-m", folder / "masks", "-a", folder / "clicks", "-d", number, "-n", "Two"]
    return run(monkeypatch, folder / "raw", *arguments, *options)


def converted(folder, name="labelsTr", dataset="Dataset005_Two"):
    return array_of(folder / "raw" / dataset / name / "case_1.nii.gz")


def record(folder, case="case_1"):
    return json.loads((folder / "raw" / "Dataset005_Two" / "provenance" / f"{case}.json").read_text())


@pytest.mark.parametrize("spelling", ["-labels", "--labels"])
def test_lesions_of_two_classes_are_merged(spelling, folder, monkeypatch):
    assert convert_clicks(folder, monkeypatch, spelling, "tumor=1", "node=2", "-dense", 6) == 0
    like = oblique_image(mask_array())
    single = [
        expected_label(image_array(), points_of(name), like, ignore_label=3, axes=None) for name in sorted(CENTRES)
    ]
    expected = merge_pseudo_masks(single, [2, 1, 1], ignore_label=3)
    label = converted(folder)
    np.testing.assert_array_equal(label, expected)
    assert set(np.unique(label)) == {0, 1, 2, 3}
    for name in CENTRES:
        assert label[CENTRES[name]] == LABELS[name.rstrip("12")]
    np.testing.assert_array_equal(converted(folder, "referencesTr"), mask_array())
    np.testing.assert_array_equal(converted(folder, dataset="Dataset006_Two_dense"), mask_array())

    weak, dense = (
        json.loads((folder / "raw" / name / "dataset.json").read_text())["labels"]
        for name in ("Dataset005_Two", "Dataset006_Two_dense")
    )
    assert list(weak.items()) == [("background", 0), ("tumor", 1), ("node", 2), ("ignore", 3)]
    assert list(dense.items()) == [("background", 0), ("tumor", 1), ("node", 2)]
    assert record(folder)["foreground_voxels"] == {"tumor": (label == 1).sum(), "node": (label == 2).sum()}
    assert record(folder)["unlabelled_voxels"] == (label == 3).sum()


def test_scribbles_are_drawn_once_per_lesion(folder, monkeypatch):
    drawn = []

    def draw(image, points, **options):
        drawn.append(np.asarray(points).tolist())
        return draw_scribbles(image, points, **options)

    for module in ("conversion.case_files", "pseudo_mask.generate"):
        monkeypatch.setattr(f"nnunetv2_simple.{module}.draw_scribbles", draw)
    assert convert_clicks(folder, monkeypatch, "-labels", "tumor=1", "node=2") == 0
    assert drawn == [lesion["extreme_points_zyx"] for lesion in record(folder)["lesions"]]


def test_provenance_holds_every_lesion(folder, monkeypatch):
    assert convert_clicks(folder, monkeypatch, "-labels", "tumor=1", "node=2") == 0
    lesions = record(folder)["lesions"]
    assert [lesion["label"] for lesion in lesions] == [2, 1, 1]
    for name, lesion in zip(sorted(CENTRES), lesions, strict=True):
        assert lesion["file"] == str(folder / "clicks" / f"case_1.{name}.json")
        assert sorted(lesion["extreme_points_zyx"]) == sorted(points_of(name).tolist())
        assert lesion["source"] == "extreme points"


def test_one_class_takes_all_lesions_whatever_the_labels_of_the_mask(folder, monkeypatch):
    assert convert_clicks(folder, monkeypatch) == 0
    assert set(np.unique(converted(folder))) == {0, 1, 2}
    np.testing.assert_array_equal(converted(folder, "referencesTr"), mask_array() > 0)


def test_lesions_are_simulated_class_by_class(folder, monkeypatch):
    arguments = ["-i", folder / "images", "-m", folder / "masks", "-d", 5, "-n", "Two"]
    assert run(monkeypatch, folder / "raw", *arguments, "-labels", "tumor=1", "node=2") == 0
    lesions = record(folder)["lesions"]
    assert sorted(lesion["label"] for lesion in lesions) == [1, 1, 2]
    for lesion in lesions:
        inside = mask_array()[tuple(np.transpose(lesion["extreme_points_zyx"]))]
        np.testing.assert_array_equal(inside, lesion["label"])


def test_csv_file_of_all_cases(folder, monkeypatch):
    rows = [
        ["case_1", name, name.rstrip("12"), *map(str, point[::-1])] for name in CENTRES for point in points_of(name)
    ]
    (folder / "clicks.csv").write_text("\n".join(",".join(row) for row in [["case", "lesion", "label", *"xyz"], *rows]))
    assert convert_clicks(folder, monkeypatch, "-labels", "tumor=1", "node=2", "-a", folder / "clicks.csv") == 0
    assert sorted(lesion["label"] for lesion in record(folder)["lesions"]) == [1, 1, 2]
    from_csv = converted(folder)
    assert convert_clicks(folder, monkeypatch, "-labels", "tumor=1", "node=2", "--overwrite") == 0
    np.testing.assert_array_equal(converted(folder), from_csv)


def test_mask_with_a_label_of_no_class_fails(folder, monkeypatch, capsys):
    array = mask_array()
    array[0, 0, 0] = 9
    write(oblique_image(array), folder / "masks" / "case_1.nii.gz")
    assert convert_clicks(folder, monkeypatch, "-labels", "tumor=1", "node=2") == 1
    message = capsys.readouterr().err
    assert "FAILED case_1: " in message
    assert "case_1.nii.gz" in message
    assert "[9]" in message


@pytest.mark.parametrize(
    "labels",
    [["tumor"], ["tumor=one"], ["tumor=0"], ["tumor=1", "node=3"], ["tumor=1", "tumor=2"], ["tumor=1", "ignore=2"]],
)
def test_labels_that_are_not_numbered_from_1_are_refused(labels, folder, monkeypatch, capsys):
    assert convert_clicks(folder, monkeypatch, "-labels", *labels) == 2
    assert labels[-1].split("=")[0] in capsys.readouterr().err
    assert not (folder / "raw").exists()


@pytest.mark.parametrize("options", [["-recipe", "robust"], ["--recipe", "paper"], ["-recipe", "paper", "-beta", "70"]])
def test_recipe_and_beta_reach_the_pseudo_mask(options, folder, monkeypatch):
    for name in ("tumor2", "node"):
        (folder / "clicks" / f"case_1.{name}.json").unlink()
    assert convert_clicks(folder, monkeypatch, *options) == 0
    recipe = "robust" if "robust" in options else "paper"
    beta = {"beta": 70.0} if "70" in options else {}
    like = oblique_image(mask_array())
    expected = expected_label(image_array(), points_of("tumor1"), like, axes=None, recipe=recipe, **beta)
    np.testing.assert_array_equal(converted(folder), expected)
    parameters = record(folder)["parameters"]
    assert parameters["recipe"] == recipe
    assert parameters.get("beta") == (None if recipe == "robust" else 70 if beta else 130)


def jittered_points(folder, monkeypatch, *options, cases=("case_1", "case_2")):
    for case in ("case_1", "case_2"):
        for file in (folder / "images" / f"{case}_0000.nii.gz", folder / "masks" / f"{case}.nii.gz"):
            file.unlink(missing_ok=True)
    for case in cases:
        write(oblique_image(image_array()), folder / "images" / f"{case}_0000.nii.gz")
        write(oblique_image(ball("tumor1").astype(np.uint8)), folder / "masks" / f"{case}.nii.gz")
    arguments = ["-i", folder / "images", "-m", folder / "masks", "-d", 5, "-n", "Two", "--overwrite", *options]
    assert run(monkeypatch, folder / "raw", *arguments) == 0
    return [record(folder, case)["lesions"][0]["extreme_points_zyx"] for case in cases]


@pytest.mark.slow
def test_jitter_depends_on_seed_and_case_alone(folder, monkeypatch):
    exact = jittered_points(folder, monkeypatch)
    jittered = jittered_points(folder, monkeypatch, "-jitter_mm", 2.5)
    assert exact[0] == exact[1]
    assert jittered[0] != exact[0]
    assert jittered[0] != jittered[1]
    assert jittered_points(folder, monkeypatch, "-jitter_mm", 2.5, "-jitter_seed", 1) != jittered
    shutil.rmtree(folder / "raw")
    assert jittered_points(folder, monkeypatch, "-jitter_mm", 2.5, cases=["case_2"]) == jittered[1:]


@pytest.mark.parametrize(
    "options",
    [["-recipe", "robust", "-beta", 70], ["-recipe", "paper", "-beta", 0], ["-recipe", "paper", "-beta", "nan"]],
)
def test_a_beta_that_means_nothing_is_refused(options, folder, monkeypatch, capsys):
    assert convert_clicks(folder, monkeypatch, *options) == 2
    assert "beta" in capsys.readouterr().err
    assert not (folder / "raw").exists()


def test_negative_jitter_is_refused(folder, monkeypatch, capsys):
    assert convert_clicks(folder, monkeypatch, "-jitter_mm", "-1") == 2
    assert "jitter" in capsys.readouterr().err


def test_help_names_the_options_once(capsys):
    with pytest.raises(SystemExit):
        convert.main(["-h"])
    text = capsys.readouterr().out
    for option in ("-labels", "-recipe", "-beta", "-jitter_mm", "-num_parts", "-part_id", "-dask", "--dry-run"):
        assert option in text


def test_strokes_of_an_annotation_are_seeds_and_remembered(folder, monkeypatch):
    for file in (folder / "clicks").iterdir():
        file.unlink()
    strokes = [
        {"is_lesion": False, "points": [[6, 6, 4], [8, 6, 4]]},
        {"is_lesion": True, "points": [[9, 8, 4]]},
    ]
    points = points_of("tumor1")
    lesion = {"points": points[:, ::-1].tolist(), "strokes": strokes, "seconds": 12.5}
    content = {"coordinates": "voxel", "lesions": [lesion]}
    (folder / "clicks" / "case_1.json").write_text(json.dumps(content))
    assert convert_clicks(folder, monkeypatch) == 0

    seeds = np.zeros(SHAPE, dtype=np.int8)
    seeds[4, 6, 6:9], seeds[4, 8, 9] = -1, 1
    like = oblique_image(image_array())
    expected = expected_label(image_array(), points, like, seeds=seeds, axes=None)
    assert not np.array_equal(expected, expected_label(image_array(), points, like, axes=None))
    np.testing.assert_array_equal(converted(folder), expected)
    recorded = record(folder)["lesions"][0]
    assert recorded["seconds"] == 12.5
    assert recorded["strokes"] == [
        {"is_lesion": False, "points_zyx": [[4, 6, 6], [4, 6, 8]]},
        {"is_lesion": True, "points_zyx": [[4, 8, 9]]},
    ]

    content["lesions"][0]["strokes"] = strokes[:1]
    (folder / "clicks" / "case_1.json").write_text(json.dumps(content))
    assert convert_clicks(folder, monkeypatch) == 2, "another stroke is another lesion"
    del content["lesions"][0]["strokes"]
    (folder / "clicks" / "case_1.json").write_text(json.dumps(content))
    assert convert_clicks(folder, monkeypatch) == 2
    content["lesions"][0] |= {"strokes": strokes, "seconds": 15}
    (folder / "clicks" / "case_1.json").write_text(json.dumps(content))
    assert convert_clicks(folder, monkeypatch) == 0, "the same lesion, whatever it took"
