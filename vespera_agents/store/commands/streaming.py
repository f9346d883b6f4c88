"""The command on messages that were sent to HTTP clients: keep some, and let go what nobody will ask for any more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, final

from vespera_agents.store.stream_events import (
    EVENT_SECONDS,
    EVENTS_PER_STREAM_MAX,
    STREAM_BYTES_MAX,
    StreamEvent,
)
from vespera_agents.store.transaction import Transaction, fingerprint_of

__all__ = ["KeepStreamEvents"]

_TOO_MANY: Final = """
    DELETE FROM stream_event WHERE stream=:stream AND number <= (
        SELECT max(number) FROM (
            SELECT number, row_number() OVER newest AS place, sum(length(message)) OVER newest AS bytes
            FROM stream_event WHERE stream=:stream WINDOW newest AS (ORDER BY number DESC)
        ) WHERE place > :events OR bytes > :bytes
    )
"""


@final
@dataclass(frozen=True, slots=True)
class KeepStreamEvents:
    """Keep messages; of each of their streams the newest stay, and of all streams the young ones."""

    by: str
    origin: str
    """Of its key: who keeps messages one command after another repeats none that was followed by another, and with a
    record of each the records would outgrow the messages."""
    events: tuple[StreamEvent, ...]

    def fingerprint(self) -> bytes:
        """Give what tells this command from another."""
        return fingerprint_of(self)

    def apply(self, transaction: Transaction) -> None:
        """Write them."""
        transaction.execute("DELETE FROM command WHERE origin = ?", (self.origin,))
        transaction.execute("DELETE FROM stream_event WHERE at < ?", (transaction.now - EVENT_SECONDS,))
        for event in self.events:
            transaction.execute(
                "INSERT OR IGNORE INTO stream_event(stream, number, at, message) VALUES (?,?,?,?)",
                (event.stream, event.number, transaction.now, event.message),
            )
        for stream in {event.stream for event in self.events if event.number > 1}:
            limits = {"stream": stream, "events": EVENTS_PER_STREAM_MAX, "bytes": STREAM_BYTES_MAX}
            transaction.execute(_TOO_MANY, limits)
