"""Watching a server over its private socket, and in a browser through `vespera observe`."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest
import trio

from tests.serving.kit import Place, connected, new_place, succeed
from tests.serving.test_lifecycle import spare_waits
from vespera_agents.actors import Actor
from vespera_agents.health import FeedRefused, Health
from vespera_agents.serving import control as module
from vespera_agents.serving import relaying
from vespera_agents.serving.control import ask_server, control_spec
from vespera_agents.serving.relaying import RelayedSource
from vespera_agents.specialists.runtime import Runtime, open_runtime
from vespera_agents.specialists.sessions import OpenWorkspace
from vespera_agents.workspace import Registry


@pytest.fixture(name="place")
def a_place() -> Iterator[Place]:
    with new_place() as found:
        yield found


@asynccontextmanager
async def serving(place: Path) -> AsyncGenerator[tuple[Runtime, OpenWorkspace, Health]]:
    directory = place / "project"
    directory.mkdir(exist_ok=True)
    health = Health()
    async with open_runtime("serve", registry=Registry(place / "state"), listener=health) as runtime:
        await health.start(runtime)
        opened = await runtime.workspace(directory)
        await runtime.doors.start_child(control_spec(runtime, opened))
        yield runtime, opened, health


class Lines:
    """A connection to a private socket."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.buffer = bytearray()

    async def say(self, **question: object) -> None:
        await self.stream.send_all(json.dumps(question).encode() + b"\n")

    async def next(self) -> dict[str, Any]:
        with trio.fail_after(30):
            line = await module.read_line(self.stream, self.buffer, module.ANSWER_BYTES_MAX)
        assert line is not None, "the connection was closed without an answer"
        return json.loads(line)


async def test_who_observes_is_told_a_picture_and_a_line_each_second(tmp_path: Path) -> None:
    async with serving(tmp_path) as (_, opened, health):
        async with await trio.open_unix_socket(opened.record.socket) as stream:
            lines = Lines(stream)
            await lines.say(ask="observe")
            told = [await lines.next() for _ in range(3)]
            assert [one["seq"] for one in told] == list(range(told[0]["seq"], told[0]["seq"] + 3))
            assert ["v" in one for one in told] == [True, False, False]
            assert told[0]["life"] == f"{opened.server}/1"
            with trio.fail_after(20):
                while health.feed.statistics().viewers == 0:  # noqa: ASYNC110 - nobody tells
                    await trio.sleep(0.01)
        with trio.fail_after(20):
            while health.feed.statistics().viewers:  # noqa: ASYNC110 - nobody tells
                await trio.sleep(0.01)
        async with await trio.open_unix_socket(opened.record.socket) as stream:
            lines = Lines(stream)
            await lines.say(ask="observe", last=f"{told[0]['life']}/{told[0]['seq']}")
            assert (await lines.next())["seq"] == told[1]["seq"]
        async with await trio.open_unix_socket(opened.record.socket) as stream:
            lines = Lines(stream)
            key = next(row[0] for row in told[0]["tree"]["rows"] if row[2] == "watchdog")
            await lines.say(ask="actor", key=key)
            assert (await lines.next())["name"] == "watchdog"
            await lines.say(ask="stacks")
            assert (await lines.next())["actors"] == []
            for strange in (
                {"ask": "actor", "key": "1"},
                {"ask": "actor"},
                {"ask": "session", "id": 7},
                {"ask": "session", "id": "\ud800"},
                {"ask": "session", "id": "\0"},
                {"ask": 9},
            ):
                await lines.say(**strange)
                assert "error" in await lines.next()


async def test_those_who_watch_leave_room_for_those_who_ask(tmp_path: Path) -> None:
    async with serving(tmp_path) as (_, opened, _), AsyncExitStack() as stack:
        watching: list[Lines] = []
        for _ in range(module.OBSERVERS_MAX + 1):
            lines = Lines(await stack.enter_async_context(await trio.open_unix_socket(opened.record.socket)))
            await lines.say(ask="observe")
            watching.append(lines)
            told = await lines.next()
        assert "Close one of them" in told["error"]
        assert "v" not in told
        assert "pong" in await ask_server(opened.workspace, "ping")
        assert "tree" in await ask_server(opened.workspace, "tree")
        await watching[0].stream.aclose()
        with trio.fail_after(20):
            while True:
                async with await trio.open_unix_socket(opened.record.socket) as stream:
                    lines = Lines(stream)
                    await lines.say(ask="observe")
                    if "v" in await lines.next():
                        break


class Toy(Actor):
    pass


async def test_a_viewer_that_does_not_read_is_cut_and_holds_nobody_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "QUESTION_SECONDS", 1.0)
    async with serving(tmp_path) as (runtime, opened, health):
        for number in range(1_500):
            runtime.system.spawn(Toy, name=f"{'x' * 900}{number}")
        async with await trio.open_unix_socket(opened.record.socket) as deaf, health.feed.watch() as viewer:
            await deaf.send_all(b'{"ask": "observe"}\n')
            assert len((await viewer.next()).data) > 1_000_000, "more than a socket holds"
            with trio.fail_after(20):
                while health.feed.statistics().viewers < 2:  # noqa: ASYNC110 - nobody tells
                    await trio.sleep(0.01)
                await viewer.next()
                while health.feed.statistics().viewers > 1:  # noqa: ASYNC110 - nobody tells
                    await trio.sleep(0.01)


async def test_a_relayed_source_goes_on_with_the_next_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with AsyncExitStack() as stack:
        _, opened, _ = await stack.enter_async_context(serving(tmp_path))
        first = opened.server
        source = RelayedSource(opened.workspace)
        async with source.watch(None) as following:
            name, data = await following()
            assert name == f"{first}/1/{json.loads(data)['seq']}"
            key = next(row[0] for row in json.loads(data)["tree"]["rows"] if row[2] == "watchdog")
            assert json.loads(await source.actor(key) or b"")["name"] == "watchdog"
            assert await source.actor(99_999) is None
            assert await source.session("nobody") is None
            assert json.loads(await source.stacks() or b"")["actors"] == []
            await stack.aclose()
            with monkeypatch.context() as patched:
                # There is no server to be late, only one that is missed.
                patched.setattr(relaying, "PATIENCE_SECONDS", 1.0)
                with pytest.raises(FeedRefused, match="Start one with `vespera serve`"):
                    while True:
                        await following()
            async with serving(tmp_path) as (_, next_opened, _):
                name, data = await following()
                assert name.startswith(f"{next_opened.server}/1/")
                assert json.loads(data)["v"] == 1
                assert next_opened.server != first


@asynccontextmanager
async def observing(place: Place) -> AsyncGenerator[tuple[trio.Process, list[str]]]:
    """Run `vespera observe`, and give the addresses that it prints."""
    command = [sys.executable, "-W", "error", "-m", "vespera_agents", "observe", "--workspace", str(place.project)]
    addresses: list[str] = []
    printed = trio.Event()

    async def listen(process: trio.Process) -> None:
        assert process.stdout is not None
        buffer = b""
        async for chunk in process.stdout:
            *lines, buffer = (buffer + chunk).split(b"\n")
            addresses.extend(line.decode().removeprefix("observer ") for line in lines)
            printed.set()

    async with trio.open_nursery() as nursery:
        process = await trio.lowlevel.open_process(
            [*command, "--no-open"], env=place.environment, cwd=place.root, stdout=subprocess.PIPE
        )
        nursery.start_soon(listen, process)
        try:
            with trio.fail_after(60):
                await printed.wait()
            yield process, addresses
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


async def test_vespera_observe_lets_one_browser_in_and_outlives_the_worker(place: Place) -> None:
    place = replace(place, spare=True)
    async with connected(place) as client, observing(place) as (process, addresses):
        await succeed(client, "orchestrator_initialize_session", name="watched")
        parts = urlsplit(addresses[0])
        assert parts.hostname == "127.0.0.1"
        base = f"{parts.scheme}://{parts.netloc}"
        async with httpx2.AsyncClient(base_url=base, timeout=40) as browser:
            for path in ("/observer/", "/observer/api/snapshot", "/observer/api/stacks", "/mcp", "/metrics"):
                assert (await browser.get(path)).status_code == 401, path
            assert (await browser.get("/livez")).status_code == 404
            entered = await browser.get(f"{parts.path}?{parts.query}")
            assert entered.status_code == 303
            again = await browser.get(f"{parts.path}?{parts.query}")
            assert again.status_code == 401
            assert "Open the one that was printed last" in again.text
            assert "<form" not in again.text, "no token helps here"
            with trio.fail_after(20):
                while len(addresses) < 2:  # noqa: ASYNC110 - it prints the next one
                    await trio.sleep(0.01)
            assert (await browser.get("/observer/")).status_code == 200
            stranger = await browser.get("/observer/api/snapshot", headers={"host": "rebound.example.com"})
            assert stranger.status_code == 421
            # It takes over at once; without one the next worker may take longer to begin than the stream waits for it.
            with trio.fail_after(60):
                while not spare_waits(place):  # noqa: ASYNC110 - the front tells nobody
                    await trio.sleep(0.02)
            lives: list[str] = []
            async with browser.stream("GET", "/observer/api/events") as response:
                async for line in response.aiter_lines():
                    if not line.startswith("data: "):
                        continue
                    told = json.loads(line[6:])
                    if told["life"] not in lives:
                        assert "v" in told, "another life begins with a picture"
                        lives.append(told["life"])
                        if len(lives) == 2:
                            break
                        os.kill(told["server"]["pid"], signal.SIGKILL)
            assert [re.sub(r"srv_[0-9a-f]{12}", "srv", life) for life in lives] == ["srv/1", "srv/2"]
            process.send_signal(signal.SIGTERM)
            with trio.fail_after(20):
                assert await process.wait() == 0


async def test_a_browser_that_does_not_read_cannot_hold_up_the_end_of_vespera_observe(place: Place) -> None:
    async with connected(place), observing(place) as (process, addresses):
        parts = urlsplit(addresses[0])
        async with httpx2.AsyncClient(base_url=f"{parts.scheme}://{parts.netloc}", timeout=40) as browser:
            entered = await browser.get(f"{parts.path}?{parts.query}")
        cookie = entered.headers["set-cookie"].partition(";")[0]
        request = f"GET /observer/vendor/uPlot.js HTTP/1.1\r\nhost: localhost\r\ncookie: {cookie}\r\n\r\n".encode()
        async with await trio.open_tcp_stream("127.0.0.1", parts.port or 0) as deaf:
            # Many times what two sockets hold.
            await deaf.send_all(request * 100)
            await deaf.receive_some(1)
            await trio.sleep(0.5)
            process.send_signal(signal.SIGTERM)
            with trio.fail_after(20):
                assert await process.wait() == 0
