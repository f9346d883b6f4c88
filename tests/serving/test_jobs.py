"""Long work as tasks of the extension: handles that last, questions on the way, cancellation that cancels.

Source: SEP-2663. The fixtures of the conformance suite are built on the same few names.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio
from mcp import Client, MCPError
from mcp_types import CallToolRequestParams, CallToolResult, ElicitRequest, ElicitRequestFormParams, TextContent

from tests.serving.kit import Place, new_place
from tests.serving.tasks_client import Known, begun, request, status, until
from vespera_agents.serving.protocol.jobs import Asking, LongCalls
from vespera_agents.serving.protocol.server import build_server
from vespera_agents.specialists.calls import Call
from vespera_agents.specialists.jobs import RunningJob
from vespera_agents.specialists.orchestrator import Orchestrator
from vespera_agents.specialists.runtime import open_runtime
from vespera_agents.store import CommandKey


@pytest.fixture
def place():
    with new_place() as made:
        yield made


class Workshop:
    """A server with tools of the test's own, each of which is a task."""

    def __init__(self, orchestrator: Orchestrator) -> None:
        self.long = LongCalls(orchestrator, lambda _: CallToolResult(content=[]))
        self.server = build_server(orchestrator)
        self.server.add_request_handler("tools/call", CallToolRequestParams, self.call)
        self.calls = 0
        self.cleaned_up = False

    async def call(self, ctx: Any, params: CallToolRequestParams) -> dict[str, object]:
        self.calls += 1
        call = Call("mcp:test", CommandKey("test", f"call-{self.calls}"))
        work = getattr(self, params.name)
        if params.name == "required":
            self.long.require(ctx)
        return await self.long.begin(call, params.name, work)

    async def quick(self, _: Asking, running: RunningJob) -> CallToolResult:
        running.report(1, 2, "half of it")
        return CallToolResult(content=[TextContent(text="done")])

    async def slow(self, _: Asking, running: RunningJob) -> CallToolResult:
        running.report(1, 2, "half of it")
        try:
            await trio.sleep_forever()
        finally:
            self.cleaned_up = True

    async def wrong(self, _: Asking, __: RunningJob) -> CallToolResult:
        return CallToolResult(content=[TextContent(text="not possible")], is_error=True)

    async def broken(self, _: Asking, __: RunningJob) -> CallToolResult:
        raise MCPError(code=-32001, message="the wire itself")

    required = quick

    async def asks(self, asking: Asking, _: RunningJob) -> CallToolResult:
        answers = await asking.ask({"name": question("Who?"), "age": question("How old?")})
        return CallToolResult(content=[TextContent(text=f"{answers['name']} {answers['age']}")])


def question(text: str) -> ElicitRequest:
    schema = {"type": "object", "properties": {"value": {"type": "string"}}}
    return ElicitRequest(params=ElicitRequestFormParams(message=text, requested_schema=schema))


@contextlib.asynccontextmanager
async def workshop(place: Place, *, knows: bool = True, **options) -> AsyncIterator[tuple[Client, Workshop]]:
    async with open_runtime("serve", registry=place.registry) as runtime:
        made = Workshop(Orchestrator(runtime, place.project))
        extensions = [Known()] if knows else []
        async with Client(made.server, mode="auto", extensions=extensions, **options) as client:
            yield client, made


async def test_a_call_becomes_a_task_whose_result_is_inlined_when_it_has_ended(place):
    async with workshop(place) as (client, _):
        assert "io.modelcontextprotocol/tasks" in client.server_capabilities.extensions
        created = await begun(client, "quick")
        assert created.status in {"working", "completed"}, "it may be over before the answer is written"
        found = await until(client, created.task_id, "completed")
        assert found["resultType"] == "complete"
        assert found["result"]["content"] == [{"type": "text", "text": "done"}]
        assert found["ttlMs"] > 0
        assert "error" not in found
        assert await status(client, created.task_id) == found, "asking changes nothing"


async def test_progress_is_told_as_the_status_of_the_task(place):
    async with workshop(place) as (client, _):
        created = await begun(client, "slow")
        found = await until(client, created.task_id, "working", having="statusMessage")
        assert found["statusMessage"] == "1/2: half of it"


async def test_a_tool_that_failed_is_a_completed_task_and_a_broken_call_a_failed_one(place):
    async with workshop(place) as (client, _):
        found = await until(client, (await begun(client, "wrong")).task_id, "completed")
        assert found["result"]["isError"] is True
        found = await until(client, (await begun(client, "broken")).task_id, "failed")
        assert found["error"] == {"code": -32001, "message": "the wire itself"}
        assert "result" not in found


async def test_cancelling_ends_the_work_before_it_is_told_and_ends_it_for_good(place):
    async with workshop(place) as (client, made):
        created = await begun(client, "slow")
        acknowledged = await request(client, "tasks/cancel", created.task_id)
        assert acknowledged.keys() <= {"resultType", "_meta"}, "an acknowledgement, not a task"
        assert made.cleaned_up
        found = await status(client, created.task_id)
        assert found["status"] == "cancelled"
        await request(client, "tasks/cancel", created.task_id)
        assert await status(client, created.task_id) == found
        done = await begun(client, "quick")
        found = await until(client, done.task_id, "completed")
        await request(client, "tasks/cancel", done.task_id)
        assert await status(client, done.task_id) == found, "an outcome stands"


async def test_a_task_asks_and_goes_on_when_every_question_is_answered(place):
    async with workshop(place) as (client, _):
        created = await begun(client, "asks")
        found = await until(client, created.task_id, "input_required")
        name, age = sorted(found["inputRequests"], key=lambda one: not one.startswith("name"))
        assert found["inputRequests"][name]["method"] == "elicitation/create"
        answer = {"action": "accept", "content": {"value": "Ada"}}
        await request(client, "tasks/update", created.task_id, input_responses={name: answer, "no-such": answer})
        found = await status(client, created.task_id)
        assert found["status"] == "input_required"
        assert set(found["inputRequests"]) == {age}
        await request(client, "tasks/update", created.task_id, input_responses={age: {"action": "decline"}})
        found = await until(client, created.task_id, "completed")
        assert "Ada" in found["result"]["content"][0]["text"]
        assert "decline" in found["result"]["content"][0]["text"]


async def test_a_task_that_nobody_began_is_an_invalid_parameter(place):
    async with workshop(place) as (client, _):
        for method in ("tasks/get", "tasks/cancel", "tasks/update"):
            with pytest.raises(MCPError) as caught:
                await request(client, method, "job_0123")
            assert caught.value.error.code == -32602
            assert "job_0123" in caught.value.error.message


async def test_a_client_that_does_not_know_tasks_is_told_what_it_lacks(place):
    async with workshop(place, knows=False) as (client, _):
        for attempt in (client.call_tool("required", {}), request(client, "tasks/get", "job_0123")):
            with pytest.raises(MCPError) as caught:
                await attempt
            assert caught.value.error.code == -32021
            assert caught.value.error.data == {
                "requiredCapabilities": {"extensions": {"io.modelcontextprotocol/tasks": {}}}
            }


async def test_the_handshake_era_has_no_tasks(place):
    async with open_runtime("serve", registry=place.registry) as runtime:
        made = Workshop(Orchestrator(runtime, place.project))
        async with Client(made.server, mode="legacy", extensions=[Known()]) as client:
            with pytest.raises(MCPError) as caught:
                await request(client, "tasks/get", "job_0123")
            assert caught.value.error.code == -32601


async def test_work_that_crashes_fails_its_task(place, caplog):
    async with workshop(place) as (client, made):

        async def crash(*_):
            raise ValueError("a fault")

        made.crash = crash
        found = await until(client, (await begun(client, "crash")).task_id, "failed")
        assert "fault of the server" in found["error"]["message"]
        assert "Traceback" not in str(found)
