"""The tabs of `vespera top` for Textual: a table with what there is to say of its row below, and an actor's page.

Thin: what is shown comes from `views` and `facts`. Neighbours: `app` puts them together and feeds them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar, final

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.widgets import Static

from vespera_agents.cli.top.facts import (
    clock_time,
    context_fills,
    mail_of,
    many,
    plain,
    plain_lines,
    seconds_text,
)
from vespera_agents.cli.top.grid import Grid
from vespera_agents.cli.top.mirror import Mirror, Node, entries, mapping, number
from vespera_agents.cli.top.views import ActorsView, View
from vespera_agents.cli.wording import duration

__all__ = ["ActorPage", "Listing"]


@final
class Listing(Vertical):
    """A view's rows in a grid, a line above it, and below it what there is to say of the row under the cursor."""

    DEFAULT_CSS = """
    Listing > .listing--title { height: 1; color: $text-muted; padding: 0 1; }
    Listing > VerticalScroll { height: 35%; border-top: solid $panel; padding: 0 1; }
    """

    def __init__(self, view: View, *, name: str, detailed: bool = False) -> None:
        """Show a view.

        Args:
            view: what is shown.
            name: the grid's.
            detailed: whether a row has more to say, below the table; else it has a page of its own.
        """
        super().__init__()
        self.view = view
        self.grid = Grid(view.columns, grid_id=name, opens=not detailed)
        self._title = Static(classes="listing--title", markup=False)
        self._below = Static(markup=False) if detailed else None
        self._told = ""

    def compose(self) -> ComposeResult:
        """Put the parts together."""
        yield self._title
        yield self.grid
        if self._below is not None:
            below = VerticalScroll(self._below)
            below.can_focus = True
            yield below

    def refill(self, mirror: Mirror, title: str) -> None:
        """Show what is known now."""
        rows = self.view.rows(mirror)
        if isinstance(self.view, ActorsView):
            self.grid.sorted_by = self.view.column, self.view.largest_first
        wanted = f'  only those with "{plain(self.view.wanted)}"' if self.view.wanted else ""
        self._title.update(Text(f"{title}{wanted}"), layout=False)
        self.grid.show(rows)

    def tell(self) -> None:
        """Show what there is to say of the row under the cursor."""
        chosen = self.grid.chosen
        told = "" if chosen is None else chosen.detail()
        if self._below is not None and told != self._told:
            self._told = told
            self._below.update(Text(told))


@final
class ActorPage(VerticalScroll, can_focus=True):
    """Everything about one node of the tree: most of it is asked of the server when the page is opened."""

    DEFAULT_CSS = "ActorPage { padding: 0 1; }"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j", "scroll_down", "Down", show=False),
        Binding("k", "scroll_up", "Up", show=False),
    ]

    def __init__(self) -> None:
        super().__init__(id="page")
        self._text = Static("No actor yet: choose one in the tree or among the actors, and press Enter.", markup=False)

    def compose(self) -> ComposeResult:
        """Put the parts together."""
        yield self._text

    def show(self, mirror: Mirror, node: Node, answer: Mapping[str, object], problem: str) -> None:
        """Show a node.

        Args:
            mirror: of which it is.
            node: as it was told last.
            answer: what the server said when asked about it.
            problem: why there is no answer, or no newer one.
        """
        drawn = Text()
        for title, lines in _sections(mirror, node, answer):
            drawn.append(f"{title}\n", "bold")
            for line in lines:
                drawn.append(f"  {line}\n")
            drawn.append("\n")
        if problem:
            drawn.append(f"{problem}\n", "yellow")
        self._text.update(drawn)


def _sections(mirror: Mirror, node: Node, answer: Mapping[str, object]) -> Iterator[tuple[str, list[str]]]:
    yield plain(mirror.path(node.key)), list(_facts(mirror, node))
    stack = entries(answer.get("await_stack"))
    if stack:
        yield "Waits in, the innermost last", [_place(frame) for frame in stack]
    mailbox = mapping(answer.get("mailbox"))
    peek = entries(mailbox.get("peek"))
    if mailbox:
        empty = [] if peek else ["empty"]
        yield "Mailbox, the next first (types only)", [_letter(one) for one in peek] + empty
    if "crash" in answer:
        crash = mapping(answer["crash"])
        yield "Last crash", _crash(crash) if crash else ["none that is known"]
    events = entries(answer.get("events"))
    if "events" in answer:
        lines = [
            f"{clock_time(number(event.get('at')))}  {plain(event.get('kind')).replace('_', ' '):<18} "
            f"{plain(event.get('reason'))}".rstrip()
            for event in reversed(events)
        ]
        yield "What supervisors told of it, the newest first", lines or ["nothing that is known"]


def _facts(mirror: Mirror, node: Node) -> Iterator[str]:
    yield f"{plain(node.type)}, {plain(node.state)} for {duration(mirror.lived(node))}" + (
        f", life {node.incarnation}" if node.incarnation > 1 else ""
    )
    if node.restarts:
        yield f"restarted {many(node.restarts, 'time')}"
    if node.kind:
        waits, busy = mirror.waits_for(node), mirror.busy_for(node)
        yield f"actor of {plain(node.kind)}, {many(node.handled or 0, 'message')} handled, " + (
            f"busy for {seconds_text(busy)}" if busy else "at rest"
        )
        yield f"mailbox {mail_of(node)}" + (f", the oldest waits for {seconds_text(waits)}" if waits else "")
    fill = context_fills(mirror).get(node.name)
    if fill:
        yield f"context {fill} full"
    if node.detail:
        yield plain(node.detail)


def _place(frame: Mapping[str, object]) -> str:
    return f"{plain(frame.get('file'))}:{plain(frame.get('line'))} in {plain(frame.get('function'))}"


def _letter(letter: Mapping[str, object]) -> str:
    age, sender = number(letter.get("age_seconds")), plain(letter.get("from"))
    waits = "" if age is None else f", waits for {seconds_text(age) or '0 ms'}"
    return f"{plain(letter.get('type'))}{waits}" + (f", from {sender}" if sender else "")


def _crash(crash: Mapping[str, object]) -> list[str]:
    return [
        f"{clock_time(number(crash.get('at')))}  {plain(crash.get('reason'))}",
        *plain_lines(crash.get("traceback")).splitlines(),
    ]
