"""What a worker behind the front must know of the listening socket, as one variable of its environment.

Tokens are not in it: a worker reads their file itself. Pure values.
Neighbours: `listening` knows the facts, `vespera_agents.serving.transports.http.private` makes its own end of them.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, cast, final

from vespera_agents.front.http.listening import Hosts, Listening

__all__ = ["CLIENT", "OURS", "REPLAY", "SCHEME", "SEQ", "Facts"]

OURS: Final = b"vespera-"
"""How the names of headers begin that only the front may set."""
SEQ: Final = b"vespera-seq"
"""The number of a request: the same when it is repeated."""
REPLAY: Final = b"vespera-replay"
"""That a worker before this one had the request and has ended; then `last-event-id` says what its client has."""
CLIENT: Final = b"vespera-client"
"""The address of the client, as it connected: HOST PORT."""
SCHEME: Final = b"vespera-scheme"
"""How it connected."""


@final
@dataclass(frozen=True, slots=True)
class Facts:
    """What follows from the address that the front listens on."""

    url: str
    """Where clients find the endpoint."""
    loopback: bool
    """Whether only this machine can connect."""
    names: tuple[str, ...]
    """Hosts that are ours."""
    token_file: str | None
    """The absolute path of the file with the tokens."""

    @classmethod
    def of(cls, listening: Listening, token_file: Path | None) -> Facts:
        """Gather them."""
        tokens = None if token_file is None else str(token_file.absolute())
        return cls(listening.url, listening.hosts.loopback, tuple(sorted(listening.hosts.names)), tokens)

    @classmethod
    def from_text(cls, text: str) -> Facts:
        """Read what `text` gave."""
        read = cast("dict[str, object]", json.loads(text))
        names = tuple(cast("list[str]", read["names"]))
        return cls(str(read["url"]), bool(read["loopback"]), names, cast("str | None", read["token_file"]))

    @property
    def text(self) -> str:
        """A value for `VESPERA_HTTP`."""
        return json.dumps(asdict(self))

    @property
    def hosts(self) -> Hosts:
        """Which hosts requests may name."""
        return Hosts(self.loopback, frozenset(self.names))
