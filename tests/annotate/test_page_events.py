"""The page without a browser: what events and keys do to it."""

import numpy as np
import pytest
from bokeh.document import Document
from bokeh.events import Pan, PanEnd, PanStart, Tap
from support.annotation_cases import clicks, ellipsoid, open_session, phantom, write_images
from support.conversion_cases import write

from nnunetv2_simple.annotate.page import Page
from nnunetv2_simple.annotate.work import Work
from nnunetv2_simple.images import image_like


class Ready(Document):
    """A document whose callbacks run when told to, as nobody's server runs them."""

    def add_next_tick_callback(self, callback):
        WAITING.append(callback)


WAITING = []


@pytest.fixture
def page(tmp_path):
    write_images(tmp_path, "a", "b")
    WAITING.clear()
    session, _ = open_session(tmp_path)
    work = Work(session)
    page = Page(Ready(), session, work, ["MR"])
    settle(work)
    yield page, session, work
    work.close()


def settle(work):
    """Let all work that was asked for be done and shown."""
    for _ in range(3):
        for thread in (work._thread, work._ranking):
            thread.submit(lambda: None).result(timeout=60)
        while WAITING:
            WAITING.pop(0)()


def event(page, kind, plane, voxel, **more):
    view = page.display.views[plane]
    right, up = view.plane.on_screen(voxel)
    view.index = voxel[view.plane.axes[2]]
    for callback in view.figure._event_callbacks[kind.event_name]:
        callback(kind(view.figure, x=right, y=up, **more))


def test_clicks_in_any_plane_make_a_mask(page):
    page, session, work = page
    for plane, voxel in zip(["axial", "coronal", "sagittal"] * 2, clicks(), strict=True):
        event(page, Tap, plane, voxel)
    settle(work)
    assert session.lesion.points == clicks()
    assert session.outdated() == {}
    assert (page.display.overlay[8, 20, 24], page.display.overlay[0, 0, 0]) != (0, 0)
    assert session.warnings["a"] == []
    event(page, Tap, "axial", (3, 3, 3))
    assert len(session.marks.lesions) == 1, "a seventh click only looks there"
    assert page.display.crosshair == (3, 3, 3)


def test_a_point_is_dragged_and_a_drag_elsewhere_pans(page):
    page, session, _ = page
    for voxel in clicks():
        event(page, Tap, "axial", voxel)
    last = clicks()[5]
    event(page, PanStart, "axial", last)
    event(page, Pan, "axial", (last[0] + 4, *last[1:]), delta_x=20, delta_y=0)
    event(page, PanEnd, "axial", (last[0] + 4, *last[1:]))
    assert session.lesion.points[5] == (last[0] + 4, *last[1:])
    start = page.display.views["axial"].figure.x_range.start
    event(page, PanStart, "axial", (2, 2, 8))
    event(page, Pan, "axial", (4, 2, 8), delta_x=20, delta_y=0)
    event(page, PanEnd, "axial", (4, 2, 8))
    assert page.display.views["axial"].figure.x_range.start < start
    assert session.lesion.points[5] == (last[0] + 4, *last[1:])


def test_strokes_and_keys(page):
    page, session, work = page
    for voxel in clicks():
        event(page, Tap, "axial", voxel)
    page.press("2")
    event(page, PanStart, "axial", (24, 20, 8))
    event(page, Pan, "axial", (26, 20, 8), delta_x=1, delta_y=0)
    event(page, PanEnd, "axial", (26, 20, 8))
    assert [stroke.is_lesion for stroke in session.lesion.strokes] == [True]
    assert session.lesion.strokes[0].points == [(24, 20, 8), (26, 20, 8)]
    page.press("c")
    assert session.lesion.strokes == []
    page.press("z")
    assert len(session.lesion.strokes) == 1
    page.press("t")
    assert session.marks.state == "done", "not beside a lesion"
    page.press("Delete")
    page.press("t")
    assert session.marks.state == "tumor-free"
    page.press("n")
    settle(work)
    assert session.case.identifier == "b"
    page.press("k")
    assert session.marks.state == "skipped"


def test_window_and_planes(page):
    page, *_ = page
    greys = page.display.greys
    page.display.set_window("CT lung")
    assert (greys.low, greys.high) == (-1350, 150)
    page.press("4")
    event(page, PanStart, "axial", (2, 2, 2))
    event(page, Pan, "axial", (2, 2, 2), delta_x=150, delta_y=0)
    assert greys.high - greys.low == pytest.approx(3000)
    view = page.display.views["coronal"]
    view.resize(width=300)
    view.resize(height=100)
    x, y = view.figure.x_range, view.figure.y_range
    assert (x.end - x.start) / 300 == pytest.approx((y.end - y.start) / 100), "one mm is one mm"


def test_review_opens_the_case_with_most_warnings(page, tmp_path):
    page, session, work = page
    for voxel in clicks():
        event(page, Tap, "axial", voxel)
    page.press("n")
    settle(work)
    for voxel in clicks(ellipsoid((4, 6, 6), (2, 4, 4))):  # where there is nothing to see
        event(page, Tap, "axial", voxel)
    settle(work)
    session.warnings.clear()
    page.press("r")
    settle(work)
    assert session.order == ["b", "a"]
    assert len(session.warnings["b"]) > len(session.warnings["a"])
    assert session.case.identifier == "b"


def test_an_image_that_cannot_be_read_is_said_and_the_others_go_on(tmp_path):
    write_images(tmp_path, "a", "b")
    file = tmp_path / "images" / "b_0000.nii.gz"
    session, _ = open_session(tmp_path)
    file.write_bytes(file.read_bytes()[:2000])
    work = Work(session)
    page = Page(Ready(), session, work, ["MR"])
    settle(work)
    page.open_case("b")
    settle(work)
    assert session.case.identifier == "a"
    assert "b_0000.nii.gz" in session.problem_of("b")
    assert "b_0000.nii.gz" in page.controls._message.text
    work.close()


def test_review_begins_where_another_model_disagrees_most(tmp_path):
    write_images(tmp_path, "a", "b", "c")
    for case, mask in (("a", ellipsoid()), ("b", ellipsoid((8, 20, 34), (4, 9, 11))), ("c", ellipsoid())):
        write(image_like(mask.astype(np.uint8), phantom()), tmp_path / "evidence" / f"{case}.nii.gz")
    session, _ = open_session(tmp_path)
    for case in ("a", "b"):
        session.open(case, session.channels)
        for voxel in clicks():
            session.click(voxel)
    session.open("c", session.channels)
    session.toggle_tumor_free()  # which the model thinks it is not
    WAITING.clear()
    work = Work(session, tmp_path / "evidence")
    page = Page(Ready(), session, work, ["MR"])
    page.press("r")
    settle(work)
    assert session.order == ["c", "b", "a"]
    assert session.disagreements["c"] == 1
    assert session.disagreements["a"] < 0.2 < session.disagreements["b"]
    assert session.case.identifier == "c"
    work.close()
