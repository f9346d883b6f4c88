"""What changed since one looked last, whichever process changed it: the audit trail, read by functions of a connection.

Neighbours: `serving.protocol.notifying.changes` looks from time to time and tells clients. Not the changes of status
that this process made (`Store.subscribe`), not an audit of one session (`queries.events_of`).
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final, final

from vespera_agents.store.rows import Row

__all__ = ["Changed", "changed_since", "last_event"]

EVENTS_MAX: Final = 2_000
"""Events that are told one by one, within 15 ms; where there were more, everything counts as changed."""
_LISTED: Final = frozenset({"session_created", "session_status", "artifact", "artifacts_dropped", "deleted"})
"""Events that add to or take from the sessions and artifacts that there are."""
_DROPPED: Final = frozenset({"artifacts_dropped", "deleted"})


@final
@dataclass(frozen=True, slots=True)
class Changed:
    """What is no longer as it was, of what somebody watches."""

    last: int
    """The last event that was looked at."""
    sessions: frozenset[str] = frozenset()
    tasks: frozenset[str] = frozenset()
    artifacts: frozenset[str] = frozenset()
    """By content hash."""
    listed: bool = False
    """Whether sessions or artifacts came or went."""


def last_event(connection: sqlite3.Connection) -> int:
    """Give the number of the newest event, 0 where there is none."""
    return int(connection.execute("SELECT coalesce(max(seq), 0) FROM event").fetchone()[0])


def changed_since(
    connection: sqlite3.Connection,
    after: int,
    sessions: Collection[str],
    tasks: Collection[str],
    artifacts: Collection[str],
) -> Changed:
    """Say which of these changed after an event.

    A task counts as changed, too, when a subtask of it or something it waits for did: what is shown of it follows.

    Args:
        connection: where to read.
        after: the number of the last event that is known.
        sessions: the ids that are watched.
        tasks: likewise.
        artifacts: likewise, by content hash.
    """
    last = last_event(connection)
    if last == after:
        return Changed(after)
    # With another database in its place the count begins again.
    if last < after or last - after > EVENTS_MAX:
        return Changed(last, frozenset(sessions), frozenset(tasks), frozenset(artifacts), listed=True)
    rows: list[Row] = connection.execute(
        "SELECT DISTINCT session_id, task_id, what, after FROM event WHERE seq > ? AND seq <= ?", (after, last)
    ).fetchall()
    what = {str(row[2]) for row in rows}
    touched = {str(row[1]) for row in rows if row[1] is not None}
    kept = {str(row[3]) for row in rows if row[2] == "artifact"}
    return Changed(
        last,
        frozenset({str(row[0]) for row in rows} & set(sessions)),
        # What was deleted cannot be asked any more for what it was a part of.
        frozenset(tasks) if "deleted" in what else frozenset(_with_followers(connection, touched, set(tasks))),
        frozenset((kept & set(artifacts)) | (_gone(connection, artifacts) if what & _DROPPED else set())),
        listed=bool(what & _LISTED),
    )


def _with_followers(connection: sqlite3.Connection, touched: set[str], watched: set[str]) -> set[str]:
    """Give the watched tasks that were touched, or that show something of one that was."""
    if not touched or not watched:
        return set()
    # json_each takes any number of ids; a mark for each ends at SQLite's limit of variables.
    rows: list[Row] = connection.execute(
        "SELECT task_id FROM dependency WHERE task_id IN (SELECT value FROM json_each(?1))"
        " AND on_task_id IN (SELECT value FROM json_each(?2))"
        " UNION SELECT parent_id FROM task WHERE parent_id IN (SELECT value FROM json_each(?1))"
        " AND id IN (SELECT value FROM json_each(?2))",
        (json.dumps(sorted(watched - touched)), json.dumps(sorted(touched))),
    ).fetchall()
    return (watched & touched) | {str(row[0]) for row in rows}


def _gone(connection: sqlite3.Connection, hashes: Collection[str]) -> set[str]:
    """Give those content hashes that no artifact has."""
    rows: list[Row] = connection.execute(
        "SELECT value FROM json_each(?) WHERE NOT EXISTS (SELECT 1 FROM artifact WHERE sha256 = value)",
        (json.dumps(sorted(hashes)),),
    ).fetchall()
    return {str(row[0]) for row in rows}
