"""The page of one browser tab: cases, keys, and what a change brings about. All of it runs in Python."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import jinja2
import SimpleITK as sitk
from bokeh.document import Document

from nnunetv2_simple.annotate.controls import Controls
from nnunetv2_simple.annotate.display import Display, shown_channels
from nnunetv2_simple.annotate.folder import ImageCase
from nnunetv2_simple.annotate.marks import BEGUN, UNTOUCHED
from nnunetv2_simple.annotate.masks import LesionMask
from nnunetv2_simple.annotate.mouse import MODES, ZOOM_STEP, Mouse
from nnunetv2_simple.annotate.session import Session
from nnunetv2_simple.annotate.work import Work

TEMPLATES = Path(__file__).parent / "templates"


class Pages:
    """The page in whichever browser tab was opened last; an older tab says so and does nothing.

    Args:
        session: What is annotated.
        channel_names: What to call the channels.
        evidence: A folder of what another model says of the cases.
    """

    def __init__(self, session: Session, channel_names: list[str], evidence: Path | None = None):
        self._session, self._channel_names, self._work = session, channel_names, Work(session, evidence)
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

    Attributes:
        is_ready: Whether there is an image to work on.
    """

    def __init__(self, document: Document, session: Session, work: Work, channel_names: list[str]):
        self._document, self.session, self._work = document, session, work
        self._is_retired, self._is_drawing, self.is_ready = False, False, False
        self.display, self.mouse = Display(session), Mouse(self)
        self.controls = Controls(session.labels, shown_channels(channel_names, session.walker_image), self)
        self._keys = self._what_keys_do()
        self._set_up(document)
        self.open_case(session.case.identifier if session.case else _first_unfinished(session))

    def _set_up(self, document: Document) -> None:
        for view in self.display.views.values():
            self.mouse.listen_to(view)
            view.figure.on_change("inner_width", lambda attr, old, new, view=view: view.resize(width=new))
            view.figure.on_change("inner_height", lambda attr, old, new, view=view: view.resize(height=new))
            document.add_root(view.figure)
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

    def _later(self, function: Callable[[], None]) -> None:
        """Run a function on the page's own thread, from any."""
        if not self._is_retired:
            self._document.add_next_tick_callback(lambda: None if self._is_retired else function())

    # cases

    def open_case(self, identifier: str) -> None:
        if problem := self.session.problem_of(identifier):
            self._cannot_show(identifier, problem)
            return
        self.is_ready = False
        self.controls.say(f"Reading {identifier} ...")
        case = self.session.case_of(identifier)
        self._work.read(case, lambda *found: self._later(lambda: self._opened(identifier, *found)))

    def _opened(self, identifier: str, channels: list[sitk.Image] | None, problem: str) -> None:
        session = self.session
        if channels is None:
            session.set_problem(identifier, problem)
            self._cannot_show(identifier, problem)
            return
        session.open(identifier, channels)
        self.display.show_case()
        self.display.go_to_lesion()
        self.is_ready = True
        self.controls.say("")
        self.set_channel()
        self.refresh()
        self._walk()
        following = session.neighbour(1)
        if following != identifier and not session.problem_of(following):
            self._work.read_ahead(session.case_of(following))

    def _cannot_show(self, identifier: str, problem: str) -> None:
        self.is_ready = self.session.case is not None and bool(self.session.channels)
        self.controls.say(f"{identifier}: {problem}", is_error=True)
        self.controls.show_rows(self.session)

    def step(self, places: int) -> None:
        """Open the next case, or one further away, passing over those that cannot be shown."""
        session = self.session
        identifier = session.neighbour(places)
        if session.case is None or identifier != session.case.identifier:
            self.open_case(identifier)

    def review(self) -> None:
        """Bring the cases into the order in which a second look helps most, and open the first."""
        self.controls.say("Looking at the pseudo-masks of all finished cases ...")
        self._work.rank(lambda *found: self._later(lambda: self._ranked(*found)))

    def _ranked(self, identifier: str, warnings: list[str], disagreement: float | None) -> None:
        session = self.session
        if identifier:
            session.warnings[identifier] = warnings
            if disagreement is not None:
                session.disagreements[identifier] = disagreement
            self.controls.say(f"Looked at {identifier}: {len(warnings)} warnings")
            return
        session.sort_for_review()
        self.controls.show_rows(session)
        self.open_case(session.order[0])

    # keys and widgets

    def press(self, key: str) -> None:
        """Do what a key stands for; see the help of the page."""
        action, needs_image = self._keys.get(key, (None, False))
        if action is not None and (self.is_ready or not needs_image):
            action()

    def _what_keys_do(self) -> dict[str, tuple[Callable[[], None], bool]]:
        """Return what each key does, and whether that takes an image."""
        session, display = self.session, self.display
        always = {"n": partial(self.step, 1), "p": partial(self.step, -1), "r": self.review}
        always |= {key: partial(self.set_mode, mode) for key, mode in MODES.items()}
        ready = {
            "ArrowUp": partial(self.scroll, 1),
            "ArrowDown": partial(self.scroll, -1),
            "PageUp": partial(self.scroll, 5),
            "PageDown": partial(self.scroll, -5),
            "+": partial(display.zoom, ZOOM_STEP),
            "-": partial(display.zoom, 1 / ZOOM_STEP),
            "f": display.fit,
            "g": self._go_to_lesion,
            "m": display.toggle_mask,
            "s": display.toggle_scribbles,
            "a": partial(self.change, session.new_lesion),
            "l": self._next_lesion,
            "z": partial(self.change, session.undo),
            "y": partial(self.change, session.redo),
            "t": self._tumor_free,
            "k": partial(self.change, session.toggle_skipped),
            "c": partial(self.change, session.remove_strokes),
            "Backspace": self._remove_last_point,
            "Delete": partial(self.change, session.delete_lesion),
        }
        return {key: (action, key in ready) for key, action in (always | ready).items()}

    def set_mode(self, mode: str) -> None:
        self.mouse.mode = mode
        self.controls.show_mode(mode)

    def set_channel(self) -> None:
        if self.is_ready:
            self.display.set_channel(*self.controls.channel)
            self.display.set_window(self.controls.window)
            self.display.draw_all()

    def scroll(self, step: int) -> None:
        self.session.note_action()
        self.display.scroll(step)
        if not self._is_drawing:  # of many turns of the wheel the last one is drawn
            self._is_drawing = True
            self._later(self._draw_scrolled)

    def _draw_scrolled(self) -> None:
        self._is_drawing = False
        self.display.draw([self.display.active])

    def _go_to_lesion(self) -> None:
        self.display.go_to_lesion()
        self.display.draw_all()

    def _next_lesion(self) -> None:
        if self.session.marks.lesions:
            self.select_lesion((self.session.lesion_number + 1) % len(self.session.marks.lesions))

    def select_lesion(self, number: int) -> None:
        self.session.select_lesion(number)
        self._go_to_lesion()
        self.refresh()

    def set_label(self, label: str) -> None:
        if self.is_ready:
            self.change(partial(self.session.set_label, label))

    def _remove_last_point(self) -> None:
        if self.session.lesion is not None:
            self.change(partial(self.session.remove_point, len(self.session.lesion.points) - 1))

    def _tumor_free(self) -> None:
        if self.session.marks.lesions:
            self.controls.say("Delete the lesions first: a case without tumor has none.", is_error=True)
        else:
            self.change(self.session.toggle_tumor_free)

    # changes

    def change(self, action: Callable[[], object]) -> None:
        """Let the session do something, and show what came of it."""
        self.controls.say("")
        try:
            action()
        except OSError as error:
            self.controls.say(f"NOT SAVED: {error}. Free space, then change anything to save again.", is_error=True)
        self.refresh()
        self._walk()

    def _walk(self) -> None:
        """Show the pseudo-masks that are known, and have the others made."""
        session = self.session
        lesions, case = session.outdated(), session.case
        self.display.draw_masks()
        self.controls.show_progress("computing the pseudo-mask ..." if lesions else "")
        if session.complete_keys():
            self._work.walk(lesions, lambda *found: self._later(lambda: self._walked(case, *found)))

    def _walked(
        self, case: ImageCase, key: str, mask: LesionMask | None, problem: str, warnings: list[str] | None
    ) -> None:
        session = self.session
        if session.case is not case:
            return
        if mask is not None:
            session.masks[key] = mask
            self.controls.show_progress("preview, the exact one follows ..." if mask.is_preview else "")
            self.display.draw_masks()
        elif problem:
            self.controls.say(problem, is_error=True)
            self.controls.show_progress("")
        elif warnings is not None:
            session.warnings[case.identifier] = warnings
            self.refresh()

    def refresh(self) -> None:
        """Show lists and marks as they are now."""
        self.controls.show_rows(self.session)
        self.controls.show_lesions(self.session)
        if self.is_ready:
            self.display.draw()


def _first_unfinished(session: Session) -> str:
    """Return the first case that nobody has finished."""
    rows = [row for row in session.rows if not row.problem]
    unfinished = [row.identifier for row in rows if row.state in (UNTOUCHED, BEGUN)]
    return (unfinished or [row.identifier for row in rows] or session.order)[0]
