"""What the mouse does in the planes."""

from functools import partial
from typing import TYPE_CHECKING

from bokeh import events

from nnunetv2_simple.annotate.marks import Voxel
from nnunetv2_simple.annotate.plane_view import PlaneView

if TYPE_CHECKING:
    from nnunetv2_simple.annotate.page import Page

MARK, ADD, ERASE, WINDOW, PAN = "points", "is lesion", "not lesion", "window", "pan"
MODES = {"1": MARK, "2": ADD, "3": ERASE, "4": WINDOW, "5": PAN}
ZOOM_STEP = 1.15
DOUBLE_WIDTH_PX, LEVEL_PX = 150, 250  # to drag for twice the window, or for a level one window away


class Mouse:
    """The mouse of a page.

    Args:
        page: Whose planes it moves in.

    Attributes:
        mode: One of :data:`MODES`.
    """

    def __init__(self, page: "Page"):
        self._page, self.mode = page, MARK
        self._dragged: str | int | None = None  # a mode, or the number of a point
        self._line: list[Voxel] = []
        self._window_at_start, self._panned = (0.0, 1.0), (0.0, 0.0)

    def listen_to(self, view: PlaneView) -> None:
        for event, handle in (
            (events.Tap, self._tap),
            (events.DoubleTap, self._tap),  # two quick clicks, wherever they are
            (events.PressUp, self._tap),  # a slow one
            (events.PanStart, self._start),
            (events.Pan, self._drag),
            (events.PanEnd, self._end),
            (events.MouseWheel, self._turn),
            (events.MouseEnter, self._enter),
        ):
            view.figure.on_event(event, partial(handle, view))

    def _enter(self, view: PlaneView, event: events.MouseEnter) -> None:
        self._page.display.active = view

    def _voxel(self, view: PlaneView, event: events.PointEvent) -> Voxel | None:
        if not self._page.is_ready or event.x is None:
            return None
        self._page.display.active = view
        return view.plane.voxel_at(event.x, event.y, view.index)

    def _tap(self, view: PlaneView, event: events.PointEvent) -> None:
        page, session = self._page, self._page.session
        if (voxel := self._voxel(view, event)) is None:
            return
        if self.mode in (ADD, ERASE):
            page.change(partial(session.add_stroke, [voxel], is_lesion=self.mode == ADD))
            return
        if self.mode == MARK and view.point_at(session.lesion, event.x, event.y) is None:
            page.change(partial(session.click, voxel))
        page.display.go_to(voxel)
        page.display.draw_all()

    def _start(self, view: PlaneView, event: events.PanStart) -> None:
        if (voxel := self._voxel(view, event)) is None:
            self._dragged = None
            return
        greys = self._page.display.greys
        self._window_at_start, self._panned = (greys.low, greys.high), (0.0, 0.0)
        self._dragged, self._line = self.mode, [voxel]
        if self.mode == MARK:
            point = view.point_at(self._page.session.lesion, event.x, event.y)
            self._dragged = PAN if point is None else point

    def _drag(self, view: PlaneView, event: events.Pan) -> None:
        display = self._page.display
        if self._dragged is None or not self._page.is_ready:
            return
        if self._dragged == PAN:
            view.pan(event.delta_x - self._panned[0], self._panned[1] - event.delta_y)
            self._panned = (event.delta_x, event.delta_y)
        elif self._dragged == WINDOW:
            low, high = self._window_at_start
            width = (high - low) * 2 ** (event.delta_x / DOUBLE_WIDTH_PX)
            level = (low + high) / 2 - (high - low) * event.delta_y / LEVEL_PX
            display.greys.update(low=level - width / 2, high=level + width / 2)
        elif (voxel := self._voxel(view, event)) is not None and voxel != self._line[-1]:
            self._line.append(voxel)
            if self._dragged in (ADD, ERASE):
                view.draw_line(self._line, is_lesion=self._dragged == ADD)
            else:
                display.crosshair = voxel
                display.draw()

    def _end(self, view: PlaneView, event: events.PanEnd) -> None:
        page, session = self._page, self._page.session
        dragged, self._dragged = self._dragged, None
        if dragged in (ADD, ERASE):
            page.change(partial(session.add_stroke, self._line, is_lesion=dragged == ADD))
        elif isinstance(dragged, int) and len(self._line) > 1:
            page.change(partial(session.move_point, dragged, self._line[-1]))

    def _turn(self, view: PlaneView, event: events.MouseWheel) -> None:
        if not self._page.is_ready or not event.delta:
            return
        self._page.display.active = view
        if event.modifiers and event.modifiers.get("ctrl"):
            factor = ZOOM_STEP if event.delta > 0 else 1 / ZOOM_STEP
            self._page.display.zoom(factor, view=view, at=(event.x, event.y))
        else:
            self._page.scroll(1 if event.delta > 0 else -1)
