"""What must be true of the rows of a database, whatever commands made them: checked, never repaired.

Each check finds the rows that break it. Not here: files of artifacts, servers and anything else outside the database.
Neighbours: `changes` and the triggers of `derived` keep these promises.
"""

from __future__ import annotations

import contextlib
import itertools
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, final

from vespera_agents.store.changes import BY_CONDITION
from vespera_agents.store.derived import FACETS, WORDS_SCRIPT, facets_of
from vespera_agents.store.rows import TASK_COLUMNS, task_of
from vespera_agents.work.errors import Cycle
from vespera_agents.work.graph import find_cycle
from vespera_agents.work.machine import container_status, dependency_state
from vespera_agents.work.models import DependencyState, Strategy, TaskStatus
from vespera_agents.work.strategies import Decision, decision

__all__ = ["CHECKS", "FINDINGS_MAX", "CheckBudget", "Finding", "check_structure"]

FINDINGS_MAX: Final = 20
"""Rows that are named for one check."""
_STEPS_BETWEEN_LOOKS: Final = 10_000
"""Steps of SQLite's machine between two looks at the clock, about a tenth of a millisecond."""


@final
@dataclass(frozen=True, slots=True)
class CheckBudget:
    """How much a check of the structure may cost."""

    seconds: float = 60.0
    """For all checks together; what is not done by then is a finding `not_checked`."""
    integrity: bool = True
    """Let SQLite look at every page, too: the longest of the checks."""


@final
@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it must be."""

    check: str
    """The name of the check, one of CHECKS, or `not_checked`."""
    row: str | None
    """The id of the row it is about; None where it is about the whole file."""
    message: str
    """What is wrong, in a sentence."""


def check_structure(connection: sqlite3.Connection, budget: CheckBudget | None = None) -> list[Finding]:
    """Check everything that the store promises of its rows, and give what is broken; nothing is changed.

    The connection must be one of `writer.connect`, idle or inside a transaction; a query for `Store.read`.
    """
    budget = budget or CheckBudget()
    deadline = time.monotonic() + budget.seconds
    findings: list[Finding] = []
    # The reader's own look, whether anybody waits, rests meanwhile: this one is bounded by itself.
    connection.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS_BETWEEN_LOOKS)
    try:
        for name, check in CHECKS.items():
            if name == "integrity" and not budget.integrity:
                continue
            try:
                findings.extend(Finding(name, row, message) for row, message in check(connection))
            except sqlite3.OperationalError as error:
                if time.monotonic() <= deadline:
                    raise
                findings.append(Finding("not_checked", None, f"{name} was not checked to its end in time: {error}"))
            except sqlite3.DatabaseError as error:
                findings.append(Finding(name, None, f"the database cannot be read there: {error}"))
    finally:
        connection.set_progress_handler(None, 0)
    return findings


_Found = Iterator[tuple[str | None, str]]


def _rows(select: str, message: str) -> Callable[[sqlite3.Connection], _Found]:
    """Make a check of a select whose rows are all wrong: the first column names the row, all fill the message."""

    def check(connection: sqlite3.Connection) -> _Found:
        for row in connection.execute(f"{select} LIMIT {FINDINGS_MAX}").fetchall():
            yield (None if row[0] is None else str(row[0])), message.format(*row)

    return check


def _integrity(connection: sqlite3.Connection) -> _Found:
    for (line,) in connection.execute(f"PRAGMA integrity_check({FINDINGS_MAX})").fetchall():
        if line != "ok":
            yield None, f"SQLite says of the file: {line}"


def _circles(connection: sqlite3.Connection) -> _Found:
    """Look for tasks that wait for themselves, by dependencies, through containers and what these contain.

    `^P` stands for what holds everything in the container P. A child that nothing waits for and that waits for nothing
    by itself is on no circle: leaving it out keeps a million tasks out of memory.
    """
    edges: dict[str, list[str]] = {}
    for task_id, on_id in connection.execute(
        "SELECT task_id, on_task_id FROM dependency WHERE kind != 'related'"
        " UNION ALL SELECT '^' || task_id, on_task_id FROM dependency"
        " JOIN task ON task.id = task_id WHERE kind != 'related' AND children > 0"
        " UNION ALL SELECT parent_id, id FROM task WHERE parent_id IS NOT NULL AND (children > 0"
        " OR EXISTS (SELECT 1 FROM dependency WHERE task_id = task.id AND kind != 'related'))"
        " UNION ALL SELECT id, '^' || parent_id FROM task WHERE parent_id IS NOT NULL AND (children > 0"
        " OR EXISTS (SELECT 1 FROM dependency WHERE on_task_id = task.id AND kind != 'related'))"
        " UNION ALL SELECT '^' || id, '^' || parent_id FROM task WHERE parent_id IS NOT NULL AND children > 0"
    ):
        edges.setdefault(task_id, []).append(on_id)
    try:
        find_cycle(edges)
    except Cycle as error:
        path = [name.lstrip("^") for name in error.path]
        yield path[0], f"tasks wait for each other in a circle: {' -> '.join(path)}"


def _dependency_states(connection: sqlite3.Connection) -> _Found:
    rows = connection.execute(
        "SELECT dependency.task_id, dependency.on_task_id, dependency.state, waived_by, task.status, task.waived"
        " FROM dependency JOIN task ON task.id = on_task_id WHERE task.status != 'archived'"
    )
    found = 0
    for task_id, on_id, state, waived_by, status, waived in rows:
        expected = dependency_state(TaskStatus(status), waived=bool(waived))
        decided = state == DependencyState.WAIVED and waived_by != BY_CONDITION
        if state != expected and not decided:
            yield task_id, f"it waits for {on_id}, which is {status}; the dependency is {state}, not {expected}"
            found += 1
            if found == FINDINGS_MAX:
                return


def _container_statuses(connection: sqlite3.Connection) -> _Found:
    rows = connection.execute(
        "SELECT parent.id, parent.status, parent.waived, parent.strategy, child.status, child.waived, count(*)"
        " FROM task AS parent JOIN task AS child ON child.parent_id = parent.id"
        " GROUP BY parent.seq, child.status, child.waived ORDER BY parent.seq"
    )
    found = 0
    for (parent, before, waived, strategy), group in itertools.groupby(rows, key=lambda row: row[:4]):
        expected = container_status({(TaskStatus(row[4]), bool(row[5])): int(row[6]) for row in group})
        decided = _decided(connection, parent) if strategy == Strategy.CONSENSUS else None
        expected = expected if decided is None else (decided.status, False)
        # An archived container keeps the mark that it had before.
        if before != expected[0] or (expected[0] is not TaskStatus.ARCHIVED and bool(waived) != expected[1]):
            yield parent, f"it is {before}, but its subtasks make it {expected[0]}"
            found += 1
            if found == FINDINGS_MAX:
                return


def _decided(connection: sqlite3.Connection, container: str) -> Decision | None:
    read = f"SELECT {TASK_COLUMNS} FROM task WHERE"
    members = connection.execute(f"{read} parent_id=? ORDER BY position, seq", (container,)).fetchall()
    return decision(
        task_of(connection.execute(f"{read} id=?", (container,)).fetchone()), [task_of(row) for row in members]
    )


def _words(connection: sqlite3.Connection) -> _Found:
    """Compare the full-text index, which keeps no texts, with one that is made anew of the tasks, place by place."""
    # A database of its own, on the disk where it grows: the one that is checked is only read.
    with contextlib.closing(sqlite3.connect("", isolation_level=None)) as anew:
        anew.executescript(WORDS_SCRIPT)
        anew.execute("BEGIN")
        # Of a task that is still to be learned it knows what was there before, or nothing.
        texts = connection.execute(
            "SELECT seq, words(title), words(description), words(summary) FROM task"
            " WHERE seq <= (SELECT learned FROM task_mark) AND seq NOT IN (SELECT seq FROM task_reworded)"
            " UNION ALL SELECT seq, words(title), words(description), words(summary) FROM task_reworded"
            " ORDER BY seq"
        )
        anew.executemany("INSERT INTO task_words(rowid, title, description, summary) VALUES (?,?,?,?)", texts)
        places = "SELECT term, doc, col, offset FROM task_words_places"
        for mine, theirs in itertools.zip_longest(connection.execute(places), anew.execute(places)):
            if mine != theirs:
                term, seq = mine[:2] if theirs is None or (mine is not None and mine < theirs) else theirs[:2]
                row = connection.execute("SELECT id FROM task WHERE seq=?", (seq,)).fetchone()
                yield row and str(row[0]), f"the full-text index is wrong about {term!r} in row {seq}"
                return


_CELL_OF_TASK: Final = f"({', '.join(f'cell.{name}' for name in FACETS)}) = ({facets_of('task')})"

CHECKS: Final[dict[str, Callable[[sqlite3.Connection], _Found]]] = {
    "integrity": _integrity,
    "task_session": _rows(
        "SELECT id, session_id FROM task WHERE session_id NOT IN (SELECT id FROM session)",
        "its session {1} does not exist",
    ),
    "task_parent": _rows(
        "SELECT task.id, task.parent_id FROM task LEFT JOIN task AS parent ON parent.id = task.parent_id"
        " WHERE task.parent_id IS NOT NULL AND (parent.id IS NULL OR parent.session_id != task.session_id"
        " OR parent.seq >= task.seq)",
        "its container {1} does not exist, is of another session, or was created later",
    ),
    "dependency_ends": _rows(
        "SELECT task_id, on_task_id FROM dependency LEFT JOIN task AS one ON one.id = task_id"
        " LEFT JOIN task AS other ON other.id = on_task_id"
        " WHERE one.id IS NULL OR other.id IS NULL OR one.session_id != other.session_id",
        "it waits for {1}: one of them does not exist, or they are of different sessions",
    ),
    "artifact_owner": _rows(
        "SELECT id, session_id, task_id FROM artifact WHERE session_id NOT IN (SELECT id FROM session)"
        " OR (task_id IS NOT NULL AND task_id NOT IN (SELECT id FROM task))",
        "its session {1} or its task {2} does not exist",
    ),
    "claims": _rows(
        "SELECT id, claimed_by, status FROM task WHERE claimed_by IS NOT NULL"
        " AND (status != 'in_progress' OR children > 0)",
        "{1} holds a claim on it, but it is {2} or a container",
    ),
    "children": _rows(
        "SELECT id, children, n FROM (SELECT id, children,"
        " (SELECT count(*) FROM task AS child WHERE child.parent_id = task.id) AS n FROM task) WHERE children != n",
        "it counts {1} subtasks and has {2}",
    ),
    "open_dependencies": _rows(
        "SELECT id, counted, n FROM (WITH RECURSIVE own(id, n) AS MATERIALIZED"
        " (SELECT task_id, count(*) FROM dependency WHERE mandatory AND state IN ('open', 'failed') GROUP BY task_id),"
        " held(id, counted, n) AS (SELECT task.id, open_dependencies, coalesce(n, 0) FROM task LEFT JOIN own USING (id)"
        " WHERE parent_id IS NULL UNION ALL"
        " SELECT task.id, task.open_dependencies, held.n + coalesce(own.n, 0) FROM held"
        " JOIN task ON task.parent_id = held.id LEFT JOIN own ON own.id = task.id)"
        " SELECT * FROM held) WHERE counted != n",
        "it counts {1} dependencies that hold it, and {2} do",
    ),
    "dependency_states": _dependency_states,
    "container_statuses": _container_statuses,
    "circles": _circles,
    "created_order": _rows(
        "SELECT id FROM (SELECT id, created, lag(created) OVER (ORDER BY seq) AS before FROM task)"
        " WHERE created < before",
        "it was created after the task before it, but an earlier time stands there",
    ),
    "cells": _rows(
        "SELECT task.id FROM task LEFT JOIN cell"
        f" ON {_CELL_OF_TASK} LEFT JOIN cell_task ON cell_task.seq = task.seq"
        " WHERE cell.id IS NULL OR cell_task.cell IS NOT cell.id OR cell_task.updated IS NOT task.updated",
        "it is not listed in the cell of its status, type and so on",
    ),
    "cell_counts": _rows(
        "SELECT NULL, id, n, there FROM (SELECT id, n, (SELECT count(*) FROM cell_task WHERE cell = id) AS there"
        " FROM cell) WHERE n != there"
        " UNION ALL SELECT NULL, cell, seq, 0 FROM cell_task"
        " WHERE cell NOT IN (SELECT id FROM cell) OR seq NOT IN (SELECT seq FROM task)",
        "cell {1} counts {2} tasks and lists {3}, or lists a task that does not exist",
    ),
    "words": _words,
}
"""Every check by its name, in the order in which they are made."""
