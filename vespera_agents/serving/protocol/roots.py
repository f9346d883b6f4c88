"""The directory that a client is working in, asked from the client where it offers to tell.

Both eras: over a handshake connection the server asks on its own, since 2026-07-28 it answers that it needs input and
the client calls again. A client that does not answer is no failure: the server's own workspace is meant then.
Neighbours: `server` asks before it initializes a session, `questions` sends.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import unquote, urlsplit

from mcp.server.context import ServerRequestContext
from mcp_types import CallToolRequestParams, InputRequiredResult, ListRootsRequest, ListRootsResult

from vespera_agents.serving.protocol.questions import ask_client

__all__ = ["client_root"]

_ROOTS: Final = "roots"
_ANSWER_SECONDS: Final = 5.0


async def client_root(
    ctx: ServerRequestContext[dict[str, object]], params: CallToolRequestParams
) -> str | InputRequiredResult | None:
    """Give the client's first root as a path, or the question to send; None where it has none or will not say."""
    capabilities = ctx.session.client_capabilities
    if capabilities is None or capabilities.roots is None:
        return None
    given = (params.input_responses or {}).get(_ROOTS)
    if given is None and ctx.session.can_send_request:
        given = await ask_client(ctx, ListRootsRequest(), ListRootsResult, _ANSWER_SECONDS)
        if given is None:
            return None
    if given is None and params.input_responses is None:
        return InputRequiredResult(input_requests={_ROOTS: ListRootsRequest()})
    if not isinstance(given, ListRootsResult):
        return None
    paths = [path for root in given.roots if (path := _path(str(root.uri))) is not None]
    return paths[0] if paths else None


def _path(uri: str) -> str | None:
    parts = urlsplit(uri)
    if parts.scheme != "file" or parts.netloc not in {"", "localhost"}:
        return None
    return unquote(parts.path) or None
