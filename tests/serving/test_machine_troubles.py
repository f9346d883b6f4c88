"""What the machine does to a server: calls fail clearly or wait, what was acknowledged stays, it recovers by itself."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio
from mcp import Client

from tests.serving.kit import (
    ERAS,
    Place,
    complaints,
    connected,
    http_client,
    http_server,
    new_place,
    refuse,
    succeed,
    text_of,
)
from tests.serving.troubles import Clock, limited, process_of, small_disk
from vespera_agents.serving.faults import EXIT_BAD_INPUT
from vespera_agents.store.writer import BUSY_TIMEOUT_SECONDS
from vespera_agents.workspace import live_servers

INITIALIZE = "orchestrator_initialize_session"
PLAN = "orchestrator_plan_task"
STATUS = "orchestrator_get_status"
QUERY = "orchestrator_query_tasks"
EXECUTE = "orchestrator_execute_task"
COMPLETE = "orchestrator_complete_task"


@contextlib.asynccontextmanager
async def working(place: Place, era: str = "auto") -> AsyncIterator[Client]:
    """Serve a place in which a session is open."""
    async with connected(place, era) as client:
        await succeed(client, INITIALIZE, name="before")
        yield client


def result(text: str) -> dict[str, str]:
    """Give what a completed task hands in."""
    return {"summary": "done", "detailed_work": text, "next_action": "complete"}


def titles(place: Place) -> list[str]:
    return [title for (title,) in place.rows("SELECT title FROM task ORDER BY seq")]


def sound(place: Place) -> bool:
    return place.rows("PRAGMA integrity_check") == [("ok",)]


# ---- the directory is gone


@pytest.mark.parametrize("era", ERAS)
async def test_a_workspace_that_is_deleted_is_told_by_the_next_call_and_begun_anew_by_the_one_after(era: str) -> None:
    with new_place() as place:
        async with working(place, era) as client:
            await succeed(client, PLAN, title="acknowledged")
            (before,) = live_servers(place.workspace)
            shutil.rmtree(place.workspace.dot)
            text = await refuse(client, PLAN, "store_lost", title="not kept")
            assert "removed or replaced" in text
            assert "begins an empty workspace" in text
            await succeed(client, INITIALIZE, name="anew")
            await succeed(client, PLAN, title="new")
            assert titles(place) == ["new"]
            assert sound(place)
            # Others find it again, under another name.
            (after,) = live_servers(place.workspace)
            assert after.pid == before.pid
            with trio.fail_after(20):
                while not Path(after.socket).exists():  # noqa: ASYNC110, ASYNC240 - another process makes it
                    await trio.sleep(0.05)
            status = await succeed(client, STATUS)
            assert status["servers"] == [f"{after.id} serve {after.pid} this leads"]


async def test_a_read_tells_of_the_deleted_workspace_as_well() -> None:
    with new_place() as place:
        async with working(place) as client:
            await succeed(client, PLAN, title="acknowledged")
            shutil.rmtree(place.workspace.dot)
            assert "removed or replaced" in await refuse(client, QUERY, "store_lost")
            await refuse(client, QUERY, "not_found", session="session_0")
            await succeed(client, INITIALIZE, name="anew")


async def test_a_copy_that_is_put_back_is_used_by_the_call_after() -> None:
    with new_place() as place:
        async with working(place) as client:
            await succeed(client, PLAN, title="acknowledged")
            copy = place.root / "copy"
            shutil.copytree(place.workspace.dot, copy, ignore=shutil.ignore_patterns("*.sock"))
            shutil.rmtree(place.workspace.dot)
            shutil.copytree(copy, place.workspace.dot)
            await refuse(client, PLAN, "store_lost", title="not kept")
            await succeed(client, PLAN, title="after")
            assert titles(place) == ["acknowledged", "after"]
            assert sound(place)


async def test_a_directory_that_was_only_away_for_a_while_is_not_lost() -> None:
    with new_place() as place:
        async with working(place) as client:
            place.workspace.dot.rename(place.root / "away")
            (place.root / "away").rename(place.workspace.dot)
            await succeed(client, PLAN, title="kept")
            assert titles(place) == ["kept"]


async def test_calls_in_flight_over_http_are_all_told_of_the_deleted_workspace_and_the_server_goes_on() -> None:
    with new_place() as place:
        async with http_server(place) as server, http_client(server.url) as client:
            await succeed(client, INITIALIZE, name="before")
            shutil.rmtree(place.workspace.dot)
            kinds: list[bool] = []

            async def plan(number: int) -> None:
                result = await client.call_tool(PLAN, {"title": f"{number}"})
                kinds.append(result.is_error)
                assert result.is_error, text_of(result)

            async with trio.open_nursery() as nursery:
                for number in range(8):
                    nursery.start_soon(plan, number)
            assert len(kinds) == 8
            await succeed(client, INITIALIZE, name="anew")
            await succeed(client, PLAN, title="new")
            assert titles(place) == ["new"]


# ---- the disk


@contextlib.asynccontextmanager
async def on_a_small_disk() -> AsyncIterator[tuple[Place, Any]]:
    with new_place() as place, small_disk(place.project) as disk:
        yield place, disk


async def test_a_full_disk_fails_calls_clearly_and_they_go_on_when_there_is_room() -> None:
    async with on_a_small_disk() as (place, disk), working(place) as client:
        await succeed(client, PLAN, title="before")
        (task,) = (row[0] for row in place.rows("SELECT id FROM task"))
        await succeed(client, EXECUTE, task_id=task)
        with disk.full(process_of(place.workspace)):
            # The log is begun anew in place: what it has room for is taken.
            fitting = ["before"]
            while not (await client.call_tool(PLAN, {"title": "fits", "description": "x" * 20_000})).is_error:
                fitting.append("fits")
                assert len(fitting) < 200
            for number in range(3):
                text = await refuse(client, PLAN, "store_unavailable", title=f"{number}", description="x" * 20_000)
                assert "Free some disk space" in text
            # Its text is an artifact: the folder of those is full, too.
            text = await refuse(client, COMPLETE, "store_unavailable", task_id=task, **result("x" * 20_000))
            assert "Free some disk space" in text
            assert (await succeed(client, QUERY))["total"] == len(fitting)
        await succeed(client, PLAN, title="after", description="x" * 20_000)
        await succeed(client, COMPLETE, task_id=task, **result("x" * 20_000))
        assert titles(place) == [*fitting, "after"]
        assert place.status("before") == "completed"
        assert sound(place)


async def test_a_worker_that_dies_while_the_disk_is_full_is_replaced_and_reading_goes_on() -> None:
    async with on_a_small_disk() as (place, disk), working(place) as client:
        await succeed(client, PLAN, title="before")
        worker = process_of(place.workspace)
        with disk.full(worker):
            os.kill(worker, signal.SIGKILL)
            assert (await succeed(client, QUERY))["total"] == 1
            # Others still find the server, and whose process it is now.
            assert process_of(place.workspace) != worker
        await succeed(client, PLAN, title="after")
        assert titles(place) == ["before", "after"]
        assert sound(place)


async def test_a_workspace_that_cannot_be_written_is_refused_and_taken_as_soon_as_it_can() -> None:
    with new_place() as place:
        other = place.project / "other"
        other.mkdir()
        with small_disk(other) as disk:
            if not disk.mounted:
                assert os.geteuid() != 0, "root may write anywhere, so this needs a disk of its own"
            async with working(place) as client:
                with disk.read_only():
                    text = await refuse(client, INITIALIZE, "workspace_error", working_directory="other", name="there")
                    assert "cannot be made" in text
                    assert "may write" in text
                    await succeed(client, PLAN, title="here")
                await succeed(client, INITIALIZE, working_directory="other", name="there")
                assert (other / ".vespera" / "vespera.db").exists()


async def test_a_server_that_is_started_where_it_may_not_write_says_so_and_starts_when_it_may() -> None:
    async with on_a_small_disk() as (place, disk):
        async with working(place) as client:
            await succeed(client, PLAN, title="acknowledged")
        with disk.read_only():
            command = [*place.command, "--http", "127.0.0.1:0"]
            done = await trio.run_process(command, env=place.environment, capture_stderr=True, stdin=b"", check=False)
            assert done.returncode == EXIT_BAD_INPUT
            line, end = complaints(done.stderr.splitlines())
            assert end.startswith("vespera: worker 1 ")
            assert end.endswith("before it was ready")
            assert "cannot be written (Read-only file system)" in line or "Permission denied" in line
        async with connected(place) as client:
            await succeed(client, PLAN, title="after")
            assert titles(place) == ["acknowledged", "after"]


# ---- the database is locked


async def test_calls_wait_for_another_process_that_has_locked_the_database_and_then_go_on() -> None:
    assert BUSY_TIMEOUT_SECONDS > 10, "so long somebody may hold it"
    with new_place() as place:
        async with working(place) as client:
            answered: list[int] = []

            async def plan(number: int) -> None:
                await succeed(client, PLAN, title=f"{number}")
                answered.append(number)

            async with trio.open_nursery() as nursery:
                with contextlib.closing(sqlite3.connect(place.workspace.database, isolation_level=None)) as other:
                    other.execute("BEGIN IMMEDIATE")
                    for number in range(5):
                        nursery.start_soon(plan, number)
                    # Reading goes on: what answers now was asked for after them.
                    for _ in range(20):
                        assert (await succeed(client, QUERY))["total"] == 0
                        await trio.sleep(0.05)
                    assert answered == []
                    other.execute("ROLLBACK")
            assert sorted(answered) == [0, 1, 2, 3, 4]
            assert sorted(titles(place)) == ["0", "1", "2", "3", "4"]


# ---- files


async def test_a_server_without_file_descriptors_fails_calls_clearly_and_recovers_when_some_are_free() -> None:
    with new_place() as place:
        async with working(place) as client:
            await succeed(client, PLAN, title="before")
            (task,) = (row[0] for row in place.rows("SELECT id FROM task"))
            await succeed(client, EXECUTE, task_id=task)
            calls: list[tuple[str, dict[str, Any]]] = [
                (PLAN, {"title": "during"}),
                (QUERY, {}),
                (STATUS, {}),
                (INITIALIZE, {"working_directory": str(place.project / "below"), "name": "below"}),
                (COMPLETE, {"task_id": task, **result("x" * 20_000)}),
                ("orchestrator_maintenance_coordinator", {"action": "scan_cleanup"}),
            ]
            (place.project / "below").mkdir()
            kept: list[str] = []
            with limited(process_of(place.workspace), resource.RLIMIT_NOFILE, 3):
                for _ in range(2):
                    async with trio.open_nursery() as nursery:
                        for tool, arguments in calls:
                            nursery.start_soon(_call_and_judge, client, tool, arguments, kept)
            for tool, arguments in calls:
                if tool != COMPLETE or place.status("before") != "completed":
                    await succeed(client, tool, **arguments)
            assert sound(place)
            assert titles(place).count("during") == kept.count(PLAN) + 1


async def _call_and_judge(client: Client, tool: str, arguments: dict[str, Any], kept: list[str]) -> None:
    """Expect it to be done, or to be refused with the reason and what to do: never to be a fault of ours."""
    result = await client.call_tool(tool, arguments)
    if not result.is_error:
        kept.append(tool)
        return
    text = text_of(result)
    assert "internal error" not in text, text
    assert "\nNext: " in text


# ---- the clock


@pytest.mark.parametrize("era", ERAS)
async def test_a_clock_that_jumps_back_an_hour_changes_no_order_no_cursor_and_no_claim(era: str) -> None:
    with new_place() as place:
        clock = Clock(place.root / "clock")
        clock.make()

        class Set(Place):
            @property
            def environment(self) -> dict[str, str]:
                paths = [str(clock.directory), super().environment["PYTHONPATH"]]
                return super().environment | {"PYTHONPATH": os.pathsep.join(paths)}

        async with working(Set(place.root), era) as client:
            for number in range(4):
                await succeed(client, PLAN, title=f"task {number}")
            ids = [row[0] for row in place.rows("SELECT id FROM task ORDER BY seq")]
            await succeed(client, EXECUTE, task_id=ids[0])
            first = await succeed(client, QUERY, limit=2)
            ((before,),) = place.rows("SELECT max(at) FROM event")
            clock.set(-3_600)
            await succeed(client, PLAN, title="task 4")
            ((after,),) = place.rows("SELECT at FROM event ORDER BY seq DESC LIMIT 1")
            assert after < before - 3_000, "the clock of the server was set"
            rest = await succeed(client, QUERY, limit=10, cursor=first["next_cursor"])
            listed = [task["title"] for task in [*first["tasks"], *rest["tasks"]]]
            assert listed == [f"task {number}" for number in range(5)]
            # The claim still holds, and what it took is no negative time.
            status = await succeed(client, STATUS)
            assert {task["id"] for task in status["tasks"] if task["status"] == "in_progress"} == {ids[0]}
            assert all(seconds >= 0 for _, seconds in status["waiting_seconds"])
            await succeed(client, COMPLETE, task_id=ids[0], **result("d"))
            ((created, started, finished),) = place.rows(
                "SELECT created, started, finished FROM task WHERE id=?", ids[0]
            )
            assert created <= started <= finished
            # And forward again: everything that is remembered for a while is remembered.
            clock.set(+3_600)
            await succeed(client, EXECUTE, task_id=ids[1])
            assert place.status("task 1") == "in_progress"
            events = [row[0] for row in place.rows("SELECT seq FROM event ORDER BY seq")]
            assert events == sorted(set(events))
            assert sound(place)


# ---- two servers


async def test_two_servers_on_one_workspace_find_each_other_and_share_the_work_and_one_leads() -> None:
    with new_place() as place:
        async with working(place) as one:
            async with connected(place) as other:
                await succeed(one, PLAN, title="by one")
                await succeed(other, PLAN, title="by the other")
                assert len(titles(place)) == 2
                first, second = await succeed(one, STATUS), await succeed(other, STATUS)
                mine, theirs = ({line for line in told["servers"] if "this" in line} for told in (first, second))
                assert len(first["servers"]) == len(second["servers"]) == 2
                assert len(mine) == len(theirs) == 1
                assert {line.split()[0] for line in mine} != {line.split()[0] for line in theirs}
                leaders = {line.split()[0] for line in [*first["servers"], *second["servers"]] if "leads" in line}
                assert len(leaders) == 1
                result = await one.call_tool(STATUS, {})
                shown = text_of(result).partition("Servers on this workspace:\n")[2].splitlines()
                assert ["this one" in line for line in shown[:2]] == [True, False]
            # The leader has gone, or was not the leader: the other leads now.
            told = await succeed(one, STATUS)
            (line,) = told["servers"]
            assert line.endswith("this leads")
