"""Everything on the page that is not a plane: the bar of buttons, the list of cases, the panel of lesions."""

from collections.abc import Mapping
from html import escape
from typing import TYPE_CHECKING

from bokeh.layouts import column, row
from bokeh.models import (
    Button,
    ColumnDataSource,
    DataTable,
    Div,
    HTMLTemplateFormatter,
    RadioButtonGroup,
    Select,
    TableColumn,
    TextInput,
    UIElement,
)

from nnunetv2_simple.annotate.display import AUTO_WINDOW, WINDOWS
from nnunetv2_simple.annotate.marks import NUM_POINTS, TUMOR_FREE
from nnunetv2_simple.annotate.mouse import MODES
from nnunetv2_simple.annotate.session import Session
from nnunetv2_simple.report.colours import FOREGROUND, SCRIBBLE, UNLABELLED, WARNING

if TYPE_CHECKING:
    from nnunetv2_simple.annotate.page import Page

STATE_COLOURS = """<span style="color:<%=
  {done: '#0a7a35', begun: '#b06000', 'tumor-free': '#1a5fb4', skipped: '#777', unreadable: '#c01c28'}[value] || '#555'
%>"><%= value %></span>"""


STYLE = f"""
.error {{ color: {WARNING}; font-weight: 600; }}
p {{ margin: 6px 0; }}
.warning {{ border-left: 3px solid {WARNING}; padding-left: 6px; }}
i {{ display: inline-block; width: 12px; height: 12px; margin: 0 3px 0 6px; vertical-align: -1px; border-radius: 2px; }}
.lesion {{ background: {FOREGROUND}; }} .rim {{ background: {UNLABELLED}; }} .scribble {{ background: {SCRIBBLE}; }}
"""  # of texts: styles of the page do not reach into Bokeh's widgets


class Controls:
    """The widgets, and what they do.

    Args:
        labels: The classes.
        channels: Channel and subtracted channel by the name to show.
        page: Does what is asked for.
    """

    def __init__(self, labels: Mapping[str, int], channels: dict[str, tuple[int, int | None]], page: "Page"):
        self._channels, self._page, self._is_showing = channels, page, False
        self._num_drawn = 0
        self._keys = TextInput(name="keys", visible=False)
        self._keys.on_change("value", lambda attr, old, new: page.press(new.partition(" ")[0]))
        self._mode = RadioButtonGroup(labels=[f"{key} {mode}" for key, mode in MODES.items()], active=0)
        self._mode.on_change("active", lambda attr, old, new: self._if_user(page.set_mode, list(MODES.values())[new]))
        self._window = Select(options=list(WINDOWS), value=AUTO_WINDOW, width=130)
        self._window.on_change("value", lambda attr, old, new: page.display.set_window(new))
        self._channel = Select(options=list(channels), value=next(iter(channels)), width=130)
        self._channel.on_change("value", lambda attr, old, new: page.set_channel())
        self._message = Div(name="message", sizing_mode="stretch_width", stylesheets=[STYLE])
        self._table = self._make_table()
        self._lesions = Select(options=[], width=200)
        self._lesions.on_change("value", lambda attr, old, new: self._if_user(page.select_lesion, int(new or 0)))
        self._label = Select(options=list(labels), value=next(iter(labels)), width=110, visible=len(labels) > 1)
        self._label.on_change("value", lambda attr, old, new: self._if_user(page.set_label, new))
        self._progress = Div(name="progress", stylesheets=[STYLE], styles={"min-height": "18px"})
        self._status = Div(name="status", sizing_mode="stretch_width", stylesheets=[STYLE])
        self.roots = [*self._bar(), self._table_root(), self._panel()]

    @property
    def channel(self) -> tuple[int, int | None]:
        return self._channels[self._channel.value]

    @property
    def window(self) -> str:
        return self._window.value

    def _if_user(self, function, *arguments) -> None:
        """Do something unless the widget only shows what was done."""
        if not self._is_showing:
            function(*arguments)

    def _button(self, text: str, key: str, width: int, kind: str = "default") -> Button:
        button = Button(label=text, button_type=kind, width=width, height=30, margin=2)
        button.on_click(lambda: self._page.press(key))
        return button

    def _bar(self) -> list[UIElement]:
        buttons = [self._button("◀ p", "p", 48), self._button("n ▶", "n", 48), self._mode, self._window]
        if len(self._channels) > 1:
            buttons.append(self._channel)
        buttons += [self._button("undo z", "z", 64), self._button("review r", "r", 74), self._keys]
        return [row(*buttons, name="bar", styles={"flex-wrap": "wrap", "gap": "4px"}), self._message]

    def _make_table(self) -> DataTable:
        self._rows = ColumnDataSource({name: [] for name in ("case", "state", "lesions", "warnings")})
        self._rows.selected.on_change("indices", lambda attr, old, new: self._if_user(self._row_chosen, new))
        titles = {"case": ("case", 92), "state": ("state", 68), "lesions": ("n", 20), "warnings": ("!", 20)}
        columns = [
            TableColumn(
                field=field,
                title=title,
                width=width,
                sortable=False,
                **({"formatter": HTMLTemplateFormatter(template=STATE_COLOURS)} if field == "state" else {}),
            )
            for field, (title, width) in titles.items()
        ]
        return DataTable(
            source=self._rows,
            columns=columns,
            index_position=None,
            sizing_mode="stretch_both",
            min_height=120,
            row_height=24,
            autosize_mode="none",
            reorderable=False,
        )

    def _table_root(self) -> UIElement:
        return column(self._table, name="cases", sizing_mode="stretch_both")

    def _row_chosen(self, indices: list[int]) -> None:
        if indices:
            self._page.open_case(self._rows.data["case"][indices[0]])

    def _panel(self) -> UIElement:
        wrap = {"flex-wrap": "wrap", "gap": "4px"}
        return column(
            row(self._lesions, self._label, styles=wrap),
            row(
                self._button("new lesion a", "a", 100, "primary"),
                self._button("delete Del", "Delete", 88),
                self._button("clear strokes c", "c", 116),
                self._button("no lesion here t", "t", 118),
                self._button("skip k", "k", 60),
                styles=wrap,
            ),
            self._progress,
            self._status,
            name="panel",
            sizing_mode="stretch_width",
        )

    # what is shown

    def say(self, text: str, *, is_error: bool = False) -> None:
        self._message.text = f'<span class="{"error" if is_error else "note"}">{escape(text)}</span>' if text else ""

    def show_progress(self, text: str) -> None:
        self._progress.text = escape(text)

    def show_mode(self, mode: str) -> None:
        self._show(lambda: setattr(self._mode, "active", list(MODES.values()).index(mode)))

    def _show(self, change) -> None:
        self._is_showing = True
        try:
            change()
        finally:
            self._is_showing = False

    def show_rows(self, session: Session) -> None:
        rows = session.rows
        data = {
            "case": [found.identifier for found in rows],
            "state": [found.state for found in rows],
            "lesions": [found.num_lesions or "" for found in rows],
            "warnings": ["" if found.num_warnings is None else found.num_warnings for found in rows],
        }
        if data != self._rows.data:
            self._rows.data = data
            self._num_drawn += 1
            self._table.tags = [self._num_drawn]  # other rows of the same number are not drawn without a change of it
        open_case = session.case.identifier if session.case else None
        indices = [number for number, found in enumerate(rows) if found.identifier == open_case]
        self._show(lambda: setattr(self._rows.selected, "indices", indices))

    def show_lesions(self, session: Session) -> None:
        if session.case is None:
            return
        marks, lesion = session.marks, session.lesion

        def change() -> None:
            self._lesions.options = [
                (str(number), f"{number + 1} {found.label}: {len(found.points)} of {NUM_POINTS}, {found.seconds:.0f} s")
                for number, found in enumerate(marks.lesions)
            ]
            if lesion is None:
                self._lesions.options += [(str(session.lesion_number), "a new lesion: click")]
            self._lesions.value = str(session.lesion_number)
            if lesion is not None:
                self._label.value = lesion.label

        self._show(change)
        self._status.text = self._summary(session)

    def _summary(self, session: Session) -> str:
        marks, lesion = session.marks, session.lesion
        case = f"<b>{escape(session.case.identifier)}</b>: {marks.state}"
        if marks.state == TUMOR_FREE:
            return case + "<p>The whole image is background.</p>"
        if lesion is None:
            return case + "<p>Click the six outermost voxels of the lesion, two along each direction, in any order.</p>"
        if not lesion.is_complete:
            missing = NUM_POINTS - len(lesion.points)
            case += f"<p>{len(lesion.points)} of {NUM_POINTS} points, {missing} to go. Drag a point to move it.</p>"
        else:
            case += (
                "<p><i class='lesion'></i>lesion <i class='rim'></i>uncertain <i class='scribble'></i>scribbles. "
                "Drag a point, or draw what <b>is</b> (2) or <b>is not</b> (3) lesion.</p>"
            )
        if (disagreement := session.disagreements.get(session.case.identifier)) is not None:
            case += f"<p>The other model disagrees: 1 - Dice = {disagreement:.2f}.</p>"
        warnings = [*session.annotation_warnings(), *session.warnings.get(session.case.identifier, [])]
        return case + "".join(f'<p class="warning">{escape(text)}</p>' for text in warnings)
