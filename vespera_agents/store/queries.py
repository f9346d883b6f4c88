"""Every way in which durable state is read: functions of a connection, run by `Store.read` in one transaction each.

Pages go by creation order, which never changes, so a cursor stays true while work goes on. Not here: how an answer
is shaped for a client (`specialists.answers`).
"""

from __future__ import annotations

import base64
import binascii
import json
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, final

from vespera_agents.store.rows import (
    ARTIFACT_COLUMNS,
    DEPENDENCY_COLUMNS,
    EVENT_COLUMNS,
    SESSION_COLUMNS,
    TASK_COLUMNS,
    Row,
    artifact_of,
    dependency_of,
    event_of,
    session_of,
    task_of,
)
from vespera_agents.store.transaction import CommandKey, only_open_session, resolve_task_id
from vespera_agents.work.errors import InvalidInput, NotFound
from vespera_agents.work.models import Artifact, Dependency, Event, Session, Task

__all__ = [
    "EXACT_TOTAL_MAX",
    "Lease",
    "TaskFilter",
    "TaskPage",
    "artifact",
    "artifacts_of",
    "claims",
    "dependencies_of",
    "dependents_of",
    "events_of",
    "latest_artifacts",
    "leases",
    "oldest_waiting",
    "open_session",
    "ready_tasks",
    "recorded_result",
    "session",
    "session_tasks",
    "sessions",
    "status_counts",
    "task",
    "task_page",
    "tasks",
]

EXACT_TOTAL_MAX: Final = 1_000
"""Totals are counted up to here."""
_SEQ_DIGITS_MAX: Final = 18
"""Digits that are sure to fit SQLite's integers."""
_READY: Final = "status='pending' AND children=0 AND open_dependencies=0"


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
    text: str | None = None
    """Stands in the title, the description or the summary, letter case aside."""
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
    total_is_exact: bool
    next_cursor: str | None


@final
@dataclass(frozen=True, slots=True)
class Lease:
    """Until when somebody who outlives every server keeps claims."""

    holder: str
    boot: str
    """The start of the machine that the times count from."""
    renewed: float
    """Seconds since then."""
    expires: float
    """Seconds since then."""


def session(connection: sqlite3.Connection, session_id: str) -> Session:
    """Read one session.

    Raises:
        NotFound: there is none of that id.
    """
    row = connection.execute(f"SELECT {SESSION_COLUMNS} FROM session WHERE id=?", (session_id,)).fetchone()
    if row is None:
        raise NotFound(
            f"there is no session {session_id!r} in this workspace", "List them with orchestrator_list_sessions."
        )
    return session_of(row)


def open_session(connection: sqlite3.Connection) -> Session:
    """Read the session that is meant where none is named.

    Raises:
        NotFound: none is open.
        Conflict: several are.
    """
    return session(connection, only_open_session(connection))


def sessions(connection: sqlite3.Connection) -> list[Session]:
    """Read all sessions of the workspace, the newest first."""
    rows = connection.execute(f"SELECT {SESSION_COLUMNS} FROM session ORDER BY created DESC, id").fetchall()
    return [session_of(row) for row in rows]


def task(connection: sqlite3.Connection, reference: str, session_id: str | None = None) -> Task:
    """Read one task by id or unique prefix.

    Raises:
        NotFound: nothing, or more than one task, has that prefix.
    """
    identifier = resolve_task_id(connection, reference, session_id)
    return task_of(connection.execute(f"SELECT {TASK_COLUMNS} FROM task WHERE id=?", (identifier,)).fetchone())


def tasks(connection: sqlite3.Connection, ids: Sequence[str]) -> list[Task]:
    """Read these tasks, in the given order, those that exist."""
    found = {row[0]: task_of(row) for row in _by_ids(connection, f"SELECT {TASK_COLUMNS} FROM task WHERE id", ids)}
    return [found[identifier] for identifier in ids if identifier in found]


def session_tasks(connection: sqlite3.Connection, session_id: str, root: str | None = None) -> list[Task]:
    """Read every task of a session, or of one subtree, in the order of the plan: containers before their contents."""
    if root is None:
        rows = connection.execute(
            f"SELECT {TASK_COLUMNS} FROM task WHERE session_id=? ORDER BY seq", (session_id,)
        ).fetchall()
    else:
        rows = connection.execute(
            "WITH RECURSIVE below(id) AS"
            " (SELECT ? UNION ALL SELECT task.id FROM task JOIN below ON task.parent_id = below.id)"
            f" SELECT {TASK_COLUMNS} FROM task WHERE id IN (SELECT id FROM below) ORDER BY seq",
            (root,),
        ).fetchall()
    return _in_tree_order([task_of(row) for row in rows], root)


def ready_tasks(connection: sqlite3.Connection, session_id: str, limit: int) -> list[Task]:
    """Read the tasks of a session that can be claimed now, the oldest first."""
    rows = connection.execute(
        f"SELECT {TASK_COLUMNS} FROM task WHERE session_id=? AND {_READY} ORDER BY seq LIMIT ?", (session_id, limit)
    ).fetchall()
    return [task_of(row) for row in rows]


def task_page(connection: sqlite3.Connection, wanted: TaskFilter, limit: int, cursor: str | None) -> TaskPage:
    """Read one page of the tasks that a filter lets through.

    Args:
        connection: where to read.
        wanted: the filter.
        limit: tasks on the page.
        cursor: the `next_cursor` of the page before.

    Raises:
        InvalidInput: the cursor is not one of ours.
    """
    conditions, parameters = _conditions(wanted)
    where = " AND ".join(conditions) or "1"
    total = connection.execute(
        f"SELECT count(*) FROM (SELECT 1 FROM task WHERE {where} LIMIT {EXACT_TOTAL_MAX + 1})", parameters
    ).fetchone()[0]
    rows = connection.execute(
        f"SELECT {TASK_COLUMNS}, seq FROM task WHERE ({where}) AND seq > ? ORDER BY seq LIMIT ?",
        (*parameters, _after(cursor), limit + 1),
    ).fetchall()
    page = rows[:limit]
    return TaskPage(
        tasks=tuple(task_of(row[:-1]) for row in page),
        total=min(total, EXACT_TOTAL_MAX),
        total_is_exact=total <= EXACT_TOTAL_MAX,
        next_cursor=_cursor(page[-1][-1]) if len(rows) > limit else None,
    )


def dependencies_of(connection: sqlite3.Connection, ids: Iterable[str]) -> list[Dependency]:
    """Read what these tasks wait for."""
    select = f"SELECT {DEPENDENCY_COLUMNS} FROM dependency WHERE task_id"
    return [dependency_of(row) for row in _by_ids(connection, select, list(ids))]


def dependents_of(connection: sqlite3.Connection, task_id: str) -> list[Dependency]:
    """Read what waits for a task."""
    rows = connection.execute(f"SELECT {DEPENDENCY_COLUMNS} FROM dependency WHERE on_task_id=?", (task_id,)).fetchall()
    return [dependency_of(row) for row in rows]


def artifacts_of(connection: sqlite3.Connection, ids: Iterable[str]) -> list[Artifact]:
    """Read the artifacts of these tasks, the oldest first."""
    select = f"SELECT {ARTIFACT_COLUMNS}, seq FROM artifact WHERE task_id"
    rows = sorted(_by_ids(connection, select, list(ids)), key=lambda row: int(row[-1]))
    return [artifact_of(row[:-1]) for row in rows]


def latest_artifacts(connection: sqlite3.Connection, session_id: str, limit: int) -> list[Artifact]:
    """Read the newest artifacts of a session, the newest first."""
    rows = connection.execute(
        f"SELECT {ARTIFACT_COLUMNS} FROM artifact WHERE session_id=? ORDER BY seq DESC LIMIT ?", (session_id, limit)
    ).fetchall()
    return [artifact_of(row) for row in rows]


def artifact(connection: sqlite3.Connection, reference: str) -> Artifact:
    """Read one artifact by id, by content hash, or by a unique prefix of either.

    Raises:
        NotFound: nothing has that name, or different contents share the prefix.
    """
    if len(reference) < 4:  # noqa: PLR2004 - fewer letters are a guess, not a name
        raise NotFound(f"{reference!r} is too short to name an artifact", "Give at least four letters of its id.")
    rows = connection.execute(
        f"SELECT {ARTIFACT_COLUMNS} FROM artifact WHERE (id >= ? AND id < ?) OR (sha256 >= ? AND sha256 < ?)"
        " ORDER BY seq DESC LIMIT 50",
        (reference, f"{reference}g", reference, f"{reference}g"),
    ).fetchall()
    found = [artifact_of(row) for row in rows]
    if not found:
        raise NotFound(f"there is no artifact {reference!r}", "Read its task or `vespera status` to see the artifacts.")
    if len({one.sha256 for one in found}) > 1:
        raise NotFound(f"{reference!r} is the beginning of several artifacts", "Give more of the id.")
    return found[0]


def events_of(connection: sqlite3.Connection, session_id: str, after: int = 0, limit: int = 1_000) -> list[Event]:
    """Read the audit trail of a session from after a sequence number on."""
    rows = connection.execute(
        f"SELECT {EVENT_COLUMNS} FROM event WHERE session_id=? AND seq>? ORDER BY seq LIMIT ?",
        (session_id, after, limit),
    ).fetchall()
    return [event_of(row) for row in rows]


def status_counts(connection: sqlite3.Connection, session_id: str | None = None) -> list[tuple[str, str, bool, int]]:
    """Count tasks that are no containers by (status, specialist, waived)."""
    rows: list[Row] = connection.execute(
        "SELECT status, specialist, waived, count(*) FROM task WHERE children=0 AND (? IS NULL OR session_id=?)"
        " GROUP BY status, specialist, waived",
        (session_id, session_id),
    ).fetchall()
    return [(str(row[0]), str(row[1]), bool(row[2]), int(row[3])) for row in rows]


def oldest_waiting(connection: sqlite3.Connection) -> list[tuple[str, float]]:
    """Give, for each live status, the time since which its oldest task has stood there."""
    rows: list[Row] = connection.execute(
        "SELECT status, min(updated) FROM task WHERE children=0"
        " AND status IN ('pending', 'in_progress', 'blocked', 'review') GROUP BY status"
    ).fetchall()
    return [(str(row[0]), float(row[1])) for row in rows]


def claims(connection: sqlite3.Connection) -> dict[str, list[str]]:
    """List who holds claims, each with the ids of the tasks."""
    found: dict[str, list[str]] = {}
    for holder, task_id in connection.execute("SELECT claimed_by, id FROM task WHERE claimed_by NOT NULL ORDER BY seq"):
        found.setdefault(holder, []).append(task_id)
    return found


def leases(connection: sqlite3.Connection) -> list[Lease]:
    """List the leases of holders that outlive every server."""
    rows = connection.execute("SELECT holder, boot, renewed, expires FROM lease ORDER BY holder").fetchall()
    return [Lease(*row) for row in rows]


def recorded_result(connection: sqlite3.Connection, key: CommandKey) -> object:
    """Give the recorded result of a command by its key, None if there is none: whether a call was made before."""
    row = connection.execute("SELECT result FROM command WHERE origin=? AND key=?", (key.origin, key.key)).fetchone()
    return None if row is None else json.loads(row[0])


def _conditions(wanted: TaskFilter) -> tuple[list[str], list[object]]:
    """Put a filter into SQL conditions and their parameters."""
    pairs: list[tuple[str, tuple[object, ...]]] = [
        (f"{column} IN ({','.join('?' * len(values))})", values)
        for column, values in (
            ("status", wanted.status),
            ("task_type", wanted.task_type),
            ("specialist", wanted.specialist),
            ("complexity", wanted.complexity),
        )
        if values
    ]
    direct_parent = None if wanted.include_children else wanted.parent_id
    pairs.extend(
        (condition, (value,))
        for condition, value in (
            ("session_id=?", wanted.session_id),
            ("parent_id=?", direct_parent),
            ("created >= ?", wanted.created_after),
            ("created < ?", wanted.created_before),
            ("updated >= ?", wanted.updated_after),
            ("updated < ?", wanted.updated_before),
        )
        if value is not None
    )
    if wanted.include_children and wanted.parent_id is not None:
        below = (
            "id IN (WITH RECURSIVE below(id) AS (SELECT id FROM task WHERE parent_id=? UNION ALL"
            " SELECT task.id FROM task JOIN below ON task.parent_id = below.id) SELECT id FROM below)"
        )
        pairs.append((below, (wanted.parent_id,)))
    if wanted.ready is not None:
        pairs.append((f"({_READY})" if wanted.ready else f"NOT ({_READY})", ()))
    if wanted.text:
        # instr() takes the text as it is; LIKE would read % and _ as wildcards, and lower() knows ASCII only.
        text = "instr(casefold(title || char(10) || description || char(10) || coalesce(summary, '')), ?) > 0"
        pairs.append((text, (wanted.text.casefold(),)))
    return [condition for condition, _ in pairs], [value for _, values in pairs for value in values]


def _cursor(seq: int) -> str:
    return base64.urlsafe_b64encode(f"task:{seq}".encode()).decode()


def _after(cursor: str | None) -> int:
    if cursor is None:
        return 0
    try:
        kind, _, number = base64.urlsafe_b64decode(cursor.encode()).decode().partition(":")
        if kind == "task" and number.isdecimal() and len(number) <= _SEQ_DIGITS_MAX:
            return int(number)
    except (ValueError, binascii.Error):
        pass
    raise InvalidInput(
        f"the cursor {cursor!r} is not one that was given out", "Leave it out to begin at the first page."
    )


def _by_ids(connection: sqlite3.Connection, select: str, ids: Sequence[str]) -> list[Row]:
    """Run `select IN (ids)` in slices that every SQLite takes."""
    rows: list[Row] = []
    for start in range(0, len(ids), 500):
        part = ids[start : start + 500]
        rows.extend(connection.execute(f"{select} IN ({','.join('?' * len(part))})", tuple(part)).fetchall())
    return rows


def _in_tree_order(found: list[Task], root: str | None) -> list[Task]:
    children: dict[str | None, list[Task]] = {}
    known = {member.id for member in found}
    for member in found:
        above = member.parent_id if member.parent_id in known and member.id != root else None
        children.setdefault(above, []).append(member)
    for siblings in children.values():
        siblings.sort(key=lambda member: member.position)
    ordered: list[Task] = []
    stack = list(reversed(children.get(None, [])))
    while stack:
        member = stack.pop()
        ordered.append(member)
        stack.extend(reversed(children.get(member.id, [])))
    return ordered
