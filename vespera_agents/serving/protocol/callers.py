"""Who calls, and under which keys the effects of the call are recorded.

A client that may repeat a call names it in `_meta` under `io.vespera/key`; then the key belongs to that client's
principal and a repeated call has the first one's effect. Without one, the key is the server's record and a running
number, the front's where there is one: never the id of the JSON-RPC request, which clients use again.

Where a server has several clients, each holds its own claims. One is told from another by its session with the server,
or, where the protocol has none, by what it writes into `_meta` under `io.vespera/client`. With neither, two windows of
one program look alike: then only the name is known, and not whether a claim is one's own. Neighbours: `server` asks for
a Call, `identity` says what the transport knows.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Callable, Mapping
from typing import Final, final

from mcp.server.context import ServerRequestContext

from vespera_agents.serving.protocol.identity import LOCAL, Identity
from vespera_agents.serving.protocol.progress import Report
from vespera_agents.specialists.calls import Call
from vespera_agents.specialists.claims import Holder
from vespera_agents.store import CommandKey
from vespera_agents.work.errors import InvalidInput
from vespera_agents.work.plain import is_text

__all__ = ["CLIENT_META", "KEY_META", "Callers", "call_key", "client_name", "holder_of", "own_name"]

KEY_META: Final = "io.vespera/key"
"""Where a client names its call."""
CLIENT_META: Final = "io.vespera/client"
"""Where a client without a session says which one it is: the same text in each of its requests, and nobody else's."""
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

    def call(
        self,
        client: str | None,
        meta: Mapping[str, object] | None,
        identity: Identity = LOCAL,
        report: Report | None = None,
    ) -> Call:
        """Name one call of a client.

        Args:
            client: what the client calls itself.
            meta: the `_meta` of its request.
            identity: what the transport knows of it.
            report: hears how far the call is.

        Raises:
            InvalidInput: its key, or its own name for itself, is not a usable text.
        """
        name = client_name(client)
        holder = holder_of(identity, name, meta)
        key = None if meta is None else meta.get(KEY_META)
        if key is None:
            # Behind a front the number is the front's: it outlives this process, and so does the request.
            minted = CommandKey(self._origin(), call_key(identity.sequence or str(next(self._numbers))))
            return Call(f"mcp:{name}", minted, holder=holder, report=report, repeated=identity.repeated)
        origin = f"client:{_known(identity, name)}"
        return Call(f"mcp:{name}", CommandKey(origin, _text(KEY_META, key)), holder=holder, report=report)


def call_key(number: str) -> str:
    """Give the key of a call that brings none.

    Of one length, so that the next key stands behind the last one: between others it would split their page.
    """
    return f"{number:0>9}"


def holder_of(identity: Identity, name: str, meta: Mapping[str, object] | None) -> Holder | None:
    """Say who holds what a request claims; None is the server itself, for the one client at its pipe.

    Args:
        identity: what the transport knows of the client.
        name: what it calls itself, as `client_name` gives it.
        meta: the `_meta` of the request.

    Raises:
        InvalidInput: its own name for itself is not a usable text.
    """
    own = None if meta is None else meta.get(CLIENT_META)
    told = None if own is None else _text(CLIENT_META, own)
    if identity.transport == "stdio":
        return None
    known = _known(identity, name)
    if identity.connection is not None:
        told = f"connection {identity.connection}"
    if told is None:
        return Holder(known, certain=False)
    # Everybody may read who holds a claim, and nobody shall learn from it how to pass for that client.
    return Holder(f"{known}#{hashlib.blake2b(told.encode(), digest_size=6).hexdigest()}")


def _known(identity: Identity, name: str) -> str:
    """Give whose claims and keys these are; a name holds no colon, so that nobody passes for a principal."""
    return name if identity.principal is None else f"{client_name(identity.principal)}:{name}"


def _text(name: str, value: object) -> str:
    if not isinstance(value, str) or not value.strip() or len(value) > _KEY_MAX or not is_text(value):
        raise InvalidInput(
            f"the {name} of a call is a text of 1 to {_KEY_MAX} characters, not {value!r:.80}",
            "Send such a text, or leave it out.",
        )
    return value


def own_name(ctx: ServerRequestContext[dict[str, object]]) -> str | None:
    """Give what the client of a request calls itself, None where it does not say."""
    client = ctx.session.client_params
    return None if client is None else client.client_info.name


def client_name(name: str | None) -> str:
    """Give a client's name as it is written into the audit trail: one short line."""
    return re.sub(r"[^\w.@-]+", "-", name or "").strip("-")[:_NAME_MAX] or "unknown"
