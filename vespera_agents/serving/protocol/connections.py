"""The connection that a request came over: what outlives the request.

The library hands each handler a session that knows its connection and has no public word for it; this is the one place
that looks behind. Only connections of the handshake era last: since 2026-07-28 each request has one of its own.
"""

from __future__ import annotations

from typing import cast

from mcp.server.connection import Connection
from mcp.server.context import ServerRequestContext

__all__ = ["connection_of"]


def connection_of(ctx: ServerRequestContext[dict[str, object]]) -> Connection:
    """Give the connection of a request."""
    return cast("Connection", vars(ctx.session)["_connection"])
