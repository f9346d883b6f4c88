"""The whole story of a piece of work, told over the wire by the SDK's own client in both protocol eras.

After each call the store is read; whatever was refused left it as it was. Acceptance 4 of the first part.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

import pytest
import trio
from mcp import Client
from mcp_types import ResourceLink, TextResourceContents

from tests.serving.kit import ERAS, Place, connected, new_place, refuse, succeed
from vespera_agents.context import estimate_tokens
from vespera_agents.serving.tools.catalogue import TOOL_NAMES

BREAKDOWN = [
    {"key": "design", "title": "Design the grammar", "specialist": "architect", "task_type": "research"},
    {"key": "lexer", "title": "Write the lexer", "specialist": "coder", "dependencies": ["design"],
     "gates": ["test -f lexer.py"], "task_type": "implementation"},
    {"key": "tables", "title": "Make the tables", "specialist": "implementer", "dependencies": ["design"],
     "complexity": "simple"},
    {"key": "parser", "title": "Write the parser", "specialist": "implementer", "dependencies": ["lexer", "tables"],
     "complexity": "very_complex", "task_type": "implementation"},
    {"key": "tests", "title": "Test the parser", "specialist": "tester", "dependencies": ["parser"],
     "task_type": "testing"},
    {"key": "docs", "title": "Document the parser", "specialist": "documenter", "task_type": "documentation",
     "dependencies": [{"on": "parser", "kind": "data"}, {"on": "tests", "kind": "related", "mandatory": False}]},
    {"key": "extras", "title": "Extras", "subtasks": [
        {"key": "colour", "title": "Colour the errors", "dependencies": ["parser"]},
        {"key": "guess", "title": "Guess what was meant", "dependencies": ["colour"], "due": "2030-01-01"},
    ]},
]  # fmt: skip
"""Eight tasks in two containers."""
LEAVES = 8
CONTAINERS = 2


@pytest.mark.parametrize("era", ERAS)
async def test_a_client_carries_a_piece_of_work_from_plan_to_synthesis(era: str) -> None:
    with new_place() as place:
        before = place.files()
        async with connected(place, era) as client:
            assert client.protocol_version == ("2025-11-25" if era == "legacy" else "2026-07-28")
            await _the_tools_are_as_promised(client)
            session = await _a_session_is_initialized(place, client)
            ids = await _a_breakdown_is_planned(place, client)
            await _every_filter_finds_what_it_should(client, ids)
            await _work_is_claimed_and_handed_in(place, client, ids)
            await _a_stale_update_is_refused(place, client, ids)
            await _the_rest_is_cancelled_and_archived(place, client, ids)
            digest = await _the_results_are_synthesized(place, client, ids["whole"])
        async with connected(place, era, "another") as client:
            await _another_server_goes_on(place, client, session, digest)
        # One registry and the logs in the state directory are all that was written outside of `.vespera`.
        written = place.files() - before - {"project/lexer.py"}
        logs = {path for path in written if re.fullmatch(r"state/vespera/logs/srv_[0-9a-f]{12}\.log", path)}
        assert len(logs) == 2, "one of each server"
        registry = {"state/vespera/workspaces.json", "state/vespera/workspaces.lock"}
        assert written - logs <= {"state/vespera", "state/vespera/logs", *registry}
        assert place.rows("PRAGMA integrity_check") == [("ok",)]
        actors = {row[0] for row in place.rows("SELECT DISTINCT actor FROM event")}
        assert (
            {"mcp:tester"}
            <= actors
            <= {"mcp:tester", "mcp:another"} | {actor for actor in actors if not actor.startswith("mcp:")}
        )


async def _the_tools_are_as_promised(client: Client) -> None:
    tools = (await client.list_tools()).tools
    assert tuple(tool.name for tool in tools) == TOOL_NAMES
    assert client.instructions is not None
    assert client.instructions.count(". ") == 2


async def _a_session_is_initialized(place: Place, client: Client) -> str:
    await refuse(client, "orchestrator_get_status", "not_found")
    await refuse(client, "orchestrator_resume_session", "not_found")
    await refuse(client, "orchestrator_plan_task", "not_found", title="Too early")
    assert place.rows("SELECT id FROM session") == []
    for directory in ("/etc", "/proc/self", "/", "no/such/place"):
        await refuse(client, "orchestrator_initialize_session", "workspace_error", working_directory=directory)
    await refuse(client, "orchestrator_initialize_session", "invalid_input", working_directory="x\0y")
    await refuse(client, "orchestrator_initialize_session", "not_found", session_id="session_0")
    assert place.rows("SELECT id FROM session") == []
    answer = await succeed(client, "orchestrator_initialize_session", name="parser work")
    assert answer["created_now"]
    assert answer["directory"] == str(place.project)
    assert place.rows("SELECT id, name, status FROM session") == [(answer["id"], "parser work", "open")]
    again = await succeed(client, "orchestrator_initialize_session", name="parser work")
    assert (again["id"], again["created_now"]) == (answer["id"], False)
    await refuse(client, "orchestrator_session_status", "not_found", session="session_0")
    shown = await succeed(client, "orchestrator_session_status", session=answer["id"])
    assert "implementer" in shown["roles"]
    await refuse(client, "orchestrator_list_sessions", "invalid_input", cursor="nonsense")
    listed = await succeed(client, "orchestrator_list_sessions", status="open")
    assert [line["id"] for line in listed["sessions"]] == [answer["id"]]
    return str(answer["id"])


async def _a_breakdown_is_planned(place: Place, client: Client) -> dict[str, str]:
    plan = "orchestrator_plan_task"
    before = place.state()
    circle = [{"key": "a", "title": "A", "dependencies": ["b"]}, {"key": "b", "title": "B", "dependencies": ["a"]}]
    assert "a -> " in await refuse(client, plan, "cycle", title="Circle", subtasks=circle)
    assert "'nowhere'" in await refuse(client, plan, "invalid_input", title="Lost", dependencies=["nowhere"])
    await refuse(client, plan, "invalid_arguments", title="x" * 256)
    await refuse(client, plan, "invalid_input")
    await refuse(client, plan, "not_found", title="Orphan", parent_task_id="task_none")
    await refuse(client, plan, "workspace_error", plan_path="../../etc/passwd")
    assert place.state() == before
    answer = await succeed(client, plan, title="Parse the language", task_type="breakdown", subtasks=BREAKDOWN)
    assert len(answer["tasks"]) == LEAVES + CONTAINERS
    ids = {task["key"]: task["id"] for task in answer["tasks"]}
    assert answer["ready"] == [ids["design"]]
    assert place.rows("SELECT count(*) FROM task WHERE children=0") == [(LEAVES,)]
    assert place.rows("SELECT count(*) FROM dependency") == [(9,)]
    assert place.rows("SELECT specialist FROM task WHERE id=?", ids["lexer"]) == [("implementer",)]
    return {**ids, "whole": answer["tasks"][0]["id"]}


async def _every_filter_finds_what_it_should(client: Client, ids: dict[str, str]) -> None:
    async def found(**wanted: object) -> set[str]:
        answer = await succeed(client, "orchestrator_query_tasks", **wanted)
        assert answer["total"] == len(answer["tasks"])
        assert not answer["has_more"]
        return {task["id"] for task in answer["tasks"]}

    def named(*keys: str) -> set[str]:
        return {ids[key] for key in keys}

    assert await found() == set(ids.values())
    assert await found(status="pending", ready=True) == named("design")
    assert await found(status=["in_progress", "completed"]) == set()
    assert await found(task_type=["implementation", "Testing"]) == named("lexer", "parser", "tests")
    assert await found(specialist=["coder"]) == named("lexer", "tables", "parser")
    assert await found(complexity=["very-complex", "simple"]) == named("tables", "parser")
    assert await found(parent_task_id=ids["extras"]) == named("colour", "guess")
    assert ids["colour"] in await found(parent_task_id=ids["whole"], include_children=True)
    assert ids["colour"] not in await found(parent_task_id=ids["whole"])
    assert await found(text="the PARSER") == named("parser", "tests", "docs")
    assert await found(text="parser", specialist="tester", task_type="testing") == named("tests")
    assert await found(created_after="2020-01-01", updated_before="2100-01-01T00:00:00Z") == set(ids.values())
    assert await found(created_before="2020-01-01") == await found(updated_after="2100-01-01") == set()
    first = await succeed(client, "orchestrator_query_tasks", limit=4)
    second = await succeed(client, "orchestrator_query_tasks", limit=200, cursor=first["next_cursor"])
    assert (first["has_more"], first["total"], len(second["tasks"])) == (True, len(set(ids.values())), 6)
    full = await succeed(client, "orchestrator_query_tasks", text="Document", detail="full", include_artifacts=True)
    assert {kind for _, kind, _ in full["tasks"][0]["dependencies"]} == {"data", "related"}
    for wrong in ({"status": ["done"]}, {"limit": 0}, {"limit": 201}, {"created_after": "soon"}, {"colour": "red"}):
        await refuse(client, "orchestrator_query_tasks", "invalid_arguments", **wrong)
    await refuse(client, "orchestrator_query_tasks", "invalid_input", cursor="nonsense")
    await refuse(client, "orchestrator_query_tasks", "not_found", parent_task_id="task_none")
    await refuse(client, "orchestrator_query_tasks", "not_found", session="session_0")


async def _work_is_claimed_and_handed_in(place: Place, client: Client, ids: dict[str, str]) -> None:
    execute, complete = "orchestrator_execute_task", "orchestrator_complete_task"
    before = place.state()
    await refuse(client, execute, "conflict", task_id=ids["parser"])
    await refuse(client, execute, "not_found", task_id="task_none")
    await refuse(client, execute, "invalid_input", task_id=ids["design"], mode="agent")
    await refuse(client, execute, "conflict", task_id=ids["whole"])
    work: dict[str, Any] = {"summary": "done", "detailed_work": "# The work", "next_action": "complete"}
    await refuse(client, complete, "conflict", task_id=ids["design"], **work)
    assert place.state() == before

    claim = await succeed(client, execute, task_id=ids["design"][:12])
    assert place.status("Design the grammar") == "in_progress"
    assert "You are the architect" in claim["prompt"]
    assert estimate_tokens(claim["prompt"]) <= claim["context_tokens_max"]
    again = await succeed(client, execute, task_id=ids["design"])
    assert again["already_yours"]
    before = place.state()
    await refuse(client, complete, "workspace_error", task_id=ids["design"], file_paths=["../home/x"], **work)
    await refuse(client, complete, "workspace_error", task_id=ids["design"], file_paths="no-such-file", **work)
    await refuse(client, complete, "invalid_arguments", task_id=ids["design"], summary="x", next_action="finished")
    await refuse(client, complete, "invalid_arguments", task_id=ids["design"], next_action="complete")
    assert place.state() == before
    done = await succeed(client, complete, task_id=ids["design"], **work)
    assert place.status("Design the grammar") == "completed"
    assert set(done["ready"]) == {ids["lexer"], ids["tables"]}
    assert place.rows("SELECT task_id, sha256 FROM artifact") == [
        (ids["design"], hashlib.sha256(b"# The work").hexdigest())
    ]

    claim = await succeed(client, execute, task_id=ids["lexer"])
    assert claim["gates"] == ["test -f lexer.py"]
    assert claim["artifacts"]
    assert "trust" in await refuse(client, complete, "conflict", task_id=ids["lexer"], **work)
    place.trust('[commands]\nallow = ["test -f"]\n')
    assert "lexer.py" in await refuse(client, complete, "conflict", task_id=ids["lexer"], **work)
    assert place.status("Write the lexer") == "in_progress"
    (place.project / "lexer.py").write_text("tokens = []\n")
    done = await succeed(client, complete, task_id=ids["lexer"], artifact_type="code", file_paths=["lexer.py"], **work)
    assert (done["outcome"], place.status("Write the lexer")) == ("completed", "completed")
    lexer = hashlib.sha256(b"tokens = []\n").hexdigest()
    assert f"vespera://artifact/{lexer}" in done["artifacts"]

    order = ["tables", "parser", "tests", "docs"]
    for key in order:
        await succeed(client, execute, task_id=ids[key])
        assert place.rows("SELECT status FROM task WHERE id=?", ids[key]) == [("in_progress",)]
        if key == "parser":
            await succeed(client, complete, task_id=ids[key], summary="look at it", next_action="needs revision")
            assert place.status("Write the parser") == "review"
            await succeed(client, execute, task_id=ids[key])
        await succeed(client, complete, task_id=ids[key], **work)
    titles = [row[0] for row in place.rows("SELECT title FROM task WHERE status='completed' ORDER BY finished")]
    assert titles[-2:] == ["Test the parser", "Document the parser"]


async def _a_stale_update_is_refused(place: Place, client: Client, ids: dict[str, str]) -> None:
    update = "orchestrator_update_task"
    version = place.rows("SELECT version FROM task WHERE id=?", ids["guess"])[0][0]
    answer = await succeed(
        client, update, task_id=ids["guess"], expected_version=version, description="By distance.", clear="due"
    )
    assert {name for name, _, _ in answer["changed"]} == {"description", "due"}
    before = place.state()
    text = await refuse(client, update, "stale_version", task_id=ids["guess"], expected_version=version, title="No")
    assert f"expected_version={version + 1}" in text
    await refuse(client, update, "invalid_input", task_id=ids["guess"])
    await refuse(client, update, "not_found", task_id="task_none", title="No")
    await refuse(client, update, "bad_transition", task_id=ids["guess"], status="review")
    await refuse(client, update, "invalid_input", task_id=ids["guess"], status="completed")
    await refuse(client, update, "cycle", task_id=ids["colour"], add_dependencies=[ids["guess"]])
    assert place.state() == before
    assert place.rows("SELECT title, due FROM task WHERE id=?", ids["guess"]) == [("Guess what was meant", None)]
    status = await succeed(client, "orchestrator_get_status")
    assert [task["id"] for task in status["tasks"] if task["ready"]] == [ids["colour"]]


async def _the_rest_is_cancelled_and_archived(place: Place, client: Client, ids: dict[str, str]) -> None:
    cancel, delete = "orchestrator_cancel_task", "orchestrator_delete_task"
    before = place.state()
    await refuse(client, delete, "conflict", task_id=ids["colour"])
    await refuse(client, delete, "invalid_arguments", task_id=ids["colour"], mode="burn")
    await refuse(client, cancel, "conflict", task_id=ids["extras"], reason="no time")
    await refuse(client, cancel, "invalid_arguments", task_id=ids["extras"])
    await refuse(client, cancel, "not_found", task_id="task_none", reason="no time")
    assert place.state() == before
    answer = await succeed(client, cancel, task_id=ids["extras"], reason="no time", cascade=True)
    assert {ids["colour"], ids["guess"]} <= set(answer["cancelled"])
    assert place.status("Colour the errors") == place.status("Guess what was meant") == "cancelled"
    await refuse(client, cancel, "bad_transition", task_id=ids["colour"], reason="again")
    await succeed(client, delete, task_id=ids["guess"])
    assert place.status("Guess what was meant") == "archived"
    assert "force" in await refuse(client, delete, "invalid_input", task_id=ids["guess"], mode="delete")
    await succeed(client, delete, task_id=ids["guess"], mode="delete", force=True)
    assert place.rows("SELECT id FROM task WHERE id=?", ids["guess"]) == []


async def _the_results_are_synthesized(place: Place, client: Client, whole: str) -> str:
    await refuse(client, "orchestrator_synthesize_results", "not_found", parent_task_id="task_none")
    result = await client.call_tool("orchestrator_synthesize_results", {"parent_task_id": whole})
    assert not result.is_error
    link = result.content[1]
    assert isinstance(link, ResourceLink)
    content = (await client.read_resource(link.uri)).contents[0]
    assert isinstance(content, TextResourceContents)
    assert content.mime_type == "text/markdown"
    for title in ("Design the grammar", "Write the lexer", "Document the parser", "Colour the errors"):
        assert title in content.text
    digest = hashlib.sha256(content.text.encode()).hexdigest()
    assert link.uri == f"vespera://artifact/{digest}"
    assert place.rows("SELECT task_id FROM artifact WHERE sha256=?", digest) == [(whole,)]
    return digest


async def _another_server_goes_on(place: Place, client: Client, session: str, digest: str) -> None:
    await refuse(client, "orchestrator_resume_session", "invalid_arguments", context_tokens_max=3)
    answer = await succeed(client, "orchestrator_resume_session", session=session, context_tokens_max=500)
    assert estimate_tokens(json.dumps(answer, separators=(",", ":"))) <= 500
    answer = await succeed(client, "orchestrator_resume_session")
    assert dict(answer["counts"])["completed"] == 6
    assert f"vespera://artifact/{digest}" in answer["artifacts"]
    await succeed(client, "orchestrator_plan_task", title="Release it")
    assert place.status("Release it") == "pending"


async def test_two_clients_never_get_the_same_task() -> None:
    with new_place() as place:
        async with connected(place, "auto", "one") as one, connected(place, "legacy", "two") as two:
            await succeed(one, "orchestrator_initialize_session")
            subtasks = [{"title": f"Part {number}"} for number in range(12)]
            planned = await succeed(two, "orchestrator_plan_task", title="Many", subtasks=subtasks)
            claims: list[tuple[str, str, bool]] = []

            async def claim(client: Client, name: str) -> None:
                for task_id in planned["ready"]:
                    result = await client.call_tool("orchestrator_execute_task", {"task_id": task_id})
                    claims.append((name, task_id, not result.is_error))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(claim, one, "one")
                nursery.start_soon(claim, two, "two")
            assert sorted(task_id for _, task_id, won in claims if won) == sorted(planned["ready"])
            # One of them may have been faster every time.
            winner, taken, _ = next(claim for claim in claims if claim[2])
            before = place.state()
            work = {"task_id": taken, "summary": "not mine", "next_action": "complete"}
            await refuse(two if winner == "one" else one, "orchestrator_complete_task", "conflict", **work)
            assert place.state() == before
        assert len(place.rows("SELECT DISTINCT claimed_by FROM task WHERE claimed_by NOT NULL")) <= 2
        async with connected(place) as three:
            # Whoever comes next finds what the others left, free to be claimed again.
            status = await succeed(three, "orchestrator_get_status")
            assert sum(task["ready"] for task in status["tasks"]) == len(planned["ready"])
