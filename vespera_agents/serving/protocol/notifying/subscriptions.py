"""The requests of those who want to hear of changes, in both protocol eras.

A connection of the handshake era is told of resources that come and go as soon as it is initialized, and of what it
subscribed to; since 2026-07-28 a client listens with a request whose answer is the stream. Neighbours: `changes` finds
what changed and knows who wants to hear of it.
"""

from __future__ import annotations

from typing import Final, cast, final

from mcp.server.connection import Connection
from mcp.server.context import ServerRequestContext
from mcp.server.subscriptions import ListenHandler
from mcp_types import (
    EmptyResult,
    NotificationParams,
    SubscribeRequestParams,
    SubscriptionsListenRequestParams,
    SubscriptionsListenResult,
    UnsubscribeRequestParams,
)

from vespera_agents.serving.protocol.connections import connection_of
from vespera_agents.serving.protocol.identity import identity_of
from vespera_agents.serving.protocol.notifying.changes import Changes
from vespera_agents.serving.protocol.notifying.watching import Subscriber
from vespera_agents.work.errors import Conflict

__all__ = ["LISTENERS_MAX", "Subscriptions"]

LISTENERS_MAX: Final = 256
"""Streams at once."""
BUFFERED_MAX: Final = 1_024
"""Changes that wait for one stream; a client that does not read so many is sent no more."""
_SUBSCRIBER: Final = "io.vespera/subscriber"

Context = ServerRequestContext[dict[str, object]]


@final
class Subscriptions:
    """Who of a server's clients hears of what."""

    def __init__(self, changes: Changes) -> None:
        self._changes = changes
        self._listeners = 0
        self._listen = ListenHandler(changes, max_subscriptions=LISTENERS_MAX, max_buffered_events=BUFFERED_MAX)
        # A server that ends tells those who listen that this was on purpose.
        changes.at_end = self._listen.close

    def end(self) -> None:
        """End the streams of those who listen: on purpose, as they are told."""
        self._listen.close()

    async def initialized(self, ctx: Context, _: NotificationParams) -> None:
        """Begin to tell a connection of resources that come and go."""
        connection = connection_of(ctx)
        if connection.has_standalone_channel:
            self._subscriber(connection)
            await self._changes.begin()

    async def subscribe(self, ctx: Context, params: SubscribeRequestParams) -> EmptyResult:
        """Tell a connection of changes of what lies at an address."""
        await self._changes.watch(self._subscriber(connection_of(ctx)), params.uri)
        return EmptyResult()

    async def unsubscribe(self, ctx: Context, params: UnsubscribeRequestParams) -> EmptyResult:
        """Tell a connection no more of an address."""
        self._changes.unwatch(self._subscriber(connection_of(ctx)), params.uri)
        return EmptyResult()

    async def listen(self, ctx: Context, params: SubscriptionsListenRequestParams) -> SubscriptionsListenResult:
        """Tell a client of changes for as long as it listens; the acknowledgement names what can be watched."""
        if self._listeners >= LISTENERS_MAX:
            raise Conflict(f"{LISTENERS_MAX} streams are open already", "End one that is not needed, and listen again.")
        self._listeners += 1
        try:
            wanted = params.notifications
            async with self._changes.watching(wanted.resource_subscriptions or ()) as watched:
                if identity_of(ctx).repeated:
                    self._changes.alarm_next(watched)
                honored = wanted.model_copy(update={"resource_subscriptions": watched or None})
                return await self._listen(ctx, params.model_copy(update={"notifications": honored}))
        finally:
            self._listeners -= 1

    def _subscriber(self, connection: Connection) -> Subscriber:
        """Give the subscriber that a connection is; one that was given up because it did not read begins anew."""
        known = cast("Subscriber | None", connection.state.get(_SUBSCRIBER))
        if known is None or known.gone:
            known = self._changes.connect(connection)
            connection.state[_SUBSCRIBER] = known
        return known
