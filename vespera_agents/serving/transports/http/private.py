"""The private socket of a worker behind a front: where the front brings the requests of its clients.

Only this user can connect, so what the front says of a request is believed: whose it is, whose address it came from,
its number, whether an earlier worker had it. Neighbours: `vespera_agents.front.http.facts` names the headers, `guard`
asks here.
"""

from __future__ import annotations

import secrets
import socket
from collections.abc import Generator, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, cast, final

from vespera_agents.front.http.facts import CLIENT, ECHO, OURS, PRINCIPAL, REPLAY, SCHEME, SEQ
from vespera_agents.front.http.listening import BACKLOG, Listening
from vespera_agents.workspace.servers import runtime_directory

__all__ = ["NOBODY", "Told", "listen_privately", "told_of"]

Headers = list[tuple[bytes, bytes]]


@final
@dataclass(frozen=True, slots=True)
class Told:
    """What a front says of a request."""

    sequence: str | None
    """Its number: the same in each worker that has it."""
    repeated: bool
    """Whether an earlier worker had it."""
    principal: str | None
    """Whose token it bore; None where none is asked for."""
    echo: str | None
    """What it only wants back; None for a client's."""


NOBODY: Final = Told(None, repeated=False, principal=None, echo=None)
"""What is known of a request without a front."""


@contextmanager
def listen_privately(url: str) -> Generator[Listening]:
    """Listen for the front while the block lasts; the socket is removed in the end, or by the front.

    Args:
        url: where clients find the endpoint.

    Raises:
        WorkspaceError: there is no private directory for the socket.
    """
    path = runtime_directory() / f"http-{secrets.token_hex(6)}.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as bound:
        bound.bind(str(path))
        try:
            # Nobody can connect before listen(), so there is no moment at which others could.
            path.chmod(0o600)
            bound.listen(BACKLOG)
            bound.setblocking(False)
            yield Listening(bound, url, None, None, str(path))
        finally:
            path.unlink(missing_ok=True)


def told_of(scope: MutableMapping[str, object]) -> Told:
    """Take what the front says of a request out of its headers: the rest is the client's own."""
    told: dict[bytes, str] = {}
    kept: Headers = []
    for name, value in cast("Headers", scope["headers"]):
        if name.startswith(OURS):
            told[name] = value.decode("latin-1")
        else:
            kept.append((name, value))
    scope["headers"] = kept
    if CLIENT in told:
        host, _, port = told[CLIENT].partition(" ")
        scope["client"] = (host, int(port))
    scope["scheme"] = told.get(SCHEME, "http")
    return Told(told.get(SEQ), REPLAY in told, told.get(PRINCIPAL), told.get(ECHO))
