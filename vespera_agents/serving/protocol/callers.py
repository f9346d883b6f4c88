"""Who calls, and under which keys the effects of the call are recorded.

A client that may repeat a call names it in `_meta` under `io.vespera/key`; then the key belongs to that client's
principal and a repeated call has the first one's effect. Without one, the key is the server's record and a running
number: never the id of the JSON-RPC request, which clients use again. Neighbours: `server` asks for a Call.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping
from typing import Final, final

from vespera_agents.serving.protocol.progress import Report
from vespera_agents.specialists.calls import Call
from vespera_agents.store import CommandKey
from vespera_agents.work.errors import InvalidInput

__all__ = ["KEY_META", "Callers", "client_name"]

KEY_META: Final = "io.vespera/key"
"""Where a client names its call."""
_KEY_MAX: Final = 200
_NAME_MAX: Final = 60


@final
class Callers:
    """Names the calls of one server."""

    def __init__(self, origin: Callable[[], str]) -> None:
        """Say who mints the keys of calls that bring none.

        Args:
            origin: gives the random id of this server's record, as it is now.
        """
        self._origin = origin
        self._numbers = itertools.count(1)

    def call(self, client: str | None, meta: Mapping[str, object] | None, report: Report | None = None) -> Call:
        """Name one call of a client.

        Args:
            client: what the client calls itself.
            meta: the `_meta` of its request.
            report: hears how far the call is.

        Raises:
            InvalidInput: its key is not a usable text.
        """
        name = client_name(client)
        key = None if meta is None else meta.get(KEY_META)
        if key is None:
            return Call(f"mcp:{name}", CommandKey(self._origin(), str(next(self._numbers))), report=report)
        if not isinstance(key, str) or not key.strip() or len(key) > _KEY_MAX:
            raise InvalidInput(
                f"the {KEY_META} of a call is a text of 1 to {_KEY_MAX} characters, not {key!r:.80}",
                "Send such a text, or leave it out.",
            )
        return Call(f"mcp:{name}", CommandKey(f"client:{name}", key), report=report)


def client_name(name: str | None) -> str:
    """Give a client's name as it is written into the audit trail: one short line."""
    return re.sub(r"[^\w.@-]+", "-", name or "").strip("-")[:_NAME_MAX] or "unknown"
