"""What the tests of the observer's page share: a stage that is a real server, and a real browser that looks at it.

The browser is headless Chromium, driven by playwright-core, a program for Node, which walks through the page as
`walks.mjs` says. When a walk needs something to happen, it asks; the theatre has the stage do it, or kills the server.
Not a test.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

from tests.conformance.judges import NODE, PACKAGES
from tests.serving.kit import ROOT, HttpServer, Place, new_place, serving_process

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)
MISSING = (
    "no chromium on the PATH: install it (on Debian: apt-get install chromium)"
    if CHROMIUM is None
    else None
    if (PACKAGES / "playwright-core").exists()
    else "no playwright-core in .node: run `make .node/.ready`"
)
"""Why the page cannot be looked at here; None where it can."""
HERE = Path(__file__).resolve().parent
ANSWER_SECONDS = 60.0
SIGNALS = {"freeze": signal.SIGSTOP, "thaw": signal.SIGCONT}


class Lines:
    """Lines of JSON to a process and back."""

    def __init__(self, send: trio.abc.SendStream, receive: trio.abc.ReceiveStream) -> None:
        self._send = send
        self._receive = receive
        self._pending = b""

    async def tell(self, told: object) -> None:
        await self._send.send_all(json.dumps(told).encode() + b"\n")

    async def hear(self) -> Any:
        with trio.fail_after(ANSWER_SECONDS):
            while b"\n" not in self._pending:
                chunk = await self._receive.receive_some()
                if not chunk:
                    raise EOFError(f"it ended, and said last: {self._pending.decode()}")
                self._pending += chunk
        line, self._pending = self._pending.split(b"\n", 1)
        return json.loads(line)


class Stage:
    """The server, which can be killed and started again at the same address."""

    def __init__(self, place: Place, sources: Path, nursery: trio.Nursery) -> None:
        self._place = place
        self._sources = sources
        self._nursery = nursery
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            self.port: int = found.getsockname()[1]
        self.errors: list[str] = []

    async def start(self) -> None:
        """Start the server; ready when it says so."""
        command = [sys.executable, "-W", "error", "-m", "tests.observer.stage", str(self._place.project)]
        self._process = await trio.lowlevel.open_process(
            [*command, f"127.0.0.1:{self.port}"],
            env={**self._place.environment, "PYTHONPATH": str(self._sources)},
            cwd=self._place.root,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._lines = Lines(self._process.stdin, self._process.stdout)
        await self._nursery.start(self._read_errors, self._process)

    async def act(self, what: str, *arguments: object) -> None:
        """Have something happen on the stage, or to the server itself."""
        if what == "kill":
            self._process.kill()
            await self._process.wait()
        elif what == "start":
            await self.start()
        elif what in SIGNALS:
            self._process.send_signal(SIGNALS[what])
        else:
            await self._lines.tell([what, *arguments])
            assert await self._lines.hear() == [what], self.errors

    async def end(self) -> int:
        """End the server in good order; its status."""
        self._process.send_signal(signal.SIGTERM)
        with trio.move_on_after(10):
            return await self._process.wait()
        self._process.kill()
        return await self._process.wait()

    async def _read_errors(self, process: trio.Process, *, task_status: trio.TaskStatus[None]) -> None:
        assert process.stderr is not None
        pending, is_ready = b"", False
        async for chunk in process.stderr:
            *lines, pending = (pending + chunk).split(b"\n")
            for line in lines:
                if not is_ready and line.startswith(b"serving "):
                    is_ready = True
                    task_status.started()
                else:
                    self.errors.append(line.decode())
        assert is_ready, self.errors


@asynccontextmanager
async def stage() -> AsyncIterator[Stage]:
    """Open a server with a stage while the block lasts."""
    with new_place() as place:
        # The page shows paths of sources, and its pictures are no business of this machine's folders.
        sources = place.root / "vespera"
        sources.symlink_to(ROOT)
        async with trio.open_nursery() as nursery:
            one = Stage(place, sources, nursery)
            await one.start()
            status: int | None = None
            try:
                yield one
            finally:
                with trio.CancelScope(shield=True):
                    status = await one.end()
            assert status in {0, -signal.SIGKILL}, (status, one.errors)


class Browser:
    """A browser that walks."""

    def __init__(self, lines: Lines, url: str) -> None:
        self._lines = lines
        self._url = url
        self.took: dict[str, float] = {}
        """Seconds of each walk."""

    async def walk(self, name: str, acts: Any = None, *, url: str | None = None, **options: object) -> Any:
        """Go one walk of `walks.mjs` in a window of its own; gives what it tells.

        Args:
            name: which one.
            acts: does what the walk asks for.
            url: where to begin, if not at the server's own page.
            options: what the walk is told.
        """
        await self._lines.tell({"walk": name, "url": url or self._url, "options": options})
        while True:
            told = await self._lines.hear()
            if "act" in told:
                await acts(*told["act"])
                await self._lines.tell({"acted": True})
                continue
            assert told.get("failed") is None, f"{name}: {told['failed']}"
            self.took[name] = told["milliseconds"] / 1000 + self.took.get(name, 0.0)
            return told["told"]


@asynccontextmanager
async def browser(url: str) -> AsyncIterator[Browser]:
    """Start a browser that looks at the observer of a server while the block lasts."""
    environment = {**os.environ, "NODE_PACKAGES": str(PACKAGES), "CHROMIUM": CHROMIUM or "", "NODE_NO_WARNINGS": "1"}
    process = await trio.lowlevel.open_process(
        [str(NODE), str(HERE / "walking.mjs")], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield Browser(Lines(process.stdin, process.stdout), url)
    finally:
        with trio.CancelScope(shield=True):
            await process.stdin.aclose()
            with trio.move_on_after(5) as patience:
                await process.wait()
            if patience.cancelled_caught:
                process.kill()
                await process.wait()


@asynccontextmanager
async def observing(place: Place) -> AsyncIterator[str]:
    """Run `vespera observe` while the block lasts; gives the address that it prints, which is good for one use."""
    command = [sys.executable, "-m", "vespera_agents", "observe", "--workspace", str(place.project)]
    process = await trio.lowlevel.open_process(
        command, env=place.environment, cwd=place.root, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL
    )
    assert process.stdout is not None
    told = b""
    try:
        with trio.fail_after(ANSWER_SECONDS):
            while b"\n" not in told:
                told += await process.stdout.receive_some() or b"it ended\n"
        assert told.startswith(b"observer "), told
        yield told.decode().split()[1]
    finally:
        process.terminate()
        with trio.CancelScope(shield=True), trio.move_on_after(10):
            await process.wait()
        if process.returncode is None:
            process.kill()


@asynccontextmanager
async def front_server(place: Place, *words: str) -> AsyncIterator[HttpServer]:
    """Start `vespera serve --http` as everybody does, with a front and a worker; `words` are added to the command."""
    command = [*place.command, "--http", "127.0.0.1:0", *words]
    async with serving_process(place, command) as server:
        yield server
