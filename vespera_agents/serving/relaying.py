"""The observer's source where the server is another process, which is asked over its private socket.

All viewers see the same server, because its numbers mean nothing to another one. When that has gone, whoever watches is
connected with the one that serves then; if none does for some seconds, its stream ends, and who asks is told why.
Neighbours: `observe` serves the application that asks here, `control` is at the other end.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Final, cast, final

import trio

from vespera_agents.health.errors import FeedRefused
from vespera_agents.health.observer.app import Next
from vespera_agents.serving.control import ANSWER_BYTES_MAX, ANSWER_SECONDS, read_line
from vespera_agents.workspace import ServerRecord, Workspace, live_servers

__all__ = ["RelayedSource"]

PATIENCE_SECONDS: Final = 5.0
"""How long we look for the next server; a worker is replaced within a second."""
FIRST_LINE_SECONDS: Final = 35.0
"""How long a server may take for its first picture."""
SILENCE_SECONDS: Final = 30.0
"""How long it may tell nothing; a loop that is blocked for so long is told of as gone."""
_LOOK_SECONDS: Final = 0.2
_HEAD_BYTES: Final = 1_000
_HEAD: Final = re.compile(rb'"seq":(\d+),"at":[\d.]+,"life":("(?:[^"\\]|\\.)*")')
"""Where each line says what it is; the rest is passed on unread."""
_ERROR: Final = b'{"error"'
_LOST: Final = (OSError, ValueError, trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError)


@final
class RelayedSource:
    """A server of a workspace, as another process tells of it."""

    def __init__(self, workspace: Workspace) -> None:
        """Say whose servers."""
        self._workspace = workspace
        self._watched: ServerRecord | None = None

    @asynccontextmanager
    async def watch(self, last: str | None) -> AsyncGenerator[Next]:
        """Watch while the block lasts; see `Source`."""
        following = _Following(self, last)
        try:
            yield following.next
        finally:
            following.close()

    async def actor(self, key: int) -> bytes | None:
        """Tell of one node."""
        return await self._ask({"ask": "actor", "key": key})

    async def stacks(self) -> bytes | None:
        """Tell where all actors wait."""
        return await self._ask({"ask": "stacks"})

    async def session(self, session_id: str) -> bytes | None:
        """Tell of the tasks of one session."""
        return await self._ask({"ask": "session", "id": session_id})

    async def connect(self) -> trio.SocketStream:
        """Connect with the server that is watched, or with the one that serves by now.

        Raises:
            FeedRefused: none does for some seconds.
        """
        why = "no server runs"
        with trio.move_on_after(PATIENCE_SECONDS):
            while True:
                for server in await self._servers():
                    try:
                        stream = await trio.open_unix_socket(server.socket)
                    except OSError as error:
                        why = f"{server.id} (process {server.pid}) does not answer: {error}"
                    else:
                        self._watched = server
                        return stream
                await trio.sleep(_LOOK_SECONDS)
        raise FeedRefused(f"{why} on {self._workspace.directory}. Start one with `vespera serve`.")

    async def _servers(self) -> list[ServerRecord]:
        """List the servers that live, the one that was watched first, then those that serve clients."""
        live = await trio.to_thread.run_sync(live_servers, self._workspace)
        watched = None if self._watched is None else self._watched.id
        return sorted(live, key=lambda server: (server.id != watched, server.kind != "serve", server.id))

    async def _ask(self, question: Mapping[str, object]) -> bytes | None:
        """Ask the server that is watched.

        Raises:
            FeedRefused: it does not answer.
        """
        try:
            async with await self.connect() as stream:
                with trio.fail_after(ANSWER_SECONDS):
                    await stream.send_all(json.dumps(question).encode() + b"\n")
                    line = await read_line(stream, bytearray(), ANSWER_BYTES_MAX)
        except _LOST as error:
            raise FeedRefused(f"the server does not answer: {error}. Try again.") from error
        if line is None:
            raise FeedRefused("the server has just ended. Try again.")
        return None if line.startswith(_ERROR) else line


@final
class _Following:
    """One viewer, from one connection to the next."""

    def __init__(self, source: RelayedSource, last: str | None) -> None:
        self._source = source
        self._last = last
        self._stream: trio.SocketStream | None = None
        self._buffer = bytearray()
        self._is_first = True

    async def next(self) -> tuple[str, bytes]:
        """Wait for the next line. Cancelled, it can be asked again.

        Raises:
            FeedRefused: there is no server to watch, or it has no place for us.
        """
        while True:
            try:
                stream = self._stream or await self._connect()
                with trio.fail_after(FIRST_LINE_SECONDS if self._is_first else SILENCE_SECONDS):
                    line = await read_line(stream, self._buffer, ANSWER_BYTES_MAX)
            except _LOST:
                line = None
            if line is not None and line.startswith(_ERROR) and self._is_first:
                raise FeedRefused(_error_of(line))
            # One that ends says so; then the next one is asked.
            head = None if line is None else _HEAD.search(line, 0, _HEAD_BYTES)
            if line is None or head is None:
                self.close()
                # At once, a server that ends would be asked again and again.
                await trio.sleep(_LOOK_SECONDS)
                continue
            self._is_first = False
            self._last = f"{json.loads(head[2])}/{int(head[1])}"
            return self._last, line

    def close(self) -> None:
        """Leave the connection that there is."""
        if self._stream is not None:
            self._stream.socket.close()
        self._stream = None
        self._buffer.clear()
        self._is_first = True

    async def _connect(self) -> trio.SocketStream:
        stream = await self._source.connect()
        try:
            await stream.send_all(json.dumps({"ask": "observe", "last": self._last}).encode() + b"\n")
        except BaseException:
            stream.socket.close()
            raise
        self._stream = stream
        return stream


def _error_of(line: bytes) -> str:
    told = cast("object", json.loads(line))
    return str(cast("dict[str, object]", told).get("error", "")) if isinstance(told, dict) else "it tells nonsense"
