import json

import numpy as np
import pytest
import SimpleITK as sitk
from support.annotation_cases import clicks, open_folder, open_session, phantom, write_images
from support.conversion_cases import run, write

from nnunetv2_simple.annotate.command_line import main


@pytest.fixture
def folder(tmp_path):
    write_images(tmp_path, "a")
    return tmp_path


def slicer_file(folder, name, image):
    points = [image.TransformIndexToPhysicalPoint(voxel) for voxel in clicks()]
    controls = [{"label": f"F-{n}", "position": list(point)} for n, point in enumerate(points)]
    markup = {"type": "Fiducial", "coordinateSystem": "LPS", "controlPoints": controls}
    (folder / "clicks").mkdir(exist_ok=True)
    (folder / "clicks" / name).write_text(json.dumps({"markups": [markup]}))


def test_annotations_of_other_formats_are_shown_and_kept(folder, monkeypatch):
    slicer_file(folder, "a_0000.mrk.json", phantom())
    before = (folder / "clicks" / "a_0000.mrk.json").read_bytes()
    session, annotations = open_session(folder, labels={"tumor": 1})
    assert sorted(session.lesion.points) == sorted(clicks())
    assert session.rows[0].state == "done"
    assert not (folder / "clicks" / "a.json").exists(), "who only looks changes nothing"
    session.move_point(0, (24, 20, 3))
    assert (folder / "clicks" / ".replaced" / "a_0000.mrk.json").read_bytes() == before
    assert [file.name for file in (folder / "clicks").glob("[!.]*")] == ["a.json"]
    assert run(monkeypatch, folder / "raw", "-i", folder / "images", "-a", folder / "clicks", "-d", 5, "-n", "A") == 0
    annotations.close()
    again, _ = open_session(folder, labels={"tumor": 1})
    assert again.lesion.points == session.lesion.points


def test_a_death_between_writing_and_setting_aside_is_made_good(folder):
    slicer_file(folder, "a.mrk.json", phantom())
    session, annotations = open_session(folder, labels={"tumor": 1})
    session.move_point(0, (24, 20, 3))
    (folder / "clicks" / ".replaced" / "a.mrk.json").rename(folder / "clicks" / "a.mrk.json")
    annotations.close()
    again, _ = open_session(folder, labels={"tumor": 1})
    assert (24, 20, 3) in again.lesion.points
    assert (folder / "clicks" / ".replaced" / "a.mrk.json").exists()


def test_a_json_file_of_somebody_else_is_kept_and_a_box_stays_a_box(folder):
    content = {"coordinates": "voxel", "box": [[13, 11, 4], [35, 29, 12]]}
    (folder / "clicks").mkdir()
    (folder / "clicks" / "a.json").write_text(json.dumps(content))
    session, annotations = open_session(folder, labels={"tumor": 1})
    session.add_stroke([(20, 20, 8)], is_lesion=True)
    saved = json.loads((folder / "clicks" / "a.json").read_text(encoding="utf-8"))
    assert saved["lesions"][0]["box"] == [[13, 11, 4], [35, 29, 12]]
    assert json.loads((folder / "clicks" / ".replaced" / "a.json").read_text(encoding="utf-8")) == content
    annotations.close()
    again, _ = open_session(folder, labels={"tumor": 1})
    assert again.lesion.is_box
    again.move_point(0, (25, 20, 4))
    assert "points" in json.loads((folder / "clicks" / "a.json").read_text(encoding="utf-8"))["lesions"][0]


def test_what_cannot_be_read_is_listed_with_its_reason_and_the_others_go_on(folder):
    write_images(folder, "fine")
    (folder / "images" / "broken_0000.nii.gz").write_bytes(b"no image")
    write(phantom(), folder / "images" / "gap_0001.nii.gz")
    (folder / "clicks").mkdir()
    (folder / "clicks" / "a.json").write_text("{")
    session, _ = open_session(folder, case="fine")
    problems = {row.identifier: row.problem for row in session.rows}
    assert "broken_0000.nii.gz" in problems["broken"]
    assert "gap_0001" in problems["gap"]
    assert "a.json" in problems["a"]
    assert problems["fine"] == ""
    assert {row.identifier: row.state for row in session.rows}["a"] == "unreadable"
    assert (folder / "clicks" / "a.json").read_text(encoding="utf-8") == "{"


@pytest.mark.parametrize(
    ("lesion", "named"),
    [
        ({"label": "other", "points": [], "strokes": [], "seconds": 0}, "other"),
        ({"label": "tumor", "points": [[1, 2, 99]], "strokes": [], "seconds": 0}, "[1, 2, 99]"),
        ({"label": "tumor", "points": [[1, 2, 3]] * 7, "strokes": [], "seconds": 0}, "got 7"),
        ({"points": []}, "a.json"),
    ],
)
def test_own_files_that_somebody_changed_are_checked(folder, lesion, named):
    (folder / "clicks").mkdir()
    content = {"written_by": "nnUNetv2_simple_annotate 1", "coordinates": "voxel", "lesions": [lesion]}
    content |= {"seconds": 0, "replaced": []}
    (folder / "clicks" / "a.json").write_text(json.dumps(content))
    _, annotations = open_folder(folder)
    with pytest.raises(ValueError) as error:
        annotations.read(open_folder_case(folder))
    assert named in str(error.value)
    assert "a.json" in str(error.value)


def open_folder_case(folder):
    from nnunetv2_simple.annotate.folder import list_cases

    return list_cases(folder / "images", 1)[0]


def test_a_second_server_on_the_folder_is_refused(folder, capsys):
    _, annotations = open_folder(folder)
    assert main(["-i", str(folder / "images"), "-a", str(folder / "clicks"), "-port", "0"]) == 2
    assert str(folder / "clicks") in capsys.readouterr().err
    annotations.close()
    open_folder(folder)[1].close()


@pytest.mark.parametrize(
    ("options", "named"),
    [(["-labels", "a=2"], "a"), (["-walker_channel", "3"], "3"), (["-channels", "MR", "-walker_subtract", "1"], "1")],
)
def test_wrong_options_are_refused(folder, capsys, options, named):
    assert main(["-i", str(folder / "images"), "-a", str(folder / "clicks"), "-port", "0", *options]) == 2
    assert named in capsys.readouterr().err
    assert not (folder / "clicks").exists()


def test_a_folder_without_images_is_refused(tmp_path, capsys):
    (tmp_path / "images").mkdir()
    assert main(["-i", str(tmp_path / "images"), "-a", str(tmp_path / "clicks")]) == 2
    assert str(tmp_path / "images") in capsys.readouterr().err


def test_the_channels_of_a_case_must_lie_on_one_grid(folder):
    other = sitk.GetImageFromArray(np.zeros((3, 4, 5), np.float32))
    write(other, folder / "images" / "a_0001.nii.gz")
    from nnunetv2_simple.annotate.folder import list_cases, read_channels

    with pytest.raises(ValueError, match="a_0001"):
        read_channels(list_cases(folder / "images", 2)[0])
