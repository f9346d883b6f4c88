"""What the list of tools costs a model, and whether it tells the truth: every key that a tool returns is declared."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
from mcp import Client
from mcp_types import ListToolsResult

from benchmarks.serving.listing import PUBLISHED_TOKENS, listed_tokens
from tests.serving.contract.all_rows import ROWS
from tests.serving.contract.table import OK, Row
from tests.serving.contract.world import World, new_world
from tests.serving.kit import ERAS, connected, in_memory, new_place, text_of
from vespera_agents.serving.protocol.server import build_server
from vespera_agents.serving.tools.catalogue import CORE, TOOLS, tool_set
from vespera_agents.serving.tools.results import Status
from vespera_agents.serving.tools.schemas import input_schema, output_schema
from vespera_agents.specialists.answers import Answer
from vespera_agents.specialists.orchestrator import Orchestrator
from vespera_agents.specialists.runtime import open_runtime

CORE_VISIBLE_TOKENS_MAX = 2_200
CORE_TOKENS_MAX = 3_500
ALL_TOKENS_MAX = 5_000
TOOLS_PROMISED = 20
ROOM_TOKENS = 170
"""For each tool that is promised and not there yet."""
DESCRIPTION_CHARACTERS_MAX = 300


@asynccontextmanager
async def listing(tools: str, era: str) -> AsyncIterator[ListToolsResult]:
    with new_place() as place:
        async with open_runtime("serve", registry=place.registry) as runtime:
            server = build_server(Orchestrator(runtime, place.project), tool_set(tools))
            async with Client(server, mode=era) as client:
                yield await client.list_tools()


@pytest.mark.parametrize("era", ERAS)
async def test_the_core_set_keeps_its_budget(era: str) -> None:
    async with listing("core", era) as listed:
        tokens = listed_tokens(listed)
    assert tokens.tools == len(CORE) == 12
    assert tokens.visible <= CORE_VISIBLE_TOKENS_MAX, tokens
    assert tokens.whole <= CORE_TOKENS_MAX, tokens
    assert tokens.visible < min(PUBLISHED_TOKENS.values())


@pytest.mark.parametrize("era", ERAS)
async def test_all_tools_keep_their_budget_with_room_for_those_to_come(era: str) -> None:
    async with listing("full", era) as listed:
        tokens = listed_tokens(listed)
    assert tokens.tools == len(TOOLS) <= TOOLS_PROMISED
    assert tokens.whole + ROOM_TOKENS * (TOOLS_PROMISED - len(TOOLS)) <= ALL_TOKENS_MAX, tokens


def _objects(schema: object) -> Iterator[Mapping[str, Any]]:
    """Give every part of a schema that describes an object."""
    if isinstance(schema, dict):
        if schema.get("type") == "object" or "properties" in schema:
            yield schema
        for part in schema.values():
            yield from _objects(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from _objects(part)


def _values(schema: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Give the schema of every value in a schema, at any depth."""
    items = [schema["items"]] if "items" in schema else []
    for part in (*schema.get("properties", {}).values(), *schema.get("anyOf", ()), *items):
        yield part
        yield from _values(part)


@pytest.mark.parametrize("name", TOOLS)
def test_no_part_of_a_schema_takes_or_gives_what_it_does_not_name(name: str) -> None:
    tool = TOOLS[name]
    for schema in (tool.input_schema, tool.output_schema, input_schema(tool.parameters, every_bound=True)):
        parts = list(_objects(schema))
        assert parts
        assert parts[0] is schema
        assert all({"type", "anyOf", "$ref"} & value.keys() for value in _values(schema)), "strict clients complain"
        for part in parts:
            assert part["additionalProperties"] is False
            assert part["properties"] or part is schema
            assert set(part.get("required", ())) <= set(part["properties"])
    assert len(tool.description) < DESCRIPTION_CHARACTERS_MAX
    text = str((tool.input_schema, tool.output_schema))
    assert "'$defs'" not in text
    assert "'null'" not in text


def test_a_subtask_is_told_as_the_whole_and_only_because_it_takes_the_same() -> None:
    schema: Mapping[str, Any] = TOOLS["orchestrator_plan_task"].input_schema
    assert schema["properties"]["subtasks"]["items"] == {"$ref": "#"}

    class Part(Answer):
        name: str
        parts: list[Part] = []  # noqa: RUF012 - a field of a model

    class Whole(Answer):
        name: str
        parts: list[Part] = []  # noqa: RUF012 - a field of a model

    class Other(Answer):
        name: int
        parts: list[Part] = []  # noqa: RUF012 - a field of a model

    Part.model_rebuild()
    Whole.model_rebuild(_types_namespace={"Part": Part})
    Other.model_rebuild(_types_namespace={"Part": Part})
    assert input_schema(Whole)["properties"] == {
        "name": {"type": "string"}, "parts": {"type": "array", "items": {"$ref": "#"}}
    }  # fmt: skip
    with pytest.raises(AssertionError, match="Part is not told by the whole"):
        input_schema(Other)


def undeclared(value: object, schema: Mapping[str, Any], place: str = "") -> Iterator[str]:
    """Name what a result holds and its schema does not tell."""
    kind = schema["type"]
    if isinstance(value, dict):
        if kind != "object":
            yield f"{place} is an object"
            return
        for key, inner in value.items():
            if key not in schema["properties"]:
                yield f"{place}.{key}"
            else:
                yield from undeclared(inner, schema["properties"][key], f"{place}.{key}")
    elif isinstance(value, list):
        if kind != "array":
            yield f"{place} is a list"
        for inner in value:
            if "items" in schema:
                yield from undeclared(inner, schema["items"], place)
            elif isinstance(inner, dict) or (isinstance(inner, list) and any(isinstance(one, dict) for one in inner)):
                yield f"{place} holds objects"
    elif kind not in {_KINDS[type(value)], "number" if isinstance(value, int) else ""}:
        yield f"{place} is a {type(value).__name__}"


_KINDS = {str: "string", bool: "boolean", int: "integer", float: "number"}


def _keys(schema: Mapping[str, Any], place: str = "") -> Iterator[str]:
    for key, inner in schema.get("properties", {}).items():
        yield f"{place}.{key}"
        yield from _keys(inner.get("items", {}), f"{place}.{key}")


def _held(value: object, place: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield f"{place}.{key}"
            yield from _held(inner, f"{place}.{key}")
    elif isinstance(value, list):
        for inner in value:
            yield from _held(inner, place)


FURTHER: tuple[tuple[tuple[str, dict[str, Any]], ...], ...] = (
    (("update_task", {"task_id": "@done", "due": "2030-01-01"}), ("query_tasks", {"detail": "full"})),
    (
        ("execute_task", {"task_id": "@inside"}),
        ("complete_task", {"task_id": "@inside", "summary": "done", "next_action": "complete"}),
    ),
    (
        ("execute_task", {"task_id": "@ready"}),
        ("complete_task", {"task_id": "@ready", "summary": "look", "next_action": "needs_revision"}),
        ("execute_task", {"task_id": "@ready"}),
        ("update_task", {"task_id": "@ready", "status": "pending", "reason": "not today"}),
        ("get_status", {}),
        ("resume_session", {}),
    ),
)
"""Calls of one client, one after the other, that lead to what no single row of the contract leads to."""


async def _answer(row: Row, world: World, found: dict[str, list[dict[str, Any]]]) -> None:
    """Carry out one row and keep what came back."""
    for client, calls in ((world.two, row.first), (world.one, row.before)):
        for tool, arguments in calls:
            await world.call(client, tool, arguments)
    result = await world.call(world.one, row.tool, row.arguments)
    for tool, arguments in row.after:
        await world.call(world.one, tool, arguments)
    assert isinstance(result.structured_content, dict), (row.name, text_of(result))
    found[f"orchestrator_{row.tool}"].append(result.structured_content)


async def _answers() -> dict[str, list[dict[str, Any]]]:
    """Carry out every row of the contract that succeeds, and keep what came back, by tool."""
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in TOOLS}
    with new_place() as place:
        async with in_memory(place) as (one, _), in_memory(place, name="two") as (two, _):
            for client in (one, two):
                await client.call_tool("orchestrator_initialize_session", {"name": "beside it"})
            place.trust('[commands]\nallow = ["test -f"]\n')
            shared: World = await new_world(place, one, two)
            for row in [row for row in ROWS if row.outcome == OK and not row.empty and not row.front]:
                reads = TOOLS[f"orchestrator_{row.tool}"].effects.read_only and not row.first
                await _answer(row, shared if reads else await new_world(place, one, two), found)
            for calls in FURTHER:
                world = await new_world(place, one, two)
                for tool, arguments in calls:
                    given = {**arguments, "session": "@session"}
                    result = await world.call(one, tool, given)
                    assert isinstance(result.structured_content, dict), (tool, arguments, text_of(result))
                    found[f"orchestrator_{tool}"].append(result.structured_content)
        # Some have no answer, and some have one key more, behind a front.
        async with connected(place) as one, connected(place) as two:
            for row in [row for row in ROWS if row.front or row.tool in {"health_check", "restart_status"}]:
                await _answer(row, await new_world(place, one, two), found)
    return found


SELDOM = {
    "orchestrator_list_sessions": {".unreadable"},
    "orchestrator_execute_task": {".outcome"},
    "orchestrator_restart_status": {".error"},
}
"""Keys that no row of the contract leads to; other tests do."""


async def test_every_key_that_a_tool_returns_is_declared_and_every_declared_key_is_returned() -> None:
    problems: list[str] = []
    for name, answers in (await _answers()).items():
        schema: Any = TOOLS[name].output_schema
        assert answers, f"{name} has no valid call in the contract"
        problems += [f"{name}: {key} is not declared" for answer in answers for key in undeclared(answer, schema)]
        seen = {key for answer in answers for key in _held(answer)}
        problems += [f"{name}: {key} is never returned" for key in set(_keys(schema)) - seen - SELDOM.get(name, set())]
    assert not problems, "\n" + "\n".join(sorted(set(problems)))


def test_what_is_not_declared_is_found() -> None:
    schema = output_schema(Status)
    assert list(undeclared({"tasks": [{"id": "x", "colour": "red"}], "size": 1}, schema)) == [".tasks.colour", ".size"]
    wrong = {"counts": [{"a": 1}], "has_more": "yes", "jobs": "none", "at": {}, "session_id": []}
    assert list(undeclared(wrong, schema)) == [
        ".counts holds objects", ".has_more is a str", ".jobs is a str", ".at is an object", ".session_id is a list",
    ]  # fmt: skip
    assert list(undeclared({"counts": [["done", 1]], "has_more": True, "at": "now"}, schema)) == []
