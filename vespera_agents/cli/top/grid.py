"""A table for Textual that draws only the rows that are seen: ten thousand of them cost what thirty cost.

Textual's own keeps a cell for each value and measures them all at every change. Here a row is asked for its texts when
it comes into sight. Cells are plain text: no markup, fixed widths.
Neighbours: `views` makes the rows, `facts` makes their texts fit for a terminal.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final, final

from rich.segment import Segment
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from vespera_agents.cli.top.facts import fitted
from vespera_agents.cli.top.views import Column, Row

__all__ = ["Grid", "GridMoved", "GridOpened"]

_GAP: Final = 1
_MARKER: Final = {True: " ▼", False: " ▲"}


@final
class GridOpened(Message):
    """Enter, or a click on the row under the cursor."""

    def __init__(self, grid_id: str) -> None:
        self.grid_id = grid_id
        super().__init__()


@final
class GridMoved(Message):
    """The cursor is on another row, or that row may have changed."""

    def __init__(self, grid_id: str) -> None:
        self.grid_id = grid_id
        super().__init__()


@final
class Grid(ScrollView, can_focus=True):
    """Rows under a head that stays, with a cursor that stays on its row when others come and go."""

    ALLOW_SELECT = False
    COMPONENT_CLASSES: ClassVar[set[str]] = {"grid--head", "grid--cursor", "grid--bad", "grid--odd", "grid--good"}
    DEFAULT_CSS = """
    Grid { height: 1fr; overflow-x: hidden; scrollbar-size-vertical: 1; }
    Grid > .grid--head { text-style: bold; color: $text-muted; background: $panel; }
    Grid > .grid--cursor { background: $block-cursor-blurred-background; }
    Grid:focus > .grid--cursor { background: $block-cursor-background; color: $block-cursor-foreground; }
    Grid > .grid--bad { color: $text-error; }
    Grid > .grid--odd { color: $text-warning; }
    Grid > .grid--good { color: $text-success; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "Up", show=False),
        Binding("down,j", "move(1)", "Down", show=False),
        Binding("pageup", "page(-1)", "Page up", show=False),
        Binding("pagedown", "page(1)", "Page down", show=False),
        Binding("home,g", "move(-1000000000)", "First", show=False),
        Binding("end,G", "move(1000000000)", "Last", show=False),
        Binding("enter", "open", "Open"),
    ]

    def __init__(self, columns: Sequence[Column], *, grid_id: str, opens: bool) -> None:
        """Make a grid without rows.

        Args:
            columns: from left to right.
            grid_id: by which Textual finds it.
            opens: whether a row has a page of its own, which Enter opens.
        """
        super().__init__(id=grid_id)
        self.columns = tuple(columns)
        self.sorted_by: tuple[int, bool] | None = None
        """Number of the column by which the rows are in order, and whether the largest comes first."""
        self._told_as = grid_id
        self._opens = opens
        self._rows: Sequence[Row] = ()
        self._cursor = 0

    @property
    def rows(self) -> Sequence[Row]:
        """All rows, seen or not."""
        return self._rows

    @property
    def cursor(self) -> int:
        """The number of the row under the cursor."""
        return self._cursor

    @property
    def chosen(self) -> Row | None:
        """The row under the cursor; None without rows."""
        return self._rows[self._cursor] if self._rows else None

    def show(self, rows: Sequence[Row]) -> None:
        """Take other rows; the cursor stays on the row that it was on, if that is still there."""
        before = self.chosen
        self._rows = rows
        at = min(self._cursor, max(0, len(rows) - 1))
        if before is not None and rows and rows[at].key != before.key:
            found = next((number for number, row in enumerate(rows) if row.key == before.key), at)
            if self.scroll_offset.y:
                self.scroll_relative(y=found - self._cursor, animate=False)
                at = found
            elif found < self.size.height - 1:
                at = found
            # Else who looks at the top of a sorted table goes on doing so.
        self._cursor = at
        self.virtual_size = Size(self.size.width, len(rows) + 1)
        self.refresh()
        self.post_message(GridMoved(self._told_as))

    def choose(self, number: int) -> None:
        """Put the cursor on a row and see to it that it is seen."""
        at = min(max(0, number), max(0, len(self._rows) - 1))
        if at != self._cursor:
            self._cursor = at
            self.post_message(GridMoved(self._told_as))
        # The head covers the first line, and each row lies one line lower than its number.
        first = self.scroll_offset.y
        seen = max(1, self.size.height - 1)
        if at < first:
            self.scroll_to(y=at, animate=False)
        elif at >= first + seen:
            self.scroll_to(y=at - seen + 1, animate=False)
        self.refresh()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:  # noqa: ARG002 - Textual's
        """Say which keys mean something here."""
        return self._opens or action != "open"

    def action_move(self, by: int) -> None:
        """Move the cursor by so many rows."""
        self.choose(self._cursor + by)

    def action_page(self, by: int) -> None:
        """Move the cursor by a screen."""
        self.choose(self._cursor + by * max(1, self.size.height - 2))

    def action_open(self) -> None:
        """Say that the row under the cursor is wanted."""
        if self._rows and self._opens:
            self.post_message(GridOpened(self._told_as))

    def on_click(self, event: events.Click) -> None:
        """Put the cursor where the mouse is; a second click opens."""
        if event.y < 1:
            return
        number = self.scroll_offset.y + event.y - 1
        if number == self._cursor:
            self.action_open()
        elif number < len(self._rows):
            self.choose(number)

    def on_resize(self, _: events.Resize) -> None:
        """Keep the cursor in sight."""
        self.virtual_size = Size(self.size.width, len(self._rows) + 1)
        self.choose(self._cursor)

    def render_line(self, y: int) -> Strip:
        """Draw one line of what is seen; the first is the head."""
        width = self.size.width
        if y == 0:
            return Strip([Segment(self._head(width), self.get_component_rich_style("grid--head"))], width)
        number = self.scroll_offset.y + y - 1
        if number >= len(self._rows):
            return Strip.blank(width, self.rich_style)
        row = self._rows[number]
        style = self.rich_style
        if row.tone:
            style += self.get_component_rich_style(f"grid--{row.tone}", partial=True)
        if number == self._cursor:
            style += self.get_component_rich_style("grid--cursor", partial=True)
        return Strip([Segment(self._line(row.cells(), width), style)], width)

    def _head(self, width: int) -> str:
        titles = [column.title for column in self.columns]
        if self.sorted_by is not None:
            number, largest_first = self.sorted_by
            titles[number] += _MARKER[largest_first]
        return self._line(titles, width)

    def _line(self, texts: Sequence[str], width: int) -> str:
        shown = [(column, text) for column, text in zip(self.columns, texts, strict=True) if width >= column.from_width]
        fixed = sum(column.width + _GAP for column, _ in shown if column.width)
        rest = max(8, width - fixed - _GAP)
        parts: list[str] = []
        for column, text in shown:
            room = column.width or rest
            parts.append(fitted(text.rjust(room) if column.numeric else text, room))
        return fitted((" " * _GAP).join(parts), width)
