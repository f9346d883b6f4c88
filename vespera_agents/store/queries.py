"""Every way in which durable state is read: functions of a connection, run by `Store.read` in one transaction each.

Pages go by creation order, which never changes, so a cursor stays true while work goes on. Not here: how an answer
is shaped for a client (`specialists.answers`).
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, final

from vespera_agents.store.pages import EXACT_TOTAL_MAX, TaskFilter, TaskPage, first_tasks, task_page
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
from vespera_agents.store.transaction import only_open_session, resolve_task_id
from vespera_agents.work.errors import NotFound
from vespera_agents.work.models import Artifact, Dependency, Event, Session, Task

__all__ = [
    "EXACT_TOTAL_MAX",
    "Lease",
    "TaskFilter",
    "TaskPage",
    "artifact",
    "artifacts_of",
    "claims",
    "decisions",
    "dependencies_of",
    "events_of",
    "first_tasks",
    "latest_artifacts",
    "latest_completed",
    "leases",
    "leaves_below",
    "oldest_first",
    "oldest_waiting",
    "open_session",
    "past_durations",
    "ready_tasks",
    "session",
    "session_tasks",
    "sessions",
    "status_counts",
    "stuck_tasks",
    "task",
    "task_page",
    "tasks",
]


STUCK_MAX: Final = 500
"""Broken tasks from which the search for what they hold up begins; it ends with twice as many."""
_TASK: Final = f"SELECT {TASK_COLUMNS} FROM task WHERE id=?"


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


def sessions(connection: sqlite3.Connection, most: int = -1) -> list[Session]:
    """Read the sessions of the workspace, the newest first: so many, or all."""
    rows = connection.execute(
        f"SELECT {SESSION_COLUMNS} FROM session ORDER BY created DESC, id LIMIT ?", (most,)
    ).fetchall()
    return [session_of(row) for row in rows]


def task(connection: sqlite3.Connection, reference: str, session_id: str | None = None) -> Task:
    """Read one task by id or unique prefix.

    Raises:
        NotFound: nothing, or more than one task, has that prefix.
    """
    row = connection.execute(_TASK, (reference,)).fetchone()
    if row is None or session_id is not None:
        row = connection.execute(_TASK, (resolve_task_id(connection, reference, session_id),)).fetchone()
    return task_of(row)


def tasks(connection: sqlite3.Connection, ids: Sequence[str]) -> list[Task]:
    """Read these tasks, in the given order, those that exist."""
    found = {row[0]: task_of(row) for row in _by_ids(connection, f"SELECT {TASK_COLUMNS} FROM task WHERE id", ids)}
    return [found[identifier] for identifier in ids if identifier in found]


def oldest_first(connection: sqlite3.Connection, ids: Sequence[str]) -> list[str]:
    """Put ids of tasks into the order in which the tasks were made, which is that of their plan."""
    rows = _by_ids(connection, "SELECT id, seq FROM task WHERE id", ids)
    return [str(row[0]) for row in sorted(rows, key=lambda row: int(row[1]))]


def session_tasks(connection: sqlite3.Connection, session_id: str, root: str | None = None) -> list[Task]:
    """Read every task of a session, or of one subtree, in the order of the plan: containers before their contents."""
    if root is None:
        rows = connection.execute(
            f"SELECT {TASK_COLUMNS} FROM task WHERE seq IN (SELECT seq FROM cell_task WHERE cell IN"
            " (SELECT id FROM cell WHERE session_id=?)) ORDER BY seq",
            (session_id,),
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
    return first_tasks(connection, TaskFilter(session_id=session_id, ready=True), limit)


def dependencies_of(connection: sqlite3.Connection, ids: Iterable[str]) -> list[Dependency]:
    """Read what these tasks wait for."""
    select = f"SELECT {DEPENDENCY_COLUMNS} FROM dependency WHERE task_id"
    return [dependency_of(row) for row in _by_ids(connection, select, list(ids))]


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


def decisions(connection: sqlite3.Connection, session_id: str, limit: int) -> list[Event]:
    """Read the last changes of status for which somebody gave a reason; that one claimed a task is no decision."""
    rows = connection.execute(
        f"SELECT {EVENT_COLUMNS} FROM event WHERE session_id=? AND what='status' AND detail IS NOT NULL"
        " AND after != 'completed' AND actor != 'supervision' AND detail != 'follows its subtasks'"
        " AND detail NOT LIKE 'claimed by %' ORDER BY seq DESC LIMIT ?",
        (session_id, limit),
    ).fetchall()
    return [event_of(row) for row in reversed(rows)]


def status_counts(connection: sqlite3.Connection, session_id: str | None = None) -> list[tuple[str, str, bool, int]]:
    """Count tasks that are no containers by (status, specialist, waived)."""
    rows: list[Row] = connection.execute(
        "SELECT status, specialist, waived, sum(n) FROM cell WHERE n > 0 AND NOT container"
        f"{'' if session_id is None else ' AND session_id = ?'} GROUP BY status, specialist, waived",
        () if session_id is None else (session_id,),
    ).fetchall()
    return [(str(row[0]), str(row[1]), bool(row[2]), int(row[3])) for row in rows]


def oldest_waiting(connection: sqlite3.Connection, session_id: str | None = None) -> list[tuple[str, float]]:
    """Give, for each live status, the time since which its oldest task that is no container has stood there."""
    rows: list[Row] = connection.execute(
        "SELECT status, min((SELECT updated FROM cell_task WHERE cell = cell.id ORDER BY updated LIMIT 1)) FROM cell"
        " WHERE n > 0 AND NOT container AND +status IN ('pending', 'in_progress', 'blocked', 'review')"
        f"{'' if session_id is None else ' AND session_id = ?'} GROUP BY status",
        () if session_id is None else (session_id,),
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


def latest_completed(connection: sqlite3.Connection, session_id: str, limit: int) -> list[Task]:
    """Read the tasks that were completed last and are no containers, the latest first."""
    rows: list[Row] = connection.execute(
        f"SELECT {TASK_COLUMNS} FROM task WHERE seq IN (SELECT seq FROM cell CROSS JOIN cell_task ON cell = cell.id"
        " AND updated >= coalesce((SELECT updated FROM cell_task WHERE cell = cell.id"
        " ORDER BY updated DESC LIMIT 1 OFFSET ?), 0)"
        " WHERE cell.session_id = ? AND status = 'completed' AND NOT container AND n > 0)"
        " ORDER BY finished DESC, seq LIMIT ?",
        (limit, session_id, limit),
    ).fetchall()
    return [task_of(row) for row in rows]


def past_durations(connection: sqlite3.Connection, most: int) -> dict[str, list[float]]:
    """Read how many seconds completed tasks of the workspace took, by role: of each role the `most` done last."""
    found: dict[str, list[float]] = {}
    roles = connection.execute(
        "SELECT DISTINCT specialist FROM cell WHERE status='completed' AND NOT container AND n > 0"
    ).fetchall()
    for (role,) in roles:
        rows = connection.execute(
            "SELECT finished - started FROM task WHERE seq IN"
            " (SELECT seq FROM cell CROSS JOIN cell_task ON cell = cell.id WHERE status='completed' AND specialist=?"
            " AND NOT container AND n > 0 ORDER BY updated DESC LIMIT ?)"
            " AND started NOT NULL AND finished NOT NULL",
            (role, most),
        ).fetchall()
        found[str(role)] = [float(row[0]) for row in rows]
    return found


def stuck_tasks(connection: sqlite3.Connection, session_id: str) -> tuple[list[Task], list[Dependency]]:
    """Read the tasks of a session that are broken or wait for such, in the order of the plan, and their dependencies.

    From the broken ones, the newest first, along what waits for them, up to STUCK_MAX: how long it takes depends on
    what is stuck, not on the size of the session. These rows say as much about who is to blame as all rows would.
    """
    broken = connection.execute(
        "SELECT id FROM task WHERE seq IN (SELECT seq FROM cell_task WHERE cell IN (SELECT id FROM cell"
        " WHERE session_id = ? AND +status IN ('failed', 'cancelled', 'blocked') AND NOT waived AND NOT container"
        " AND n > 0) ORDER BY seq DESC LIMIT ?) ORDER BY seq DESC",
        (session_id, STUCK_MAX),
    ).fetchall()
    found: dict[str, None] = dict.fromkeys(row[0] for row in broken)
    frontier = list(found)
    while frontier and len(found) < 2 * STUCK_MAX:
        following = connection.execute(
            "WITH RECURSIVE here(id) AS (SELECT value FROM json_each(?)), below(id) AS ("
            " SELECT task_id FROM dependency JOIN here ON on_task_id = here.id"
            " WHERE mandatory AND kind != 'related' AND state IN ('open', 'failed')"
            # A container that waits holds everything in it.
            " UNION SELECT task.id FROM below JOIN task ON task.parent_id = below.id)"
            # A container waits for what is in it.
            " SELECT id FROM below UNION SELECT parent_id FROM task JOIN here USING (id) WHERE parent_id IS NOT NULL"
            " LIMIT ?",
            (json.dumps(frontier), 2 * STUCK_MAX),
        ).fetchall()
        frontier = [row[0] for row in following if row[0] not in found]
        found.update(dict.fromkeys(frontier))
    rows = _by_ids(connection, f"SELECT {TASK_COLUMNS}, seq FROM task WHERE id", list(found))
    rows.sort(key=lambda row: int(row[-1]))
    return _in_tree_order([task_of(row[:-1]) for row in rows], None), dependencies_of(connection, found)


def leaves_below(connection: sqlite3.Connection, container_id: str) -> tuple[int, int]:
    """Count the tasks below a container that are no containers: how many have ended, and how many there are."""
    row = connection.execute(
        "WITH RECURSIVE box(id) AS (SELECT ? UNION ALL"
        " SELECT task.id FROM box CROSS JOIN task INDEXED BY task_container"
        " WHERE task.parent_id = box.id AND task.parent_id IS NOT NULL AND task.children > 0)"
        " SELECT coalesce(sum(status IN ('completed', 'failed', 'cancelled', 'archived')), 0), count(*)"
        " FROM box JOIN task ON task.parent_id = box.id WHERE children = 0",
        (container_id,),
    ).fetchone()
    return int(row[0]), int(row[1])


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
