"""How much the HTTP door takes on, and for how long it waits: numbers, so that a test can choose smaller ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, final

__all__ = ["ORDINARY", "Limits"]


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
