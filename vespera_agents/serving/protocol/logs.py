"""Messages for a client's log: what went wrong on our side while one of its requests was handled.

Nothing is sent unless the client asked for it: over a handshake connection with `logging/setLevel`, since 2026-07-28 in
the `_meta` of the request that is handled. What a client caused itself is the answer of its call and no message.
Neighbours: `boundary` and `server` tell of faults; the server's own log goes to standard error.
"""

from __future__ import annotations

from typing import Final, cast, get_args

from mcp.server.context import ServerRequestContext
from mcp_types import (
    LOG_LEVEL_META_KEY,
    EmptyResult,
    LoggingLevel,
    LoggingMessageNotification,
    LoggingMessageNotificationParams,
    SetLevelRequestParams,
)
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from vespera_agents.serving.protocol.complaints import Complaint
from vespera_agents.serving.protocol.connections import connection_of

__all__ = ["LOGGER_NAME", "log_to_client", "set_level"]

LOGGER_NAME: Final = "vespera_agents.serving"
_LEVEL_STATE: Final = "io.vespera/log-level"
_LEVELS: Final = cast("tuple[LoggingLevel, ...]", get_args(LoggingLevel))
"""From debug to emergency."""


async def set_level(ctx: ServerRequestContext[dict[str, object]], params: SetLevelRequestParams) -> EmptyResult:
    """Send a connection messages of this level and above from now on."""
    connection_of(ctx).state[_LEVEL_STATE] = params.level
    return EmptyResult()


async def log_to_client(
    ctx: ServerRequestContext[dict[str, object]], level: LoggingLevel, complaint: Complaint, doing: str
) -> None:
    """Tell a client's log of a fault of ours, if it asked for such messages.

    Args:
        ctx: the request that is handled; the message goes the way of its answer.
        level: how grave it is.
        complaint: what is wrong.
        doing: the method or tool.
    """
    if not _wanted(ctx, level):
        return
    data = {"doing": doing, "kind": complaint.kind, "what": complaint.what, "next_action": complaint.next_action}
    await ctx.session.send_notification(
        LoggingMessageNotification(params=LoggingMessageNotificationParams(level=level, logger=LOGGER_NAME, data=data)),
        related_request_id=ctx.request_id,
    )


def _wanted(ctx: ServerRequestContext[dict[str, object]], level: LoggingLevel) -> bool:
    if ctx.protocol_version in MODERN_PROTOCOL_VERSIONS:
        least = (ctx.meta or {}).get(LOG_LEVEL_META_KEY)
    else:
        least = cast("object", connection_of(ctx).state.get(_LEVEL_STATE))
    return least in _LEVELS and _LEVELS.index(level) >= _LEVELS.index(least)
