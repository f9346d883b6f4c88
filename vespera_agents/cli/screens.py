"""A run while it goes on: a live display on a terminal, one line per event elsewhere, silence for programs.

The three are the same to `run`. Each hears every event as it happens and is told in a sentence what a person should
know now. Not what is true of a run (`board`) and not what came of it (`results`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Final, NamedTuple, Protocol, final

import click
import trio
from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from vespera_agents.cli.board import Board, Phase
from vespera_agents.cli.printing import Printer
from vespera_agents.cli.wording import counted, duration, one_line
from vespera_agents.specialists.conductor import RunEvent, RunEventKind
from vespera_agents.work.models import Task, TaskStatus

__all__ = [
    "LineScreen",
    "LiveScreen",
    "PhaseBar",
    "Screen",
    "SilentScreen",
    "board_view",
    "choose_screen",
    "phase_table",
]

FRAME_SECONDS: Final = 0.1
"""How often a live display is drawn anew."""
_BAR_WIDTH: Final = 20
_FRAME_LINES: Final = 4
"""Lines of a live display that are neither phases nor running tasks."""
_WORD_WIDTH: Final = 10

_WORDS: Final = {
    TaskStatus.COMPLETED: "completed",
    TaskStatus.FAILED: "failed",
    TaskStatus.CANCELLED: "cancelled",
    TaskStatus.PENDING: "given back",
}


class Screen(Protocol):
    """Where a run is watched."""

    def hear(self, event: RunEvent) -> None:
        """Take one event; neither waits nor raises."""
        ...

    def notice(self, text: str) -> None:
        """Tell whoever watches something that is no event of the run."""
        ...

    async def keep_fresh(self) -> None:
        """Keep what is shown up to date until cancelled."""
        ...


def choose_screen(printer: Printer, title: str, *, silent: bool) -> Screen:
    """Choose how a run is shown: a display for a terminal, lines for a pipe or file, nothing where JSON is wanted."""
    if silent:
        return SilentScreen()
    return LiveScreen(printer, title) if printer.live else LineScreen(printer)


@final
class SilentScreen:
    """Shows nothing; what a person must know goes to standard error."""

    def hear(self, event: RunEvent) -> None:
        """Let it pass."""

    def notice(self, text: str) -> None:
        """Print it on standard error."""
        click.echo(text, err=True)

    async def keep_fresh(self) -> None:
        """Have nothing to do."""


@final
class LineScreen:
    """One line per event, without colours: for pipes, files and logs."""

    def __init__(self, printer: Printer, clock: Callable[[], float] = time.monotonic) -> None:
        self._printer = printer
        self._clock = clock
        self._began = clock()

    def hear(self, event: RunEvent) -> None:
        """Print it, unless it is only a step on the way."""
        described = _describe(event)
        if described is not None:
            self._print(*described)

    def notice(self, text: str) -> None:
        """Print it among the lines."""
        self._print("note", text)

    async def keep_fresh(self) -> None:
        """Have nothing to do: every line was printed at once."""

    def _print(self, word: str, text: str) -> None:
        self._printer.line(f"{self._clock() - self._began:7.1f} s  {word:<{_WORD_WIDTH}}  {one_line(text)}")


@final
class LiveScreen:
    """A display that is drawn over and over, and gone when the run is over."""

    def __init__(self, printer: Printer, title: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = printer.console
        self._title = title
        self._clock = clock
        self._began = clock()
        self._notices: list[str] = []
        self.board = Board()
        """What is shown."""

    def hear(self, event: RunEvent) -> None:
        """Take it into the picture; the next frame shows it."""
        self.board.hear(event, self._clock())

    def notice(self, text: str) -> None:
        """Show it below the picture."""
        self._notices.append(text)

    async def keep_fresh(self) -> None:
        """Draw until cancelled, then clear the picture away: the summary takes its place."""
        # Its own thread would draw while the loop is blocked, and would be one more thing to end.
        with Live(
            self._view(),
            console=self._console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        ) as live:
            while True:
                live.update(self._view(), refresh=True)
                await trio.sleep(FRAME_SECONDS)

    def _view(self) -> RenderableType:
        now = self._clock()
        view = board_view(self.board, self._title, now - self._began, now, lines_max=self._console.height)
        notices = [Text(text, style="yellow") for text in self._notices[-2:]]
        return Group(view, *notices)


def board_view(board: Board, title: str, elapsed_seconds: float, now: float, *, lines_max: int) -> RenderableType:
    """Draw a moment of a run.

    Args:
        board: its facts.
        title: what the plan calls itself.
        elapsed_seconds: since the run began.
        now: of the clock by which the board was told.
        lines_max: lines of the terminal.
    """
    state = "writing the report" if board.reporting else "stopping" if board.stopping else ""
    head = Text.assemble(
        (one_line(title), "bold"),
        f"  {board.ended}/{board.total} tasks  {duration(elapsed_seconds)}",
        (f"  {state}" if state else "", "yellow"),
        no_wrap=True,
        overflow="ellipsis",
    )
    room = max(3, lines_max - _FRAME_LINES - len(board.running))
    phases = list(board.phases.values())
    if len(phases) > room:
        # What is over needs no line of its own on a small terminal.
        phases = [phase for phase in phases if phase.ended < phase.total][:room]
    return Group(head, phase_table(map(_bar, phases)), *_running_lines(board, now))


@final
class PhaseBar(NamedTuple):
    """What is drawn of one phase."""

    title: str
    ended: int
    total: int
    failed: int
    remarks: Mapping[str, int]
    """What else there is to say, by name; zeros are not said."""


def phase_table(phases: Iterable[PhaseBar]) -> Table:
    """Draw phases, one line with a bar for each."""
    table = Table.grid(padding=(0, 1))
    table.add_column(no_wrap=True, overflow="ellipsis", max_width=40)
    table.add_column(width=_BAR_WIDTH)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(no_wrap=True)
    for phase in phases:
        style = "red" if phase.failed else "green" if phase.ended == phase.total else "cyan"
        bar = ProgressBar(
            total=phase.total, completed=phase.ended, width=_BAR_WIDTH, complete_style=style, finished_style=style
        )
        facts = {"failed": phase.failed, **phase.remarks}
        said = {name: number for name, number in facts.items() if number}
        remarks = Text(counted(said) if said else "", "red" if phase.failed else "dim")
        table.add_row(Text(one_line(phase.title)), bar, f"{phase.ended}/{phase.total}", remarks)
    return table


def _bar(phase: Phase) -> PhaseBar:
    remarks = {"waived": phase.waived, "waiting for a client": len(phase.waiting)}
    return PhaseBar(phase.title, phase.ended, phase.total, phase.failed, remarks)


def _running_lines(board: Board, now: float) -> list[Text]:
    return [
        Text.assemble(
            ("  > ", "cyan"),
            (running.title, "bold"),
            f" {duration(now - running.since)} ",
            (running.line, "dim"),
            no_wrap=True,
            overflow="ellipsis",
        )
        for running in board.running.values()
    ]


def _describe(event: RunEvent) -> tuple[str, str] | None:
    """Put an event into a word and a text; None for a step that needs no line."""
    kind, task = event.kind, event.task
    if kind is RunEventKind.PLANNED:
        leaves = [task for task in event.tasks if not task.is_container]
        return "planned", f"{len(leaves)} tasks in {event.text}"
    if kind is RunEventKind.REPORTED:
        return "reported", event.text
    return None if task is None else _describe_task(kind, task, event)


def _describe_task(kind: RunEventKind, task: Task, event: RunEvent) -> tuple[str, str] | None:
    if kind is RunEventKind.CLAIMED:
        return "began", task.title
    if kind is RunEventKind.LINE:
        return "output", f"{task.title}: {event.text}"
    if kind is RunEventKind.FINISHED and event.status is not None:
        word = "waived" if event.waived else _WORDS.get(event.status, event.status)
        return word, f"{task.title}: {event.text}" if event.text else task.title
    if kind is RunEventKind.PREPARED:
        return "prepared", f"{task.title}: {event.text}"
    if kind is RunEventKind.RELEASED:
        return "again", f"{task.title}: {event.text}"
    return None
