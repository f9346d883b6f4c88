"""A place to serve and to be killed in: a project, a user of its own, a mark on every process, and the client.

Neighbours: `processes` finds who carries the mark, `faults` starts the front with a worker of ours.
"""

from __future__ import annotations

import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, final

import httpx2
import trio
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from mcp_types import Implementation

from benchmarks.killing.load import ALLOWED
from benchmarks.killing.processes import MARK_VARIABLE, Family
from benchmarks.killing.waiting import until
from benchmarks.serving.clients import ROOT
from vespera_agents.workspace import Registry, Workspace, load_settings

__all__ = ["GONE_SECONDS", "Place", "gone", "new_place", "talking", "talking_http"]

GONE_SECONDS: Final = 2.0
"""How long after the end of a front its processes may live."""
_END_SECONDS: Final = 20.0
_NOT_AT_A_USERS: Final = ("PYTHONDONTWRITEBYTECODE", "COVERAGE_")
CALL_SECONDS: Final = 60.0
"""How long the client waits for bytes of an answer: the front itself gives up after 50."""


@final
@dataclass(frozen=True, slots=True)
class Place:
    """Where one server serves."""

    root: Path
    mark: str
    """Carried by every process that begins here."""

    @property
    def project(self) -> Path:
        """The workspace."""
        return self.root / "project"

    @property
    def database(self) -> Path:
        """Its store."""
        return Workspace(self.project).database

    @property
    def environment(self) -> dict[str, str]:
        """What a server here sees."""
        return {
            # With its bytecode beside it, as what is installed has: else a start is half compiling. And not under
            # coverage, which makes a start take 1.7 times as long and sees nothing of a process that is killed.
            **{name: value for name, value in os.environ.items() if not name.startswith(_NOT_AT_A_USERS)},
            "HOME": str(self.root / "home"),
            "XDG_STATE_HOME": str(self.root / "state"),
            "XDG_RUNTIME_DIR": str(self.root / "runtime"),
            "PYTHONPATH": str(ROOT),
            MARK_VARIABLE: self.mark,
        }

    @property
    def command(self) -> Sequence[str]:
        """Start the real server."""
        return [sys.executable, "-m", "vespera_agents", "serve", "--workspace", str(self.project), "--tools", "full"]

    def family(self) -> Family:
        """Find its processes."""
        return Family(self.mark, self.database)

    def logs(self) -> str:
        """Read what fronts and workers wrote down here."""
        found = sorted((self.root / "state").rglob("*.log*"))
        return "".join(path.read_text(encoding="utf-8", errors="replace") for path in found)

    def trust(self, text: str = ALLOWED) -> None:
        """Allow commands, as the owner does with `vespera trust`."""
        workspace = Workspace(self.project)
        registry = Registry(self.root / "state" / "vespera")
        workspace.dot.mkdir(exist_ok=True)
        workspace.config.write_text(text)
        fingerprint = load_settings(workspace, registry).fingerprint
        assert fingerprint is not None
        registry.trust(self.project, fingerprint)


@contextmanager
def new_place() -> Iterator[Place]:
    """Make a place with a short name, since a socket's path may not be long."""
    root = Path(tempfile.mkdtemp(prefix="vsp-")).resolve()
    try:
        for name in ("project", "home", "state", "runtime"):
            (root / name).mkdir()
        place = Place(root, uuid.uuid4().hex)
        place.trust()
        yield place
    finally:
        shutil.rmtree(root, ignore_errors=True)


@asynccontextmanager
async def talking(
    place: Place, era: str, command: Sequence[str] | None = None, more: Mapping[str, str] | None = None
) -> AsyncIterator[Client]:
    """Start a server and talk to it with the SDK's own client over stdio."""
    program, *arguments = place.command if command is None else command
    parameters = StdioServerParameters(
        command=program, args=arguments, env={**place.environment, **(more or {})}, cwd=place.root
    )
    info = Implementation(name="chaos", version="1")
    async with Client(parameters, mode="legacy" if era == "legacy" else "auto", client_info=info) as client:
        await client.list_tools()
        yield client


@asynccontextmanager
async def talking_http(
    place: Place, command: Sequence[str] | None = None, more: Mapping[str, str] | None = None
) -> AsyncIterator[Client]:
    """Start a server that serves HTTP and talk to it with the SDK's own client, as a modern one does."""
    words = [*(place.command if command is None else command), "--http", "127.0.0.1:0"]
    start = partial(
        trio.run_process,
        words,
        env={**place.environment, **(more or {})},
        cwd=place.root,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        check=False,
    )
    async with trio.open_nursery() as nursery:
        process = await nursery.start(start)
        url = await nursery.start(_listen_to, process)
        async with httpx2.AsyncClient(timeout=CALL_SECONDS) as sending:
            transport = streamable_http_client(url, http_client=sending)
            info = Implementation(name="chaos", version="1")
            async with Client(transport, mode="auto", client_info=info) as client:
                await client.list_tools()
                yield client
        process.terminate()
        with trio.fail_after(_END_SECONDS):
            await process.wait()
        nursery.cancel_scope.cancel()


async def _listen_to(process: trio.Process, *, task_status: trio.TaskStatus[str]) -> None:
    """Read what a server says on standard error, until its end; where it serves comes first."""
    assert process.stderr is not None
    text = b""
    with trio.fail_after(_END_SECONDS) as patience:
        async for chunk in process.stderr:
            if math.isinf(patience.deadline):
                continue
            text += chunk
            if (found := re.search(rb"^serving (\S+)\n", text, re.MULTILINE)) is not None:
                patience.deadline = math.inf
                task_status.started(found[1].decode())


async def gone(family: Family, seconds: float = GONE_SECONDS) -> Sequence[str]:
    """Wait until nobody of a family lives; gives the commands of those that still do."""
    with trio.move_on_after(seconds):
        await until(lambda: not family.members(), 0.02)
        return []
    return [f"{one.pid} {' '.join(one.command)[:120]}" for one in family.members()]
