"""The page in a real browser: click, see, correct, and convert what was saved."""

import json
import re
import signal
import subprocess
import sys
from contextlib import contextmanager

import numpy as np
import pytest
import SimpleITK as sitk
from support.browser import needs_browser
from support.conversion_cases import array_of, run, write
from support.live_page import LivePage, until

from nnunetv2_simple.annotate.plane_view import IGNORE_VALUE
from nnunetv2_simple.annotate.planes import planes_of
from nnunetv2_simple.extreme_points import extreme_points_from_mask

pytestmark = [pytest.mark.slow, needs_browser]
SHAPE, SPACING_MM = (16, 40, 48), (3.0, 1.0, 1.0)


def phantom():
    grid = np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij")
    mask = sum(((g - c) / r) ** 2 for g, c, r in zip(grid, (8, 20, 24), (4.3, 9.3, 11.3), strict=True)) <= 1
    array = 100 + 80 * mask + np.random.default_rng(0).normal(0, 8, SHAPE)
    image = sitk.GetImageFromArray(array.astype(np.float32))
    image.SetSpacing(SPACING_MM[::-1])
    return image, extreme_points_from_mask(mask)


@contextmanager
def served(folder):
    """A server of its own process; the process and the address of the page."""
    command = [sys.executable, "-m", "nnunetv2_simple.annotate.command_line", "-port", "0"]
    command += ["-i", str(folder / "images"), "-a", str(folder / "clicks")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield process, re.search(r"http\S+", process.stdout.readline())[0]
    finally:
        process.kill()
        process.wait(timeout=30)
        process.stdout.close()


_SIDES = (("x", "width"), ("y", "height"))


class Axial:
    """Where voxels lie on the screen, in the axial plane, and what the page shows."""

    def __init__(self, page, image):
        self._page, self._plane = page, planes_of(image)["axial"]
        page.wait_for("PLOT.renderers[0].data_source.data.image.length".replace("PLOT", self._model("axial")))
        plot = self._model("axial")
        scales = [f"({plot}.{d}_range.end - {plot}.{d}_range.start) / {plot}.inner_{size}" for d, size in _SIDES]
        page.wait_for(f"{plot}.inner_width > 200 && Math.abs({scales[0]} - {scales[1]}) < 1e-6")  # one mm is one mm

    @staticmethod
    def _model(name):
        return f"Bokeh.documents[0].get_model_by_name('{name}')"

    def text(self, name):
        return self._page.ask(f"{self._model(name)}.text")

    def slice(self):
        return self._page.ask(
            f"{self._model('axial')}.renderers.length && Array.from({self._model('axial')}.center)"
            ".map(a => a.text).filter(t => typeof t == 'string' && t.includes('axial'))[0]"
        )

    def overlay(self, shape):
        image = f"{self._model('axial')}.renderers[1].data_source.data.image"
        return np.reshape(
            self._page.ask(f"{image}.length ? Array.from({image}[0]) : []") or [0] * np.prod(shape), shape
        )

    def go_to(self, z):
        while (here := int(self.slice().split()[1]) - 1) != z:
            self._page.press("ArrowUp" if here < z else "ArrowDown")
            until(lambda here=here: int(self.slice().split()[1]) - 1 != here)

    def place(self, voxel_zyx):
        right, up = self._plane.on_screen(tuple(int(v) for v in voxel_zyx[::-1]))
        return self._page.ask(
            f"(() => {{ const plot = {self._model('axial')};"
            "const box = document.getElementById('axial').getBoundingClientRect();"
            "const x = plot.x_range, y = plot.y_range;"
            f"return [box.left + box.width * ({right} - x.start) / (x.end - x.start),"
            f"box.bottom - box.height * ({up} - y.start) / (y.end - y.start)]; }})()"
        )


def test_click_drag_correct_and_convert(tmp_path, monkeypatch):
    image, points = phantom()
    write(image, tmp_path / "images" / "a_0000.nii.gz")
    write(image, tmp_path / "images" / "b_0000.nii.gz")
    saved = tmp_path / "clicks" / "a.json"

    def lesion():
        return json.loads(saved.read_bytes())["lesions"][0] if saved.exists() else {"points": [], "strokes": []}

    moved = points[5] + (0, 0, 3)  # beyond the lesion, to be dragged back
    with served(tmp_path) as (process, address), LivePage(address, tmp_path / "profile") as page:
        axial = Axial(page, image)
        for number, voxel in enumerate([*points[:5], moved]):
            if number == 3:  # every click is on disk before the next: the server may die at any time
                process.send_signal(signal.SIGKILL)
                process.wait(timeout=30)
                break
            axial.go_to(voxel[0])
            page.click(*axial.place(voxel))
            until(lambda number=number: len(lesion()["points"]) == number + 1)
    assert lesion()["points"] == points[:3, ::-1].tolist()

    with served(tmp_path) as (_, address), LivePage(address, tmp_path / "profile_2") as page:
        axial = Axial(page, image)
        for number, voxel in enumerate([*points[3:5], moved], start=4):
            axial.go_to(voxel[0])
            page.click(*axial.place(voxel))
            until(lambda number=number: len(lesion()["points"]) == number)
        shown = "Bokeh.documents[0].get_model_by_name('axial').renderers[1].data_source.data.image.length"
        page.wait_for(shown)
        page.drag([axial.place(moved), axial.place(points[5] + (0, 0, 1)), axial.place(points[5])])
        until(lambda: lesion()["points"][5] == points[5, ::-1].tolist())
        page.press("3")
        ends = [(8, 20, 30), (8, 22, 32)]
        axial.go_to(8)
        page.drag([axial.place(ends[0]), axial.place((8, 21, 31)), axial.place(ends[1])])
        until(lambda: len(lesion()["strokes"]) == 1)
        page.press("s")  # no scribbles: what is left is the label
        label = converted(tmp_path, monkeypatch)[8, ::-1]  # rows from the bottom up
        until(lambda: np.array_equal(axial.overlay(label.shape), np.where(label == 2, IGNORE_VALUE, label)))
        page.press("n")
        page.wait_for("Bokeh.documents[0].get_model_by_name('status').text.includes('<b>b</b>')")
        page.press("t")
        until((tmp_path / "clicks" / "b.json").exists)
        assert page.problems == []
    assert json.loads((tmp_path / "clicks" / "b.json").read_text(encoding="utf-8"))["lesions"] == []
    stroke = lesion()["strokes"][0]
    assert stroke["is_lesion"] is False
    assert [stroke["points"][0], stroke["points"][-1]] == [[30, 20, 8], [32, 22, 8]]
    assert lesion()["seconds"] > 0
    assert (label[::-1][20, 30], label[::-1][20, 24]) == (0, 1)


def converted(folder, monkeypatch):
    """The label that the conversion makes of what is saved of case a."""
    image, _ = phantom()
    write(image, folder / "only_a" / "a_0000.nii.gz")
    arguments = ["-i", folder / "only_a", "-a", folder / "clicks", "-d", 5, "-n", "Clicked"]
    assert run(monkeypatch, folder / "raw", *arguments) == 0
    return array_of(folder / "raw" / "Dataset005_Clicked" / "labelsTr" / "a.nii.gz")
