"""The interface of `vespera top`: one screen, six tabs, keys for everything. Reads; changes nothing on the server.

Textual runs on asyncio and owns this process, so the feed is read by a worker of it, which ends with the app; what is
asked about one thing is another. The screen is drawn anew twice a second from the mirror, whatever came meanwhile.
Neighbours: `feed` tells, `panes` draws.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import aclosing
from functools import partial
from typing import ClassVar, Final, final

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Footer, Input, Static, TabbedContent, TabPane

from vespera_agents.cli.outcomes import EXIT_DONE, EXIT_INTERRUPTED
from vespera_agents.cli.top.facts import clock_time, grade_of, head_lines, many, spark
from vespera_agents.cli.top.feed import FeedProblem, Lost, ask, follow
from vespera_agents.cli.top.grid import GridMoved, GridOpened
from vespera_agents.cli.top.lists import LogView, StallsView, TasksView
from vespera_agents.cli.top.mirror import Mirror, Node
from vespera_agents.cli.top.panes import ActorPage, Listing
from vespera_agents.cli.top.views import ActorRow, ActorsView, TreeRow, TreeView
from vespera_agents.cli.wording import duration, one_line
from vespera_agents.workspace import Workspace

__all__ = ["TopApp"]

DRAW_SECONDS: Final = 0.5
QUIET_SECONDS: Final = 3.0
"""After so long without a line of the feed the server is blocked, or so busy that it cannot tell."""
ASK_SECONDS: Final = 2.0
"""How often what is on an actor's or a session's page is asked for again."""
SPARK_WIDTH: Final = 30
_TONES: Final = {"healthy": "green", "degraded": "yellow", "unhealthy": "bold red"}
_TABS: Final = ("tree", "actors", "actor", "log", "tasks", "stalls")


@final
class TopApp(App[int]):
    """Watches one server of a workspace, and the next one when that has gone."""

    TITLE = "vespera top"
    ENABLE_COMMAND_PALETTE = False
    CSS = """
    #head, .listing--title { text-wrap: nowrap; text-overflow: ellipsis; }
    #head { height: 3; padding: 0 1; background: $surface; }
    #filter { dock: bottom; display: none; border: none; height: 1; padding: 0 1; }
    #filter.asked { display: block; }
    TabbedContent { height: 1fr; }
    TabPane { padding: 0; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        *(Binding(str(place), f"tab('{tab}')", tab.capitalize(), show=False) for place, tab in enumerate(_TABS, 1)),
        Binding("space", "turn", "Fold"),
        Binding("right", "turn(False)", "Unfold", show=False),
        Binding("left", "turn(True)", "Fold", show=False),
        Binding("slash", "filter", "Filter", key_display="/"),
        Binding("s", "sort(1)", "Sort"),
        Binding("S", "sort(-1)", "Sort by the column before", show=False),
        Binding("r", "reverse", "Reverse"),
        Binding("left_square_bracket", "session(-1)", "Session before", key_display="["),
        Binding("right_square_bracket", "session(1)", "Session after", key_display="]"),
        Binding("escape", "leave", "Back", show=False),
        Binding("question_mark", "help", "Keys", key_display="?"),
        Binding("q", "leave_with(0)", "Quit"),
        Binding("ctrl+q", "leave_with(0)", "Quit", show=False, priority=True),
        Binding("ctrl+c", "leave_with(130)", "Quit", show=False, priority=True),
    ]

    def __init__(self, workspace: Workspace, server_id: str | None = None) -> None:
        """Watch a workspace.

        Args:
            workspace: whose servers.
            server_id: the one that is wanted; any unless given.
        """
        super().__init__()
        # What slides into its place keeps the eye from seeing that it is there.
        self.animation_level = "none"
        self._workspace = workspace
        self._server_id = server_id
        self.mirror: Mirror | None = None
        """What is known; of the server that has gone, until the next one tells."""
        self.lost: Lost | None = None
        """What is wrong, while nobody tells."""
        self._heard = time.monotonic()
        self.tree_view, self.actors_view, self.log_view = TreeView(), ActorsView(), LogView()
        self.tasks_view, self.stalls_view = TasksView(), StallsView()
        self.listings = {
            "tree": Listing(self.tree_view, name="tree-rows"),
            "actors": Listing(self.actors_view, name="actors-rows"),
            "log": Listing(self.log_view, name="log-rows", detailed=True),
            "tasks": Listing(self.tasks_view, name="tasks-rows", detailed=True),
            "stalls": Listing(self.stalls_view, name="stalls-rows", detailed=True),
        }
        """By tab."""
        self.page = ActorPage()
        self._head = Static(id="head", markup=False)
        self._opened: tuple[Mirror, Node] | None = None
        self._answer: Mapping[str, object] = {}
        self._problem = ""
        self._asked = 0.0
        self._drawn = ("", 0, "")

    # ---- how it is put together

    def compose(self) -> ComposeResult:
        """Put the parts together."""
        yield self._head
        with TabbedContent(initial="tree", id="tabs"):
            for place, tab in enumerate(_TABS, 1):
                with TabPane(f"{place} {tab.capitalize()}", id=tab):
                    yield self.page if tab == "actor" else self.listings[tab]
        yield Input(placeholder="only rows with all these words; Enter keeps it, Escape takes it away", id="filter")
        yield Footer()

    def on_mount(self) -> None:
        """Begin to read and to draw."""
        self.run_worker(self._read, name="feed")
        self.set_interval(DRAW_SECONDS, self._tick)
        self.listings["tree"].grid.focus()

    async def _read(self) -> None:
        """Take in what the feed tells, until the app ends."""
        async with aclosing(follow(self._workspace, self._server_id)) as told:
            async for news in told:
                if isinstance(news, Lost):
                    if self.lost is None and self.mirror is not None:
                        self._remark("connection lost", news.why)
                    self.lost = news
                    continue
                self._heard = time.monotonic()
                if self.lost is not None and self.mirror is not None:
                    self._remark("connected", f"after {duration(time.time() - self.lost.since)}: {news.life}")
                new = news is not self.mirror
                self.lost, self.mirror = None, news
                if new:
                    self.draw()

    def _remark(self, kind: str, what: str) -> None:
        remarks = self.log_view.remarks
        remarks.append(
            {"seq": f"w{len(remarks)}", "at": time.time(), "kind": kind, "supervisor": "top", "reason": what}
        )
        del remarks[:-200]

    # ---- drawing

    @property
    def tab(self) -> str:
        """The tab that is seen."""
        return self.query_one("#tabs", TabbedContent).active

    def _tick(self) -> None:
        """Draw if anything was told since the last time; the lines above everything have a clock in them."""
        mirror = self.mirror
        if mirror is not None and (mirror.life, mirror.seq, self.tab) == self._drawn:
            self._head.update(self._head_text(), layout=False)
        else:
            self.draw()

    def draw(self) -> None:
        """Show what is known now, on the tab that is seen."""
        self._head.update(self._head_text(), layout=False)
        mirror = self.mirror
        if mirror is None:
            return
        tab = self.tab
        self._drawn = mirror.life, mirror.seq, tab
        if tab == "actor":
            self._draw_page(mirror)
        elif tab in self.listings:
            self._ask_tasks(mirror, tab)
            self.listings[tab].refill(mirror, self._title(mirror, tab))

    def _title(self, mirror: Mirror, tab: str) -> str:
        match tab:
            case "tree":
                return many(len(mirror.nodes), "node")
            case "actors":
                by = ActorsView.columns[self.actors_view.column].title.lower()
                return f"{many(len(mirror.actors()), 'actor')} by {by}"
            case "tasks":
                return "; ".join(part for part in (self.tasks_view.title(mirror), self._problem) if part)
            case "log":
                return "what supervisors told, the newest first"
            case _:
                return "wedged actors, then what blocked the loop, the newest first"

    def _head_text(self) -> Text:
        """Write the three lines above everything; what is wrong with the connection takes the place of the first."""
        head = Text()
        mirror, lost = self.mirror, self.lost
        if lost is not None:
            away = duration(max(0.0, time.time() - lost.since))
            head.append(f"disconnected since {clock_time(lost.since)} ({away}): {one_line(lost.why)}\n", "bold red")
        elif mirror is None:
            head.append(f"connecting to {one_line(str(self._workspace.directory))}\n")
        elif (quiet := time.monotonic() - self._heard) > QUIET_SECONDS:
            head.append(f"no word for {duration(quiet)}: its loop is blocked, or its machine is\n", "bold yellow")
        if mirror is None:
            return head
        who, health, work = head_lines(mirror)
        if not head:
            head.append(f"{who}\n", "bold")
        head.append(f"{health}\n", _TONES.get(grade_of(mirror)[0], ""))
        bars = spark([row.get("utilisation", 0.0) for row in mirror.history], SPARK_WIDTH, 1.0)
        return head.append(f"{work}  {bars}")

    def _draw_page(self, mirror: Mirror) -> None:
        """Show the node that was opened; in the next life of the server the one at its place."""
        if self._opened is None:
            return
        known, node = self._opened
        now = mirror.nodes.get(node.key) if mirror is known else mirror.at_path(known.path(node.key))
        if now is None:
            self.page.show(known, node, self._answer, "It is gone; this is what was known of it last.")
            return
        self._opened = mirror, now
        if time.monotonic() - self._asked >= ASK_SECONDS and self.lost is None:
            self._asked = time.monotonic()
            # Not a coroutine already: an app that ends would never run it.
            self.run_worker(partial(self._ask_actor, mirror, now.key), group="actor", exclusive=True)
        self.page.show(mirror, now, self._answer, self._problem)

    async def _ask_actor(self, mirror: Mirror, key: int) -> None:
        try:
            answer = await ask(mirror.record, {"ask": "actor", "key": key})
        except FeedProblem as problem:
            self._problem = str(problem)
        else:
            self._answer, self._problem = answer, ""
        self.draw()

    def _ask_tasks(self, mirror: Mirror, tab: str) -> None:
        if tab == "tasks" and self.lost is None and time.monotonic() - self._asked >= ASK_SECONDS:
            session_id = self.tasks_view.choose(mirror)
            if session_id:
                self._asked = time.monotonic()
                self.run_worker(partial(self._ask_session, mirror, session_id), group="session", exclusive=True)

    async def _ask_session(self, mirror: Mirror, session_id: str) -> None:
        try:
            self.tasks_view.answer = await ask(mirror.record, {"ask": "session", "id": session_id})
        except FeedProblem as problem:
            self._problem = str(problem)
        else:
            self._problem = ""
        self.draw()

    # ---- keys

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:  # noqa: ARG002 - Textual's
        """Say which keys mean something on this tab; Textual shows only those."""
        tab = self.tab
        allowed = {
            "turn": tab == "tree",
            "sort": tab == "actors",
            "reverse": tab == "actors",
            "session": tab == "tasks",
            "filter": tab in self.listings,
        }
        return allowed.get(action, True)

    def action_tab(self, tab: str) -> None:
        """Show a tab."""
        self.query_one("#tabs", TabbedContent).active = tab

    def on_tabbed_content_tab_activated(self) -> None:
        """Draw a tab when it comes into sight, and give it the keys."""
        self._asked, self._problem = 0.0, ""
        self.draw()
        tab = self.tab
        (self.listings[tab].grid if tab in self.listings else self.page).focus()
        self.refresh_bindings()

    def on_grid_opened(self, message: GridOpened) -> None:
        """Open the page of the row's node; a row of another kind has its words below it already."""
        row = self._listing(message.grid_id).grid.chosen
        if isinstance(row, TreeRow | ActorRow) and self.mirror is not None:
            self._opened = self.mirror, row.node
            self._answer, self._problem, self._asked = {}, "", 0.0
            self.action_tab("actor")

    def on_grid_moved(self, message: GridMoved) -> None:
        """Tell what there is to say of the row."""
        self._listing(message.grid_id).tell()

    def _listing(self, grid_id: str) -> Listing:
        return self.listings[grid_id.removesuffix("-rows")]

    def action_turn(self, folded: bool | None = None) -> None:
        """Fold or unfold what is below the row of the tree."""
        row = self.listings["tree"].grid.chosen
        if row is not None:
            self.tree_view.turn(row, folded)
            self.draw()

    def action_sort(self, by: int) -> None:
        """Sort the actors by another column."""
        self.actors_view.sort_by(self.actors_view.column + by)
        self.listings["actors"].grid.choose(0)
        self.draw()

    def action_reverse(self) -> None:
        """Turn the order of the actors round."""
        self.actors_view.largest_first = not self.actors_view.largest_first
        self.listings["actors"].grid.choose(0)
        self.draw()

    def action_session(self, by: int) -> None:
        """Show the tasks of another session."""
        if self.mirror is not None:
            self.tasks_view.choose(self.mirror, by)
            self._asked = 0.0
            self.draw()

    def action_filter(self) -> None:
        """Ask for the text that rows must contain."""
        asked = self.query_one("#filter", Input)
        asked.value = self.listings[self.tab].view.wanted
        asked.add_class("asked")
        asked.focus()

    def on_input_changed(self, message: Input.Changed) -> None:
        """Filter while the text is typed."""
        if message.input.has_class("asked") and self.tab in self.listings:
            self.listings[self.tab].view.wanted = message.value
            self.draw()

    def on_input_submitted(self) -> None:
        """Keep the filter."""
        self._end_filter()

    def action_leave(self) -> None:
        """Take the filter away; on an actor's page, go back to the tree."""
        if self.tab in self.listings:
            self.listings[self.tab].view.wanted = ""
            self._end_filter()
            self.draw()
        else:
            self.action_tab("tree")

    def _end_filter(self) -> None:
        self.query_one("#filter", Input).remove_class("asked")
        self.listings[self.tab].grid.focus()

    def action_help(self) -> None:
        """Show the keys that do not stand in the footer."""
        self.notify(
            "1-6 tabs   up, down, page up, page down, home, end (or k j g G)   Enter opens an actor   "
            "left and right fold and unfold   s and S sort, r turns round   [ and ] sessions   "
            "/ filters, Escape takes the filter away   Tab to what is below the table   q quits",
            title="Keys",
            timeout=15,
            markup=False,
        )

    def action_leave_with(self, status: int) -> None:
        """End."""
        self.exit(EXIT_INTERRUPTED if status else EXIT_DONE)
