"""The page: three linked planes, the list of cases, and what keys and mouse do. All of it runs in Python."""

from functools import partial
from pathlib import Path

import jinja2
import numpy as np
import SimpleITK as sitk
from bokeh import events
from bokeh.document import Document
from bokeh.models import LinearColorMapper

from nnunetv2_simple.annotate.controls import ADD, AUTO_WINDOW, ERASE, MARK, MODES, PAN, WINDOW, WINDOWS, Controls
from nnunetv2_simple.annotate.marks import Voxel
from nnunetv2_simple.annotate.masks import LesionMask
from nnunetv2_simple.annotate.plane_view import IGNORE_VALUE, SCRIBBLE_VALUE, PlaneView
from nnunetv2_simple.annotate.planes import VIEWS, planes_of
from nnunetv2_simple.annotate.session import Session
from nnunetv2_simple.annotate.work import Work

TEMPLATES = Path(__file__).parent / "templates"
GREYS = [f"#{grey:02x}{grey:02x}{grey:02x}" for grey in range(256)]
ZOOM_STEP = 1.15


class Pages:
    """The page in whichever browser tab was opened last; an older tab says so and does nothing.

    Args:
        session: What is annotated.
        channel_names: What to call the channels.
    """

    def __init__(self, session: Session, channel_names: list[str]):
        self._session, self._channel_names, self._work = session, channel_names, Work(session)
        self._page: Page | None = None

    def add(self, document: Document) -> None:
        if self._page is not None:
            self._page.retire()
        self._page = Page(document, self._session, self._work, self._channel_names)

    def close(self) -> None:
        self._work.close()


class Page:
    """One browser tab.

    Args:
        document: Bokeh's.
        session: What is annotated.
        work: Does what takes long.
        channel_names: What to call the channels.
    """

    def __init__(self, document: Document, session: Session, work: Work, channel_names: list[str]):
        self._document, self._session, self._work = document, session, work
        self._is_retired = False
        self._greys = LinearColorMapper(palette=GREYS, low=0, high=1)
        self._views = {name: PlaneView(name, self._greys) for name in VIEWS}
        self._active = self._views["axial"]
        self._crosshair: Voxel = (0, 0, 0)
        self._volume, self._overlay = np.zeros((1, 1, 1)), None
        self._mode, self._drag, self._stroke = MARK, None, []
        self._shows_mask, self._shows_scribbles = True, True
        self._window_at_start, self._panned = (0.0, 1.0), (0.0, 0.0)
        self._is_drawing, self._is_reviewing, self._is_ready = False, False, False
        self.controls = Controls(session.labels, _shown_channels(channel_names, session.walker_image), self)
        self._set_up(document)
        start = session.case.identifier if session.case else _first_open(session)
        self.open_case(start)

    def _set_up(self, document: Document) -> None:
        for view in self._views.values():
            plot = view.figure
            for event, handle in (
                (events.Tap, self._on_tap),
                (events.DoubleTap, self._on_tap),  # two quick clicks, wherever they are
                (events.PressUp, self._on_tap),  # a slow one
                (events.PanStart, self._on_drag_start),
                (events.Pan, self._on_drag),
                (events.PanEnd, self._on_drag_end),
                (events.MouseWheel, self._on_wheel),
                (events.MouseEnter, self._on_enter),
            ):
                plot.on_event(event, partial(handle, view))
            plot.on_change("inner_width", lambda attr, old, new, view=view: view.resize(width=new))
            plot.on_change("inner_height", lambda attr, old, new, view=view: view.resize(height=new))
            document.add_root(plot)
        for root in self.controls.roots:
            document.add_root(root)
        environment = jinja2.Environment(loader=jinja2.FileSystemLoader(TEMPLATES))  # of Bokeh come elements, not text
        document.template = environment.get_template("page.html")
        document.template_variables.update(
            {name: (TEMPLATES / f"page.{name}").read_text(encoding="utf-8") for name in ("css", "js")}
        )
        document.title = "nnUNetv2_simple_annotate"
        document.on_session_destroyed(self._end)

    def _end(self, context) -> None:
        """Do nothing more: the tab is closed."""
        self._is_retired = True

    def retire(self) -> None:
        """Leave the cases to another tab."""
        if self._is_retired:
            return
        self._is_retired = True
        self._document.add_next_tick_callback(
            lambda: self.controls.say("This page was opened in another tab. Reload to go on here.", is_error=True)
        )

    def _later(self, function) -> None:
        """Run a function on the page's own thread, from any."""
        if not self._is_retired:
            self._document.add_next_tick_callback(lambda: None if self._is_retired else function())

    # cases

    def open_case(self, identifier: str) -> None:
        session = self._session
        if problem := session.problem_of(identifier):
            self.controls.say(f"{identifier}: {problem}", is_error=True)
            self.controls.show_rows(session)
            return
        self._is_ready = False
        self.controls.say(f"Reading {identifier} ...")
        self._work.read(
            session.case_of(identifier), lambda *found: self._later(lambda: self._opened(identifier, *found))
        )

    def _opened(self, identifier: str, channels: list[sitk.Image] | None, problem: str) -> None:
        session = self._session
        if channels is None:
            session.set_problem(identifier, problem)
            self.controls.say(f"{identifier}: {problem}", is_error=True)
            self.controls.show_rows(session)
            return
        session.open(identifier, channels)
        for name, plane in planes_of(channels[0]).items():
            self._views[name].show(plane)
        self._crosshair = tuple(n // 2 for n in channels[0].GetSize())
        self._is_ready = True
        self.set_channel(self.controls.channel)
        self.controls.say("")
        if session.lesion is not None and session.lesion.points:
            self.go_to_lesion()
        self.refresh()
        self._walk()
        following = session.neighbour(1)
        if following != identifier and not session.problem_of(following):
            self._work.read_ahead(session.case_of(following))

    def step(self, places: int) -> None:
        """Open the next case that can be shown, or one further away."""
        session = self._session
        identifier = session.neighbour(places)
        if session.case is None or identifier != session.case.identifier:
            self.open_case(identifier)

    def review(self) -> None:
        """Bring the cases into the order in which a second look helps most, and open the first."""
        self._is_reviewing = True
        self.controls.say("Looking at the pseudo-masks of all finished cases ...")
        self._work.rank(lambda *found: self._later(lambda: self._ranked(*found)))

    def _ranked(self, identifier: str, warnings: list[str] | None) -> None:
        session = self._session
        if warnings is not None:
            session.warnings[identifier] = warnings
            self.controls.say(f"Looked at {identifier}: {len(warnings)} warnings")
            return
        session.sort_for_review()
        self.controls.show_rows(session)
        self.open_case(session.order[0])

    # image and planes

    def set_channel(self, chosen: tuple[int, int | None]) -> None:
        if not self._is_ready:
            return
        arrays = [sitk.GetArrayViewFromImage(channel) for channel in self._session.channels]
        channel, subtracted = chosen
        self._volume = arrays[channel]
        if subtracted is not None:
            self._volume = arrays[channel].astype(np.float32) - arrays[subtracted]
        self.set_window(self.controls.window)
        self._draw(images=True)

    def set_window(self, name: str) -> None:
        if name == AUTO_WINDOW or name not in WINDOWS:
            some = self._volume.ravel()[:: max(self._volume.size // 200_000, 1)]
            low, high = np.quantile(some, [0.005, 0.995])
        else:
            level, width = WINDOWS[name]
            low, high = level - width / 2, level + width / 2
        self._greys.update(low=float(low), high=float(max(high, low + 1e-6)))

    def fit(self) -> None:
        for view in self._views.values():
            view.fit()

    def toggle_mask(self) -> None:
        self._shows_mask = not self._shows_mask
        for view in self._views.values():
            view.mask.visible = self._shows_mask

    def toggle_scribbles(self) -> None:
        self._shows_scribbles = not self._shows_scribbles
        self._masks_changed()

    def set_mode(self, mode: str) -> None:
        self._mode = mode
        self.controls.show_mode(mode)

    def _go_to(self, voxel: Voxel) -> None:
        self._crosshair = voxel
        for view in self._views.values():
            view.index = voxel[view.plane.axes[2]]

    def go_to_lesion(self) -> None:
        lesion = self._session.lesion
        if lesion is not None and lesion.points:
            middle = (np.min(lesion.points, axis=0) + np.max(lesion.points, axis=0)) // 2
            self._go_to(tuple(int(v) for v in middle))
            self._draw(images=True)

    def _draw(self, *, images: bool = False) -> None:
        session = self._session
        for view in self._views.values():
            if images:
                view.draw_image(self._volume)
                view.draw_overlay(self._overlay)
            view.draw_marks(session.marks.lesions, session.lesion_number, self._crosshair, session.labels)

    # mouse

    def _on_enter(self, view: PlaneView, event: events.MouseEnter) -> None:
        self._active = view

    def _voxel(self, view: PlaneView, event: events.PointEvent) -> Voxel | None:
        return view.plane.voxel_at(event.x, event.y, view.index) if self._is_ready and event.x is not None else None

    def _on_tap(self, view: PlaneView, event: events.Tap) -> None:
        if (voxel := self._voxel(view, event)) is None:
            return
        self._active = view
        if self._mode in (ADD, ERASE):
            self._changes(lambda: self._session.add_stroke([voxel], is_lesion=self._mode == ADD))
            return
        if self._mode == MARK and view.point_at(self._session.lesion, event.x, event.y) is None:
            self._changes(lambda: self._session.click(voxel))
        self._go_to(voxel)
        self._draw(images=True)

    def _on_drag_start(self, view: PlaneView, event: events.PanStart) -> None:
        if (voxel := self._voxel(view, event)) is None:
            self._drag = None
            return
        self._active, self._panned = view, (0.0, 0.0)
        self._window_at_start = (self._greys.low, self._greys.high)
        self._drag, self._stroke = self._mode, [voxel]
        if self._mode == MARK:
            self._drag = view.point_at(self._session.lesion, event.x, event.y)
            if self._drag is None:
                self._drag = PAN

    def _on_drag(self, view: PlaneView, event: events.Pan) -> None:
        if self._drag is None or not self._is_ready:
            return
        if self._drag == PAN:
            view.pan(event.delta_x - self._panned[0], self._panned[1] - event.delta_y)
            self._panned = (event.delta_x, event.delta_y)
        elif self._drag == WINDOW:
            self._drag_window(event)
        elif (voxel := self._voxel(view, event)) is not None and voxel != self._stroke[-1]:
            self._stroke.append(voxel)
            if self._drag in (ADD, ERASE):
                view.draw_line(self._stroke, is_lesion=self._drag == ADD)
            else:
                self._crosshair = voxel
                self._draw()

    def _drag_window(self, event: events.Pan) -> None:
        low, high = self._window_at_start
        width = (high - low) * 2 ** (event.delta_x / 150)
        level = (low + high) / 2 - (high - low) * event.delta_y / 250
        self._greys.update(low=level - width / 2, high=level + width / 2)

    def _on_drag_end(self, view: PlaneView, event: events.PanEnd) -> None:
        drag, self._drag = self._drag, None
        if drag in (ADD, ERASE):
            self._changes(lambda: self._session.add_stroke(self._stroke, is_lesion=drag == ADD))
        elif isinstance(drag, int) and len(self._stroke) > 1:
            self._changes(lambda: self._session.move_point(drag, self._stroke[-1]))

    def _on_wheel(self, view: PlaneView, event: events.MouseWheel) -> None:
        if not self._is_ready or not event.delta:
            return
        self._active = view
        if event.modifiers and event.modifiers.get("ctrl"):
            factor = ZOOM_STEP if event.delta > 0 else 1 / ZOOM_STEP
            for other in self._views.values():
                other.zoom(factor, (event.x, event.y) if other is view else None)
        else:
            self.scroll(1 if event.delta > 0 else -1)

    def scroll(self, step: int) -> None:
        if not self._is_ready:
            return
        self._session.note_action()
        view = self._active
        view.scroll(step)
        crosshair = list(self._crosshair)
        crosshair[view.plane.axes[2]] = view.index
        self._crosshair = tuple(crosshair)
        if not self._is_drawing:  # of many turns of the wheel the last one is drawn
            self._is_drawing = True
            self._later(self._draw_scrolled)

    def _draw_scrolled(self) -> None:
        self._is_drawing = False
        self._active.draw_image(self._volume)
        self._active.draw_overlay(self._overlay)
        self._draw()

    # keys

    def press(self, key: str) -> None:
        """Do what a key stands for; see the help of the page."""
        session = self._session
        always = {"n": partial(self.step, 1), "p": partial(self.step, -1), "r": self.review}
        always |= {key: partial(self.set_mode, mode) for key, mode in MODES.items()}
        ready = {
            "ArrowUp": partial(self.scroll, 1),
            "ArrowDown": partial(self.scroll, -1),
            "PageUp": partial(self.scroll, 5),
            "PageDown": partial(self.scroll, -5),
            "+": partial(self._zoom_all, ZOOM_STEP),
            "-": partial(self._zoom_all, 1 / ZOOM_STEP),
            "f": self.fit,
            "g": self.go_to_lesion,
            "m": self.toggle_mask,
            "s": self.toggle_scribbles,
            "a": partial(self.change, session.new_lesion),
            "l": self.next_lesion,
            "z": partial(self.change, session.undo),
            "y": partial(self.change, session.redo),
            "t": self.tumor_free,
            "k": partial(self.change, session.toggle_skipped),
            "Backspace": self.remove_last_point,
            "Delete": partial(self.change, session.delete_lesion),
            "c": partial(self.change, session.remove_strokes),
        }
        if key in always:
            always[key]()
        elif self._is_ready and key in ready:
            ready[key]()

    def _zoom_all(self, factor: float) -> None:
        for view in self._views.values():
            view.zoom(factor)

    def next_lesion(self) -> None:
        session = self._session
        if session.marks.lesions:
            self.select_lesion((session.lesion_number + 1) % len(session.marks.lesions))

    def select_lesion(self, number: int) -> None:
        self._session.select_lesion(number)
        self.go_to_lesion()
        self.refresh()

    def set_label(self, label: str) -> None:
        self.change(partial(self._session.set_label, label))

    def remove_last_point(self) -> None:
        lesion = self._session.lesion
        if lesion is not None and lesion.points:
            self.change(partial(self._session.remove_point, len(lesion.points) - 1))
        elif lesion is not None:
            self.change(self._session.delete_lesion)

    def tumor_free(self) -> None:
        if self._session.marks.lesions:
            self.controls.say("Delete the lesions first: a case without tumor has none.", is_error=True)
        else:
            self.change(self._session.toggle_tumor_free)

    # changes

    def change(self, action) -> None:
        if self._is_ready:
            self._changes(action)

    def _changes(self, action) -> None:
        """Let the session do something, and show what came of it."""
        self.controls.say("")
        try:
            action()
        except OSError as error:
            self.controls.say(f"NOT SAVED: {error}. Free space, then change anything to save again.", is_error=True)
        self.refresh()
        self._walk()

    def _walk(self) -> None:
        lesions = self._session.outdated()
        self._masks_changed()
        if lesions:
            self.controls.show_progress("computing the pseudo-mask ...")
        if self._session.complete_keys():
            case = self._session.case
            self._work.walk(lesions, lambda *found: self._later(lambda: self._walked(case, *found)))

    def _walked(self, case, key: str, mask: LesionMask | None, problem: str, warnings: list[str] | None) -> None:
        session = self._session
        if session.case is not case:
            return
        if mask is not None:
            session.masks[key] = mask
            self.controls.show_progress("preview, the exact one follows ..." if mask.is_preview else "")
            self._masks_changed()
        elif problem:
            self.controls.say(problem, is_error=True)
            self.controls.show_progress("")
        elif warnings is not None:
            session.warnings[case.identifier] = warnings
            self.controls.show_progress("")
            self.refresh()

    def _masks_changed(self) -> None:
        """Draw the pseudo-mask anew."""
        session = self._session
        masks = session.shown_masks()
        self._overlay = None
        if masks:
            overlay = session.label_image()
            overlay[overlay == session.ignore_label] = IGNORE_VALUE
            if self._shows_scribbles:
                for found in masks:
                    overlay[found.region][found.scribbles] = SCRIBBLE_VALUE
            self._overlay = overlay
        for view in self._views.values():
            view.draw_overlay(self._overlay)

    def refresh(self) -> None:
        """Show lists and marks as they are now."""
        session = self._session
        self.controls.show_rows(session)
        self.controls.show_lesions(session)
        if self._is_ready:
            self._draw()


def _shown_channels(names: list[str], walker_image) -> dict[str, tuple[int, int | None]]:
    """Return what can be looked at: what the walker sees first, then each channel, then differences to the first."""
    shown = {name: (number, None) for number, name in enumerate(names)}
    shown |= {f"{name} - {names[0]}": (number, 0) for number, name in enumerate(names) if number}
    seen = (walker_image.channel, walker_image.subtract)
    if seen not in shown.values():
        shown[f"{names[seen[0]]} - {names[seen[1]]}"] = seen
    return dict(sorted(shown.items(), key=lambda item: item[1] != seen))


def _first_open(session: Session) -> str:
    """Return the first case that nobody has finished."""
    rows = [row for row in session.rows if not row.problem]
    unfinished = [row.identifier for row in rows if row.state in ("untouched", "begun")]
    return (unfinished or [row.identifier for row in rows] or session.order)[0]
