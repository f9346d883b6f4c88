"""How much the HTTP door takes on, and for how long it waits: numbers, so that a test can choose smaller ones."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, final

__all__ = ["BEHIND_A_FRONT", "HEAD_BYTES_MAX", "ORDINARY", "Limits"]

HEAD_BYTES_MAX: Final = 64 * 1024
"""Bytes in the head of one request."""
_WEEK_SECONDS: Final = 7 * 86_400.0


@final
@dataclass(frozen=True, slots=True)
class Limits:
    """What a door bounds. Who comes beyond is told so, and when to come again."""

    connections_max: int = 1_000
    """Connections at once."""
    exchanges_max: int = 1_000
    """Requests at once, open streams among them."""
    sessions_max: int = 1_000
    """Sessions at once; the one that was idle longest makes room for another."""
    body_bytes_max: int = 16 * 1024 * 1024
    """Bytes in one body: as much as in one line over standard input. The largest argument of a tool has 8 MB."""
    bodies_bytes_max: int = 64 * 1024 * 1024
    """Bytes of all bodies that a front keeps until they are answered."""
    answer_bytes_max: int = 64 * 1024 * 1024
    """Bytes of one answer that a front keeps until it is complete."""
    body_seconds: float = 30.0
    """How long a body may take to arrive."""
    idle_seconds: float = 30.0
    """How long a connection may be idle, or take to send the head of a request."""
    send_seconds: float = 30.0
    """How long a peer may take to read what is sent at once."""
    session_seconds: float = 30 * 60.0
    """How long a session is kept that nobody uses."""
    last_answers_seconds: float = 1.0
    """How long requests under way may take when the program is asked to end."""


ORDINARY: Final = Limits()
"""Those of `vespera serve`."""
BEHIND_A_FRONT: Final = replace(
    ORDINARY, connections_max=4_000, exchanges_max=2_000, idle_seconds=_WEEK_SECONDS, body_seconds=_WEEK_SECONDS
)
"""Those of a worker, whose one client is the front: it keeps connections open, and bounds those who stand behind it."""
