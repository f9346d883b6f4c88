"""The contract table, carried out over every transport in both eras: what is promised, refused, and left alone.

After each call the store is read: a refused call left everything as it was, and a call that says that something
happened is believed only if the rows say so too. The table itself is the documentation (`docs/tools.md`).
"""

from __future__ import annotations

import traceback
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
from mcp import Client
from mcp_types import CallToolResult

from tests.serving.contract.all_rows import ROWS
from tests.serving.contract.bad_values import bad_values, missing
from tests.serving.contract.document import DOCUMENT, document
from tests.serving.contract.table import KINDS, NO_SESSION, OK, TWO_CLIENTS, UNKNOWN, Row
from tests.serving.contract.world import World, new_world
from tests.serving.kit import ERAS, Place, connected, http_client, http_server, in_memory, new_place, text_of
from vespera_agents.serving.protocol.complaints import ERROR_META
from vespera_agents.serving.tools.catalogue import TOOLS
from vespera_agents.serving.tools.schemas import input_schema

TRUSTED = '[commands]\nallow = ["test -f"]\n'


Clients = AsyncIterator[tuple[Client, Client]]


@asynccontextmanager
async def _in_memory(place: Place, era: str) -> Clients:
    # Each client has a server of its own on the one workspace, as over standard input and output.
    async with in_memory(place, era, "one") as (one, _), in_memory(place, era, "two") as (two, _):
        yield one, two


@asynccontextmanager
async def _over_stdio(place: Place, era: str) -> Clients:
    async with connected(place, era, "one") as one, connected(place, era, "two") as two:
        yield one, two


@asynccontextmanager
async def _over_http(place: Place, era: str) -> Clients:
    async with (
        http_server(place) as server,
        http_client(server.url, era, "one") as one,
        http_client(server.url, era, "two") as two,
    ):
        yield one, two


Connect = Callable[[Place, str], AbstractAsyncContextManager[tuple[Client, Client]]]
TRANSPORTS: Mapping[str, Connect] = {"memory": _in_memory, "stdio": _over_stdio, "http": _over_http}
FRONTED = {"stdio", "http"}
"""Transports whose servers have a front."""


@asynccontextmanager
async def stage(transport: str, era: str) -> AsyncIterator[tuple[Place, Client, Client]]:
    """Have two clients on one workspace that has no session yet."""
    with new_place() as place:
        async with TRANSPORTS[transport](place, era) as (one, two):
            yield place, one, two


def test_every_tool_has_a_row_of_every_kind_that_it_can_have() -> None:
    assert {row.tool for row in ROWS} == {name.removeprefix("orchestrator_") for name in TOOLS}
    assert len({row.name for row in ROWS}) == len(ROWS)
    for name, tool in TOOLS.items():
        rows = [row for row in ROWS if f"orchestrator_{row.tool}" == name]
        assert {row.kind for row in rows} <= set(KINDS)
        assert any(row.outcome == OK for row in rows), f"{name} has no valid call"
        taken = set(tool.parameters.model_fields)
        if "task_id" in taken:
            assert any(row.kind == UNKNOWN for row in rows), f"{name} has no unknown id"
            assert tool.effects.read_only or any(row.kind == TWO_CLIENTS for row in rows), f"{name} has not two clients"
        if "session" in taken:
            assert any(row.kind == NO_SESSION for row in rows), f"{name} has no row without a session"


def test_a_row_that_succeeds_in_changing_something_says_what_the_store_holds_then() -> None:
    for row in ROWS:
        if row.outcome == OK and not TOOLS[f"orchestrator_{row.tool}"].effects.read_only:
            assert row.then or row.check, f"{row.name}: nothing in the store would show it"


def test_the_document_is_what_the_table_says() -> None:
    assert DOCUMENT.read_text() == document(), "docs/tools.md is stale: run `make document`"


@pytest.mark.parametrize(
    ("transport", "era"),
    [
        # One is measured; the others go over the same lines, or over none in this process.
        pytest.param(transport, era, marks=() if (transport, era) == ("memory", ERAS[-1]) else pytest.mark.unmeasured)
        for transport in TRANSPORTS
        for era in ERAS
    ],
)
async def test_every_call_comes_to_what_the_table_says(transport: str, era: str) -> None:
    problems: list[str] = []
    async with stage(transport, era) as (place, one, two):
        nowhere = World(place, one, two, {"session": "session_0"})
        await _carry_out_all([row for row in ROWS if row.empty], nowhere, problems)
        for client in (one, two):
            await client.call_tool("orchestrator_initialize_session", {"name": "beside it"})
        place.trust(TRUSTED)
        shared = await new_world(place, one, two)
        rows = [row for row in ROWS if row.front in {None, transport in FRONTED}]
        quiet = [
            row for row in rows if not row.empty and row.outcome != OK and not (row.first or row.before or row.notes)
        ]
        await _carry_out_all(quiet, shared, problems)
        for name in TOOLS:
            await _refuse_bad_values(name, shared, problems)
        for row in [row for row in rows if not row.empty and row not in quiet]:
            reads = TOOLS[f"orchestrator_{row.tool}"].effects.read_only and not row.first
            world = shared if reads else await new_world(place, one, two)
            await _carry_out_all([row], world, problems)
        assert place.rows("PRAGMA integrity_check") == [("ok",)]
    assert not problems, "\n" + "\n".join(problems)


async def _carry_out_all(rows: list[Row], world: World, problems: list[str]) -> None:
    for row in rows:
        try:
            await _carry_out(row, world)
        except AssertionError as error:
            problems.append(f"{row.name}: {error or traceback.format_exc(limit=-1)}")


async def _carry_out(row: Row, world: World) -> None:
    for client, calls in ((world.two, row.first), (world.one, row.before)):
        for tool, arguments in calls:
            before = await world.call(client, tool, arguments)
            assert not before.is_error, f"{tool} before: {text_of(before)}"
    try:
        await _carry_out_call(row, world)
    finally:
        for tool, arguments in row.after:
            await world.call(world.one, tool, arguments)


async def _carry_out_call(row: Row, world: World) -> None:
    state = world.place.state()
    result = await world.call(world.one, row.tool, row.arguments)
    if row.outcome != OK:
        _assert_refused(result, row.outcome, [_resolved(world, word) for word in row.words])
        assert row.notes or world.place.state() == state, "a refused call changed the store"
        assert not row.notes or world.place.state() != state, "the refusal left no note"
        return
    assert not result.is_error, text_of(result)
    answer = result.structured_content
    assert isinstance(answer, dict), "no structured content"
    assert text_of(result), "no text"
    if TOOLS[f"orchestrator_{row.tool}"].effects.read_only:
        assert world.place.state() == state, "a call that only reads changed the store"
    else:
        _assert_reached(row, world)
    if row.check is not None:
        row.check(world, answer)


def _assert_reached(row: Row, world: World) -> None:
    for name, status in row.then.items():
        assert world.status(name) == status, f"{name} is {world.status(name)}, not {status}"


def _resolved(world: World, word: str) -> str:
    return str(world.resolve(word))


def _assert_refused(result: CallToolResult, kind: str, words: list[str]) -> None:
    text = text_of(result)
    assert result.is_error, f"was not refused: {text}"
    assert result.structured_content is None
    assert result.meta is not None, "no kind of failure"
    assert result.meta[ERROR_META]["kind"] == kind, f"{result.meta[ERROR_META]['kind']}, not {kind}: {text}"
    what, _, following = text.partition("\nNext: ")
    assert what, "says nothing"
    assert following, f"no next action in {text!r}"
    assert "Traceback" not in text
    assert "pydantic" not in text
    for word in words:
        assert word in text, f"{word!r} is not in {text!r}"


async def _refuse_bad_values(name: str, world: World, problems: list[str]) -> None:
    """Give each parameter every value that its schema forbids, beside a call that would be valid."""
    tool = TOOLS[name]
    valid = next(row for row in ROWS if f"orchestrator_{row.tool}" == name and row.outcome == OK and not row.empty)
    wrong: list[tuple[dict[str, Any], str, str]] = [
        ({**valid.arguments, parameter: value}, parameter, why)
        for parameter, value, why in bad_values(input_schema(tool.parameters, every_bound=True))
    ]
    wrong += [
        ({key: value for key, value in valid.arguments.items() if key != parameter}, parameter, "is missing")
        for parameter in missing(tool.input_schema)
    ]
    wrong.append(({**valid.arguments, "no_such_parameter": 1}, "no_such_parameter", "is not known"))
    state = world.place.state()
    for arguments, parameter, why in wrong:
        result = await world.call(world.one, name.removeprefix("orchestrator_"), arguments)
        try:
            _assert_refused(result, "invalid_arguments", [parameter])
        except AssertionError as error:
            problems.append(f"{name}: {parameter} {why}: {error}")
    if world.place.state() != state:
        problems.append(f"{name}: a bad value changed the store")
