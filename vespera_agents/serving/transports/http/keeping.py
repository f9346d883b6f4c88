"""What the next worker must know of sessions: the messages that made them what they are, as rows in the store.

Written before the client has its answer, so that no client has a session that a new worker does not know; when a
session was used last is written once a minute. What cannot be written is lost to the next worker and to nobody else.
Neighbours: `sessions` asks here for those of earlier workers, `store.http_sessions` is the table.
"""

from __future__ import annotations

import hashlib
import json
import logging
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, cast, final

import trio
from mcp_types import JSONRPCNotification, JSONRPCRequest

from vespera_agents.store import CommandKey, Store
from vespera_agents.store.commands.http_sessions import KeepHttpSessions
from vespera_agents.store.errors import StoreError
from vespera_agents.store.http_sessions import HttpSessionRow, http_sessions, last_number

__all__ = ["INITIALIZE", "INITIALIZED", "Change", "Keeping", "State", "change_of", "messages_of", "name_of"]

INITIALIZE: Final = "initialize"
INITIALIZED: Final = "notifications/initialized"
_LEVEL: Final = "logging/setLevel"
_SUBSCRIBE: Final = "resources/subscribe"
_UNSUBSCRIBE: Final = "resources/unsubscribe"

State = dict[str, dict[str, object]]
"""By slot, the message that was said last: method and params."""

logger = logging.getLogger("vespera_agents.serving")


@final
@dataclass(frozen=True, slots=True)
class Change:
    """What a message changes in the state of its session once it has succeeded."""

    slot: str
    message: dict[str, object] | None
    """None empties the slot."""

    def apply(self, state: State) -> None:
        """Change a state."""
        if self.message is None:
            state.pop(self.slot, None)
        else:
            state[self.slot] = self.message


def change_of(message: JSONRPCRequest | JSONRPCNotification) -> Change | None:
    """Say what a message of the client changes; most change nothing."""
    method, params = message.method, message.params or {}
    said: dict[str, object] = {"method": method, "params": params}
    if method in {INITIALIZE, INITIALIZED, _LEVEL}:
        return Change(method, said)
    if method in {_SUBSCRIBE, _UNSUBSCRIBE}:
        return Change(f"{_SUBSCRIBE} {params.get('uri')}", said if method == _SUBSCRIBE else None)
    return None


def messages_of(state: Mapping[str, Mapping[str, object]]) -> list[JSONRPCRequest | JSONRPCNotification]:
    """Give the messages that make a session what it was, in the order in which it must hear them."""
    mark = secrets.token_hex(6)
    messages: list[JSONRPCRequest | JSONRPCNotification] = []
    for slot in sorted(state, key=lambda slot: (slot != INITIALIZE, slot != INITIALIZED)):
        method = str(state[slot]["method"])
        params = cast("dict[str, object]", state[slot]["params"]) or None
        if slot == INITIALIZED:
            messages.append(JSONRPCNotification(jsonrpc="2.0", method=method, params=params))
        else:
            identifier = f"again-{mark}-{len(messages)}"
            messages.append(JSONRPCRequest(jsonrpc="2.0", id=identifier, method=method, params=params))
    return messages


def name_of(identifier: str) -> str:
    """Give the name under which a session is kept; nobody finds its id from it."""
    return hashlib.sha256(identifier.encode("utf-8", "surrogateescape")).hexdigest()[:32]


@final
class Keeping:
    """The rows of one server's sessions. The object outlives the child that serves."""

    def __init__(self, store: Store, server: str, kept_seconds: float) -> None:
        """Say whose they are.

        Args:
            store: keeps them.
            server: the id of the server, the same for all workers of a front.
            kept_seconds: how long one is kept that nobody uses.
        """
        self._store = store
        self._server = server
        self._kept_seconds = kept_seconds
        self._origin = f"http_{secrets.token_hex(6)}"
        self._keys = 0
        self._parked: dict[str, HttpSessionRow] | None = None
        """Those of earlier workers that nobody asked for yet."""
        self._reading = trio.Lock()

    @property
    def parked(self) -> int:
        """How many sessions of earlier workers nobody asked for yet."""
        return len(self._parked or {})

    async def load(self) -> None:
        """Read what earlier workers kept, once."""
        if self._parked is not None:
            return
        async with self._reading:
            if self._parked is not None:
                return
            since = time.time() - self._kept_seconds
            try:
                rows = await self._store.read(http_sessions, self._server, since)
            except StoreError as error:
                logger.warning("the sessions of HTTP clients cannot be read: %s", error)
                return
            self._parked = {row.name: row for row in rows}

    def forget_process(self) -> None:
        """Read the rows again: those who served are gone."""
        self._parked = None

    def unpark(self, identifier: str, principal: str | None) -> State | None:
        """Take the session of an earlier worker by its id; None where there is none, or it is somebody else's."""
        name = name_of(identifier)
        row = (self._parked or {}).get(name)
        if row is None or row.principal != principal:
            return None
        del cast("dict[str, HttpSessionRow]", self._parked)[name]
        return cast("State", json.loads(row.state))

    def evict(self) -> str | None:
        """Drop the one that was idle longest, and give its name."""
        if not self._parked:
            return None
        name = min(self._parked.values(), key=lambda row: row.used).name
        del self._parked[name]
        return name

    async def keep(self, name: str, principal: str | None, state: State) -> None:
        """Write what a session is now."""
        await self._write(put=(HttpSessionRow(name, principal, json.dumps(state), 0.0),))

    async def end(self, *names: str) -> None:
        """Remove sessions."""
        await self._write(ended=names)

    async def sweep(self, used: tuple[str, ...], ended: tuple[str, ...]) -> None:
        """Write which were used, remove which have ended, and let go what is old."""
        await self._write(used=used, ended=ended)
        since = time.time() - self._kept_seconds
        if self._parked is not None:
            self._parked = {name: row for name, row in self._parked.items() if row.used >= since}

    async def last_number(self, stream: str) -> int:
        """Give the number of the last message that an earlier worker kept of a stream."""
        try:
            return await self._store.read(last_number, stream)
        except StoreError:
            return 0

    async def _write(
        self, put: tuple[HttpSessionRow, ...] = (), used: tuple[str, ...] = (), ended: tuple[str, ...] = ()
    ) -> None:
        self._keys += 1
        command = KeepHttpSessions("server", self._origin, self._server, put, used, ended, self._kept_seconds)
        try:
            await self._store.execute(command, CommandKey(self._origin, str(self._keys)))
        except StoreError as error:
            logger.warning("what changed of HTTP sessions is not kept for the next worker: %s", error)
