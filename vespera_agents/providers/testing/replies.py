"""What a vendor's server is to answer, whatever it speaks; values only.

Neighbours: `chat` and `formats` write these as their vendors do, `server` sends them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol, final

from vespera_agents.providers.exchange import Finish, ToolCall, Usage

__all__ = ["Complaint", "Format", "Reply", "ServerEvent"]


class Complaint(StrEnum):
    """What a vendor answers instead of an answer."""

    LIMITED = "limited"
    """429, with `retry_after`."""
    BROKEN = "broken"
    """500."""
    OVERLOADED = "overloaded"
    """503."""
    TOO_LONG = "too-long"
    """The request does not fit into the model's context."""
    WRONG_KEY = "wrong-key"
    """401."""
    UNKNOWN_MODEL = "unknown-model"
    """404."""


@final
@dataclass(frozen=True, slots=True)
class Reply:
    """One answer of a vendor's server."""

    text: str = "The answer comes in a few words."
    calls: tuple[ToolCall, ...] = ()
    finish: Finish | None = None
    """None: it wants tools if there are calls, else it is at its end."""
    usage: Usage | None = field(default_factory=lambda: Usage(21, 9))
    """None: the server does not say it."""
    complaint: Complaint | None = None
    retry_after: str | None = None
    """The header, as it is sent: seconds, or a date."""
    first_byte_seconds: float = 0.0
    """How long it is silent before the answer."""
    pieces: int = 4
    """Into how many the text is cut in a stream."""
    breaks_after_bytes: int | None = None
    """The connection is cut when so much of the body is sent."""
    stops_before_end: bool = False
    """A stream ends in order, but without the events that say so."""
    holds_after_events: int | None = None
    """A stream says nothing more after so many events, until the client leaves."""
    body: bytes | None = None
    """Sent as it is, instead of all of this."""
    location: str | None = None
    """The request is sent on to this address."""

    @property
    def reason(self) -> Finish:
        """Why the model stopped."""
        return self.finish or (Finish.TOOLS if self.calls else Finish.END)

    def cut_text(self) -> list[str]:
        """Cut the text into its pieces."""
        size = max(1, -(-len(self.text) // max(1, self.pieces)))
        return [self.text[start : start + size] for start in range(0, len(self.text), size)]


@final
@dataclass(frozen=True, slots=True)
class ServerEvent:
    """One event of a stream."""

    data: Mapping[str, object] | str
    name: str | None = None
    """None: it has no name on the wire."""
    closing: bool = False
    """Says that the answer is at its end, or comes after that."""


class Format(Protocol):
    """How one vendor writes answers."""

    def whole(self, reply: Reply, model: str) -> Mapping[str, object]:
        """Write an answer that comes in one piece."""
        ...

    def events(self, reply: Reply, model: str) -> Sequence[ServerEvent]:
        """Write an answer that is streamed."""
        ...

    def complaint(self, complaint: Complaint) -> tuple[int, Mapping[str, object]]:
        """Write a refusal to answer: its status and body."""
        ...

    def wants_stream(self, path: str, body: Mapping[str, object]) -> bool:
        """Whether a request wants its answer streamed."""
        ...
