"""Cases without a lesion: all background, and stated as such, which is not the same as forgotten."""

import json

import numpy as np
import pytest
import SimpleITK as sitk
from support.conversion_cases import SHAPE, array_of, names_in, oblique_image, run, write, write_single_channel_case

from nnunetv2_simple.report.quality_page import QUALITY_FOLDER

OPTIONS = ["-d", 5, "-n", "Mixed"]


@pytest.fixture
def folder(tmp_path):
    """Two cases with a lesion each, clicked, and an image of a third."""
    for seed, identifier in enumerate(("a", "b", "healthy")):
        write_single_channel_case(tmp_path, identifier, seed=seed)
    (tmp_path / "masks" / "healthy.nii.gz").unlink()
    points = [[6, 7, 2], [6, 7, 6], [6, 3, 4], [6, 11, 4], [3, 7, 4], [9, 7, 4]]
    clicks = tmp_path / "clicks"
    clicks.mkdir()
    for identifier in "ab":
        (clicks / f"{identifier}.json").write_text(json.dumps({"coordinates": "voxel", "points": points}))
    return tmp_path


def write_empty_image(file, dtype=np.uint8):
    write(oblique_image(np.zeros(SHAPE, dtype), seed=2), file)


def state_in_json(folder):
    (folder / "clicks" / "healthy.json").write_text(json.dumps({"coordinates": "voxel", "lesions": []}))
    return ["-a", folder / "clicks"]


def state_in_csv(folder):
    clicks = [[6, 7, 2], [6, 7, 6], [6, 3, 4], [6, 11, 4], [3, 7, 4], [9, 7, 4]]
    rows = [f"{case},{x},{y},{z}" for case in "ab" for x, y, z in clicks]
    (folder / "clicks.csv").write_text("\n".join(["case,x,y,z", *rows, "healthy,,,"]))
    return ["-a", folder / "clicks.csv"]


def state_in_label_image(folder):
    write_empty_image(folder / "clicks" / "healthy.nii.gz")
    return ["-a", folder / "clicks"]


def state_in_mask(folder):
    write_empty_image(folder / "masks" / "healthy.nii.gz")
    return ["-m", folder / "masks"]


def state_in_list(folder):
    (folder / "healthy.txt").write_text("# reported as normal\n\nhealthy\n")
    return ["-a", folder / "clicks", "-negative", folder / "healthy.txt"]


STATED = [state_in_json, state_in_csv, state_in_label_image, state_in_mask, state_in_list]


@pytest.mark.parametrize("state", STATED)
def test_however_it_is_stated_the_label_is_all_background(state, folder, monkeypatch):
    assert run(monkeypatch, folder, "-i", folder / "images", *state(folder), *OPTIONS) == 0
    dataset = folder / "Dataset005_Mixed"
    for kind in ("labelsTr/healthy", "walkerTr/healthy_0001", "referencesTr/healthy"):
        assert not array_of(dataset / f"{kind}.nii.gz").any(), kind
    assert array_of(dataset / "labelsTr" / "a.nii.gz").any()
    case = json.loads((dataset / "provenance.json").read_text(encoding="utf-8"))["cases"]["healthy"]
    assert (case["supervision"], case["lesions"]) == (["tumor-free"], [])
    assert "tumor-free" in (dataset / QUALITY_FOLDER / "index.html").read_text(encoding="utf-8")
    assert (dataset / QUALITY_FOLDER / "healthy.png").is_file()


def test_a_forgotten_case_still_fails(folder, monkeypatch, capsys):
    assert run(monkeypatch, folder, "-i", folder / "images", "-a", folder / "clicks", *OPTIONS) == 1
    assert "FAILED healthy: no annotation was found" in capsys.readouterr().err
    assert names_in(folder / "Dataset005_Mixed" / "labelsTr") == ["a.nii.gz", "b.nii.gz"]


def test_the_twin_and_the_baselines_have_it_as_well(folder, monkeypatch):
    arguments = ["-i", folder / "images", "-m", folder / "masks", *OPTIONS, "-dense", 6]
    (folder / "healthy.txt").write_text("healthy")
    assert run(monkeypatch, folder, *arguments, "-negative", folder / "healthy.txt") == 0
    for number, kind in enumerate(("walker", "ellipsoid", "paper"), start=7):
        assert run(monkeypatch, folder, "-d", 5, "-baseline", kind, "-baseline_id", number) == 0
        label = array_of(folder / f"Dataset{number:03d}_Mixed_{kind}" / "labelsTr" / "healthy.nii.gz")
        assert label.shape == SHAPE and not label.any()
    assert not array_of(folder / "Dataset006_Mixed_dense" / "labelsTr" / "healthy.nii.gz").any()


def test_a_rerun_leaves_it_and_a_statement_taken_back_is_noticed(folder, monkeypatch, capsys):
    arguments = ["-i", folder / "images", *state_in_list(folder), *OPTIONS]
    assert run(monkeypatch, folder, *arguments) == 0
    label = folder / "Dataset005_Mixed" / "labelsTr" / "healthy.nii.gz"
    before = label.stat().st_mtime_ns
    assert run(monkeypatch, folder, *arguments) == 0
    assert label.stat().st_mtime_ns == before
    assert run(monkeypatch, folder, "-i", folder / "images", *state_in_json(folder), *OPTIONS) == 2
    assert "healthy was converted" in capsys.readouterr().err


def test_contradictions_fail_the_case(folder, monkeypatch, capsys):
    (folder / "healthy.txt").write_text("a\nhealthy\n")
    arguments = ["-i", folder / "images", "-a", folder / "clicks", *OPTIONS]
    write_empty_image(folder / "clicks" / "b.second.nii.gz")
    mask = np.zeros(SHAPE, np.uint8)
    mask[4, 5, 6] = 1
    write(oblique_image(mask, seed=2), folder / "masks" / "healthy.nii.gz")
    arguments += ["-negative", folder / "healthy.txt", "-m", folder / "masks"]
    assert run(monkeypatch, folder, *arguments) == 1
    failures = {line.split(":")[0]: line for line in capsys.readouterr().err.splitlines() if "FAILED" in line}
    assert str(folder / "clicks" / "a.json") in failures["FAILED a"]
    assert str(folder / "clicks" / "b.second.nii.gz") in failures["FAILED b"]
    assert str(folder / "masks" / "healthy.nii.gz") in failures["FAILED healthy"]


def test_a_listed_case_without_image_is_refused_before_any_work(folder, monkeypatch, capsys):
    (folder / "healthy.txt").write_text("healthy\nhealthier\n")
    arguments = ["-i", folder / "images", "-a", folder / "clicks", "-negative", folder / "healthy.txt", *OPTIONS]
    assert run(monkeypatch, folder, *arguments) == 2
    error = capsys.readouterr().err
    assert "healthier" in error and "healthy," not in error
    assert not (folder / "Dataset005_Mixed").exists()


def test_the_sheet_of_a_case_without_lesions_can_be_drawn_where_nothing_varies(folder, monkeypatch):
    write(oblique_image(np.zeros(SHAPE, np.int16), seed=2), folder / "images" / "healthy_0000.nii.gz")
    assert run(monkeypatch, folder, "-i", folder / "images", *state_in_list(folder), *OPTIONS) == 0
    assert (
        sitk.ReadImage(str(folder / "Dataset005_Mixed" / "imagesTr" / "healthy_0000.nii.gz")).GetSize() == SHAPE[::-1]
    )
