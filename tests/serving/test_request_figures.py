"""Requests of MCP are counted: each by its method, tool and end, whoever answers it and whatever becomes of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from typing import Any

import pytest
import trio
from mcp import Client
from mcp.shared.exceptions import MCPError
from mcp_types import INTERNAL_ERROR, METHOD_NOT_FOUND, Implementation

from tests.serving.kit import ERAS, new_place, refuse, succeed
from vespera_agents.health.metrics.labels import CALL, METHOD_ERRORS, TOOL_ERRORS, McpError, McpOutcome
from vespera_agents.health.metrics.requests import RequestFigures
from vespera_agents.serving.protocol.complaints import is_ours
from vespera_agents.serving.protocol.measuring import Measuring
from vespera_agents.serving.protocol.server import build_server
from vespera_agents.specialists.orchestrator import Orchestrator
from vespera_agents.specialists.runtime import open_runtime

PLAN = "orchestrator_plan_task"
TASK = "task_0123456789ab"
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@asynccontextmanager
async def counted(era: str) -> AsyncIterator[tuple[Client, RequestFigures]]:
    with new_place() as place:
        async with open_runtime("serve", registry=place.registry) as runtime:
            figures = RequestFigures()
            server = build_server(Orchestrator(runtime, place.project), figures=figures)
            info = Implementation(name="tester", version="1")
            async with Client(server, mode=era, client_info=info) as client:
                yield client, figures


def calls(figures: RequestFigures) -> dict[tuple[str, str], int]:
    return {key: count for key, count in figures.calls.snapshot().items() if count}


@pytest.mark.parametrize("era", ERAS)
async def test_each_request_is_counted_by_what_came_of_it(era: str) -> None:
    async with counted(era) as (client, figures):
        await client.list_tools()
        await succeed(client, "orchestrator_initialize_session", name="counted")
        await succeed(client, PLAN, title="one")
        await refuse(client, PLAN, "invalid_arguments", nonsense=1)
        await refuse(client, f"orchestrator_{'x' * 10_000}\n", "unknown_tool")
        with pytest.raises(MCPError):
            await client.read_resource("vespera://nothing")
        assert calls(figures) == {
            ("orchestrator_initialize_session", "succeeded"): 1,
            (PLAN, "succeeded"): 1,
            (PLAN, "refused"): 1,
            ("other", "refused"): 1,
        }
        counts = {key: each.histogram.count for key, each in figures.durations.snapshots().items()}
    assert counts[CALL, PLAN, ""] == counts[CALL, PLAN, "tool_error"] == counts[CALL, "other", "tool_error"] == 1
    assert counts["tools/list", "", ""] >= 1
    assert counts["resources/read", "", "-32602"] == 1
    assert counts["initialize" if era == "legacy" else "server/discover", "", ""] == 1
    assert not any(method.startswith("notifications") or method == "other" for method, _, _ in counts)
    assert set(figures.in_flight.values()) == {0}


async def passing(measuring: Measuring, method: str, params: dict[str, Any], answer: Any) -> Any:
    """Let a request pass that is answered so: with a result, an error, or what an async function does."""

    async def answered(_: Any) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, dict) else await answer()

    context: Any = type("Context", (), {"request_id": 1, "method": method, "params": params})()
    return await measuring(context, answered)


@pytest.mark.parametrize(
    ("answer", "outcome", "error"),
    [
        ({"content": [], "isError": False}, "succeeded", ""),
        ({"resultType": "input_required"}, "asked", ""),
        ({"isError": True, "_meta": {"io.vespera/error": {"kind": "invalid_input"}}}, "refused", "tool_error"),
        ({"isError": True, "_meta": {"io.vespera/error": {"kind": "store_unavailable"}}}, "failed", "tool_error"),
        ({"isError": True}, "refused", "tool_error"),
        (MCPError(code=INTERNAL_ERROR, message="x"), "failed", "_OTHER"),
        (MCPError(code=METHOD_NOT_FOUND, message="x"), "refused", "_OTHER"),
        (RuntimeError("a fault"), "failed", "_OTHER"),
    ],
)
async def test_a_call_is_told_by_its_answer(answer: Any, outcome: str, error: str) -> None:
    figures = RequestFigures()
    expected = pytest.raises(type(answer)) if isinstance(answer, Exception) else nullcontext()
    with expected:
        await passing(Measuring(figures), CALL, {"name": PLAN}, answer)
    assert calls(figures) == {(PLAN, outcome): 1}
    assert list(figures.durations.snapshots()) == [(CALL, PLAN, error)]
    assert figures.in_flight[PLAN] == 0


async def test_a_call_is_in_flight_until_it_is_answered_and_a_cancelled_one_is_counted() -> None:
    figures = RequestFigures()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(passing, Measuring(figures), CALL, {"name": PLAN}, trio.sleep_forever)
        await trio.testing.wait_all_tasks_blocked()
        assert (figures.in_flight[PLAN], figures.calls.total) == (1, 0)
        nursery.cancel_scope.cancel()
    assert calls(figures) == {(PLAN, "cancelled"): 1}
    assert figures.in_flight[PLAN] == 0


async def test_an_observation_remembers_trace_and_task_and_nothing_else_that_a_client_sends() -> None:
    figures = RequestFigures()
    measuring = Measuring(figures)
    for meta, task in (
        ({"traceparent": PARENT}, TASK),
        ({"traceparent": f"{PARENT}\n"}, f"{TASK}\n"),
        ({"traceparent": 7}, "my secret"),
        ("nonsense", None),
    ):
        params = {"name": PLAN, "_meta": meta, "arguments": {"task_id": task, "description": "secret"}}
        await passing(measuring, CALL, params, {})
    (traced,) = figures.durations.snapshots().values()
    assert traced.histogram.count == 4
    names = [one.names for one in traced.exemplars if one is not None]
    assert names == [{"trace_id": "0af7651916cd43dd8448eb211c80319c", "task_id": TASK}]


@pytest.mark.parametrize("arguments", [None, [], "text", {"task_id": []}])
async def test_arguments_of_any_shape_pass(arguments: Any) -> None:
    figures = RequestFigures()
    await passing(Measuring(figures), CALL, {"name": ["no name"], "arguments": arguments}, {})
    assert calls(figures) == {("other", "succeeded"): 1}


def test_failures_are_ours_or_the_clients() -> None:
    ours = ("internal_error", "machine_trouble", "store_unavailable", "store_closed", "store_lost", "schema_too_new")
    theirs = ("invalid_input", "not_found", "conflict", "key_conflict", "too_many_calls", "workspace_error", "unknown")
    assert [kind for kind in ours if not is_ours(kind)] == []
    assert [kind for kind in theirs if is_ours(kind)] == []


def test_every_end_can_be_exposed() -> None:
    assert set(METHOD_ERRORS) | set(TOOL_ERRORS) == set(McpError)
    figures = RequestFigures()
    for outcome in McpOutcome:
        for error in McpError:
            figures.begin_call(PLAN)
            figures.end_call(PLAN, outcome, error, 0.1, None)
    assert {error for _, _, error in figures.durations.snapshots()} == {error.value for error in TOOL_ERRORS}
    others = RequestFigures()
    for error in McpError:
        others.ended("tasks/get", error, 0.1, None)
    assert {error for _, _, error in others.durations.snapshots()} == {error.value for error in METHOD_ERRORS}
