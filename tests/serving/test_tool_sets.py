"""Which tools a server serves: the core set unless told otherwise, all of them, or those that are named."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

import pytest
from mcp import Client

from tests.serving.kit import Place, connected, new_place, refuse, succeed
from vespera_agents.serving.protocol.server import build_server
from vespera_agents.serving.tools.catalogue import CORE, TOOL_NAMES, TOOLS, tool_set
from vespera_agents.specialists.orchestrator import Orchestrator
from vespera_agents.specialists.runtime import open_runtime
from vespera_agents.work.errors import InvalidInput

SETS = {
    "core": CORE,
    "full": TOOL_NAMES,
    " full , core,": TOOL_NAMES,
    "orchestrator_get_status,plan_task": ("orchestrator_get_status", "orchestrator_plan_task"),
    "plan_task,get_status,plan_task": ("orchestrator_get_status", "orchestrator_plan_task"),
    "core,session_status": tuple(name for name in TOOL_NAMES if name in {*CORE, "orchestrator_session_status"}),
}


@pytest.mark.parametrize("text", SETS)
def test_a_set_is_named_or_listed_and_comes_in_the_order_of_the_catalogue(text: str) -> None:
    assert tuple(tool_set(text)) == SETS[text]
    assert all(TOOLS[name] is tool for name, tool in tool_set(text).items())


def test_the_core_set_is_what_daily_work_needs() -> None:
    assert len(CORE) == len(set(CORE)) == 12
    assert tuple(tool_set("core")) == CORE
    assert "orchestrator_session_status" not in CORE


REFUSED = {
    "plan_tasks": "plan_task",
    "core,orchestrator_plan_tasks": "plan_task",
    "Core": "core",
    "zzz": "full",
    "": "core, full",
    " , ": "core, full",
    "x" * 10_000: "core",
}


@pytest.mark.parametrize("text", REFUSED)
def test_an_unknown_set_or_tool_is_refused_with_near_ones(text: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        tool_set(text)
    assert REFUSED[text] in refused.value.next_action
    assert len(str(refused.value)) < 600


async def test_a_tool_outside_the_served_set_is_refused_with_the_option_that_would_serve_it() -> None:
    with new_place() as place:
        async with open_runtime("serve", registry=place.registry) as runtime:
            server = build_server(Orchestrator(runtime, place.project), tool_set("core"))
            async with Client(server) as client:
                assert tuple(tool.name for tool in (await client.list_tools()).tools) == CORE
                await succeed(client, "orchestrator_initialize_session")
                before = place.state()
                text = await refuse(client, "orchestrator_session_status", "unknown_tool")
                assert "--tools core,orchestrator_session_status" in text
                assert "orchestrator_get_status" in text
                near = await refuse(client, "orchestrator_plan_tasks", "unknown_tool")
                assert "--tools" not in near
                assert place.state() == before


@dataclass(frozen=True)
class _With(Place):
    """A place whose server is started with other words."""

    words: tuple[str, ...] = ()

    @property
    def command(self) -> list[str]:
        return [*super().command[:-2], *self.words]


@pytest.mark.parametrize(("words", "served"), [((), CORE), (("--tools", "get_status"), ("orchestrator_get_status",))])
async def test_a_server_process_serves_the_set_that_it_is_told(words: tuple[str, ...], served: tuple[str, ...]) -> None:
    with contextlib.ExitStack() as stack:
        place = _With(stack.enter_context(new_place()).root, words=words)
        assert place.command[-2] != "--tools" or words
        async with connected(place) as client:
            assert tuple(tool.name for tool in (await client.list_tools()).tools) == served
