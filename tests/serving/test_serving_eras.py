"""The rules of a conversation over a pipe in both protocol eras: who opens which, cancellation, progress, questions.

A small server of the MCP library's own kind, on our wire, in this process; the client writes lines.
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel.server import Server
from mcp.shared.message import ServerMessageMetadata
from mcp_types import (
    CallToolRequestParams,
    CallToolResult,
    ListRootsRequest,
    ListRootsResult,
    TextContent,
)

from tests.serving.kit import new_place
from vespera_agents.serving.protocol.connections import connection_of
from vespera_agents.serving.protocol.eras import LEAD_MAX, converse
from vespera_agents.serving.protocol.server import build_server
from vespera_agents.serving.transports.ends import ReadEnd, WriteEnd
from vespera_agents.serving.transports.stdio import StdioWire
from vespera_agents.specialists.orchestrator import Orchestrator
from vespera_agents.specialists.runtime import open_runtime

META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": {"name": "raw", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}
HANDSHAKE = {
    "protocolVersion": "2025-11-25",
    "capabilities": {"roots": {}},
    "clientInfo": {"name": "raw", "version": "1"},
}
ERAS = ("legacy", "modern")
BOUND_SECONDS = 10

Context = ServerRequestContext[dict[str, object]]


class Line:
    """The client's end of the pipes."""

    def __init__(self) -> None:
        self.server_in, self.client_out = os.pipe()
        self.client_in, self.server_out = os.pipe()
        for descriptor in (self.server_in, self.server_out, self.client_in):
            os.set_blocking(descriptor, False)
        self.wire = StdioWire(self.server_in, self.server_out)
        self.heard: list[dict[str, Any]] = []
        self._unread = b""

    def say(self, *messages: Mapping[str, object]) -> None:
        data = b"".join(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n" for message in messages)
        assert os.write(self.client_out, data) == len(data)

    def hang_up(self) -> None:
        if self.client_out >= 0:
            os.close(self.client_out)
        self.client_out = -1

    async def hear(self) -> dict[str, Any]:
        """Hear the next message."""
        with trio.fail_after(BOUND_SECONDS):
            while b"\n" not in self._unread:
                await trio.lowlevel.wait_readable(self.client_in)
                self._unread += os.read(self.client_in, 1 << 20)
        line, _, self._unread = self._unread.partition(b"\n")
        self.heard.append(json.loads(line))
        return self.heard[-1]


def tool_server() -> tuple[Server[dict[str, object]], list[str]]:
    """Make a server whose tools do what a test needs, and the list of what happened to them."""
    happened: list[str] = []

    async def call(ctx: Context, params: CallToolRequestParams) -> CallToolResult:
        text = "done"
        if params.name == "sleep":
            happened.append("asleep")
            try:
                await trio.sleep_forever()
            except trio.Cancelled:
                happened.append("cancelled")
                raise
        elif params.name == "progress":
            for done in range(3):
                await ctx.session.report_progress(done, 3, f"step {done}")
        elif params.name == "break":
            raise RuntimeError("the secret of the house")
        elif params.name == "ask":
            related = ServerMessageMetadata(related_request_id=ctx.request_id)
            roots = await ctx.session.send_request(ListRootsRequest(), ListRootsResult, metadata=related)
            text = str(roots.roots[0].uri)
        return CallToolResult(content=[TextContent(text=text)])

    server: Server[dict[str, object]] = Server("small", on_call_tool=call)
    return server, happened


@asynccontextmanager
async def talking(server: Server[dict[str, object]]) -> AsyncIterator[Line]:
    """Have a conversation that ends with the block, at the latest by the client's hanging up."""
    line = Line()
    try:
        with trio.fail_after(BOUND_SECONDS):
            async with trio.open_nursery() as nursery:
                options = server.create_initialization_options()
                nursery.start_soon(converse, server, ReadEnd(line.wire.receive), WriteEnd(line.wire.send), options)
                yield line
                line.hang_up()
    finally:
        line.hang_up()
        for descriptor in (line.server_in, line.server_out, line.client_in):
            os.close(descriptor)


def call(identifier: object, tool: str, era: str, **meta: object) -> dict[str, object]:
    envelope = {**(META if era == "modern" else {}), **meta}
    params = {"name": tool, "arguments": {}, **({"_meta": envelope} if envelope else {})}
    return {"id": identifier, "method": "tools/call", "params": params}


async def opened(line: Line, era: str) -> None:
    if era == "legacy":
        line.say({"id": "hello", "method": "initialize", "params": HANDSHAKE}, {"method": "notifications/initialized"})
        assert (await line.hear())["result"]["protocolVersion"] == "2025-11-25"


async def test_a_request_of_a_pipe_is_its_own_clients_whatever_the_one_before_it_said() -> None:
    server: Server[dict[str, object]] = Server("small", on_call_tool=_who)
    info, able = "io.modelcontextprotocol/clientInfo", "io.modelcontextprotocol/clientCapabilities"
    first = {info: {"name": "first", "version": "1"}}
    second = {info: {"name": "second", "version": "1"}, able: {"elicitation": {}}}
    async with talking(server) as line:
        said = []
        for number, meta in enumerate((first, first, second, first)):
            line.say(call(number, "who", "modern", **meta))
            said.append((await line.hear())["result"]["content"][0]["text"])
        assert said == ["first False", "first False", "second True", "first False"]


async def _who(ctx: Context, _: CallToolRequestParams) -> CallToolResult:
    client = ctx.session.client_params
    assert client is not None
    able = client.capabilities.elicitation is not None
    return CallToolResult(content=[TextContent(text=f"{client.client_info.name} {able}")])


async def test_what_a_request_leaves_to_be_undone_is_undone_with_its_answer() -> None:
    undone: list[str] = []

    async def leave(ctx: Context, params: CallToolRequestParams) -> CallToolResult:
        connection_of(ctx).exit_stack.callback(undone.append, params.name)
        return CallToolResult(content=[TextContent(text="left")])

    server: Server[dict[str, object]] = Server("small", on_call_tool=leave)
    async with talking(server) as line:
        for number, name in enumerate(("one", "two")):
            line.say(call(number, name, "modern"))
            assert "result" in await line.hear()
        assert undone == ["one", "two"]


async def test_a_client_need_not_wait_for_the_answer_to_its_handshake() -> None:
    server, _ = tool_server()
    async with talking(server) as line:
        line.say({"id": 1, "method": "initialize", "params": HANDSHAKE}, call(2, "quick", "legacy"))
        assert [(await line.hear())["id"] for _ in range(2)] == [1, 2]
        assert "result" in line.heard[1]


async def test_nothing_but_ping_is_answered_before_the_handshake() -> None:
    server, _ = tool_server()
    async with talking(server) as line:
        line.say({"id": 1, "method": "ping"}, call(2, "quick", "legacy"))
        answers = {answer["id"]: answer for answer in [await line.hear(), await line.hear()]}
        assert answers[1]["result"] == {}
        assert answers[2]["error"]["code"] == -32602


async def test_a_connection_stays_in_the_era_that_its_first_request_opened() -> None:
    server, _ = tool_server()
    async with talking(server) as line:
        await opened(line, "legacy")
        line.say(call(1, "quick", "modern"), call(2, "quick", "legacy"))
        answers = {answer["id"]: answer for answer in [await line.hear(), await line.hear()]}
        assert answers[1]["error"]["code"] == -32600
        assert "connection of their own" in answers[1]["error"]["message"]
        assert "result" in answers[2]
    async with talking(server) as line:
        line.say(call(1, "quick", "modern"), {"id": 2, "method": "initialize", "params": HANDSHAKE})
        answers = {answer["id"]: answer for answer in [await line.hear(), await line.hear()]}
        assert "result" in answers[1]
        assert answers[2]["error"]["code"] == -32022
        assert answers[2]["error"]["data"] == {"supported": ["2026-07-28"], "requested": "2025-11-25"}


async def test_half_an_envelope_is_told_what_it_lacks() -> None:
    server, _ = tool_server()
    async with talking(server) as line:
        half = {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}
        line.say({"id": 1, "method": "tools/call", "params": {"name": "quick", "_meta": half}})
        error = (await line.hear())["error"]
        assert error["code"] == -32602
        assert "clientCapabilities" in error["message"]


async def test_what_comes_before_the_first_request_decides_nothing_and_is_kept_within_bounds() -> None:
    server, _ = tool_server()
    async with talking(server) as line:
        # An initialized without a handshake opens the gate: it must reach the era that the request chooses.
        line.say({"method": "notifications/initialized"}, *[{"method": "notifications/none"}] * (LEAD_MAX + 50))
        line.say(call(1, "quick", "legacy"))
        assert "result" in await line.hear()


async def test_a_client_that_says_nothing_ends_the_conversation() -> None:
    server, _ = tool_server()
    async with talking(server) as line:
        line.hang_up()


@pytest.mark.parametrize("era", ERAS)
async def test_a_cancelled_call_ends_and_is_never_answered(era: str) -> None:
    server, happened = tool_server()
    async with talking(server) as line:
        await opened(line, era)
        line.say(call(1, "sleep", era))
        await trio.testing.wait_all_tasks_blocked()
        assert (happened, line.wire.in_flight) == (["asleep"], 1)
        line.say({"method": "notifications/cancelled", "params": {"requestId": 1}}, call(2, "quick", era))
        assert (await line.hear())["id"] == 2
        assert (happened, line.wire.in_flight) == (["asleep", "cancelled"], 0)


@pytest.mark.parametrize("era", ERAS)
async def test_a_call_under_way_when_the_client_hangs_up_is_cancelled(era: str) -> None:
    server, happened = tool_server()
    async with talking(server) as line:
        await opened(line, era)
        line.say(call(1, "sleep", era))
        await trio.testing.wait_all_tasks_blocked()
        line.hang_up()
    assert happened == ["asleep", "cancelled"]


@pytest.mark.parametrize("era", ERAS)
async def test_progress_comes_in_order_and_before_the_answer(era: str) -> None:
    server, _ = tool_server()
    async with talking(server) as line:
        await opened(line, era)
        line.say(call(1, "progress", era, progressToken="p"))
        told = [await line.hear() for _ in range(4)]
        assert [one.get("method") for one in told] == [*["notifications/progress"] * 3, None]
        assert [one["params"]["progress"] for one in told[:3]] == [0, 1, 2]
        assert {one["params"]["progressToken"] for one in told[:3]} == {"p"}


async def test_a_server_may_ask_in_the_older_era_only() -> None:
    server, _ = tool_server()
    async with talking(server) as line:
        await opened(line, "legacy")
        line.say(call(1, "ask", "legacy"))
        question = await line.hear()
        assert question["method"] == "roots/list"
        line.say({"id": question["id"], "result": {"roots": [{"uri": "file:///somewhere"}]}})
        answer = await line.hear()
        assert answer["result"]["content"][0]["text"] == "file:///somewhere"
    async with talking(server) as line:
        line.say(call(1, "ask", "modern"))
        assert "error" in await line.hear()
        assert len(line.heard) == 1


async def test_a_fault_shows_nothing_of_the_insides(caplog: pytest.LogCaptureFixture) -> None:
    server, _ = tool_server()
    async with talking(server) as line:
        line.say(call(1, "break", "modern"))
        error = (await line.hear())["error"]
        assert error["code"] == -32603
        assert "secret" not in str(error)
    assert "the secret of the house" in caplog.text


@pytest.mark.parametrize("era", ERAS)
async def test_calls_that_arrive_together_share_a_commit(era: str) -> None:
    """All lines that are there begin in one round of the loop, and what one round submits is written at once."""
    with new_place() as place:
        async with open_runtime("serve", registry=place.registry) as runtime:
            server = build_server(Orchestrator(runtime, place.project))
            async with talking(server) as line:
                await opened(line, era)
                meta = {"_meta": META} if era == "modern" else {}

                def tool(identifier: int, name: str, **arguments: object) -> dict[str, object]:
                    params = {"name": f"orchestrator_{name}", "arguments": arguments, **meta}
                    return {"id": identifier, "method": "tools/call", "params": params}

                # The first call that means the home workspace opens it.
                begin = tool(-2, "initialize_session", working_directory=str(place.project))
                for first in (begin, tool(-1, "plan_task", title="T0")):
                    line.say(first)
                    assert not (await line.hear())["result"]["isError"]
                store = (await runtime.workspace(place.project)).store
                before = store.statistics()
                plans = [tool(number, "plan_task", title=f"T{number}") for number in range(1, 21)]
                line.say(*plans)
                answers = [await line.hear() for _ in plans]
                assert {answer["id"] for answer in answers} == set(range(1, 21))
                after = store.statistics()
                assert after.commands - before.commands == len(plans)
                assert after.commits - before.commits <= 2
        assert [row[0] for row in place.rows("SELECT title FROM task ORDER BY seq")] == [f"T{n}" for n in range(21)]
