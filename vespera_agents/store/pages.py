"""Pages of tasks: any filter, alone or with others, at a price that hardly grows with the number of tasks.

Four sources can name the tasks that a filter lets through, each in the order of creation: the cells that agree with
it, a container's children, the full-text index, and the time of the last change. If one of them names few enough,
its tasks are gathered and the other conditions looked up for each; the total is then exact. If none does, nearly
everything passes, and the page is read along the source until it is full. Cursors go by creation order, which never
changes, so they stay true while work goes on. Not here: what the tables are (`derived`), other reads (`queries`).
"""

from __future__ import annotations

import bisect
import json
import sqlite3
from dataclasses import dataclass, field
from typing import Final, final

from vespera_agents.store.rows import TASK_COLUMNS, Row, task_of
from vespera_agents.store.texts import TextSearch
from vespera_agents.work.cursors import cursor_of, place_of, unknown_cursor
from vespera_agents.work.models import Task

__all__ = ["EXACT_TOTAL_MAX", "TaskFilter", "TaskPage", "first_tasks", "task_page"]

EXACT_TOTAL_MAX: Final = 1_000
"""Totals are counted up to here."""
CANDIDATES_MAX: Final = 4_000
"""Tasks that a source may name to be gathered: a few milliseconds where each must be looked up."""
_COLUMNS: Final = ", ".join(f"task.{name.strip()}" for name in TASK_COLUMNS.split(","))
_MIDDLE: Final = "((low + high + 1) / 2)"
_BEFORE: Final = f"coalesce((SELECT created FROM task WHERE seq <= {_MIDDLE} ORDER BY seq DESC LIMIT 1) < ?, 1)"
"""Whether the task in the middle, or the one before a gap there, was created before a time."""
_NONE: Final = "[]"
_CURSOR: Final = "task"


@final
@dataclass(frozen=True, slots=True)
class TaskFilter:
    """What a query asks for; every field works alone and with the others."""

    session_id: str | None = None
    status: tuple[str, ...] = ()
    task_type: tuple[str, ...] = ()
    specialist: tuple[str, ...] = ()
    complexity: tuple[str, ...] = ()
    parent_id: str | None = None
    include_children: bool = False
    """With parent_id: everything below it, not only its direct children."""
    ready: bool | None = None
    leaves: bool = False
    """Only tasks that are no containers."""
    text: str | None = None
    """Words that all stand in the title, the description or the summary; see `texts.match_of`."""
    created_after: float | None = None
    created_before: float | None = None
    updated_after: float | None = None
    updated_before: float | None = None


@final
@dataclass(frozen=True, slots=True)
class TaskPage:
    """One page of tasks in the order of their creation."""

    tasks: tuple[Task, ...]
    total: int
    """How many pass the filter; at least so many where it is not exact."""
    total_is_exact: bool
    next_cursor: str | None


@final
@dataclass(slots=True)
class _Where:
    """Conditions on rows, and their parameters."""

    conditions: list[str] = field(default_factory=list[str])
    parameters: list[object] = field(default_factory=list[object])

    def add(self, condition: str, *parameters: object) -> None:
        self.conditions.append(condition)
        self.parameters.extend(parameters)

    def one_of(self, column: str, values: tuple[str, ...]) -> None:
        # The plus keeps SQLite from a seek for each value and row where one scan is enough.
        if values:
            self.add(f"+{column} IN ({','.join('?' * len(values))})", *values)

    def __str__(self) -> str:
        return "".join(f" AND {condition}" for condition in self.conditions)


def task_page(connection: sqlite3.Connection, wanted: TaskFilter, limit: int, cursor: str | None) -> TaskPage:
    """Read one page of the tasks that a filter lets through.

    Args:
        connection: where to read.
        wanted: the filter.
        limit: tasks on the page.
        cursor: the `next_cursor` of the page before.

    Raises:
        InvalidInput: the cursor is not one of ours, or the text has too many words.
    """
    after = _after(cursor)
    search = _Search(connection, wanted)
    seqs, total, exact = search.page(after, limit + 1)
    return TaskPage(
        tasks=_tasks(connection, seqs[:limit]),
        total=min(total, EXACT_TOTAL_MAX),
        total_is_exact=exact and total <= EXACT_TOTAL_MAX,
        next_cursor=cursor_of(_CURSOR, seqs[limit - 1]) if len(seqs) > limit else None,
    )


def first_tasks(connection: sqlite3.Connection, wanted: TaskFilter, limit: int) -> list[Task]:
    """Read the first tasks that a filter lets through, without counting the others."""
    return list(_tasks(connection, _Search(connection, wanted).page(0, limit)[0]))


@final
class _Search:
    """One filter on its way to the numbers of the tasks that pass it, in order."""

    def __init__(self, connection: sqlite3.Connection, wanted: TaskFilter) -> None:
        self._execute = connection.execute
        (self._last,) = self._execute("SELECT coalesce(max(seq), 0) FROM task").fetchone()
        self._low, self._high = 0, self._last
        self._dated = wanted.created_after is not None or wanted.created_before is not None
        if wanted.created_after is not None:
            self._low = self._last_before(wanted.created_after)
        if wanted.created_before is not None:
            self._high = self._last_before(wanted.created_before)
        self._updated = _Where()
        if wanted.updated_after is not None:
            self._updated.add("updated >= ?", wanted.updated_after)
        if wanted.updated_before is not None:
            self._updated.add("updated < ?", wanted.updated_before)
        self._text = TextSearch(connection, wanted.text) if wanted.text and wanted.text.strip() else None
        self._parents: str | None = None
        """The containers whose children are meant, as JSON."""
        self._in_parents = 0
        if wanted.parent_id is not None:
            self._parents, self._in_parents = self._read_parents(wanted.parent_id, wanted)
        self._cells: str | None = None
        """The cells that agree with the filter, as JSON; None where all do."""
        self._in_cells = 0
        where = _facets(wanted)
        # Children are of the session of their container, and without other sessions every task is of this one.
        if self._parents is None and wanted.session_id is not None and self._others_have_tasks(wanted.session_id):
            where.add("session_id = ?", wanted.session_id)
        if where.conditions:
            cells = self._execute(f"SELECT id, n FROM cell WHERE n > 0{where}", where.parameters).fetchall()
            self._cells, self._in_cells = json.dumps([cell[0] for cell in cells]), sum(cell[1] for cell in cells)

    def page(self, after: int, most: int) -> tuple[list[int], int, bool]:
        """Give the first tasks after a place, how many there are from the first one on, and whether that is exact."""
        if self._cells == _NONE or (self._parents and not self._in_parents) or (self._text and not self._text.match):
            return [], 0, True
        if self._decided_by_one():
            return self._along(self._source(), max(after, self._low), most), self._known_total(), True
        source, named, exact = self._named()
        passing = self._passing(source, named)
        if exact:
            start = bisect.bisect_right(passing, after)
            return passing[start : start + most], len(passing), True
        found = self._read_on(max(after, self._low), most)
        return found, max(len(passing), len(found)), False

    def _decided_by_one(self) -> bool:
        """Whether only containers, or only cells, decide: then the total is known."""
        many = self._parents is not None and self._cells is not None
        return not (many or self._dated or self._updated.conditions or self._text)

    def _known_total(self) -> int:
        if self._parents is not None:
            return self._in_parents
        if self._cells is not None:
            return self._in_cells
        return int(self._execute("SELECT coalesce(sum(n), 0) FROM cell").fetchone()[0])

    def _named(self) -> tuple[str, list[int], bool]:
        """Give the tasks that a source with few of them names; or the first of the source that pages are read along.

        And whether these are all that it names.
        """
        most = CANDIDATES_MAX + 1
        hits: list[int] = []
        if self._text is not None:
            hits = self._text.first(self._low, self._high, most)
            if len(hits) < most:
                return "text", hits, True
        if self._parents is not None and self._in_parents < most:
            return "parents", self._along("parents", self._low, most), True
        if self._high - self._low < most:
            return "range", self._along("range", self._low, most), True
        if self._cells is not None and self._in_cells < most:
            return "cells", self._along("cells", self._low, most), True
        if self._updated.conditions:
            where = self._row_where()
            rows = self._execute(
                f"SELECT seq FROM cell_task INDEXED BY cell_task_updated WHERE seq > ? AND seq <= ?{where} LIMIT ?",
                (self._low, self._high, *where.parameters, most),
            )
            lately = sorted(row[0] for row in rows.fetchall())
            if len(lately) < most:
                return "updated", lately, True
        source = self._source()
        return source, hits[:-1] or self._along(source, self._low, CANDIDATES_MAX), False

    def _source(self) -> str:
        """Name the source along which pages are read when none names few tasks."""
        if self._text is not None:
            return "text"
        return "parents" if self._parents is not None else "range" if self._cells is None else "cells"

    def _passing(self, source: str, named: list[int]) -> list[int]:
        """Give those of the tasks for which the conditions hold that their source has not seen to."""
        passing = named
        where = self._updated if source == "cells" else self._row_where()
        if where.conditions and source != "updated" and passing:
            rows = self._execute(
                f"SELECT seq FROM json_each(?) CROSS JOIN cell_task WHERE seq = value{where}",
                (json.dumps(passing), *where.parameters),
            )
            passing = [row[0] for row in rows.fetchall()]
        if self._parents is not None and source != "parents" and passing:
            rows = self._execute(
                "SELECT seq FROM json_each(?) CROSS JOIN task WHERE seq = value"
                " AND +parent_id IN (SELECT value FROM json_each(?))",
                (json.dumps(passing), self._parents),
            )
            passing = [row[0] for row in rows.fetchall()]
        return self._text.among(passing) if self._text is not None and source != "text" else passing

    def _read_on(self, low: int, most: int) -> list[int]:
        """Read along a source, however far that leads, until so many tasks have passed."""
        source = self._source()
        passing: list[int] = []
        width = 4 * most
        while len(passing) < most:
            named = self._along(source, low, width)
            passing += self._passing(source, named)
            if len(named) < width:
                break
            low, width = named[-1], CANDIDATES_MAX
        return passing[:most]

    def _along(self, source: str, low: int, most: int) -> list[int]:
        """Give the first tasks after a place that a source names."""
        if source == "text" and self._text is not None:
            return self._text.first(low, self._high, most)
        if source == "parents" and self._parents is not None:
            table = "task INDEXED BY task_by_parent"
            return self._merged(table, "parent_id", self._parents, self._in_parents, low, most)
        if source == "cells" and self._cells is not None:
            return self._merged("cell_task", "cell", self._cells, self._in_cells, low, most)
        return self._in_range(low, self._high, most)

    def _in_range(self, low: int, high: int, most: int) -> list[int]:
        rows = self._execute(
            "SELECT seq FROM cell_task NOT INDEXED WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?", (low, high, most)
        )
        return [row[0] for row in rows.fetchall()]

    def _merged(self, table: str, column: str, keys: str, total: int, low: int, most: int) -> list[int]:
        """Merge the lists of several keys: read a stretch of the order from each, and a longer one if it held too few.

        Reading each list to its own limit would cost keys times limit rows; a stretch holds few more than are wanted.
        """
        found: list[int] = []
        width = max(most, 2 * most * self._last // total)
        while len(found) < most and low < self._high:
            upto = min(low + width, self._high)
            rows = self._execute(
                f"SELECT seq FROM json_each(?) CROSS JOIN {table}"
                f" WHERE {column} = value AND seq > ? AND seq <= ? ORDER BY seq LIMIT ?",
                (keys, low, upto, most - len(found)),
            )
            found.extend(row[0] for row in rows.fetchall())
            low, width = upto, 8 * width
        return found

    def _row_where(self) -> _Where:
        """Give what must hold for a row of `cell_task`."""
        where = _Where(list(self._updated.conditions), list(self._updated.parameters))
        if self._cells is not None:
            where.add("+cell IN (SELECT value FROM json_each(?))", self._cells)
        return where

    def _read_parents(self, parent_id: str, wanted: TaskFilter) -> tuple[str, int]:
        """Give the containers whose children the filter means, as JSON, and how many children they have."""
        row = self._execute("SELECT session_id, children FROM task WHERE id = ?", (parent_id,)).fetchone()
        if row is None or wanted.session_id not in {None, row[0]}:
            return "[]", 0
        if not wanted.include_children:
            return json.dumps([parent_id]), row[1]
        containers = self._execute(
            "WITH RECURSIVE box(id, children) AS (SELECT ?, ? UNION ALL"
            " SELECT task.id, task.children FROM box CROSS JOIN task INDEXED BY task_container"
            " WHERE task.parent_id = box.id AND task.parent_id IS NOT NULL AND task.children > 0)"
            " SELECT id, children FROM box",
            (parent_id, row[1]),
        ).fetchall()
        return json.dumps([one[0] for one in containers]), sum(one[1] for one in containers)

    def _others_have_tasks(self, session_id: str) -> bool:
        row = self._execute(
            "SELECT EXISTS (SELECT 1 FROM cell WHERE session_id < ? AND n > 0)"
            " OR EXISTS (SELECT 1 FROM cell WHERE session_id > ? AND n > 0)",
            (session_id, session_id),
        ).fetchone()
        return bool(row[0])

    def _last_before(self, seconds: float) -> int:
        """Give the number of the last task that was created before a time: they stand in the order of creation."""
        row = self._execute(
            f"WITH RECURSIVE half(low, high) AS (SELECT 0, ? UNION ALL"
            f" SELECT iif({_BEFORE}, {_MIDDLE}, low), iif({_BEFORE}, high, {_MIDDLE} - 1) FROM half WHERE low < high)"
            " SELECT low FROM half WHERE low >= high",
            (self._last, seconds, seconds),
        ).fetchone()
        return int(row[0])


def _facets(wanted: TaskFilter) -> _Where:
    """Give what must hold for a cell, its session aside."""
    where = _Where()
    for name in ("status", "task_type", "specialist", "complexity"):
        where.one_of(name, getattr(wanted, name))
    if wanted.ready is not None:
        where.add("ready" if wanted.ready else "NOT ready")
    if wanted.leaves:
        where.add("NOT container")
    return where


def _tasks(connection: sqlite3.Connection, seqs: list[int]) -> tuple[Task, ...]:
    if not seqs:
        return ()
    rows: list[Row] = connection.execute(
        f"SELECT {_COLUMNS} FROM json_each(?) CROSS JOIN task WHERE seq = value", (json.dumps(seqs),)
    ).fetchall()
    return tuple(map(task_of, rows))


def _after(cursor: str | None) -> int:
    if cursor is None:
        return 0
    match place_of(_CURSOR, cursor):
        case [int() as seq] if seq >= 0:
            return seq
        case _:
            raise unknown_cursor(cursor)
