"""A table of damaged files and what becomes of each: it is named, or made anew. Nothing is silent.

Files of a training have theirs in tests/training/test_failures.py and test_relabelled_dataset.py.
"""

import shutil

import pytest
from support.conversion_cases import files_below, run, tumor_mask, write_points, write_single_channel_case

from nnunetv2_simple.extreme_points.points import extreme_points_from_mask

CASE, WEAK, DENSE = "case_0", "raw/Dataset005_Again", "raw/Dataset006_Again_dense"
IMAGE, MASK, CLICKS = f"images/{CASE}_0000.nii.gz", f"masks/{CASE}.nii.gz", f"clicks/{CASE}.json"
RECORD = f"{WEAK}/provenance/{CASE}.json"
DAMAGES = {
    "missing": lambda content: None,
    "empty": lambda content: b"",
    "half": lambda content: content[: len(content) // 2],
    "text": lambda content: b"not yet downloaded",
}
INPUT = [
    (file, damage) for file in (IMAGE, MASK, CLICKS) for damage in DAMAGES if (file, damage) != (CLICKS, "missing")
]
OUTPUT = [
    (file, damage)
    for file in (
        f"{WEAK}/imagesTr/{CASE}_0000.nii.gz",
        f"{WEAK}/labelsTr/{CASE}.nii.gz",
        f"{WEAK}/walkerTr/{CASE}_0001.nii.gz",
        f"{WEAK}/referencesTr/{CASE}.nii.gz",
        f"{WEAK}/quality_control/{CASE}.png",
        f"{DENSE}/labelsTr/{CASE}.nii.gz",
    )
    for damage in DAMAGES
]
SUMMARY = [(file, damage) for file in (RECORD, f"{WEAK}/dataset.json") for damage in ("missing", "empty", "half")]


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    """One case and what is made of it."""
    folder = tmp_path_factory.mktemp("damaged")
    write_single_channel_case(folder, CASE)
    write_points(folder / CLICKS, extreme_points_from_mask(tumor_mask()))
    with pytest.MonkeyPatch.context() as patch:
        assert convert(folder, folder, patch) == 0
    return folder


@pytest.fixture
def folder(converted, tmp_path):
    shutil.copytree(converted, tmp_path, dirs_exist_ok=True)
    return tmp_path


def convert(sources, folder, monkeypatch):
    """Convert to a folder; the records name the sources, so these must be the same ones again."""
    words = ["-i", sources / "images", "-m", sources / "masks", "-a", sources / "clicks", "-recipe", "paper"]
    return run(monkeypatch, folder / "raw", *words, "-d", 5, "-n", "Again", "-dense", 6)


def damage_file(file, damage):
    content = DAMAGES[damage](file.read_bytes())
    file.unlink()
    if content is not None:
        file.write_bytes(content)


@pytest.mark.parametrize(("file", "damage"), INPUT)
def test_damaged_input_is_named(file, damage, folder, monkeypatch, capsys):
    shutil.rmtree(folder / "raw")
    damage_file(folder / file, damage)
    assert convert(folder, folder, monkeypatch) != 0
    assert CASE in capsys.readouterr().err
    assert not (folder / WEAK / "dataset.json").exists()


@pytest.mark.parametrize(("file", "damage"), OUTPUT)
def test_damaged_output_is_made_anew(file, damage, converted, folder, monkeypatch):
    before = files_below(folder / "raw")
    damage_file(folder / file, damage)
    assert convert(converted, folder, monkeypatch) == 0
    assert files_below(folder / "raw") == before


@pytest.mark.parametrize(("file", "damage"), SUMMARY)
def test_a_damaged_record_or_dataset_json_is_made_anew_or_named(file, damage, converted, folder, monkeypatch, capsys):
    before = files_below(folder / "raw")
    damage_file(folder / file, damage)
    if convert(converted, folder, monkeypatch) == 0:
        assert files_below(folder / "raw") == before
    else:
        assert f"{WEAK}" in capsys.readouterr().err
