"""Work that the server carries out by itself: what may begin, how it is followed and ended, what a crash leaves."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import trio
from mcp import Client, StdioServerParameters
from mcp.client import stdio
from mcp_types import CallToolResult

from tests.serving import patient_server
from tests.serving.kit import (
    ERAS,
    SERVER_SECONDS,
    Place,
    connected,
    http_client,
    http_server,
    in_memory,
    new_place,
    refuse,
    succeed,
)
from tests.serving.tasks_client import Known, begun, called, finished, request, status, until

EXECUTE = "orchestrator_execute_task"
STATUS = "orchestrator_get_status"
PLAN = """---
id: BUILD
---
## Phase 1: Make
### quick
```yaml
run: "sh -c 'echo made > made'"
```
### waits
```yaml
run: "sh -c 'echo $$ > pid; until test -e go; do sleep 0.02; done'"
```
## Phase 2: Tell
### told
```yaml
run: "sh -c 'echo told > told'"
gates: ["test -e told"]
```
### prose
Write about it.
"""
ALLOW = '[commands]\nallow = ["sh -c", "test -e"]\n'


@pytest.fixture
def place():
    with new_place() as made:
        (made.project / "plan.md").write_text(PLAN)
        yield made


async def planned(place: Place, client: Client) -> dict[str, str]:
    """Open a session and read the plan; gives the ids by title."""
    await succeed(client, "orchestrator_initialize_session", working_directory=str(place.project))
    answer = await succeed(client, "orchestrator_plan_task", plan_path="plan.md")
    return {task["title"]: task["id"] for task in answer["tasks"]} | {"root": answer["tasks"][0]["id"]}


async def eventually(condition: Any) -> None:
    with trio.fail_after(30):
        while True:
            if condition():
                return
            await trio.sleep(0.02)


def lives(pid: str) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


def pid_of(place: Place) -> str:
    return (place.project / "pid").read_text().strip()


async def pid_written(place: Place) -> None:
    """Wait until a command has written its process id: its file is there a moment before that is in it."""
    note = place.project / "pid"
    await eventually(lambda: note.exists() and note.read_text().endswith("\n"))


def job(place: Place) -> dict[str, Any]:
    """Read the newest job as it is on disk."""
    (row,) = place.rows("SELECT status, message, done, task_id FROM job ORDER BY seq DESC LIMIT 1")
    return dict(zip(("status", "message", "done", "task_id"), row, strict=True))


async def settled(client: Client, place: Place) -> str:
    """Poll as a client without the extension does, until the line of the job tells its end; gives the line."""
    with trio.fail_after(30):
        while True:
            (line, *_) = (await succeed(client, STATUS))["jobs"]
            if line.split()[1] not in {"working", "input_required"}:
                return line
            await trio.sleep(0.05)


@pytest.mark.parametrize("era", ERAS)
async def test_a_client_without_the_extension_gets_a_handle_at_once_and_polls(place, era):
    async with in_memory(place, era) as (client, _):
        ids = await planned(place, client)
        place.trust(ALLOW)
        answer = await succeed(client, EXECUTE, task_id=ids["root"], mode="agent")
        assert answer["outcome"] == "working"
        assert "orchestrator_get_status" in answer["next_action"]
        await pid_written(place)
        await eventually(lambda: job(place)["done"] == 1)
        (line,) = (await succeed(client, STATUS))["jobs"]
        assert line.startswith(f"{ids['root']} working 1/3: ")
        assert place.status("waits") == "in_progress"
        (place.project / "go").touch()
        line = await settled(client, place)
        assert line.startswith(f"{ids['root']} completed 3/3")
    assert [place.status(title) for title in ("quick", "waits", "told", "prose")] == [*["completed"] * 3, "pending"]
    assert place.rows("SELECT count(*) FROM artifact WHERE name LIKE '%riefing%' AND task_id=?", ids["prose"]) == [(1,)]


async def test_a_client_of_the_extension_gets_a_task_with_the_result_of_the_tool(place):
    async with in_memory(place, extensions=[Known()]) as (client, _):
        ids = await planned(place, client)
        place.trust(ALLOW)
        (place.project / "go").touch()
        created = await begun(client, EXECUTE, task_id=ids["root"], mode="agent")
        found = await until(client, created.task_id, "completed")
        result = CallToolResult.model_validate(found["result"])
        assert not result.is_error
        await client.session.validate_tool_result(EXECUTE, result)
        assert result.structured_content is not None
        assert result.structured_content["outcome"] == "waiting", "the task without a command waits for a client"
        assert "3 completed" in result.structured_content["next_action"]
        assert job(place)["status"] == "completed"


async def test_what_is_not_allowed_is_refused_with_the_command_before_anything_begins(place):
    async with in_memory(place) as (client, _):
        ids = await planned(place, client)
        before = place.state()
        text = await refuse(client, EXECUTE, "conflict", task_id=ids["root"], mode="agent")
        assert "`sh -c 'echo made > made'`" in text
        assert "vespera trust" in text
        place.trust('[commands]\nallow = ["sh -c"]\n')
        text = await refuse(client, EXECUTE, "conflict", task_id=ids["root"], mode="agent")
        assert "`test -e told`" in text, "the gate of a later task is looked at, too"
        assert place.state() == before
        assert place.rows("SELECT * FROM job") == []
        assert not (place.project / "made").exists()


async def test_a_task_that_is_changed_on_the_way_runs_nothing_that_is_not_allowed(place):
    async with in_memory(place) as (client, _):
        ids = await planned(place, client)
        place.trust(ALLOW)
        await succeed(client, EXECUTE, task_id=ids["root"], mode="agent")
        await pid_written(place)
        await succeed(client, "orchestrator_update_task", task_id=ids["told"], gates=["touch stolen"])
        (place.project / "go").touch()
        await settled(client, place)
        assert place.status("told") == "failed"
        assert not (place.project / "stolen").exists()
        assert not (place.project / "told").exists()
        (reason,) = place.rows("SELECT status_reason FROM task WHERE title='told'")[0]
        assert "`touch stolen`" in reason


async def test_one_task_runs_alone_and_what_needs_a_model_or_cannot_begin_is_refused(place):
    async with in_memory(place) as (client, _):
        ids = await planned(place, client)
        place.trust(ALLOW)
        for title, kind, words in (
            ("prose", "invalid_input", "mode='client'"),
            ("told", "conflict", "waits for other tasks"),
        ):
            before = place.state()
            assert words in await refuse(client, EXECUTE, kind, task_id=ids[title], mode="agent")
            assert place.state() == before
        await succeed(client, EXECUTE, task_id=ids["quick"], mode="agent")
        await settled(client, place)
        assert [place.status(title) for title in ("quick", "waits")] == ["completed", "pending"]
        assert "cannot begin" in await refuse(client, EXECUTE, "conflict", task_id=ids["quick"], mode="agent")


async def test_two_agents_on_one_session_are_one_too_many_and_a_repeated_call_is_none(place):
    async with in_memory(place) as (client, _):
        ids = await planned(place, client)
        place.trust(ALLOW)
        key: Any = {"io.vespera/key": "the same"}
        arguments = {"task_id": ids["root"], "mode": "agent"}
        await client.call_tool(EXECUTE, arguments, meta=key)
        await pid_written(place)
        again = await client.call_tool(EXECUTE, arguments, meta=key)
        assert not again.is_error
        assert "specialists work in session" in await refuse(client, EXECUTE, "conflict", **arguments)
        assert place.rows("SELECT count(*) FROM job") == [(1,)]
        (place.project / "go").touch()
        await settled(client, place)


@pytest.mark.parametrize("how", ["tasks/cancel", "orchestrator_cancel_task"])
async def test_cancelling_kills_the_commands_and_leaves_nothing_half_done(place, how):
    async with in_memory(place, extensions=[Known()]) as (client, _):
        ids = await planned(place, client)
        place.trust(ALLOW)
        created = await begun(client, EXECUTE, task_id=ids["root"], mode="agent")
        await pid_written(place)
        if how == "tasks/cancel":
            await request(client, how, created.task_id)
        else:
            await succeed(client, how, task_id=ids["root"], reason="not wanted", cascade=True)
        assert not lives(pid_of(place)), "it is over when the answer comes"
        assert job(place)["status"] == "cancelled"
        assert (await status(client, created.task_id))["status"] == "cancelled"
        wanted = "pending" if how == "tasks/cancel" else "cancelled"
        assert place.status("waits") == wanted
        assert place.rows("SELECT count(*) FROM task WHERE claimed_by IS NOT NULL") == [(0,)]
        if how == "tasks/cancel":
            (place.project / "go").touch()
            again = await begun(client, EXECUTE, task_id=ids["root"], mode="agent")
            await until(client, again.task_id, "completed")
            assert place.status("told") == "completed"


async def test_a_failed_command_is_told_and_what_waits_for_it_stays(place):
    (place.project / "plan.md").write_text(PLAN.replace("echo made > made", "exit 3"))
    async with in_memory(place, extensions=[Known()]) as (client, _):
        ids = await planned(place, client)
        place.trust(ALLOW)
        (place.project / "go").touch()
        created = await begun(client, EXECUTE, task_id=ids["root"], mode="agent")
        found = await until(client, created.task_id, "completed")
        assert found["result"]["structuredContent"]["outcome"] == "failed"
        assert [place.status(title) for title in ("quick", "told")] == ["failed", "pending"]


@contextlib.asynccontextmanager
async def doomed(place: Place) -> AsyncIterator[tuple[Client, int]]:
    """Have a server process of which the id is known, and which may be killed."""
    note = place.root / "server.pid"
    command = ["sh", "-c", f'echo $$ > {note}; exec "$@"', "sh", *place.command]
    parameters = StdioServerParameters(command=command[0], args=command[1:], env=place.environment, cwd=place.root)
    async with contextlib.AsyncExitStack() as stack:
        # However the connection of a killed server ends, it is not what these tests are about.
        client = Client(stdio.stdio_client(parameters), mode="auto", extensions=[Known()])
        await stack.enter_async_context(client)
        yield client, int(note.read_text())


def worker_of(place: Place) -> int:
    """Give the process that works now, as it has said itself."""
    return place.rows("SELECT pid FROM generation ORDER BY seq DESC LIMIT 1")[0][0]


async def test_a_server_that_is_killed_leaves_a_job_that_the_next_one_decides_from_the_store(place):
    place.workspace.make()
    place.trust(ALLOW)
    with contextlib.suppress(Exception):
        async with doomed(place) as (client, pid):
            ids = await planned(place, client)
            created = await begun(client, EXECUTE, task_id=ids["root"], mode="agent")
            await pid_written(place)
            await eventually(lambda: job(place)["done"] == 1)
            # The kernel closes a dead front's links a moment before it kills the worker, which could still write then.
            os.kill(worker_of(place), signal.SIGSTOP)
            os.kill(pid, signal.SIGKILL)
    assert job(place)["status"] == "working", "the dead write nothing"
    async with connected(place, extensions=[Known()]) as client:
        found = await status(client, created.task_id)
        assert found["status"] == "failed"
        assert "ended before it was done" in found["error"]["message"]
        assert not lives(pid_of(place))
        assert [place.status(title) for title in ("quick", "waits")] == ["completed", "pending"]
        (line,) = (await succeed(client, STATUS))["jobs"]
        assert line.startswith(f"{ids['root']} failed 1/3")
        (place.project / "go").touch()
        again = await begun(client, EXECUTE, task_id=ids["root"], mode="agent")
        await until(client, again.task_id, "completed")
        assert place.status("told") == "completed"


async def test_a_job_whose_work_was_done_when_its_server_died_is_completed(place):
    place.workspace.make()
    place.trust(ALLOW)
    (place.project / "go").touch()
    async with connected(place, extensions=[Known()]) as client:
        ids = await planned(place, client)
        created = await begun(client, EXECUTE, task_id=ids["root"], mode="agent")
        await until(client, created.task_id, "completed")
    # As a server leaves it that was killed between its last task and the end of the job.
    with contextlib.closing(sqlite3.connect(place.workspace.database)) as connection:
        connection.execute("UPDATE job SET status='working', result=NULL")
        connection.commit()
    async with connected(place, extensions=[Known()]) as client:
        found = await status(client, created.task_id)
        assert found["status"] == "completed"
        assert found["result"]["structuredContent"]["task_id"] == ids["root"]


async def test_a_task_is_followed_and_cancelled_from_another_server(place):
    place.workspace.make()
    place.trust(ALLOW)
    async with connected(place, extensions=[Known()]) as one, connected(place, extensions=[Known()]) as other:
        ids = await planned(place, one)
        created = await begun(one, EXECUTE, task_id=ids["root"], mode="agent")
        await pid_written(place)
        assert (await status(other, created.task_id))["status"] == "working"
        await refuse(other, EXECUTE, "conflict", task_id=ids["root"], mode="agent")
        await request(other, "tasks/cancel", created.task_id)
        assert (await until(other, created.task_id, "cancelled"))["status"] == "cancelled"
        await eventually(lambda: not lives(pid_of(place)))


async def test_a_server_that_is_stopped_ends_its_jobs_and_gives_their_tasks_back(place, monkeypatch):
    place.workspace.make()
    place.trust(ALLOW)
    # Else the SDK's client ends it by force after 2 s.
    monkeypatch.setattr(stdio, "PROCESS_TERMINATION_TIMEOUT", SERVER_SECONDS)
    command = [*place.command[:4], patient_server.__name__, *place.command[6:]]
    async with connected(place, command=command, extensions=[Known()]) as client:
        ids = await planned(place, client)
        await begun(client, EXECUTE, task_id=ids["root"], mode="agent")
        await pid_written(place)
    assert not lives(pid_of(place))
    assert job(place)["status"] == "failed"
    assert "stopped" in job(place)["message"]
    assert place.status("waits") == "pending"


@pytest.mark.parametrize("era", ERAS)
async def test_slow_gates_become_a_task_where_tasks_are_known(place, era):
    async with in_memory(place, era, extensions=[Known()], gates_wait_seconds=0.5) as (client, _):
        await succeed(client, "orchestrator_initialize_session", working_directory=str(place.project))
        gate = "sh -c 'until test -e go; do sleep 0.02; done'"
        answer = await succeed(client, "orchestrator_plan_task", title="gated", gates=[gate])
        task_id = answer["tasks"][0]["id"]
        place.trust(ALLOW)
        await succeed(client, EXECUTE, task_id=task_id)
        work = {"task_id": task_id, "summary": "done", "next_action": "complete"}
        answer = await called(client, "orchestrator_complete_task", **work)
        assert job(place)["task_id"] == task_id
        (place.project / "go").touch()
        if era == "legacy":
            assert isinstance(answer, CallToolResult)
            assert answer.structured_content is not None
            assert answer.structured_content["outcome"] == "gating"
            assert (await settled(client, place)).startswith(f"{task_id} completed")
        else:
            assert not isinstance(answer, CallToolResult)
            found = await until(client, answer.task_id, "completed")
            assert found["result"]["structuredContent"]["outcome"] == "completed"
        assert place.status("gated") == "completed"


async def test_a_failed_gate_of_a_task_is_the_refusal_that_its_call_would_have_had(place):
    async with in_memory(place, extensions=[Known()], gates_wait_seconds=0.5) as (client, _):
        await succeed(client, "orchestrator_initialize_session", working_directory=str(place.project))
        gate = "sh -c 'until test -e go; do sleep 0.02; done; exit 7'"
        answer = await succeed(client, "orchestrator_plan_task", title="gated", gates=[gate])
        task_id = answer["tasks"][0]["id"]
        place.trust(ALLOW)
        await succeed(client, EXECUTE, task_id=task_id)
        created = await begun(
            client, "orchestrator_complete_task", task_id=task_id, summary="done", next_action="complete"
        )
        (place.project / "go").touch()
        found = await until(client, created.task_id, "completed")
        assert found["result"]["isError"] is True
        assert "exit status 7" in found["result"]["content"][0]["text"]
        assert "\nNext: " in found["result"]["content"][0]["text"]
        assert place.status("gated") == "in_progress"


async def test_gates_that_are_cancelled_as_a_task_record_nothing(place):
    async with in_memory(place, extensions=[Known()], gates_wait_seconds=0.5) as (client, _):
        await succeed(client, "orchestrator_initialize_session", working_directory=str(place.project))
        answer = await succeed(
            client, "orchestrator_plan_task", title="gated", gates=["sh -c 'echo $$ > pid; sleep 60'"]
        )
        task_id = answer["tasks"][0]["id"]
        place.trust(ALLOW)
        await succeed(client, EXECUTE, task_id=task_id)
        work = {"task_id": task_id, "summary": "done", "next_action": "complete"}
        created = await begun(client, "orchestrator_complete_task", **work)
        await pid_written(place)
        await request(client, "tasks/cancel", created.task_id)
        assert not lives(pid_of(place))
        assert place.status("gated") == "in_progress"
        assert job(place)["status"] == "cancelled"
        await succeed(client, "orchestrator_update_task", task_id=task_id, gates=["test -e plan.md"])
        assert (await finished(client, "orchestrator_complete_task", **work))["outcome"] == "completed"


async def test_a_synthesis_is_a_task_for_who_knows_tasks(place):
    async with in_memory(place, extensions=[Known()]) as (client, _):
        ids = await planned(place, client)
        created = await begun(client, "orchestrator_synthesize_results", parent_task_id=ids["root"])
        found = await until(client, created.task_id, "completed")
        assert found["result"]["structuredContent"]["artifact"].startswith("vespera://artifact/")
        assert found["result"]["content"][1]["type"] == "resource_link"
        created = await begun(client, "orchestrator_synthesize_results", parent_task_id="task_none")
        found = await until(client, created.task_id, "completed")
        assert found["result"]["isError"] is True


async def test_tasks_over_http_name_themselves_in_the_header_too(place):
    place.workspace.make()
    place.trust(ALLOW)
    async with http_server(place) as server, http_client(server.url, extensions=[Known()]) as client:
        ids = await planned(place, client)
        (place.project / "go").touch()
        created = await begun(client, EXECUTE, task_id=ids["root"], mode="agent")
        found = await until(client, created.task_id, "completed")
        assert found["result"]["structuredContent"]["outcome"] == "waiting"
        meta = {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientInfo": {"name": "raw", "version": "1"},
            "io.modelcontextprotocol/clientCapabilities": {"extensions": {"io.modelcontextprotocol/tasks": {}}},
        }
        body = {"jsonrpc": "2.0", "id": 1, "method": "tasks/get", "params": {"taskId": created.task_id, "_meta": meta}}
        headers = {
            "Accept": "application/json, text/event-stream",
            "MCP-Protocol-Version": "2026-07-28",
            "Mcp-Method": "tasks/get",
        }
        async with httpx2.AsyncClient() as raw:
            for name, code in ((None, -32020), ("job_other", -32020), (created.task_id, None)):
                more = {} if name is None else {"Mcp-Name": name}
                answer = (await raw.post(server.url, json=body, headers={**headers, **more})).json()
                assert answer.get("error", {}).get("code") == code, answer
