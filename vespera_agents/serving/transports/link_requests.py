"""What a worker's wire knows of the client's requests: what is open, what later workers must know, what was cancelled.

Pure. Neighbours: `link` reads and writes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, cast, final
from urllib.parse import quote

from mcp_types import JSONRPCError, JSONRPCMessage, JSONRPCNotification, JSONRPCRequest, JSONRPCResponse

from vespera_agents.front import framing
from vespera_agents.serving.transports.lines import message_of

__all__ = [
    "CANCELLED",
    "LISTEN",
    "UNSUBSCRIBE",
    "Id",
    "LinkStatistics",
    "OpenRequest",
    "Params",
    "answer_to",
    "data_of",
    "id_in",
    "slot_of",
    "without_cancelled",
]

LISTEN: Final = "subscriptions/listen"
UNSUBSCRIBE: Final = "resources/unsubscribe"
CANCELLED: Final = "notifications/cancelled"

Id = str | int
Params = dict[str, Any]
"""As the library reads them."""


@final
@dataclass(frozen=True, slots=True)
class OpenRequest:
    """A request of the client that is not answered yet."""

    number: bytes
    id: Id
    method: str
    slot: bytes | None
    """Where later workers are told of it once it has succeeded."""
    token: Id | None
    """Under which its progress is told."""


@final
@dataclass(frozen=True, slots=True)
class LinkStatistics:
    """What came over the link from the client, and what of it is under way."""

    requests: int
    """Requests so far, repeated ones among them."""
    in_flight: int
    """Those that are not answered yet."""
    held: int
    """Those that wait because nothing may begin."""
    refused: int
    """Lines that were no messages."""
    dropped: int
    """Repeated lines that were left out: requests with their cancellations."""
    questions: int
    """Questions to the client that it has not answered yet."""


def without_cancelled(
    repeated: Sequence[tuple[bytes, bytes]],
) -> tuple[list[tuple[bytes, bytes]], list[bytes]]:
    """Take out of repeated lines the requests whose cancellation was repeated, too, and their cancellations.

    Args:
        repeated: numbers and lines.

    Returns:
        what is left, and the numbers of what is not.
    """
    dropped: set[bytes] = set()
    if any(b"cancelled" in line for _, line in repeated):
        requests: dict[Id | None, bytes] = {}
        for number, line in repeated:
            message = message_of(line)
            if isinstance(message, JSONRPCRequest):
                requests[message.id] = number
            elif isinstance(message, JSONRPCNotification) and message.method == CANCELLED:
                found = requests.get(id_in(message.params, "requestId"))
                dropped |= {number, found} if found is not None else set()
    return [pair for pair in repeated if pair[0] not in dropped], sorted(dropped)


def answer_to(request: OpenRequest, body: JSONRPCResponse | JSONRPCError) -> bytes:
    """Write the answer as the front wants it: what later workers must know is said with it."""
    data = data_of(body)
    if request.slot is None or isinstance(body, JSONRPCError):
        return b"%s %s %s\n" % (framing.ANSWER, request.number, data)
    if request.method == UNSUBSCRIBE:
        return b"%s %s\n%s %s %s\n" % (framing.FORGET, request.slot, framing.ANSWER, request.number, data)
    return b"%s %s %s %s\n" % (framing.KEEP, request.number, request.slot, data)


def data_of(message: JSONRPCMessage) -> bytes:
    """Write a message as JSON."""
    return message.model_dump_json(by_alias=True, exclude_unset=True).encode()


def id_in(params: object, name: str) -> Id | None:
    """Read an id that a client wrote, whatever it wrote."""
    value = cast("Params", params).get(name) if isinstance(params, dict) else None
    return value if isinstance(value, str | int) else None


def slot_of(method: str, params: Params) -> bytes | None:
    """Name the slot of a request that later workers must know of: one for each thing that it sets."""
    if method == "initialize":
        return b"init"
    if method == "server/discover":
        # Nothing but the era of the connection, which its first request opens.
        return b"era"
    if method == "logging/setLevel":
        return b"level"
    if method in {"resources/subscribe", UNSUBSCRIBE}:
        return b"sub:" + quote(str(params.get("uri", ""))).encode()
    return None
