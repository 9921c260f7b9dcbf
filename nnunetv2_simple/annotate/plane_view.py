"""One plane of the page: a slice of the image, the pseudo-mask, points, strokes, crosshair."""

from collections.abc import Sequence

import numpy as np
from bokeh.models import ColumnDataSource, Label, LinearColorMapper, Range1d, ScaleBar, Span
from bokeh.plotting import figure

from nnunetv2_simple.annotate.marks import MarkedLesion, Voxel
from nnunetv2_simple.annotate.planes import Plane
from nnunetv2_simple.report.colours import BOX, LABELS, OTHER_LABEL, POINT, SCRIBBLE, UNLABELLED

SCRIBBLE_VALUE, IGNORE_VALUE = 255, 254  # in the overlay
ALPHA = "60"  # of the overlay, hexadecimal
TRANSPARENT = "#00000000"
BACKGROUND = "#000000"
GRAB_PX = 12  # how near to a point one must press to take hold of it


def overlay_colours() -> LinearColorMapper:
    """Return the colours of the overlay: labels, what is uncertain, scribbles."""
    palette = [TRANSPARENT] + [LABELS[number % len(LABELS)] + ALPHA for number in range(255)]
    palette[IGNORE_VALUE], palette[SCRIBBLE_VALUE] = UNLABELLED + "50", SCRIBBLE + "d0"
    return LinearColorMapper(palette=palette, low=0, high=255)


class PlaneView:
    """A figure of one plane.

    Args:
        name: Of the plane.
        greys: Window of the image, shared by all planes.
    """

    def __init__(self, name: str, greys: LinearColorMapper):
        self.name, self.plane, self.index = name, None, 0
        self._centre, self._mm_per_px, self._frame_px = (0.0, 0.0), 1.0, (400.0, 400.0)
        self.figure = figure(
            name=name,
            tools="",
            toolbar_location=None,
            x_range=Range1d(0, 1),
            y_range=Range1d(0, 1),
            sizing_mode="stretch_both",
            min_width=100,
            min_height=100,
            background_fill_color=BACKGROUND,
            border_fill_color=BACKGROUND,
            outline_line_color="#444444",
            min_border=0,
        )
        self.figure.axis.visible = False
        self.figure.grid.visible = False
        box = {"x": "x", "y": "y", "dw": "dw", "dh": "dh"}
        empty = {"image": [], "x": [], "y": [], "dw": [], "dh": []}
        self._image, self._overlay = ColumnDataSource(empty), ColumnDataSource(empty)
        self.figure.image("image", source=self._image, color_mapper=greys, level="image", **box)
        self.mask = self.figure.image("image", source=self._overlay, color_mapper=overlay_colours(), **box)
        self._strokes = ColumnDataSource({"xs": [], "ys": [], "colour": []})
        self.figure.multi_line("xs", "ys", source=self._strokes, line_color="colour", line_width=4, line_alpha=0.9)
        self._boxes = ColumnDataSource({"left": [], "right": [], "bottom": [], "top": [], "colour": []})
        sides = {side: side for side in ("left", "right", "bottom", "top")}
        self.figure.quad(
            source=self._boxes, fill_alpha=0, line_color="colour", line_dash="dashed", line_alpha=0.8, **sides
        )
        self._points = ColumnDataSource({"x": [], "y": [], "alpha": [], "colour": [], "size": []})
        self.figure.scatter(
            "x", "y", source=self._points, size="size", fill_color="colour", line_color="white", alpha="alpha"
        )
        self._cross = [Span(dimension=d, line_color="#80c0ff", line_alpha=0.35) for d in ("height", "width")]
        self._letters = [Label(x=0, y=0, x_units="screen", y_units="screen", **_LETTER, **at) for at in _ENDS]
        self._place = Label(x=6, y=6, x_units="screen", y_units="screen", **_PLACE)
        for annotation in (*self._cross, *self._letters, self._place):
            self.figure.add_layout(annotation)
        self.figure.add_layout(ScaleBar(range=self.figure.x_range, unit="mm", **_SCALE_BAR))

    def show(self, plane: Plane) -> None:
        """Show another image, whole."""
        self.plane, self.index = plane, plane.num_slices // 2
        for letter, text in zip(self._letters, plane.ends, strict=True):
            letter.text = text
        self.fit()

    def fit(self) -> None:
        width, height = self._frame_px
        extent = self.plane.extent_mm
        self._centre = (extent[0] / 2, extent[1] / 2)
        self._mm_per_px = max(extent[0] / width, extent[1] / height)
        self._apply()

    def resize(self, width: float | None = None, height: float | None = None) -> None:
        """Fit into a frame of another size, in pixels, of which one number is new."""
        width, height = self._frame_px = (width or self._frame_px[0], height or self._frame_px[1])
        for letter, place in zip(self._letters, _letter_places(width, height), strict=True):
            letter.x, letter.y = place
        if self.plane is not None:
            self.fit()

    def zoom(self, factor: float, at: tuple[float, float] | None = None) -> None:
        """Enlarge by a factor; the place ``at`` (mm) stays where it is."""
        at = self._centre if at is None else at
        self._centre = tuple(a + (c - a) / factor for a, c in zip(at, self._centre, strict=True))
        self._mm_per_px /= factor
        self._apply()

    def pan(self, right_px: float, up_px: float) -> None:
        self._centre = (
            self._centre[0] - right_px * self._mm_per_px,
            self._centre[1] - up_px * self._mm_per_px,
        )
        self._apply()

    def scroll(self, step: int) -> None:
        self.index = min(max(self.index + step, 0), self.plane.num_slices - 1)

    def _apply(self) -> None:
        width, height = (size * self._mm_per_px / 2 for size in self._frame_px)
        self.figure.x_range.update(start=self._centre[0] - width, end=self._centre[0] + width)
        self.figure.y_range.update(start=self._centre[1] - height, end=self._centre[1] + height)

    def draw_image(self, volume: np.ndarray) -> None:
        self._image.data = self._picture(volume)

    def draw_overlay(self, volume: np.ndarray | None) -> None:
        self._overlay.data = {key: [] for key in self._overlay.data} if volume is None else self._picture(volume)

    def _picture(self, volume: np.ndarray) -> dict:
        width, height = self.plane.extent_mm
        found = self.plane.cut(volume, self.index)
        return {"image": [_small(found)], "x": [0], "y": [0], "dw": [width], "dh": [height]}

    def draw_marks(self, lesions: Sequence[MarkedLesion], current: int, crosshair: Voxel) -> None:
        """Draw points, boxes, strokes and the crosshair."""
        across = self.plane.axes[2]
        points = {"x": [], "y": [], "alpha": [], "colour": [], "size": []}
        boxes = {"left": [], "right": [], "bottom": [], "top": [], "colour": []}
        strokes = {"xs": [], "ys": [], "colour": []}
        for number, lesion in enumerate(lesions):
            for voxel in lesion.points:
                right, up = self.plane.on_screen(voxel)
                is_here = voxel[across] == self.index
                points["x"].append(right)
                points["y"].append(up)
                points["alpha"].append(1.0 if is_here else 0.3)
                points["colour"].append(POINT if number == current else OTHER_LABEL)
                points["size"].append(10 if is_here else 6)
            if lesion.is_complete:
                self._add_box(boxes, lesion, BOX if number == current else OTHER_LABEL)
            for stroke in lesion.strokes:
                here = [self.plane.on_screen(voxel) for voxel in stroke.points if voxel[across] == self.index]
                if here:
                    self._add_stroke(strokes, here, is_lesion=stroke.is_lesion)
        self._points.data, self._boxes.data, self._strokes.data = points, boxes, strokes
        right, up = self.plane.on_screen(crosshair)
        self._cross[0].location, self._cross[1].location = right, up
        self._place.text = f"{self.name}  {self.index + 1} / {self.plane.num_slices}"

    def draw_line(self, voxels: Sequence[Voxel], *, is_lesion: bool) -> None:
        """Draw a stroke that is not finished yet."""
        strokes = {key: list(value) for key, value in self._strokes.data.items()}
        self._add_stroke(strokes, [self.plane.on_screen(voxel) for voxel in voxels], is_lesion=is_lesion)
        self._strokes.data = strokes

    def _add_stroke(self, strokes: dict, places: list[tuple[float, float]], *, is_lesion: bool) -> None:
        places = places if len(places) > 1 else [places[0], (places[0][0] + 0.01, places[0][1])]
        strokes["xs"].append([place[0] for place in places])
        strokes["ys"].append([place[1] for place in places])
        strokes["colour"].append("#30d060" if is_lesion else "#ff5050")

    def _add_box(self, boxes: dict, lesion: MarkedLesion, colour: str) -> None:
        across = self.plane.axes[2]
        depth = [voxel[across] for voxel in lesion.points]
        if not min(depth) <= self.index <= max(depth):
            return
        corners = np.array([self.plane.on_screen(voxel) for voxel in lesion.points])
        half = np.array(self.plane.spacing_mm[:2]) / 2
        (left, bottom), (right, top) = corners.min(axis=0) - half, corners.max(axis=0) + half
        for side, value in zip(boxes, (left, right, bottom, top, colour), strict=True):
            boxes[side].append(value)

    def point_at(self, lesion: MarkedLesion | None, right_mm: float, up_mm: float) -> int | None:
        """Return the number of the point of a lesion on this slice that is near enough to be taken hold of."""
        across, nearest, found = self.plane.axes[2], GRAB_PX * self._mm_per_px, None
        for number, voxel in enumerate(lesion.points if lesion else ()):
            distance = float(np.hypot(*np.subtract(self.plane.on_screen(voxel), (right_mm, up_mm))))
            if voxel[across] == self.index and distance <= nearest:
                nearest, found = distance, number
        return found


_DARK = {"background_fill_color": "#000000", "background_fill_alpha": 0.4}
_LETTER = {"text": "", "text_color": "#ffd060", "text_font_size": "14px", "text_font_style": "bold", **_DARK}
_PLACE = {"text_color": "#dddddd", "text_font_size": "12px", **_DARK}
_ENDS = (
    {"text_align": "left", "text_baseline": "middle"},
    {"text_align": "right", "text_baseline": "middle"},
    {"text_align": "center", "text_baseline": "bottom"},
    {"text_align": "center", "text_baseline": "top"},
)
_SCALE_BAR = {
    "location": "bottom_right",
    **_DARK,
    "border_line_alpha": 0,
    "label_text_color": "#dddddd",
    "bar_line_color": "#dddddd",
    "bar_length": 0.25,
    "padding": 4,
    "margin": 4,
}


def _letter_places(width: float, height: float) -> list[tuple[float, float]]:
    return [(6, height / 2), (width - 6, height / 2), (width / 2, 4), (width / 2, height - 4)]


def _small(values: np.ndarray) -> np.ndarray:
    """Return voxels in a type that the browser reads, no larger than needed."""
    return values if values.dtype in (np.uint8, np.int8, np.uint16, np.int16) else values.astype(np.float32)
