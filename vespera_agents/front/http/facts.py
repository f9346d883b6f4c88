"""What the front says of a request to the worker, in headers that only it can set. Pure values.

Neighbours: `connection` and `exchange` write them, `vespera_agents.serving.transports.http.private` reads them.
"""

from __future__ import annotations

from typing import Final

__all__ = ["CLIENT", "ECHO", "OURS", "PRINCIPAL", "REPLAY", "SCHEME", "SEQ"]

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
PRINCIPAL: Final = b"vespera-principal"
"""Whose token the request bore, where one is asked for."""
ECHO: Final = b"vespera-echo"
"""What shall be given back and is no request of a client."""
