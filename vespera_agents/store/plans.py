"""What is asked about a plan that became tasks: what of it can begin, and whether it is there already.

More queries, run as those of `queries` are. Not the reading of plans (`work.plans`).
"""

from __future__ import annotations

import sqlite3

from vespera_agents.store.rows import TASK_COLUMNS, task_of
from vespera_agents.work.models import Strategy, Task
from vespera_agents.work.strategies import starts_from

__all__ = ["goes_on_from", "live_root", "ready_below"]


def live_root(connection: sqlite3.Connection, session_id: str, key: str, title: str) -> Task | None:
    """Read the newest live task of a session that is in no container and has this key and title, if there is one."""
    row = connection.execute(
        f"SELECT {TASK_COLUMNS} FROM task WHERE session_id=? AND parent_id IS NULL AND key=? AND title=?"
        " AND status IN ('pending', 'in_progress', 'blocked', 'review') ORDER BY seq DESC LIMIT 1",
        (session_id, key, title),
    ).fetchone()
    return None if row is None else task_of(row)


def ready_below(connection: sqlite3.Connection, root: str, limit: int) -> list[Task]:
    """Read the tasks of a subtree, its root included, that can be claimed now, the oldest first."""
    rows = connection.execute(
        "WITH RECURSIVE below(id) AS"
        " (SELECT ? UNION ALL SELECT task.id FROM task JOIN below ON task.parent_id = below.id)"
        f" SELECT {TASK_COLUMNS} FROM task WHERE id IN (SELECT id FROM below)"
        " AND status='pending' AND children=0 AND open_dependencies=0 ORDER BY seq LIMIT ?",
        (root, limit),
    ).fetchall()
    return [task_of(row) for row in rows]


def goes_on_from(connection: sqlite3.Connection, task_id: str) -> str | None:
    """Say from which task's files another one goes on, by the strategy of its container; None for its own beginning."""
    row = connection.execute(
        "SELECT parent.id, parent.strategy FROM task JOIN task AS parent ON parent.id = task.parent_id"
        " WHERE task.id=? AND parent.strategy IS NOT NULL",
        (task_id,),
    ).fetchone()
    if row is None:
        return None
    members = connection.execute(
        f"SELECT {TASK_COLUMNS} FROM task WHERE parent_id=? ORDER BY position, seq", (row[0],)
    ).fetchall()
    return starts_from(Strategy(row[1]), [task_of(member) for member in members], task_id)
