"""The tools as a client sees them, without a transport: what is listed, keys, faults, the client's roots."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from mcp.client.context import ClientRequestContext
from mcp_types import ErrorData, ListRootsResult, RequestParamsMeta, Root
from pydantic import FileUrl

from tests.serving.kit import ERAS, ROOT, Place, in_memory, new_place, refuse, succeed, text_of
from vespera_agents.serving.protocol.callers import KEY_META, Callers, client_name
from vespera_agents.serving.tools.catalogue import TOOLS
from vespera_agents.serving.tools.parameters import Subtask, subtask_drafts
from vespera_agents.serving.tools.schemas import input_schema
from vespera_agents.work.errors import InvalidInput

PLAN = "orchestrator_plan_task"


@asynccontextmanager
async def opened(era: str = "auto", **options: Any) -> AsyncIterator[tuple[Place, Client]]:
    """Have a client in a place with an open session."""
    with new_place() as place:
        async with in_memory(place, era, **options) as (client, _):
            await succeed(client, "orchestrator_initialize_session", working_directory=str(place.project))
            yield place, client


def keyed(key: object) -> RequestParamsMeta:
    return {KEY_META: key}  # type: ignore[typeddict-unknown-key]


@pytest.mark.parametrize("name", TOOLS)
def test_a_tool_says_what_it_takes_gives_and_changes(name: str) -> None:
    tool = TOOLS[name]
    assert tool.title
    assert 40 < len(tool.description) < 300
    assert "Use" in tool.description or "Call this first" in tool.description
    bounded: Mapping[str, Any] = input_schema(tool.parameters, every_bound=True)
    properties: Mapping[str, Mapping[str, Any]] = bounded["properties"]
    for parameter, schema in properties.items():
        assert schema.get("description") or parameter in SPEAKING, f"{name}.{parameter} has no description"
        assert _is_bounded(schema), f"{name}.{parameter} has no bounds"
    assert tool.input_schema["additionalProperties"] is False
    assert tool.output_schema["type"] == "object"
    assert '"title"' not in str(tool.output_schema).replace("'title': {", "")
    assert not (tool.effects.read_only and (tool.effects.destructive or not tool.effects.idempotent))


SPEAKING = {
    "add_dependencies", "artifact_type", "clear", "complexity", "context_tokens_max", "created_after", "created_before",
    "cursor", "dependencies", "description", "detail", "dry_run", "estimated_effort", "include_artifacts",
    "include_history", "limit", "mode", "older_than_days",
    "ready", "reason", "scope", "session", "session_id", "specialist", "status", "strategy",
    "subtasks", "task_id", "task_type",
    "title", "undo", "updated_after", "updated_before",
}  # fmt: skip
"""Parameters whose names say what they are, beside what the tool says of itself."""


def _is_bounded(schema: Mapping[str, Any]) -> bool:
    kind = schema["type"]
    if kind == "array":
        return "maxItems" in schema
    if kind in {"integer", "number"}:
        return "minimum" in schema
    return kind == "boolean" or "enum" in schema or "const" in schema or "maxLength" in schema


async def test_every_tool_is_listed_with_all_four_hints() -> None:
    async with opened() as (_, client):
        for tool in (await client.list_tools()).tools:
            hints = tool.annotations
            assert hints is not None
            assert None not in {
                hints.read_only_hint, hints.destructive_hint, hints.idempotent_hint, hints.open_world_hint
            }  # fmt: skip
            assert hints.read_only_hint is not None
            assert tool.output_schema is not None


async def test_a_tool_that_only_reads_changes_nothing() -> None:
    async with opened() as (place, client):
        await succeed(client, PLAN, title="One")
        before = place.state()
        for tool in TOOLS.values():
            if tool.effects.read_only:
                await succeed(client, tool.name)
        assert place.state() == before


async def _planned(client: Client) -> dict[str, str]:
    answer = await succeed(client, PLAN, subtasks=[{"title": "One", "key": "one"}, {"title": "Two", "key": "two"}])
    return {task["key"]: task["id"] for task in answer["tasks"]}


async def test_a_repeated_key_has_the_first_effect_and_no_other() -> None:
    async with opened() as (place, client):
        ids = await _planned(client)
        one, two = ids["one"], ids["two"]
        calls: list[tuple[str, dict[str, object], dict[str, object]]] = [
            ("orchestrator_initialize_session", {"name": "twice"}, {"name": "not twice"}),
            (PLAN, {"title": "Three", "session": "S"}, {"title": "Four", "session": "S"}),
            ("orchestrator_update_task", {"task_id": one, "title": "Uno"}, {"task_id": one, "title": "Un"}),
            ("orchestrator_execute_task", {"task_id": one}, {"task_id": two}),
            ("orchestrator_complete_task", {"task_id": one, "summary": "x", "next_action": "complete"},
             {"task_id": one, "summary": "y", "next_action": "complete"}),
            ("orchestrator_cancel_task", {"task_id": two, "reason": "x"}, {"task_id": two, "reason": "y"}),
            ("orchestrator_delete_task", {"task_id": one, "mode": "archive"}, {"task_id": two}),
            ("orchestrator_synthesize_results", {"session": "S"}, {"parent_task_id": two}),
            ("orchestrator_delete_task", {"task_id": two, "mode": "delete", "force": True},
             {"task_id": one, "mode": "delete", "force": True}),
        ]  # fmt: skip
        session = place.rows("SELECT id FROM session ORDER BY created")[0][0]
        for number, (tool, wanted, different) in enumerate(calls):
            arguments = {name: session if value == "S" else value for name, value in wanted.items()}
            others = {name: session if value == "S" else value for name, value in different.items()}
            meta = keyed(f"wish {number}")
            first = await client.call_tool(tool, arguments, meta=meta)
            assert not first.is_error, (tool, text_of(first))
            before = place.state()
            again = await client.call_tool(tool, arguments, meta=meta)
            assert not again.is_error, (tool, text_of(again))
            assert _lasting(again.structured_content) == _lasting(first.structured_content), tool
            assert place.state() == before, tool
            other = await client.call_tool(tool, others, meta=meta)
            assert other.is_error, (tool, text_of(other))
            assert "Next: " in text_of(other)
            assert place.state() == before, tool


def _lasting(answer: dict[str, Any]) -> dict[str, Any]:
    """Leave out what tells of the moment of the answer, not of the effect."""
    return {name: value for name, value in answer.items() if name != "updated"}


async def test_the_same_key_of_another_client_is_another_wish() -> None:
    callers = Callers(lambda: "srv_1")
    one, two = callers.call("one", {KEY_META: "k"}), callers.call("two", {KEY_META: "k"})
    assert one.key != two.key
    minted = callers.call("one", None), callers.call("one", {"progressToken": 3})
    assert minted[0].key != minted[1].key
    assert {call.key.origin for call in minted} == {"srv_1"}
    assert (one.by, one.key.origin) == ("mcp:one", "client:one")
    assert client_name("../evil\nname" + "x" * 100) == ("..-evil-name" + "x" * 100)[:60]
    assert client_name(None) == client_name("///") == "unknown"


async def test_a_key_that_is_no_short_text_is_refused() -> None:
    async with opened() as (place, client):
        before = place.state()
        for key in ("", "  ", "x" * 201, "\ud800", 7, {"a": 1}):
            result = await client.call_tool(PLAN, {"title": "One"}, meta=keyed(key))
            assert result.is_error
            assert KEY_META in text_of(result)
            assert place.state() == before


async def test_an_unknown_tool_is_an_error_with_near_ones() -> None:
    async with opened() as (_, client):
        assert PLAN in await refuse(client, "orchestrator_plan_tasks", "unknown_tool")
        assert "orchestrator_get_status" in await refuse(client, "zzz", "unknown_tool")


WRONG_ARGUMENTS: list[tuple[dict[str, object], list[str]]] = [
    ({"titel": "x"}, ["'titel' is not a parameter", "did you mean title?"]),
    ({"zzz": 1}, ["'zzz' is not a parameter", "it takes title"]),
    ({"title": 7}, ["title must be a text, not 7"]),
    ({"title": "\ud800"}, ["title must be a valid Unicode text"]),
    ({"title": ""}, ["title must have at least 1 character"]),
    ({"title": "x", "complexity": "hard"}, ["complexity must be one of trivial", "not 'hard'"]),
    ({"title": "x", "due": "soon"}, ["due must be a date or time such as 2026-03-31", "not 'soon'"]),
    ({"title": "x", "subtasks": [{"title": "y", "color": 1}]}, ["subtasks[0].color is not known"]),
    ({"title": "x", "subtasks": [{"key": "y"}]}, ["subtasks[0].title is missing"]),
    ({"title": "x", "subtasks": 7}, ["subtasks must be a list, not 7"]),
    ({"title": "x", "subtasks": ["y"]}, ["subtasks[0] must be an object"]),
    ({"title": "x", "dependencies": [{"on": "y", "mandatory": "perhaps"}]}, ["must be true or false"]),
    ({"title": "x", "gates": [{"command": "ls", "timeout_seconds": 0}]}, ["must be more than 0"]),
    ({"title": "x", "gates": [{"command": "ls", "timeout_seconds": 1e9}]}, ["must be at most 86400"]),
    ({"title": "x", "dependencies": ["a"] * 201}, ["dependencies must have at most 200 entries"]),
    ({"a": 1, "b": 1, "c": 1, "d": 1, "e": 1, "f": 1}, ["and 1 more"]),
]
NO_SENSE: list[tuple[dict[str, object], str]] = [
    ({"title": "x", "gates": ["echo 'open"]}, "cannot be split"),
    ({"subtasks": []}, "no title"),
    ({"description": "x", "subtasks": [{"title": "y"}]}, "no title"),
    ({"plan_path": "plan.md", "title": "x"}, "title cannot stand beside"),
    ({"title": "x", "subtasks": [{"key": "k", "title": "y"}, {"key": "k", "title": "z"}]}, "twice"),
]


async def test_wrong_arguments_are_told_in_our_words() -> None:
    async with opened() as (place, client):
        before = place.state()
        for arguments, words in WRONG_ARGUMENTS:
            text = await refuse(client, PLAN, "invalid_arguments", **arguments)
            for word in words:
                assert word in text
            assert "pydantic" not in text
            assert f"call {PLAN} again" in text
        assert place.state() == before


async def test_a_plan_that_makes_no_sense_is_refused() -> None:
    async with opened() as (place, client):
        before = place.state()
        for arguments, word in NO_SENSE:
            assert word in await refuse(client, PLAN, "invalid_input", **arguments)
        assert place.state() == before


async def test_what_is_clear_is_understood() -> None:
    async with opened() as (place, client):
        answer = await succeed(
            client,
            PLAN,
            title=" Sort things ",
            task_type="Implementation",
            complexity="Very Complex",
            specialist="coder",
            due="2030-05-01",
            gates="python -c pass",
            subtasks='[{"title": "Read it"}, {"title": "Read it!", "dependencies": "Read it"}]',
        )
        assert [task["key"] for task in answer["tasks"]] == ["sort-things", "read-it", "read-it-2"]
        assert place.rows("SELECT title, task_type, complexity, specialist FROM task WHERE children > 0") == [
            ("Sort things", "implementation", "very_complex", "implementer")
        ]
        assert place.rows("SELECT task_id, on_task_id FROM dependency") == [
            (answer["tasks"][2]["id"], answer["tasks"][1]["id"])
        ]
        await refuse(client, PLAN, "invalid_arguments", title="x", subtasks='[{"title": ')


def test_a_breakdown_has_a_greatest_depth() -> None:
    deep = Subtask(title="bottom")
    for number in range(8):
        deep = Subtask(title=f"level {number}", subtasks=(deep,))
    with pytest.raises(InvalidInput, match="8 levels"):
        subtask_drafts([deep])
    assert subtask_drafts(deep.subtasks)


async def test_every_field_can_be_changed_and_the_answer_says_from_what_to_what() -> None:
    async with opened() as (place, client):
        task = (await succeed(client, PLAN, title="One", due="2030-01-01"))["ready"][0]
        fields: dict[str, object] = {
            "title": "Uno", "description": "d", "task_type": "review", "complexity": "trivial", "specialist": "coder",
            "estimated_effort": "2h", "due": "2031-01-01T00:00:00+02:00", "gates": [{"command": "ls", "shell": True}],
        }  # fmt: skip
        answer = await succeed(client, "orchestrator_update_task", task_id=task, **fields)
        changed = {name: [before, after] for name, before, after in answer["changed"]}
        assert set(changed) == set(fields)
        assert changed["specialist"] == ["generic", "implementer"]
        assert place.rows("SELECT due FROM task") == [(datetime(2030, 12, 31, 22, tzinfo=UTC).timestamp(),)]
        again = await client.call_tool("orchestrator_update_task", {"task_id": task, **fields})
        assert "nothing changed" in text_of(again)
        cleared = await succeed(client, "orchestrator_update_task", task_id=task, clear=["due", "estimated_effort"])
        assert ["estimated_effort", "2h", None] in cleared["changed"]
        assert place.rows("SELECT due, estimated_effort FROM task") == [(None, None)]


async def test_a_key_means_the_same_in_the_next_server() -> None:
    """What a server was asked and did before it was killed is not done again by the one that comes after it."""
    work = {"summary": "s", "detailed_work": "the work", "next_action": "complete"}
    with new_place() as place:
        place.workspace.make()
        place.trust('[commands]\nallow = ["echo"]\n')
        async with in_memory(place) as (client, _):
            await succeed(client, "orchestrator_initialize_session")
            planned = await client.call_tool(PLAN, {"title": "One", "gates": "echo well"}, meta=keyed("plan"))
            task = planned.structured_content["ready"][0]
            claimed = await client.call_tool("orchestrator_execute_task", {"task_id": task}, meta=keyed("claim"))
            assert not claimed.is_error
            done = await client.call_tool("orchestrator_complete_task", {"task_id": task, **work}, meta=keyed("done"))
            assert not done.is_error, text_of(done)
        before = place.state()
        async with in_memory(place) as (client, _):
            again = await client.call_tool(PLAN, {"title": "One", "gates": "echo well"}, meta=keyed("plan"))
            assert [one["id"] for one in again.structured_content["tasks"]] == [task]
            again = await client.call_tool("orchestrator_complete_task", {"task_id": task, **work}, meta=keyed("done"))
            assert again.structured_content == done.structured_content
            for other in (
                {"summary": "t"},
                {"detailed_work": "other"},
                {"detailed_work": ""},
                {"next_action": "blocked"},
            ):
                changed = {"task_id": task, **work, **other}
                refused = await client.call_tool("orchestrator_complete_task", changed, meta=keyed("done"))
                assert refused.is_error, other
            assert place.state() == before


def test_the_document_tells_of_every_tool_and_parameter_and_no_other() -> None:
    text = (ROOT / "docs" / "tools.md").read_text(encoding="utf-8")
    sections = {part.split("\n", 1)[0]: part for part in re.split(r"^### ", text, flags=re.MULTILINE)[1:]}
    assert list(sections) == list(TOOLS)
    for name, tool in TOOLS.items():
        properties: Mapping[str, object] = tool.input_schema["properties"]  # type: ignore[assignment]
        assert re.findall(r"^\| `(\w+)` \|", sections[name], re.MULTILINE)[: len(properties)] == list(properties)
        assert tool.description in sections[name]


async def test_a_plan_file_becomes_tasks() -> None:
    async with opened() as (place, client):
        before = place.state()
        (place.project / "empty.md").write_text("")
        await refuse(client, PLAN, "plan_error", plan_path="empty.md")
        await refuse(client, PLAN, "workspace_error", plan_path="missing.md")
        assert place.state() == before
        (place.project / "plan.md").write_text(
            "---\nid: P\n---\n# A plan\n## Phase 1: First\n### one\n```yaml\nspecialist: tester\nrun: ls\n```\nDo it.\n"
            "## Phase 2: Then\n### two\n```yaml\ndepends: [one]\n```\n"
        )
        answer = await succeed(client, PLAN, plan_path="plan.md")
        assert {"one", "two"} <= {task["key"] for task in answer["tasks"]}
        assert place.rows("SELECT specialist FROM task WHERE key='one'") == [("tester",)]


async def test_a_fault_of_ours_is_told_with_an_identifier_and_logged_whole(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with new_place() as place:
        async with in_memory(place) as (client, runtime):
            monkeypatch.setattr(runtime, "_workspaces", None)
            text = await refuse(client, "orchestrator_get_status", "internal_error")
    identifier = text.split()[2].rstrip(":")
    assert len(identifier) == 8
    assert identifier in caplog.text
    assert "Traceback" in caplog.text


async def test_an_answer_links_the_artifacts_that_it_speaks_of() -> None:
    async with opened() as (_, client):
        ids = await _planned(client)
        await succeed(client, "orchestrator_execute_task", task_id=ids["one"])
        work = {"task_id": ids["one"], "summary": "s", "detailed_work": "w", "next_action": "continue"}
        done = await client.call_tool("orchestrator_complete_task", work)
        assert done.content[1].type == "resource_link"
        found = await client.call_tool("orchestrator_query_tasks", {"include_artifacts": True})
        assert [part.type for part in found.content] == ["text", "resource_link"]
        assert (await client.read_resource(done.content[1].uri)).contents[0].text == "w"  # type: ignore[union-attr]


async def test_a_work_status_tells_who_works_and_what_is_blocked() -> None:
    async with opened() as (_, client):
        answer = await succeed(
            client, PLAN, subtasks=[{"title": "First", "key": "a"}, {"title": "Second", "dependencies": ["a"]}]
        )
        first = answer["tasks"][0]["id"]
        await succeed(client, "orchestrator_execute_task", task_id=first)
        status = await client.call_tool("orchestrator_get_status", {})
        assert "Longest in its status" in text_of(status)
        assert f"- {first} [in_progress] First (generic, held by srv_" in text_of(status)
        assert "Specialists:\n- 1 idle" in text_of(status)
        blocked = {"task_id": first, "summary": "the key is missing", "next_action": "blocked"}
        told = await client.call_tool("orchestrator_complete_task", blocked)
        assert f"orchestrator_update_task(task_id='{first}', status='pending')" in text_of(told)
        status = await client.call_tool("orchestrator_get_status", {})
        assert f"Blocked:\n- {first} First, because of the key is missing" in text_of(status)
        resumed = await client.call_tool("orchestrator_resume_session", {"context_tokens_max": 500})
        assert "Blocked:" in text_of(resumed)
        waived = await succeed(
            client, "orchestrator_update_task", task_id=answer["tasks"][1]["id"], waive_dependencies=first, reason="new"
        )
        assert waived["ready"] == [answer["tasks"][1]["id"]]


async def test_a_long_list_is_shown_in_part_and_pages_follow() -> None:
    async with opened() as (_, client):
        planned = await client.call_tool(PLAN, {"subtasks": [{"title": f"Part {number}"} for number in range(70)]})
        assert "and 10 more" in text_of(planned)
        found = await client.call_tool("orchestrator_query_tasks", {"limit": 30})
        assert "and 10 more" in text_of(found)
        assert "More with cursor=" in text_of(found)


@pytest.mark.parametrize("era", ERAS)
async def test_a_session_begins_in_the_root_that_the_client_tells(era: str) -> None:
    with new_place() as place:
        other = place.root / "other place"
        other.mkdir()
        (other / ".git").mkdir()
        (other / "pyproject.toml").touch()

        async def roots(_: ClientRequestContext) -> ListRootsResult:
            urls = ["file://elsewhere/x", f"file://{str(other).replace(' ', '%20')}"]
            return ListRootsResult(roots=[Root(uri=FileUrl(url)) for url in urls])

        async with in_memory(place, era, list_roots_callback=roots) as (client, _):
            answer = await succeed(client, "orchestrator_initialize_session")
            assert Path(answer["directory"]) == other
            assert answer["facts"] == [f"git root: {other}", "pyproject.toml"]
            named = await succeed(client, "orchestrator_initialize_session", working_directory=str(place.project))
            assert Path(named["directory"]) == place.project


@pytest.mark.parametrize("roots", [ListRootsResult(roots=[]), ErrorData(code=-32000, message="not now")])
async def test_a_client_that_tells_no_root_means_the_servers_workspace(roots: ListRootsResult | ErrorData) -> None:
    with new_place() as place:

        async def answer(_: ClientRequestContext) -> ListRootsResult | ErrorData:
            return roots

        async with in_memory(place, "legacy", list_roots_callback=answer) as (client, _):
            session = await succeed(client, "orchestrator_initialize_session")
            assert Path(session["directory"]) == place.project
