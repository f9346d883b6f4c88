"""Calls made from each tool's own inputSchema, in a world with tasks in every state, and what comes of them.

Not a test: `test_fuzzing` makes some, the command many. The world goes on from call to call, so what fails is told with
its arguments and not made smaller: the same call alone would meet another world. Neighbours: `schema_values`.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from functools import partial
from typing import Any

import hypothesis
import trio
from hypothesis import strategies as st
from mcp import Client
from mcp_types import TextContent

from tests.serving.contract.world import World, new_world
from tests.serving.fuzz.lines import Findings
from tests.serving.fuzz.schema_values import arguments_for
from tests.serving.kit import Place, in_memory
from vespera_agents.serving.protocol.complaints import ERROR_META
from vespera_agents.serving.tools.catalogue import TOOLS
from vespera_agents.store.checks import check_structure
from vespera_agents.store.writer import connect

CALL_SECONDS = 30.0
"""How long one call may take; the longest here, one with a gate, takes a tenth of a second."""
WORLD_CALLS = 120
"""Calls in one world: by then most of its tasks have ended."""
_PREPARE = "orchestrator_shutdown_prepare"
_OPEN = '[commands]\nallow = ["test -f"]\n'


async def fuzz_calls(place: Place, era: str, count: int, seed: int) -> Findings:
    """Make generated calls in this process, over no transport, and look at each answer and at the rows after it."""
    findings = Findings()
    started = time.monotonic()
    era = "auto" if era == "modern" else era
    async with in_memory(place, era, "one") as (one, _), in_memory(place, era, "two") as (two, _):
        place.workspace.make()
        place.trust(_OPEN)
        number = 0
        while findings.sent < count and len(findings.faults) < 10:
            world = await new_world(place, one, two)
            run = partial(_calls_in, world, min(WORLD_CALLS, count - findings.sent), f"{seed} {era} {number}", findings)
            await trio.to_thread.run_sync(run)
            number += 1
            findings.faults += await trio.to_thread.run_sync(_broken_rows, place)
    findings.seconds = time.monotonic() - started
    return findings


def _broken_rows(place: Place) -> list[str]:
    with contextlib.closing(connect(place.workspace.database)) as connection:
        return [f"the rows are broken: {one}" for one in check_structure(connection)]


def _calls_in(world: World, count: int, seed: str, findings: Findings) -> None:
    """Make calls in a world; in a thread, because what generates them is no coroutine."""
    schemas = trio.from_thread.run(_schemas, world.one)
    strategies = {name: _arguments(world, schema) for name, schema in schemas.items()}
    calls = st.sampled_from(sorted(strategies)).flatmap(lambda name: st.tuples(st.just(name), strategies[name]))

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=count, database=None, deadline=None, phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )  # fmt: skip
    @hypothesis.given(call=calls)
    def make(call: tuple[str, Any]) -> None:
        if len(findings.faults) < 10:
            trio.from_thread.run(_one, world, watched, *call, findings)

    with contextlib.closing(_Rows(world.place)) as watched:
        make()


async def _schemas(client: Client) -> dict[str, Any]:
    return {tool.name: tool.input_schema for tool in (await client.list_tools()).tools}


def _arguments(world: World, schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    tasks = tuple(world.ids[name] for name in sorted(world.ids) if name not in {"session", "artifact"})
    session = world.ids["session"]
    ids = (*tasks, *(one[:9] for one in tasks[:3]), "task_0", "", "Ready to begin")
    known: dict[str, tuple[str, ...]] = {
        "task_id": ids,
        "parent_task_id": (world.ids["box"], *ids),
        "on": ("ready", "box", "mine", *ids),
        "remove_dependencies": ids,
        "waive_dependencies": ids,
        # Mostly our own: without one, and with a strange one, most calls are refused at once.
        "session": (*[session] * 12, session[:12], "session_0"),
        "session_id": (session, session, "session_0"),
        "working_directory": (str(world.place.project), str(world.place.project / "inner"), "/", "..", "\0"),
        "plan_path": ("plan.md", "plan.md", "notes.txt", "../plan.md", "/etc/passwd", "nowhere.md"),
        "file_paths": ("notes.txt", "plan.md", "../x", "/etc/passwd", "inner"),
        "which": ("orphaned", "old", "completed"),
    }
    return arguments_for(schema, known)


async def _one(world: World, watched: _Rows, tool: str, arguments: Any, findings: Findings) -> None:
    findings.sent += 1
    told = f"{tool}({arguments!r:.1500})"
    try:
        with trio.fail_after(CALL_SECONDS):
            result = await world.one.call_tool(tool, arguments)
    except Exception as error:
        # The client refuses what does not fit the listed outputSchema.
        findings.faults.append(f"{told}: {error!r}")
        return
    changed = watched.changed()
    if not result.is_error:
        await _until_nobody_works(world.place)
        watched.changed()
    findings.answers += 1
    findings.errors += result.is_error
    assert isinstance(result.content[0], TextContent)
    text = result.content[0].text
    findings.look_at(text, told)
    if result.is_error:
        kind = (result.meta or {}).get(ERROR_META, {}).get("kind")
        what, _, following = text.partition("\nNext: ")
        if not (what and following and kind) or result.structured_content is not None:
            findings.faults.append(f"{told}: a refusal of another shape: {text!r} {kind}")
        noted = tool == "orchestrator_complete_task" and "did not complete" in text
        if changed and not noted:
            findings.faults.append(f"{told}: was refused and changed the store: {text}")
    elif not isinstance(result.structured_content, dict):
        findings.faults.append(f"{told}: no structured content")
    elif TOOLS[tool].effects.read_only and changed:
        findings.faults.append(f"{told}: only reads, and changed the store")
    if tool == _PREPARE and not result.is_error:
        # Else nearly all that follows would be refused.
        await world.one.call_tool(_PREPARE, {"undo": True})
        watched.changed()


async def _until_nobody_works(place: Place) -> None:
    """Wait for what a call began and left to go on: it writes beside the next call, which may be refused."""
    with trio.fail_after(CALL_SECONDS):
        while place.rows("SELECT 1 FROM job WHERE status = 'working'"):  # noqa: ASYNC110 - only its rows tell
            await trio.sleep(0.01)


class _Rows:
    """Says whether the rows changed; they are read only where somebody wrote at all."""

    def __init__(self, place: Place) -> None:
        self._place = place
        uri = f"file:{place.workspace.database}?mode=ro"
        self._connection = sqlite3.connect(uri, uri=True, check_same_thread=False)
        self._written = self._version()
        self._state = place.state()

    def changed(self) -> bool:
        """Say whether they are others than when it was asked last."""
        before, self._written = self._written, self._version()
        if before == self._written:
            return False
        rows, self._state = self._state, self._place.state()
        return rows != self._state

    def close(self) -> None:
        self._connection.close()

    def _version(self) -> int:
        return self._connection.execute("PRAGMA data_version").fetchone()[0]
