"""What the tests of the MCP server share: a place to work in, real server processes, the SDK's own client, the store.

Not a test. A place has a project, a home and a state directory of its own, so that whatever is written can be seen.
"""

from __future__ import annotations

import contextlib
import json
import math
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import trio
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from mcp_types import CallToolResult, Implementation, TextContent

from tests.unmeasured import pausing_coverage, unmeasured
from vespera_agents.serving.protocol.complaints import ERROR_META
from vespera_agents.serving.protocol.server import build_server
from vespera_agents.specialists.orchestrator import Orchestrator
from vespera_agents.specialists.runtime import Runtime, open_runtime
from vespera_agents.specialists.work_tools import GATES_WAIT_SECONDS
from vespera_agents.workspace import Registry, Workspace, load_settings

ROOT = Path(__file__).resolve().parent.parent.parent
ERAS = ("legacy", "auto")
"""The handshake up to 2025-11-25, and what the client finds out by itself: 2026-07-28."""
SERVER_SECONDS = 20.0
"""How long a server process may take to begin or to end; alone it takes 1 s and 0.1 s."""
CALL_SECONDS = 30.0
"""How long the SDK's client waits for bytes of an answer."""
_CROWDED = re.compile(r"loop: |store [^:]+: a commit took ")
"""Begins a reason for which a server is not well, and which a crowded machine alone can be to blame for."""


@dataclass(frozen=True)
class Place:
    """A project with nothing of ours in it yet, and a user of its own."""

    root: Path
    spare: bool = False
    """Whether a server keeps a process ready for its worker's death: that takes as long as a start."""

    @property
    def project(self) -> Path:
        return self.root / "project"

    @property
    def workspace(self) -> Workspace:
        return Workspace(self.project)

    @property
    def registry(self) -> Registry:
        return Registry(self.root / "state" / "vespera")

    @property
    def environment(self) -> dict[str, str]:
        return {
            # They are hundreds, and the same lines run in those of `test_worker`, of `tests.front` and of `tests.cli`.
            **unmeasured(),
            "HOME": str(self.root / "home"),
            "XDG_STATE_HOME": str(self.root / "state"),
            "XDG_RUNTIME_DIR": str(self.root / "runtime"),
            "PYTHONPATH": str(ROOT),
        }

    @property
    def command(self) -> list[str]:
        return [
            sys.executable,
            "-W",
            "error",
            "-m",
            "vespera_agents",
            "serve",
            *([] if self.spare else ["--no-spare"]),
            "--workspace",
            str(self.project),
            "--tools",
            "full",
        ]

    def rows(self, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Read the store as it is on disk, without being one of its servers."""
        if not self.workspace.database.exists():
            return []
        with contextlib.closing(self._looking()) as connection:
            return connection.execute(sql, parameters).fetchall()

    def _looking(self) -> sqlite3.Connection:
        return sqlite3.connect(f"file:{self.workspace.database}?mode=ro", uri=True)

    def state(self) -> list[list[tuple[Any, ...]]]:
        """Give everything that a refused call must leave as it is."""
        tables = ("session", "task", "dependency", "artifact", "event", "command", "job")
        # What an HTTP server keeps of its streams comes and goes on its own, and records itself; the records of a
        # front's calls go when their answers were written.
        ours = {"command": " WHERE origin NOT LIKE 'http~_%' ESCAPE '~' AND origin NOT LIKE 'srv~_%' ESCAPE '~'"}
        if not self.workspace.database.exists():
            return [[] for _ in tables]
        with contextlib.closing(self._looking()) as connection:
            return [
                connection.execute(
                    f"SELECT * FROM {table}{ours.get(table, '')} ORDER BY 1, 2"  # noqa: S608 - our own names
                ).fetchall()
                for table in tables
            ]

    def status(self, title: str) -> str:
        return self.rows("SELECT status FROM task WHERE title=?", title)[0][0]

    def trust(self, text: str) -> None:
        """Write the owner's configuration and trust it, as `vespera trust` does."""
        self.workspace.config.write_text(text)
        fingerprint = load_settings(self.workspace, self.registry).fingerprint
        assert fingerprint is not None
        self.registry.trust(self.project, fingerprint)

    def files(self) -> set[str]:
        """List everything below the place, but what lies in `.vespera`."""
        found = (path.relative_to(self.root).as_posix() for path in self.root.rglob("*"))
        return {name for name in found if not name.startswith("project/.vespera")}


@contextlib.contextmanager
def new_place(*, spare: bool = False) -> Iterator[Place]:
    """Make a place with a short name: a socket's path may not be long."""
    place = Place(Path(tempfile.mkdtemp(prefix="vsp-")).resolve(), spare)
    try:
        for name in ("project", "home", "state", "runtime"):
            (place.root / name).mkdir()
        yield place
    finally:
        shutil.rmtree(place.root)


@contextlib.asynccontextmanager
async def connected(
    place: Place, era: str = "auto", name: str = "tester", *, command: list[str] | None = None, **options: Any
) -> AsyncIterator[Client]:
    """Start a server process and talk to it with the SDK's own client, whose lines are not ours to measure."""
    program, *arguments = place.command if command is None else command
    parameters = StdioServerParameters(command=program, args=arguments, env=place.environment, cwd=place.root)
    info = Implementation(name=name, version="1")
    with pausing_coverage():
        async with Client(parameters, mode=era, client_info=info, **options) as client:
            # The client checks each result against the schema that the server lists.
            await client.list_tools()
            yield client


def front_of(worker: int) -> int:
    """Give the process that started a worker: the one that the client of a server knows."""
    found = subprocess.run(["ps", "-o", "ppid=", "-p", str(worker)], capture_output=True, text=True, check=True)
    return int(found.stdout)


@dataclass(frozen=True)
class HttpServer:
    """A server process that serves HTTP."""

    url: str
    process: trio.Process
    errors: list[str]
    """What it wrote on standard error after its address."""

    async def end(self, number: int = signal.SIGTERM) -> int:
        """Ask it to end and give its exit status."""
        self.process.send_signal(number)
        with trio.fail_after(SERVER_SECONDS):
            return await self.process.wait()


@contextlib.asynccontextmanager
async def http_server(place: Place, *options: str, address: str = "127.0.0.1:0") -> AsyncIterator[HttpServer]:
    """Start a server process that serves HTTP, and end it; in between its clients' lines are not measured."""
    with pausing_coverage():
        async with serving_process(place, [*place.command, "--http", address, *options]) as server:
            yield server


@contextlib.asynccontextmanager
async def serving_process(place: Place, command: list[str]) -> AsyncIterator[HttpServer]:
    """Start a process that says where it serves, and end it."""
    async with trio.open_nursery() as nursery:
        process = await nursery.start(
            partial(
                trio.run_process,
                command,
                env=place.environment,
                cwd=place.root,
                stdin=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                check=False,
            )
        )
        assert process.stderr is not None
        try:
            yield await nursery.start(_listen_to, process)
        finally:
            if process.returncode is None:
                process.terminate()
                with trio.move_on_after(SERVER_SECONDS, shield=True):
                    await process.wait()
            nursery.cancel_scope.cancel()


def complaints(lines: Iterable[bytes]) -> list[str]:
    """Leave out what a server says of late loops and slow commits: on a crowded machine that is true, and no fault."""
    return [line for line in (one.decode() for one in lines) if not _tells_of_a_crowd(line)]


def _tells_of_a_crowd(line: str) -> bool:
    _, changed, verdict = line.partition(": health changed grade=")
    if not changed:
        return "event loop " in line
    # One that is well again has no reasons; of what made it ill another line has told, which stays if it is a fault.
    reasons: list[str] = json.loads(verdict.partition(" reasons=")[2])
    return all(_CROWDED.match(reason) for reason in reasons)


async def _listen_to(process: trio.Process, *, task_status: trio.TaskStatus[HttpServer]) -> None:
    """Read what a server says on standard error: first where it serves, then whatever it has to complain about."""
    assert process.stderr is not None
    buffer, server = b"", None
    with trio.fail_after(SERVER_SECONDS) as patience:
        async for chunk in process.stderr:
            *lines, buffer = (buffer + chunk).split(b"\n")
            for line in complaints(lines):
                if server is not None:
                    server.errors.append(line)
                    continue
                assert line.startswith("serving "), line
                server = HttpServer(line.removeprefix("serving "), process, [])
                patience.deadline = math.inf
                task_status.started(server)
    assert server is not None, buffer.decode()


@contextlib.asynccontextmanager
async def http_client(
    url: str, era: str = "auto", name: str = "tester", *, token: str | None = None, verify: Any = True, **options: Any
) -> AsyncIterator[Client]:
    """Talk to a server over HTTP with the SDK's own client."""
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    info = Implementation(name=name, version="1")
    async with httpx2.AsyncClient(headers=headers, verify=verify, timeout=CALL_SECONDS) as client:
        transport = streamable_http_client(url, http_client=client)
        async with Client(transport, mode=era, client_info=info, **options) as connected_client:
            await connected_client.list_tools()
            yield connected_client


@contextlib.asynccontextmanager
async def in_memory(
    place: Place,
    era: str = "auto",
    name: str = "tester",
    *,
    gates_wait_seconds: float = GATES_WAIT_SECONDS,
    **options: Any,
) -> AsyncIterator[tuple[Client, Runtime]]:
    """Serve in this process, without a transport."""
    async with open_runtime("serve", registry=place.registry) as runtime:
        orchestrator = Orchestrator(runtime, place.project, gates_wait_seconds=gates_wait_seconds)
        info = Implementation(name=name, version="1")
        async with Client(build_server(orchestrator), mode=era, client_info=info, **options) as client:
            await client.list_tools()
            yield client, runtime


def text_of(result: CallToolResult) -> str:
    assert isinstance(result.content[0], TextContent)
    return result.content[0].text


async def succeed(client: Client, tool: str, /, **arguments: object) -> dict[str, Any]:
    """Call a tool and expect it to do what it says."""
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, text_of(result)
    assert text_of(result)
    assert isinstance(result.structured_content, dict)
    return result.structured_content


async def refuse(client: Client, tool: str, kind: str, /, **arguments: object) -> str:
    """Call a tool and expect a refusal of a kind, in the one shape; gives its text."""
    result = await client.call_tool(tool, arguments)
    text = text_of(result)
    assert result.is_error, f"{tool}({arguments}) was not refused: {text}"
    assert result.structured_content is None
    what, _, following = text.partition("\nNext: ")
    assert what
    assert following, f"no next action in {text!r}"
    assert "Traceback" not in text
    assert result.meta is not None
    assert result.meta[ERROR_META]["kind"] == kind, text
    return text
