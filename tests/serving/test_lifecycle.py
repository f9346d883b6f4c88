"""Restarts of the real thing: a client of either era stays connected while the process behind its front is replaced.

Over standard input and output, with the SDK's own client. What a front does by itself is told in `tests/front`, what a
worker decides in `test_lifecycle_rules.py`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx2
import pytest
import trio
from mcp import Client
from mcp.server.subscriptions import ToolsListChanged
from mcp_types import ToolListChangedNotification

from tests.serving.http_kit import HEADERS, handshake, streaming, until
from tests.serving.kit import (
    ERAS,
    ROOT,
    Place,
    connected,
    http_client,
    http_server,
    new_place,
    refuse,
    succeed,
    text_of,
)
from vespera_agents.serving.protocol.callers import KEY_META

RESTART = "orchestrator_restart_server"
STATUS = "orchestrator_restart_status"
PREPARE = "orchestrator_shutdown_prepare"
CALLERS = 20
BOUND_SECONDS = 300.0
"""How long anything here may take; alone it takes some seconds, and on a busy machine many times as long."""

TITLE = '"Health check"'
NEW_TITLE = '"Vital signs"'


@dataclass(frozen=True)
class Copied(Place):
    """A place whose server runs a copy of the program, which a test may change."""

    @property
    def program(self) -> Path:
        return self.root / "program"

    @property
    def environment(self) -> dict[str, str]:
        return {**super().environment, "PYTHONPATH": str(self.program)}

    def change(self, module: str, old: str, new: str) -> None:
        """Change a module on disk, as an upgrade does."""
        path = self.program / "vespera_agents" / module
        text = path.read_text()
        assert text.count(old) == 1, f"{old!r} is {text.count(old)} times in {module}"
        path.write_text(text.replace(old, new))


@pytest.fixture
def copied() -> Iterator[Copied]:
    with new_place() as place:
        one = Copied(place.root)
        for package in ("supervisors", "vespera_agents"):
            # With its bytecode, which holds for the copy too: what a test changes has another time.
            shutil.copytree(ROOT / package, one.program / package)
        yield one


@pytest.fixture
def place() -> Iterator[Place]:
    with new_place() as one:
        yield one


def worker_of(place: Place) -> tuple[int, int]:
    """Give the generation and the process id of the worker that began last."""
    number, pid = place.rows("SELECT number, pid FROM generation WHERE started NOT NULL ORDER BY seq DESC LIMIT 1")[0]
    return number, pid


async def begun(place: Place, generation: int) -> int:
    """Wait until a generation has written down that it works, and give its process id."""
    with trio.fail_after(BOUND_SECONDS):
        while True:
            rows = place.rows("SELECT pid FROM generation WHERE number=? AND started NOT NULL", generation)
            if rows:
                return rows[0][0]
            await trio.sleep(0.02)


def alive(pid: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        # One that was not reaped yet is no process any more.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


@pytest.mark.parametrize("era", ERAS)
async def test_the_caller_of_a_restart_stays_connected_and_hears_what_happened(place: Place, era: str) -> None:
    with trio.fail_after(BOUND_SECONDS):
        async with connected(place, era) as client:
            await succeed(client, "orchestrator_initialize_session", name="work")
            planned = await succeed(client, "orchestrator_plan_task", title="mine", description="a canary")
            task_id = planned["tasks"][0]["id"]
            await succeed(client, "orchestrator_execute_task", task_id=task_id)
            state = await succeed(client, STATUS, include_history=True)
            assert (state["generation"], state["phase"], state["reason"]) == (1, "serving", "start")
            assert state["started"]
            # Whoever asks knows it also of a worker that has just begun.
            before = worker_of(place)
            assert any(f"began (start): process {before[1]}" in what for _, what in state["history"])
            told = await succeed(client, RESTART, reason="a new version")
            after = worker_of(place)
            assert after[0] == before[0] + 1
            assert after[1] != before[1]
            assert not alive(before[1])
            assert told["from_worker"].startswith(f"generation {before[0]}, process {before[1]}, version ")
            assert told["to_worker"].startswith(f"generation {after[0]}, process {after[1]}, version ")
            assert [name for name, _ in told["phases"]] == ["start", "drain", "stop", "activate"]
            assert all(seconds >= 0 for _, seconds in told["phases"])
            assert f"context of {task_id}: goes on" in told["handed_over"]
            done = await succeed(
                client, "orchestrator_complete_task", task_id=task_id, summary="done", next_action="complete"
            )
            assert done["outcome"] == "completed"
            state = await succeed(client, STATUS, include_history=True)
            assert (state["generation"], state["phase"], state["reason"]) == (after[0], "serving", "a new version")
            assert "error" not in state
            assert any("graceful restart of generation 1 by mcp:tester: a new version, done" in what
                       for _, what in state["history"])  # fmt: skip


@pytest.mark.parametrize("era", ERAS)
async def test_a_repeated_call_restarts_nothing(place: Place, era: str) -> None:
    with trio.fail_after(BOUND_SECONDS):
        async with connected(place, era) as client:
            given: dict[str, Any] = {"graceful": False, "reason": "once"}
            first = await client.call_tool(RESTART, given, meta={KEY_META: "the one wish"})
            assert not first.is_error, text_of(first)
            second = await client.call_tool(RESTART, given, meta={KEY_META: "the one wish"})
            assert second.structured_content == first.structured_content
            assert worker_of(place)[0] == 2
            assert place.rows("SELECT count(*) FROM restart") == [(1,)]
            other = await client.call_tool(RESTART, {**given, "reason": "other"}, meta={KEY_META: "the one wish"})
            assert other.is_error
            assert "used for another" in text_of(other)


@contextlib.asynccontextmanager
async def one_pipe(place: Place, era: str) -> AsyncIterator[list[Client]]:
    """Have many callers on the one connection that a pipe has."""
    async with connected(place, era) as client:
        yield [client] * CALLERS


@contextlib.asynccontextmanager
async def many_clients(place: Place, era: str) -> AsyncIterator[list[Client]]:
    """Have many clients over HTTP."""
    async with contextlib.AsyncExitStack() as stack:
        server = await stack.enter_async_context(http_server(place))
        yield [
            await stack.enter_async_context(http_client(server.url, era, f"caller-{number}"))
            for number in range(CALLERS)
        ]


@pytest.mark.parametrize("clients", [one_pipe, many_clients])
@pytest.mark.parametrize("era", ERAS)
async def test_no_call_fails_while_many_are_under_way(
    place: Place, era: str, clients: Callable[[Place, str], AbstractAsyncContextManager[list[Client]]]
) -> None:
    """Acceptance: 0 failed calls, each effect once, the phases to be seen while the restart runs."""
    made: list[str] = []
    failed: list[str] = []
    seen: list[str] = []
    stop = trio.Event()
    with trio.fail_after(BOUND_SECONDS):
        async with clients(place, era) as (first, *others):
            await succeed(first, "orchestrator_initialize_session", name="load")

            async def work(caller: int, client: Client) -> None:
                number = 0
                while not stop.is_set():
                    number += 1
                    title = f"task {number} of {caller}"
                    result = await client.call_tool("orchestrator_plan_task", {"title": title})
                    made.append(title)
                    if result.is_error:
                        failed.append(text_of(result))
                    result = await client.call_tool("orchestrator_query_tasks", {"text": title, "limit": 1})
                    if result.is_error:
                        failed.append(text_of(result))
                    # The next worker needs some of the machine's time, too.
                    await trio.sleep(0.05)

            async def look() -> None:
                while not stop.is_set():
                    state = await succeed(first, STATUS)
                    if state["phase"] != "serving":
                        seen.append(state["phase"])
                        assert 0 <= state["percent"] <= 100
                        assert state["reason"] == "under load"
                    await trio.sleep(0.02)

            async with trio.open_nursery() as nursery:
                for caller, client in enumerate(others):
                    nursery.start_soon(work, caller, client)
                nursery.start_soon(look)
                await until(lambda: len(made) >= CALLERS, seconds=BOUND_SECONDS)
                told = await succeed(first, RESTART, reason="under load")
                after = len(made)
                await until(lambda: len(made) >= after + CALLERS, seconds=BOUND_SECONDS)
                stop.set()
    assert failed == []
    assert "start" in seen
    assert dict(told["phases"]).keys() >= {"start", "drain", "stop", "activate"}
    titles = [title for (title,) in place.rows("SELECT title FROM task")]
    assert sorted(titles) == sorted(made), "an effect was lost or doubled"
    assert place.rows("PRAGMA integrity_check") == [("ok",)]


async def test_a_new_version_takes_over_in_place_and_clients_hear_that_the_tools_are_others(copied: Copied) -> None:
    """Of the era with a handshake: `notifications/tools/list_changed`."""
    heard: list[object] = []

    async def hear(message: object) -> None:
        heard.append(message)

    with trio.fail_after(BOUND_SECONDS):
        async with connected(copied, "legacy", message_handler=hear) as client:
            await _upgrade(copied, client)
            while not any(isinstance(one, ToolListChangedNotification) for one in heard):  # noqa: ASYNC110 - as it comes
                await trio.sleep(0.02)
            assert await _title(client) == NEW_TITLE.strip('"')


async def test_a_listening_client_hears_of_a_new_version(copied: Copied) -> None:
    """Since 2026-07-28: on the stream that was opened in the worker before."""
    with trio.fail_after(BOUND_SECONDS):
        async with connected(copied) as client, client.listen(tools_list_changed=True) as events:
            await _upgrade(copied, client)
            async for event in events:
                if isinstance(event, ToolsListChanged):
                    break
            assert await _title(client) == NEW_TITLE.strip('"')


@pytest.mark.parametrize("era", ERAS)
async def test_a_restart_with_the_same_lists_tells_nobody(place: Place, era: str) -> None:
    heard: list[object] = []

    async def hear(message: object) -> None:
        heard.append(message)

    with trio.fail_after(BOUND_SECONDS):
        async with connected(place, era, message_handler=hear) as client:
            await succeed(client, RESTART)
            await succeed(client, STATUS)
            await trio.sleep(0.3)
    assert not any(isinstance(one, ToolListChangedNotification) for one in heard)


async def test_a_new_version_takes_over_in_place_and_http_clients_hear_that_the_tools_are_others(
    copied: Copied,
) -> None:
    """Of the era with a handshake, on the stream that was opened in the worker before, which does not end."""
    with trio.fail_after(BOUND_SECONDS):
        async with http_server(copied) as server, http_client(server.url, "legacy") as client:
            async with httpx2.AsyncClient(base_url=server.url, headers=HEADERS, timeout=BOUND_SECONDS) as raw:
                about = await handshake(raw)
                async with streaming(raw, "GET", headers=about) as stream:
                    await anext(stream)
                    await _upgrade(copied, client)
                    async for event in stream:
                        if event.data and event.data["method"] == "notifications/tools/list_changed":
                            break
                    else:
                        raise AssertionError("the stream has ended")
            assert await _title(client) == NEW_TITLE.strip('"')


async def test_an_http_client_that_listens_hears_of_a_new_version(copied: Copied) -> None:
    with trio.fail_after(BOUND_SECONDS):
        async with http_server(copied) as server, http_client(server.url) as client:
            async with client.listen(tools_list_changed=True) as events:
                await _upgrade(copied, client)
                async for event in events:
                    if isinstance(event, ToolsListChanged):
                        break
                else:
                    raise AssertionError("the stream has ended")
            assert await _title(client) == NEW_TITLE.strip('"')


async def _upgrade(copied: Copied, client: Client) -> None:
    await begun(copied, 1)
    assert await _title(client) == TITLE.strip('"')
    copied.change("serving/tools/upkeep.py", TITLE, NEW_TITLE)
    await succeed(client, RESTART, reason="an upgrade")


async def _title(client: Client) -> str | None:
    return next(tool.title for tool in (await client.list_tools()).tools if tool.name == "orchestrator_health_check")


@pytest.mark.parametrize("era", ERAS)
async def test_code_that_cannot_start_leaves_the_old_worker_at_work_and_the_status_says_why(
    copied: Copied, era: str
) -> None:
    with trio.fail_after(BOUND_SECONDS):
        async with connected(copied, era) as client:
            await succeed(client, "orchestrator_initialize_session", name="work")
            pid = await begun(copied, 1)
            copied.change("serving/serve.py", "import gc\n", "import gc and more\n")
            text = await refuse(client, RESTART, "restart_failed", reason="an upgrade")
            assert "the old one goes on" in text
            await succeed(client, "orchestrator_plan_task", title="as before")
            assert worker_of(copied) == (1, pid)
            assert alive(pid)
            state = await succeed(client, STATUS, include_history=True)
            assert (state["generation"], state["phase"]) == (1, "failed")
            assert state["error"] in text
            assert any("an upgrade, failed" in what for _, what in state["history"])
            health = await succeed(client, "orchestrator_health_check")
            assert any("the last restart failed" in reason for reason in health["reasons"])
            copied.change("serving/serve.py", "import gc and more\n", "import gc\n")
            await succeed(client, RESTART, reason="mended")
            assert worker_of(copied)[0] == 2
            state = await succeed(client, STATUS)
            assert state["phase"] == "serving"
            assert "error" not in state


def spare_waits(place: Place) -> bool:
    return any("a spare waits" in log.read_text() for log in place.root.glob("state/vespera/logs/*.log"))


MIGRATIONS_END = "    + outbox.SCRIPT,\n)"
NEXT_SCHEMA = "    + outbox.SCRIPT,\n    'CREATE TABLE extra (id INTEGER PRIMARY KEY)',\n)"


@pytest.mark.parametrize("mode", [True, False], ids=["graceful", "immediate"])
async def test_a_worker_whose_database_was_migrated_meanwhile_can_still_be_replaced(copied: Copied, mode: bool) -> None:
    with trio.fail_after(BOUND_SECONDS):
        async with connected(copied) as client:
            await succeed(client, "orchestrator_initialize_session", name="work")
            pid = await begun(copied, 1)
            copied.change("store/schema.py", MIGRATIONS_END, NEXT_SCHEMA)
            with contextlib.closing(sqlite3.connect(copied.workspace.database)) as connection:
                connection.execute("CREATE TABLE extra (id INTEGER PRIMARY KEY)")
                connection.execute("PRAGMA user_version = 2")
            text = await refuse(client, "orchestrator_plan_task", "schema_too_new", title="not now")
            assert "Restart this server" in text
            told = await succeed(client, RESTART, reason="as it says", graceful=mode)
            assert worker_of(copied)[0] == 2
            assert (told["from_worker"], told["to_worker"].partition(", process")[0]) == (
                f"generation 1, process {pid}, version {told['from_worker'].rpartition(' ')[2]}",
                "generation 2",
            )
            assert {"start", "stop", "activate"} <= {name for name, _ in told["phases"]}
            await succeed(client, "orchestrator_plan_task", title="now")
            # It was carried out once, and nobody could write it down.
            assert copied.rows("SELECT count(*) FROM restart") == [(0,)]
            await succeed(client, RESTART, reason="once more")
            assert worker_of(copied)[0] == 3


async def test_a_version_that_migrated_and_died_is_followed_by_one_of_its_kind_and_not_by_old_code_for_ever(
    copied: Copied,
) -> None:
    copied = replace(copied, spare=True)
    with trio.fail_after(BOUND_SECONDS):
        async with connected(copied) as client:
            await succeed(client, "orchestrator_initialize_session", name="work")
            await begun(copied, 1)
            # A spare of the code of before: without it there is nothing to go wrong.
            while not spare_waits(copied):  # noqa: ASYNC110 - as it comes
                await trio.sleep(0.02)
            mark = copied.root / "died"
            copied.change("store/schema.py", MIGRATIONS_END, NEXT_SCHEMA)
            copied.change(
                "serving/behind.py",
                '    surface = "-".join(',
                f"    if front.generation > 1 and not os.path.exists({str(mark)!r}):\n"
                f"        open({str(mark)!r}, 'w').close()\n"
                "        os._exit(70)\n"
                '    surface = "-".join(',
            )
            await client.call_tool(RESTART, {"reason": "an upgrade"})
            assert mark.exists()
            await succeed(client, "orchestrator_plan_task", title="by new code")
            assert copied.rows("PRAGMA user_version") == [(2,)]
            assert worker_of(copied)[0] >= 3


@pytest.mark.parametrize("era", ERAS)
async def test_what_died_is_in_the_history_and_a_prepared_shutdown_outlives_it(place: Place, era: str) -> None:
    with trio.fail_after(BOUND_SECONDS):
        async with connected(place, era) as client:
            await succeed(client, "orchestrator_initialize_session", name="work")
            prepared = await succeed(client, PREPARE)
            assert prepared["ready"]
            os.kill(await begun(place, 1), signal.SIGKILL)
            await refuse(client, "orchestrator_plan_task", "conflict", title="new work")
            # Also when it is asked for before the new worker has had time to write it down.
            state = await succeed(client, STATUS, include_history=True)
            assert any("died: signal 9" in what for _, what in state["history"])
            assert state["generation"] == 2
            health = await succeed(client, "orchestrator_health_check")
            assert dict(health["front"])["crashes lately"] == 1
            assert (await succeed(client, PREPARE, undo=True))["blockers"] == []
            await succeed(client, "orchestrator_plan_task", title="new work")
            reached = await succeed(client, "orchestrator_reconnect_test")
            assert reached["generation"] == 2
            assert [name for name, _ in reached["hops"]] == ["front", "worker", "store write", "store read"]


@contextlib.asynccontextmanager
async def in_process(place: Place, era: str) -> AsyncIterator[Client]:
    """Talk to a server that has no front."""

    @dataclass(frozen=True)
    class Alone(Place):
        @property
        def command(self) -> list[str]:
            return [*super().command, "--in-process"]

    async with connected(Alone(place.root), era) as client:
        yield client


@pytest.mark.parametrize("era", ERAS)
async def test_a_server_without_a_front_says_what_to_do(place: Place, era: str) -> None:
    with trio.fail_after(BOUND_SECONDS):
        async with in_process(place, era) as client:
            text = await refuse(client, RESTART, "conflict")
            assert "no front" in text
            assert "vespera serve" in text
            assert place.rows("SELECT count(*) FROM restart") in ([], [(0,)])
            assert (await succeed(client, STATUS))["generation"] == 0
            assert (await succeed(client, PREPARE))["ready"]
            await refuse(client, "orchestrator_synthesize_results", "conflict")


async def test_over_http_a_reconnect_test_goes_through_the_private_socket_too(place: Place) -> None:
    async with http_server(place) as server, http_client(server.url) as client:
        reached = await succeed(client, "orchestrator_reconnect_test")
        ways = [name for name, _ in reached["hops"]]
        assert ways == ["front", "private HTTP socket", "worker", "store write", "store read"]
