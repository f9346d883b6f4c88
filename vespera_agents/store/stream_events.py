"""Messages that were sent to HTTP clients, kept for a while for those who lost their stream and resume it.

Not the audit trail (the `event` table). Rows go by count and age, and nothing depends on one. Neighbours:
`commands.streaming` writes them, the HTTP transport numbers them.
"""

from __future__ import annotations

import sqlite3
from typing import Final, NamedTuple

__all__ = ["EVENTS_PER_STREAM_MAX", "EVENT_BYTES_MAX", "EVENT_SECONDS", "StreamEvent", "stream_events"]

EVENT_BYTES_MAX: Final = 4 * 1024 * 1024
"""Longer messages are not kept."""
EVENTS_PER_STREAM_MAX: Final = 1_000
"""Of a longer stream the last ones are kept."""
STREAM_BYTES_MAX: Final = 16 * 1024 * 1024
"""Of more the last ones are kept."""
EVENT_SECONDS: Final = 10 * 60.0
"""How long a message is kept."""


class StreamEvent(NamedTuple):
    """One message of a stream."""

    stream: str
    number: int
    """Counts from 1 in its stream."""
    message: str
    """JSON."""


def stream_events(connection: sqlite3.Connection, stream: str, after: int, last: int) -> list[StreamEvent]:
    """Read the messages of a stream behind a number up to another, in order."""
    rows = connection.execute(
        "SELECT stream, number, message FROM stream_event WHERE stream=? AND number>? AND number<=? ORDER BY number",
        (stream, after, last),
    )
    return [StreamEvent(*row) for row in rows]
