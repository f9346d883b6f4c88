"""The tabs of the log, the tasks and the stalls: their columns, and the rows that are made of what is known. Pure.

As in `views`, which has the tree and the actors; but what is told here are entries as they came, and each row has more
to say than its line. Neighbours: `mirror` knows, `facts` writes, `grid` draws.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import ClassVar, Final, NamedTuple, final

from vespera_agents.cli.top.facts import branches, clock_time, log_cells, number_text, plain, plain_lines, seconds_text
from vespera_agents.cli.top.mirror import Mirror, entries, mapping, number, text, values
from vespera_agents.cli.top.views import Column, Row, fits
from vespera_agents.cli.wording import duration

__all__ = ["LogView", "StallsView", "TasksView"]

_TASK_TONES: Final = {"failed": "bad", "blocked": "bad", "in_progress": "good", "review": "odd", "cancelled": "odd"}
_BAD_WORDS: Final = ("crash", "failed", "fenced", "exceeded", "error", "lost")


# ---- the supervision log


class LogRow(NamedTuple):
    """An entry of the log."""

    entry: Mapping[str, object]

    @property
    def key(self) -> Hashable:
        """Give its number and time."""
        return text(self.entry.get("seq")), text(self.entry.get("at"))

    @property
    def tone(self) -> str:
        """Colour what broke."""
        kind = text(self.entry.get("kind"))
        if any(word in kind for word in _BAD_WORDS):
            return "bad"
        return "odd" if "restart" in kind or "escalat" in kind else ""

    def cells(self) -> Sequence[str]:
        """Write it."""
        return log_cells(self.entry)

    def detail(self) -> str:
        """Write all four keys, in full."""
        offender = mapping(self.entry.get("offender"))
        facts = ", ".join(f"{plain(key)} {plain(value)}" for key, value in offender.items())
        return "\n".join(
            (
                f"supervisor  {plain(self.entry.get('supervisor'))}",
                f"context     {plain(self.entry.get('context'))}",
                f"offender    {facts or 'none'}",
                f"reason      {plain_lines(self.entry.get('reason'))}",
            )
        )


@final
class LogView:
    """What supervisors have told, the newest first, with what the watcher saw of the connection."""

    columns: ClassVar = (
        Column("Time", 8),
        Column("What", 18),
        Column("Who", 44, from_width=60),
        Column("Reason", 0),
    )

    def __init__(self) -> None:
        self.wanted = ""
        self.remarks: list[Mapping[str, object]] = []
        """What this program has seen, as entries of the log."""

    def rows(self, mirror: Mirror) -> Sequence[Row]:
        """Give the entries that fit the filter."""
        told = [LogRow(entry) for entry in (*mirror.log, *self.remarks)]
        told.sort(key=lambda row: number(row.entry.get("at")) or 0.0)
        told.reverse()
        return [row for row in told if fits(self.wanted, *row.cells())]


# ---- tasks of a session


class TaskRow(NamedTuple):
    """A task of a session."""

    task: Mapping[str, object]
    branch: str
    now: float
    waits: tuple[str, ...]
    """Titles of what it waits for."""

    @property
    def key(self) -> Hashable:
        """Give its id."""
        return text(self.task.get("id"))

    @property
    def tone(self) -> str:
        """Colour by status."""
        return _TASK_TONES.get(text(self.task.get("status")), "")

    def cells(self) -> Sequence[str]:
        """Write it."""
        started, ended = number(self.task.get("started_at")), number(self.task.get("ended_at"))
        took = None if started is None else (ended or self.now) - started
        attempts = number(self.task.get("attempts")) or 0
        return (
            f"{self.branch}{plain(self.task.get('title'))}",
            plain(self.task.get("status")).replace("_", " "),
            plain(self.task.get("role")),
            duration(max(0.0, took)) if took is not None else "",
            number_text(attempts if attempts > 1 else None),
            ", ".join(self.waits),
        )

    def detail(self) -> str:
        """Write its id, title and what it waits for in full."""
        waits = "".join(f"\nwaits for  {title}" for title in self.waits)
        return f"{plain(self.task.get('id'))}\n{plain_lines(self.task.get('title'))}{waits}"


@final
class TasksView:
    """The tasks of one session, containers before what is in them."""

    columns: ClassVar = (
        Column("Task", 0),
        Column("Status", 11),
        Column("Role", 14, from_width=70),
        Column("Time", 12, numeric=True, from_width=60),
        Column("Tries", 5, numeric=True, from_width=90),
        Column("Waits for", 30, from_width=110),
    )

    def __init__(self) -> None:
        self.wanted = ""
        self.session_id = ""
        """Which session; the newest open one until somebody chooses."""
        self.answer: Mapping[str, object] = {}
        """What the server said of that session's tasks."""

    def choose(self, mirror: Mirror, by: int = 0) -> str:
        """Choose the next session, or stay; give its id, empty where there is none."""
        known = [text(session.get("id")) for session in mirror.sessions]
        if self.session_id not in known:
            opened = [text(one.get("id")) for one in mirror.sessions if one.get("status") == "open"]
            self.session_id = (opened or known or [""])[0]
        elif by:
            self.session_id = known[(known.index(self.session_id) + by) % len(known)]
        return self.session_id

    def title(self, mirror: Mirror) -> str:
        """Say which session this is, of how many."""
        for place, session in enumerate(mirror.sessions, start=1):
            if text(session.get("id")) == self.session_id:
                counts = mapping(session.get("counts"))
                told = ", ".join(
                    f"{plain(count)} {plain(status).replace('_', ' ')}" for status, count in counts.items()
                )
                where = f"session {place} of {len(mirror.sessions)}"
                return f"{plain(session.get('name'))} ({plain(session.get('status'))}, {where}): {told or 'no tasks'}"
        return "no session yet"

    def rows(self, mirror: Mirror) -> Sequence[Row]:
        """Give the tasks that fit the filter, as a tree."""
        if text(self.answer.get("id")) != self.session_id:
            return ()
        tasks = entries(self.answer.get("tasks"))
        titles = {text(task.get("id")): plain(task.get("title")) for task in tasks}
        ended = {text(task.get("id")) for task in tasks if task.get("status") in {"completed", "archived"}}
        depths: dict[str, int] = {}
        for task in tasks:
            depths[text(task.get("id"))] = depths.get(text(task.get("parent")), -1) + 1
        rows = [
            TaskRow(task, branch, mirror.at, _waits(task, titles, ended))
            for task, branch in zip(tasks, branches([depths[text(task.get("id"))] for task in tasks]), strict=True)
        ]
        return [row for row in rows if fits(self.wanted, *row.cells())]


def _waits(task: Mapping[str, object], titles: Mapping[str, str], ended: set[str]) -> tuple[str, ...]:
    if task.get("status") not in {"pending", "blocked"}:
        return ()
    ids = [text(one) for one in values(task.get("depends_on"))]
    return tuple(titles.get(one, plain(one)) for one in ids if one not in ended)


# ---- stalls and wedged actors


class StallRow(NamedTuple):
    """A block of the loop, or an actor that does not move."""

    entry: Mapping[str, object]
    wedged: bool

    @property
    def key(self) -> Hashable:
        """Give the time of a stall, the name of an actor that is wedged."""
        return (self.wedged, text(self.entry.get("actor")), text(self.entry.get("at")))

    @property
    def tone(self) -> str:
        """Colour what is so now."""
        return "bad" if self.wedged else "odd"

    def cells(self) -> Sequence[str]:
        """Write it."""
        who = plain(self.entry.get("actor")) or plain(self.entry.get("task")) or "unknown"
        if self.wedged:
            limit = seconds_text(number(self.entry.get("limit_seconds")))
            since = seconds_text(number(self.entry.get("since_seconds")))
            return "now", "wedged", since, who, f"{plain(self.entry.get('what'))}, more than {limit}"
        took = seconds_text(number(self.entry.get("seconds")))
        return clock_time(number(self.entry.get("at"))), "blocked", took, who, self._line()

    def detail(self) -> str:
        """Write the stack."""
        return "\n".join(plain_lines(line) for line in self._stack()) or "no stack was taken"

    def _stack(self) -> list[object]:
        return values(self.entry.get("await_stack" if self.wedged else "stack"))

    def _line(self) -> str:
        stack = self._stack()
        return plain(stack[-1]) if stack else ""


@final
class StallsView:
    """Actors that are wedged now, then what blocked the loop, the newest first."""

    columns: ClassVar = (
        Column("Time", 8),
        Column("What", 8),
        Column("For", 12, numeric=True),
        Column("Who", 36),
        Column("Where", 0, from_width=90),
    )

    def __init__(self) -> None:
        self.wanted = ""

    def rows(self, mirror: Mirror) -> Sequence[Row]:
        """Give what fits the filter."""
        rows = [StallRow(entry, True) for entry in mirror.wedged]
        rows += [StallRow(entry, False) for entry in reversed(mirror.stalls)]
        return [row for row in rows if fits(self.wanted, *row.cells())]
