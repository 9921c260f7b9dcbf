import json

import numpy as np
import pytest
from support.annotation_cases import LABELS, Clock, clicks, ellipsoid, open_session, phantom, write_images
from support.conversion_cases import array_of, run

from nnunetv2_simple.annotate.masks import as_lesion, make_mask, make_preview, mask_warnings
from nnunetv2_simple.extreme_points.lesions import read_lesions


@pytest.fixture
def folder(tmp_path):
    write_images(tmp_path, "a", "b")
    return tmp_path


def saved(folder, case="a"):
    return json.loads((folder / "clicks" / f"{case}.json").read_text(encoding="utf-8"))


def state(session, case="a"):
    return next(row.state for row in session.rows if row.identifier == case)


def compute(session):
    for key, marked in session.outdated().items():
        lesion = as_lesion(marked, session.channels[0], label=session.labels[marked.label])
        session.masks[key] = make_mask(lesion, session.channels, session.walker_image)


def test_every_click_is_on_disk_before_the_next(folder):
    session, _ = open_session(folder)
    assert state(session) == "untouched"
    for number, voxel in enumerate(clicks(), start=1):
        assert session.click(voxel)
        assert saved(folder)["lesions"][0]["points"] == [list(v) for v in clicks()[:number]]
        assert state(session) == ("done" if number == 6 else "begun")
    assert not session.click((1, 1, 1)), "six points are all a lesion has"
    assert len(saved(folder)["lesions"][0]["points"]) == 6


def test_what_was_begun_goes_on_after_a_restart(folder):
    session, annotations = open_session(folder)
    for voxel in clicks()[:4]:
        session.click(voxel)
    annotations.close()  # as the end of the process does
    again, _ = open_session(folder)
    assert again.lesion.points == clicks()[:4]
    assert state(again) == "begun"


def test_points_strokes_classes_undo_and_redo(folder):
    session, _ = open_session(folder)
    session.add_stroke([(3, 3, 3)], is_lesion=True)
    assert state(session) == "untouched", "strokes correct a lesion that is there"
    for voxel in clicks():
        session.click(voxel)
    session.move_point(5, (40, 20, 8))
    session.add_stroke([(24, 20, 8), (26, 20, 8)], is_lesion=False)
    session.set_label("node")
    lesion = saved(folder)["lesions"][0]
    assert (lesion["label"], lesion["points"][5]) == ("node", [40, 20, 8])
    assert lesion["strokes"] == [{"is_lesion": False, "points": [[24, 20, 8], [26, 20, 8]]}]
    for _ in range(3):
        assert session.undo()
    assert saved(folder)["lesions"][0] | {"seconds": 0} == {
        "label": "tumor",
        "points": [list(v) for v in clicks()],
        "strokes": [],
        "seconds": 0,
    }
    assert session.redo()
    assert saved(folder)["lesions"][0]["points"][5] == [40, 20, 8]
    session.remove_point(5)
    assert state(session) == "begun"
    session.delete_lesion()
    assert not (folder / "clicks" / "a.json").exists()
    assert session.undo()
    assert len(saved(folder)["lesions"][0]["points"]) == 5


def test_several_lesions_and_their_seconds(folder):
    clock = Clock()
    session, _ = open_session(folder, clock=clock)
    for voxel in clicks():
        clock.now += 2
        session.click(voxel)
    clock.now += 500  # a pause counts as half a minute
    session.note_action()
    session.new_lesion()
    clock.now += 4
    session.click((2, 2, 2))
    assert [lesion["seconds"] for lesion in saved(folder)["lesions"]] == [12, 34]
    assert state(session) == "begun"
    session.select_lesion(0)
    clock.now += 1
    session.move_point(0, (24, 20, 5))
    assert [lesion["seconds"] for lesion in saved(folder)["lesions"]] == [13, 34]


def test_tumor_free_and_skipped(folder):
    session, _ = open_session(folder)
    assert session.toggle_tumor_free()
    assert saved(folder)["lesions"] == []
    assert state(session) == "tumor-free"
    assert read_lesions([folder / "clicks" / "a.json"], phantom(), case="a", labels=LABELS) == []
    session.toggle_skipped()
    assert saved(folder)["skipped"] is True
    assert state(session) == "skipped"
    session.toggle_skipped()
    assert not (folder / "clicks" / "a.json").exists()
    session.click((5, 5, 5))
    assert not session.toggle_tumor_free(), "there is a lesion"


def test_the_mask_is_the_conversion_s_voxel_for_voxel(folder, monkeypatch):
    two = ellipsoid((5, 9, 10), (3, 5, 6)) | ellipsoid((9, 28, 34), (4, 7, 8))
    write_images(folder, "a", image=phantom(two))
    (folder / "images" / "b_0000.nii.gz").unlink()
    session, _ = open_session(folder)
    for mask in (ellipsoid((5, 9, 10), (3, 5, 6)), ellipsoid((9, 28, 34), (4, 7, 8))):
        session.new_lesion()
        for voxel in clicks(mask):
            session.click(voxel)
    session.set_label("node")
    session.add_stroke([(34, 26, 9), (60, 26, 9)][:1] + [(47, 26, 9)], is_lesion=False)
    session.add_stroke([(28, 24, 9)], is_lesion=True)
    compute(session)
    labels = [f"{name}={label}" for name, label in LABELS.items()]
    arguments = ["-i", folder / "images", "-a", folder / "clicks", "-d", 5, "-n", "Clicked", "-labels", *labels]
    assert run(monkeypatch, folder / "raw", *arguments) == 0
    label = array_of(folder / "raw" / "Dataset005_Clicked" / "labelsTr" / "a.nii.gz")
    np.testing.assert_array_equal(session.label_image(), label)
    assert set(np.unique(label)) == {0, 1, 2, 3}
    assert (label[9, 26, 34], label[9, 24, 28]) == (0, 2)


def test_only_what_changed_is_computed_again(folder):
    session, _ = open_session(folder)
    for voxel in clicks():
        session.click(voxel)
    compute(session)
    assert session.outdated() == {}
    session.move_point(0, (24, 20, 3))
    assert len(session.outdated()) == 1
    assert session.shown_masks() == []
    session.undo()
    assert session.outdated() == {}


def test_a_stroke_leaves_the_scribbles_where_they_are(folder, monkeypatch):
    session, _ = open_session(folder)
    for voxel in clicks():
        session.click(voxel)
    compute(session)
    session.add_stroke([(26, 22, 8), (28, 22, 8)], is_lesion=False)
    lesion = as_lesion(session.lesion, session.channels[0], label=1)
    exact = make_mask(lesion, session.channels, session.walker_image)
    monkeypatch.setattr("nnunetv2_simple.annotate.masks.draw_scribbles", None)
    known = make_mask(lesion, session.channels, session.walker_image, known=list(session.masks.values()))
    np.testing.assert_array_equal(known.mask, exact.mask)


def test_a_large_lesion_is_shown_coarsely_first(folder, monkeypatch):
    monkeypatch.setattr("nnunetv2_simple.annotate.masks.PREVIEW_VOXELS", 500)
    session, _ = open_session(folder)
    for voxel in clicks():
        session.click(voxel)
    lesion = as_lesion(session.lesion, session.channels[0], label=1)
    coarse = make_preview(lesion, session.channels, session.walker_image)
    exact = make_mask(lesion, session.channels, session.walker_image)
    assert coarse.is_preview
    assert coarse.mask.shape == exact.mask.shape
    both, sizes = np.count_nonzero((coarse.mask == 1) & (exact.mask == 1)), (coarse.mask == 1, exact.mask == 1)
    assert 2 * both / sum(map(np.count_nonzero, sizes)) > 0.8
    monkeypatch.setattr("nnunetv2_simple.annotate.masks.PREVIEW_VOXELS", 10**6)
    assert make_preview(lesion, session.channels, session.walker_image) is None


def test_warnings_are_those_of_the_conversion(folder):
    session, _ = open_session(folder)
    for voxel in [(24, 20, 8), (26, 20, 8), (25, 15, 8), (25, 25, 8), (25, 20, 8)]:
        session.click(voxel)
    assert "5 of 6" in session.annotation_warnings()[0]
    session.click((25, 21, 8))
    assert any("one voxel thick along image axis z" in warning for warning in session.annotation_warnings())
    session.delete_lesion()
    for _ in range(2):
        session.new_lesion()
        for voxel in clicks():
            session.click(voxel)
    assert any("100%" in warning for warning in session.annotation_warnings())


def test_review_begins_with_the_worst_finished_case(folder):
    session, _ = open_session(folder)
    session.open("b", session.channels)
    session.toggle_tumor_free()
    session.warnings = {"a": [], "b": ["one"]}
    session.sort_for_review()
    assert session.order == ["b", "a"]


def test_quality_warnings_of_a_good_and_a_bad_lesion(folder):
    session, _ = open_session(folder)
    for voxel in clicks():
        session.click(voxel)
    compute(session)
    options = {"ignore_label": session.ignore_label}
    assert mask_warnings(session.shown_masks(), session.channels, session.walker_image, **options) == []
    session.delete_lesion()
    for voxel in [(5, 5, 3), (5, 5, 7), (5, 1, 5), (5, 9, 5), (1, 5, 5), (9, 5, 5)]:  # where there is nothing
        session.click(voxel)
    compute(session)
    found = mask_warnings(session.shown_masks(), session.channels, session.walker_image, **options)
    assert any(warning.startswith("low contrast") for warning in found)


def test_a_full_disk_is_said_and_nothing_is_lost(folder, monkeypatch):
    session, annotations = open_session(folder)
    session.click((5, 5, 5))

    def full(case, marks):
        raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(annotations, "write", full)
        with pytest.raises(OSError, match="no space"):
            session.click((6, 5, 5))
    assert saved(folder)["lesions"][0]["points"] == [[5, 5, 5]]
    session.click((7, 5, 5))
    assert saved(folder)["lesions"][0]["points"] == [[5, 5, 5], [6, 5, 5], [7, 5, 5]]
