"""What proves to a receiver that a callback is ours, that nothing in it was changed, and that it is fresh. Pure.

    Vespera-Id: callback_...           the same at every attempt: whoever has seen it takes it for a duplicate
    Vespera-Timestamp: 1700000000      seconds since the epoch, of this attempt
    Vespera-Signature: v1=<hex>        HMAC-SHA256 of "<timestamp>.<id>.<body>" under the shared secret
    Vespera-Event: on_task_complete
    Vespera-Attempt: 1

`verify` is what a receiver does; docs/callbacks.md shows one. Neighbour: `posting` sends these.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from typing import Final

__all__ = ["ID_HEADER", "REPLAY_WINDOW_SECONDS", "headers_of", "sign", "verify"]

REPLAY_WINDOW_SECONDS: Final = 300.0
"""How old, or how far ahead, a timestamp may be that a receiver takes."""
ID_HEADER: Final = "Vespera-Id"
_TIMESTAMP: Final = "Vespera-Timestamp"
_SIGNATURE: Final = "Vespera-Signature"
_VERSION: Final = "v1="


def sign(secret: bytes, timestamp: int, identifier: str, body: bytes) -> str:
    """Give the value of the signature's header."""
    signed = b"%d.%s.%s" % (timestamp, identifier.encode(), body)
    return f"{_VERSION}{hmac.new(secret, signed, hashlib.sha256).hexdigest()}"


def headers_of(
    secret: bytes, *, timestamp: int, identifier: str, event: str, attempt: int, body: bytes
) -> dict[str, str]:
    """Give the headers of one attempt."""
    return {
        "Content-Type": "application/json",
        "User-Agent": "vespera-agents",
        ID_HEADER: identifier,
        _TIMESTAMP: str(timestamp),
        _SIGNATURE: sign(secret, timestamp, identifier, body),
        "Vespera-Event": event,
        "Vespera-Attempt": str(attempt),
    }


def verify(secret: bytes, headers: Mapping[str, str], body: bytes, now: float) -> bool:
    """Say, as a receiver, whether a request is a fresh callback of whoever has the secret.

    Args:
        secret: what both sides have.
        headers: of the request; their letter case does not matter.
        body: its bytes, as they came.
        now: seconds since the epoch.
    """
    given = {name.lower(): value for name, value in headers.items()}
    try:
        timestamp = int(given[_TIMESTAMP.lower()])
        identifier, signature = given[ID_HEADER.lower()], given[_SIGNATURE.lower()]
    except (KeyError, ValueError):
        return False
    fresh = abs(now - timestamp) <= REPLAY_WINDOW_SECONDS
    wanted = sign(secret, timestamp, identifier, body)
    return hmac.compare_digest(wanted.encode(), signature.encode()) and fresh
