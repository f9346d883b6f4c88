"""Reading the feed of a server over its private socket, and going on with the next server when it has gone.

On asyncio, because the only other thing in this process is a terminal interface that knows nothing else. One connection
tells a snapshot, then a line each second; questions about one thing go over connections of their own. Neighbours:
`serving.control` listens, `health.observer` answers, `mirror` keeps what is told.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Final, cast, final

from vespera_agents.cli.top.facts import plain
from vespera_agents.cli.top.mirror import Mirror, Reload
from vespera_agents.workspace import ServerRecord, Workspace, live_servers

__all__ = ["FeedProblem", "Lost", "ask", "follow", "lines_of"]

LINE_BYTES_MAX: Final = 64 * 1024 * 1024
"""A snapshot of a hundred thousand nodes and more."""
CONNECT_SECONDS: Final = 5.0
FIRST_LINE_SECONDS: Final = 15.0
"""How long a server may take to tell its first line before another one is tried."""
ANSWER_SECONDS: Final = 5.0
RETRY_SECONDS: Final = 0.25
"""Between two looks for a server: a worker is replaced faster than that."""


@final
class FeedProblem(Exception):
    """A server cannot be asked, or does not answer as it should; its text says why."""

    def __init__(self, text: str, *, may_pass: bool = False) -> None:
        """Say what is wrong, and whether it may be otherwise in a moment, as while a server begins."""
        super().__init__(text)
        self.may_pass = may_pass


@final
@dataclass(frozen=True, slots=True)
class Lost:
    """Nobody tells anything at the moment."""

    since: float
    """Seconds of the epoch, by our clock."""
    why: str


async def follow(workspace: Workspace, server_id: str | None = None) -> AsyncGenerator[Mirror | Lost]:
    """Watch a workspace for ever: whichever of its servers tells, and the next one when that has gone.

    Gives the mirror whenever something was told, another one for each life of a server; and what is wrong, once when
    that begins and once for each other reason.

    Args:
        workspace: whose servers.
        server_id: the one that is wanted; any unless given.
    """
    lost: Lost | None = None
    while True:
        reasons: list[str] = []
        for server in await asyncio.to_thread(servers_of, workspace, server_id):
            mirror: Mirror | None = None
            try:
                async with aclosing(lines_of(server)) as lines:
                    async for line in lines:
                        if mirror is None or "v" in line:
                            mirror = Mirror(server, line)
                        else:
                            mirror.hear(line)
                        lost = None
                        yield mirror
                reasons.append(f"{_name(server)}: it has ended the connection")
            except FeedProblem as problem:
                reasons.append(str(problem))
            except Reload as reason:
                reasons.append(f"{_name(server)}: {reason}")
            if mirror is not None:
                break  # It comes first again: its next process may be there already.
        who = "server" if server_id is None else f"server {server_id}"
        # The first one is of the server that is most likely meant.
        why = reasons[0] if reasons else f"no {who} runs on {workspace.directory}"
        if lost is None or lost.why != why:
            lost = Lost(time.time() if lost is None else lost.since, why)
            yield lost
        await asyncio.sleep(RETRY_SECONDS)


def servers_of(workspace: Workspace, server_id: str | None) -> list[ServerRecord]:
    """List the servers that may be asked, those that serve clients first."""
    live = [server for server in live_servers(workspace) if server_id in {None, server.id}]
    return sorted(live, key=lambda server: server.kind != "serve")


async def lines_of(server: ServerRecord) -> AsyncGenerator[Mapping[str, object]]:
    """Give the lines of a server's feed until it ends them.

    Raises:
        FeedProblem: it cannot be reached, or refuses.
    """
    async with _connection(server) as (reader, writer):
        await _say(server, writer, {"ask": "observe"})
        # A server whose loop is blocked says nothing for a while; that is worth showing and no reason to leave.
        line = await _line(server, reader, FIRST_LINE_SECONDS)
        if line is None:
            raise FeedProblem(f"{_name(server)}: it closed the connection without an answer", may_pass=True)
        while line is not None:
            yield line
            line = await _line(server, reader, None)


async def ask(server: ServerRecord, question: Mapping[str, object]) -> Mapping[str, object]:
    """Ask a server one thing.

    Raises:
        FeedProblem: it cannot be reached, does not answer in time, or refuses.
    """
    async with _connection(server) as (reader, writer):
        await _say(server, writer, question)
        answer = await _line(server, reader, ANSWER_SECONDS)
    if answer is None:
        raise FeedProblem(f"{_name(server)}: it closed the connection without an answer")
    return answer


@asynccontextmanager
async def _connection(server: ServerRecord) -> AsyncGenerator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            reader, writer = await asyncio.open_unix_connection(server.socket, limit=LINE_BYTES_MAX)
    except TimeoutError as error:
        raise FeedProblem(f"{_name(server)}: no connection within {CONNECT_SECONDS:g} s") from error
    except (OSError, ValueError) as error:
        raise FeedProblem(f"{_name(server)}: {error}", may_pass=True) from error
    try:
        yield reader, writer
    finally:
        # Not waited for: what we have not sent yet is of no use to anybody.
        writer.transport.abort()


async def _say(server: ServerRecord, writer: asyncio.StreamWriter, question: Mapping[str, object]) -> None:
    try:
        writer.write(json.dumps(question).encode() + b"\n")
        async with asyncio.timeout(ANSWER_SECONDS):
            await writer.drain()
    except (OSError, TimeoutError) as error:
        raise FeedProblem(f"{_name(server)}: {error}") from error


async def _line(
    server: ServerRecord, reader: asyncio.StreamReader, seconds: float | None
) -> Mapping[str, object] | None:
    """Read one line; None at the end."""
    try:
        async with asyncio.timeout(seconds):
            line = await reader.readline()
    except TimeoutError as error:
        raise FeedProblem(f"{_name(server)}: no answer within {seconds:g} s; it is blocked or ends just now") from error
    except (OSError, ValueError) as error:
        raise FeedProblem(f"{_name(server)}: {error}") from error
    if not line.endswith(b"\n"):
        return None
    try:
        found = cast("object", json.loads(line))
    except (ValueError, RecursionError) as error:
        raise FeedProblem(f"{_name(server)}: what it says is not JSON") from error
    if not isinstance(found, dict):
        raise FeedProblem(f"{_name(server)}: what it says is no object")
    told = cast("Mapping[str, object]", found)
    if "error" in told:
        raise FeedProblem(f"{_name(server)}: {plain(told['error']).rstrip('.')[:500]}")
    return told


def _name(server: ServerRecord) -> str:
    return f"vespera {plain(server.kind)} {plain(server.id)} (process {plain(server.pid)})"
