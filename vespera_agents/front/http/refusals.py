"""What a client hears that cannot be served, in words that the front and a server without one share."""

from __future__ import annotations

import json
from typing import Final, final

__all__ = ["DRAINED", "INTERNAL_ERROR", "INVALID_REQUEST", "Refused", "refusal", "slow_body", "too_long"]

INVALID_REQUEST: Final = -32600
INTERNAL_ERROR: Final = -32603
DRAINED: Final = 4
"""How many times the limit of a body is read and thrown away: a client that still writes does not read our answer."""


@final
class Refused(Exception):
    """A request that is not taken; the message says what to do next."""

    def __init__(self, status: int, words: str, *headers: tuple[bytes, bytes]) -> None:
        """Say what its client hears."""
        super().__init__(words)
        self.status: Final = status
        self.headers: Final = headers


def refusal(words: str, code: int = INVALID_REQUEST, identifier: object = None) -> bytes:
    """Give an error of the protocol as JSON.

    Args:
        words: what is wrong, and what to do next.
        code: of JSON-RPC.
        identifier: of the request that it answers; None where none could be read.
    """
    error = {"code": code, "message": words}
    return json.dumps({"jsonrpc": "2.0", "id": identifier, "error": error}).encode()


def too_long(bytes_max: int) -> str:
    """Say that a body is too long."""
    return f"the body has more than {bytes_max} bytes. Send less."


def slow_body(seconds: float) -> str:
    """Say that a body took too long."""
    return f"the body did not arrive within {seconds:g} s. Send it faster, or send less."
