"""The prompts as a client lists and gets them: arguments, what they tell, what they change (nothing)."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from mcp import Client
from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_PARAMS, GetPromptResult, TextContent

from tests.serving.kit import ERAS, ROOT, Place, connected, in_memory, new_place, succeed
from vespera_agents.serving.protocol.reading.prompts import PROMPTS, TEXT_MAX, TOKENS_MAX
from vespera_agents.serving.protocol.reading.resources import TEMPLATES, TREE_URI
from vespera_agents.serving.protocol.server import INSTRUCTIONS
from vespera_agents.serving.tools.catalogue import CORE, TOOLS

NAMED = re.compile(r"orchestrator_\w+")


@asynccontextmanager
async def planned(era: str = "auto") -> AsyncIterator[tuple[Place, Client, dict[str, str]]]:
    """Have a session with a container of two tasks, the second of which waits for the first; gives their ids by key."""
    with new_place() as place:
        async with in_memory(place, era) as (client, _):
            await succeed(client, "orchestrator_initialize_session", name="the story")
            subtasks = [
                {"key": "a", "title": "Find out", "description": "Read all of it.", "specialist": "researcher"},
                {"key": "b", "title": "Build it", "dependencies": ["a"], "specialist": "coder", "gates": ["true"]},
            ]
            found = await succeed(client, "orchestrator_plan_task", title="All", subtasks=subtasks)
            yield place, client, {one["title"]: one["id"] for one in found["tasks"]}


def words_of(result: GetPromptResult) -> str:
    (message,) = result.messages
    assert message.role == "user"
    assert isinstance(message.content, TextContent)
    return message.content.text


async def got(client: Client, name: str, **arguments: str) -> str:
    text = words_of(await client.get_prompt(name, arguments))
    # Only tools that every server has are named, and by their whole names.
    assert set(NAMED.findall(text)) <= set(CORE), NAMED.findall(text)
    return text


@pytest.mark.parametrize("era", ERAS)
async def test_the_prompts_are_listed_with_their_arguments(era: str) -> None:
    with new_place() as place:
        async with in_memory(place, era) as (client, _):
            assert client.server_capabilities.prompts is not None
            assert client.server_capabilities.prompts.list_changed
            listed = (await client.list_prompts()).prompts
            assert [one.name for one in listed] == ["plan_work", "execute_task", "review_task", "hand_over_session"]
            for one in listed:
                assert one.title
                assert one.description
                for argument in one.arguments or ():
                    assert argument.title
                    assert argument.description
            required = {one.name: [a.name for a in one.arguments or () if a.required] for one in listed}
            assert required == {
                "plan_work": ["goal"], "execute_task": ["task_id"], "review_task": ["task_id"], "hand_over_session": []
            }  # fmt: skip


@pytest.mark.parametrize("era", ERAS)
async def test_a_plan_is_asked_for_with_the_goal_the_specialists_and_what_is_under_way(era: str) -> None:
    async with planned(era) as (place, client, _):
        before = place.state()
        text = await got(client, "plan_work", goal="Make {tea} %s for two")
        assert "Make {tea} %s for two" in text
        assert "the story" in text
        assert "Find out" in text
        assert "- researcher: You find out what is known." in text
        assert "orchestrator_plan_task" in text
        assert place.state() == before


@pytest.mark.parametrize("era", ERAS)
async def test_a_plan_without_a_session_begins_with_one(era: str) -> None:
    with new_place() as place:
        async with in_memory(place, era) as (client, _):
            assert "begin with orchestrator_initialize_session" in await got(client, "plan_work", goal="Tea")
            with pytest.raises(MCPError, match="no session"):
                await client.get_prompt("plan_work", {"goal": "Tea", "session": "session_0"})


@pytest.mark.parametrize("era", ERAS)
async def test_a_task_is_carried_out_by_its_specialist_with_its_briefing(era: str) -> None:
    async with planned(era) as (place, client, ids):
        before = place.state()
        text = await got(client, "execute_task", task_id=ids["Find out"].removeprefix("task_"))
        assert "# Carry out Find out as its researcher" in text
        assert f"Claim it with orchestrator_execute_task(task_id='{ids['Find out']}')" in text
        assert "Read all of it." in text
        assert "You are the researcher." in text
        text = await got(client, "execute_task", task_id=ids["Find out"], specialist="coder")
        assert "You are the implementer." in text
        text = await got(client, "execute_task", task_id=ids["Build it"])
        assert "It cannot be claimed yet" in text
        assert "These commands must succeed: `true`." in text
        assert "It has subtasks" in await got(client, "execute_task", task_id=ids["All"])
        assert place.state() == before
        await succeed(client, "orchestrator_execute_task", task_id=ids["Find out"])
        assert "It is in progress already" in await got(client, "execute_task", task_id=ids["Find out"])


async def test_a_long_briefing_is_cut_to_what_a_prompt_may_have() -> None:
    with new_place() as place:
        async with in_memory(place) as (client, _):
            await succeed(client, "orchestrator_initialize_session")
            names = [f"k{number}" for number in range(12)]
            subtasks: list[dict[str, object]] = [{"key": name, "title": name} for name in names]
            subtasks.append(
                {"key": "last", "title": "Last", "description": "The end of it all.", "dependencies": names}
            )
            planned = await succeed(client, "orchestrator_plan_task", title="All", subtasks=subtasks)
            ids = {one["title"]: one["id"] for one in planned["tasks"]}
            for name in names:
                await succeed(client, "orchestrator_execute_task", task_id=ids[name])
                work = {"summary": "a b " * 1_000, "next_action": "complete"}
                await succeed(client, "orchestrator_complete_task", task_id=ids[name], **work)
            text = await got(client, "execute_task", task_id=ids["Last"])
            assert "The end of it all." in text
            assert re.search(r"did not fit into the context: .*What this builds on", text)
            assert len(text.encode()) < 5 * TOKENS_MAX
            claimed = await succeed(client, "orchestrator_execute_task", task_id=ids["Last"])
            assert len(claimed["prompt"]) > 40_000


@pytest.mark.parametrize("era", ERAS)
async def test_a_review_knows_what_was_handed_in_and_how_to_decide(era: str) -> None:
    async with planned(era) as (place, client, ids):
        task = ids["Find out"]
        assert "nothing was handed in" in await got(client, "review_task", task_id=task)
        await succeed(client, "orchestrator_execute_task", task_id=task)
        work = {"summary": "It is blue", "detailed_work": "Because.", "next_action": "needs_revision"}
        await succeed(client, "orchestrator_complete_task", task_id=task, **work)
        before = place.state()
        text = await got(client, "review_task", task_id=task)
        assert "You are the reviewer." in text
        assert "It is blue" in text
        (digest,) = place.rows("SELECT sha256 FROM artifact")[0]
        assert f"vespera://artifact/{digest}" in text
        assert f"orchestrator_update_task(task_id='{task}', status='pending', reason=...)" in text
        assert place.state() == before
        # What it says can be done.
        await succeed(client, "orchestrator_execute_task", task_id=task)
        await succeed(client, "orchestrator_complete_task", task_id=task, **{**work, "next_action": "complete"})
        assert "It counts as completed" in await got(client, "review_task", task_id=task)
        await succeed(client, "orchestrator_update_task", task_id=task, status="in_progress", reason="green, in fact")
        await succeed(client, "orchestrator_complete_task", task_id=task, **work)
        await succeed(client, "orchestrator_execute_task", task_id=task)
        await succeed(client, "orchestrator_update_task", task_id=task, status="pending", reason="look again")
        assert place.status("Find out") == "pending"


@pytest.mark.parametrize("era", ERAS)
async def test_a_hand_over_tells_how_the_session_stands(era: str) -> None:
    async with planned(era) as (place, client, ids):
        await succeed(client, "orchestrator_execute_task", task_id=ids["Find out"])
        before = place.state()
        text = await got(client, "hand_over_session", to="the night shift")
        assert "# Hand over the story" in text
        assert "It goes to: the night shift." in text
        assert f"In progress:\n- Find out ({ids['Find out']}, researcher, in_progress)" in text
        session = place.rows("SELECT id FROM session")[0][0]
        assert f"orchestrator_resume_session(session='{session}')" in text
        assert place.state() == before


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize(
    ("name", "arguments", "kind", "words"),
    [
        ("execute", {}, "not_found", "Ask for one of: execute_task"),
        ("", {}, "not_found", "no prompt ''"),
        ("execute_task", {}, "invalid_input", "the prompt execute_task needs `task_id`: The id of the task"),
        ("execute_task", {"task_id": "  "}, "invalid_input", "needs `task_id`"),
        ("execute_task", {"task": "x"}, "invalid_input", "did you mean task_id"),
        ("execute_task", {"task_id": "task_nothing"}, "not_found", "no task 'task_nothing'"),
        ("execute_task", {"task_id": "Find out", "specialist": "pilot"}, "not_found", "no task"),
        ("execute_task", {"task_id": "A", "specialist": "pilot"}, "not_found", "no role 'pilot'"),
        ("plan_work", {"goal": "x" * (TEXT_MAX + 1)}, "invalid_input", "`goal` has 20001 characters"),
        ("plan_work", {"goal": "\ud800"}, "invalid_input", "`goal` must be a valid Unicode text"),
        ("hand_over_session", {"session": "x\udfff"}, "invalid_input", "`session` must be a valid Unicode text"),
        ("plan_work", {"wish": "x"}, "invalid_input", "it takes goal, session"),
        ("hand_over_session", {"session": "session_0"}, "not_found", "no session 'session_0'"),
    ],
)
async def test_a_wrong_wish_is_refused_with_what_to_do(
    era: str, name: str, arguments: dict[str, str], kind: str, words: str
) -> None:
    async with planned(era) as (place, client, ids):
        before = place.state()
        arguments = {key: ids["Find out"] if value == "A" else value for key, value in arguments.items()}
        with pytest.raises(MCPError, match=re.escape(words)) as caught:
            await client.get_prompt(name, arguments)
        assert caught.value.error.code == INVALID_PARAMS
        data = caught.value.error.data
        assert data["kind"] == kind
        assert f"Next: {data['next_action']}" in str(caught.value)
        assert place.state() == before


async def test_several_open_sessions_are_told_apart() -> None:
    async with planned() as (_, client, _):
        other = await succeed(client, "orchestrator_initialize_session", name="another")
        with pytest.raises(MCPError, match=r"sessions are open: .*another"):
            await client.get_prompt("hand_over_session", {})
        assert "# Hand over another" in await got(client, "hand_over_session", session=other["id"])


def test_the_instructions_are_three_sentences_about_tools_that_every_server_has() -> None:
    assert len(re.findall(r"\.(?: |$)", INSTRUCTIONS)) == 3
    named = set(NAMED.findall(INSTRUCTIONS))
    assert named <= set(CORE) <= set(TOOLS)
    assert len(named) >= 5


def test_the_document_tells_of_every_prompt_and_address() -> None:
    text = (ROOT / "docs" / "tools.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| ((?:`\w+`\??(?:, )?)+) \|", text, re.MULTILINE)
    told = {name: arguments.split(", ") for name, arguments in rows if name in {one.name for one in PROMPTS}}
    assert told == {
        prompt.name: [f"`{one.name}`{'' if one.required else '?'}" for one in prompt.arguments] for prompt in PROMPTS
    }
    assert re.findall(r"^\| `(vespera://[^`]+)` \|", text, re.MULTILINE) == [
        *(one.uri_template for one in TEMPLATES), TREE_URI
    ]  # fmt: skip


@pytest.mark.parametrize("era", ERAS)
async def test_a_prompt_comes_over_standard_output_too(era: str) -> None:
    with new_place() as place:
        async with connected(place, era) as client:
            await succeed(client, "orchestrator_initialize_session")
            assert "# Plan a piece of work" in await got(client, "plan_work", goal="Tea")
            with pytest.raises(MCPError, match="no prompt"):
                await client.get_prompt("tea", {})
