"""Sessions of HTTP clients, kept so that the next worker of the same server knows a client by its old session id.

A row holds no session id but its hash: whoever reads the file cannot pass for a client. Not the audit trail, and not
sessions of work. Neighbours: `commands.http_sessions` writes the rows, the HTTP transport says what is in them.
"""

from __future__ import annotations

import sqlite3
from typing import NamedTuple

__all__ = ["HttpSessionRow", "http_sessions", "last_number"]


class HttpSessionRow(NamedTuple):
    """One session."""

    name: str
    """A hash of its id."""
    principal: str | None
    """Whose token opened it."""
    state: str
    """JSON: by slot, the messages of the client that a new worker must hear."""
    used: float
    """When it was used last, as far as it was written; seconds since the epoch."""


def http_sessions(connection: sqlite3.Connection, server: str, since: float) -> list[HttpSessionRow]:
    """Read the sessions of a server that were used since a time."""
    rows = connection.execute(
        "SELECT name, principal, state, used FROM http_session WHERE server=? AND used>=?", (server, since)
    )
    return [HttpSessionRow(*row) for row in rows]


def last_number(connection: sqlite3.Connection, stream: str) -> int:
    """Give the number of the last message that is kept of a stream, 0 without one."""
    row = connection.execute("SELECT max(number) FROM stream_event WHERE stream=?", (stream,)).fetchone()
    return int(row[0] or 0)
