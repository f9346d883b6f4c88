"""Everything of a kind in pages: sessions and artifacts, the newest first. Functions of a connection.

A page is asked for by the last entry of the one before, so that it stays true while work goes on. Tasks: `queries`.
"""

from __future__ import annotations

import sqlite3

from vespera_agents.store.rows import ARTIFACT_COLUMNS, SESSION_COLUMNS, Row, artifact_of, session_of
from vespera_agents.work.models import Artifact, Session

__all__ = ["artifacts_before", "sessions_before"]


def sessions_before(connection: sqlite3.Connection, before: str | None, limit: int) -> list[Session]:
    """Read the sessions of the workspace that are older than one of them, the newest first.

    Args:
        connection: where to read.
        before: the id of that session; None begins at the newest. Where it is unknown there are none.
        limit: how many at most.
    """
    rows: list[Row] = connection.execute(
        f"SELECT {SESSION_COLUMNS} FROM session WHERE ?1 IS NULL"
        " OR (-created, id) > (SELECT -created, id FROM session WHERE id = ?1) ORDER BY created DESC, id LIMIT ?2",
        (before, limit),
    ).fetchall()
    return [session_of(row) for row in rows]


def artifacts_before(connection: sqlite3.Connection, before: int | None, limit: int) -> list[tuple[int, Artifact]]:
    """Read the artifacts of the workspace, the newest first; of several with the same bytes, only the newest.

    Args:
        connection: where to read.
        before: the number of the last one of the page before; None begins at the newest.
        limit: how many at most.
    """
    rows: list[Row] = connection.execute(
        f"SELECT {ARTIFACT_COLUMNS}, seq FROM artifact AS one WHERE (?1 IS NULL OR seq < ?1) AND NOT EXISTS"
        " (SELECT 1 FROM artifact AS newer WHERE newer.sha256 = one.sha256 AND newer.seq > one.seq)"
        " ORDER BY seq DESC LIMIT ?2",
        (before, limit),
    ).fetchall()
    return [(int(row[-1]), artifact_of(row[:-1])) for row in rows]
