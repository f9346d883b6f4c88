"""Asking the user: before work is deleted for good, a plan is overwritten, one of several sessions is taken."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from mcp import Client, MCPError
from mcp.client.context import ClientRequestContext
from mcp_types import (
    ElicitRequest,
    ElicitRequestFormParams,
    ElicitRequestParams,
    ElicitResult,
    ErrorData,
    InputRequiredResult,
    ListRootsResult,
    Root,
)
from pydantic import FileUrl

from tests.serving.kit import ERAS, Place, connected, in_memory, new_place, refuse, succeed, text_of
from vespera_agents.serving.protocol import questions

DELETE, PLAN = "orchestrator_delete_task", "orchestrator_plan_task"
INITIALIZE, RESUME = "orchestrator_initialize_session", "orchestrator_resume_session"


class User:
    """Answers questions, and remembers them."""

    def __init__(self, action: str = "accept", **content: Any) -> None:
        self.action = action
        self.content = content
        self.asked: list[str] = []
        self.schemas: list[dict[str, Any]] = []

    async def __call__(self, _: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult | ErrorData:
        assert isinstance(params, ElicitRequestFormParams)
        self.asked.append(params.message)
        self.schemas.append(dict(params.requested_schema))
        return ElicitResult(action=self.action, content=self.content if self.action == "accept" else None)  # type: ignore[arg-type]


@pytest.fixture
def place():
    with new_place() as made:
        (made.project / "plan.md").write_text("---\nid: SHIP\n---\n# Ship it\n## Phase 1: Only\n- pack\n- send\n")
        yield made


async def session(place: Place, client: Client, name: str | None = None) -> str:
    arguments = {"working_directory": str(place.project)} | ({"name": name} if name else {})
    return (await succeed(client, INITIALIZE, **arguments))["id"]


async def a_task(place: Place, client: Client) -> str:
    await session(place, client)
    answer = await succeed(client, PLAN, title="whole", subtasks=[{"title": "part", "key": "part"}])
    return answer["tasks"][0]["id"]


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("start", ["in memory", "stdio"])
async def test_deleting_for_good_is_asked_and_done_when_confirmed(place, era, start):
    user = User(confirm=True)
    if start == "stdio":
        async with connected(place, era, elicitation_callback=user) as client:
            await _deletes(place, client, user)
    else:
        async with in_memory(place, era, elicitation_callback=user) as (client, _):
            await _deletes(place, client, user)


async def _deletes(place: Place, client: Client, user: User) -> None:
    task_id = await a_task(place, client)
    answer = await succeed(client, DELETE, task_id=task_id, mode="delete", force=True)
    assert len(answer["deleted"]) == 2
    (question,) = user.asked
    assert f"Delete task {task_id} (whole) and the 1 tasks below it" in question
    assert user.schemas[0]["required"] == ["confirm"]
    assert place.rows("SELECT * FROM task") == []


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize(
    "user", [User("decline"), User("cancel"), User(confirm=False), User()], ids=["decline", "cancel", "no", "empty"]
)
async def test_what_the_user_does_not_want_changes_nothing(place, era, user):
    async with in_memory(place, era, elicitation_callback=user) as (client, _):
        task_id = await a_task(place, client)
        before = place.state()
        text = await refuse(client, DELETE, "declined", task_id=task_id, mode="delete", force=True)
        assert "Nothing was changed" in text
        assert place.state() == before


@pytest.mark.parametrize("era", ERAS)
async def test_nobody_is_asked_who_cannot_be_or_about_what_can_be_undone(place, era):
    async with in_memory(place, era) as (client, _):
        task_id = await a_task(place, client)
        assert (await succeed(client, DELETE, task_id=task_id, mode="delete", force=True))["deleted"]
        await session(place, client)
        await succeed(client, PLAN, plan_path="plan.md")
        before = place.state()
        text = await refuse(client, PLAN, "conflict", plan_path="plan.md")
        assert "orchestrator_delete_task(task_id='task_" in text
        assert place.state() == before
    user = User(confirm=True)
    async with in_memory(place, era, elicitation_callback=user) as (client, _):
        task_id = (await succeed(client, PLAN, title="other"))["tasks"][0]["id"]
        await succeed(client, DELETE, task_id=task_id)
        await refuse(client, DELETE, "not_found", task_id="task_none", mode="delete", force=True)
        await refuse(client, DELETE, "invalid_arguments", task_id=task_id, mode="delete", force=True, more=1)
        assert user.asked == []


@pytest.mark.parametrize("era", ERAS)
async def test_a_plan_that_is_there_is_replaced_when_the_user_wants_it(place, era):
    user = User("decline")
    async with in_memory(place, era, elicitation_callback=user) as (client, _):
        await session(place, client)
        first = (await succeed(client, PLAN, plan_path="plan.md"))["tasks"][0]["id"]
        assert user.asked == []
        before = place.state()
        await refuse(client, PLAN, "declined", plan_path="plan.md")
        assert place.state() == before
        assert f"as task {first} (Ship it), pending" in user.asked[0]
        user.action, user.content = "accept", {"confirm": True}
        second = (await succeed(client, PLAN, plan_path="plan.md"))["tasks"][0]["id"]
        states = dict(place.rows("SELECT id, status FROM task WHERE parent_id IS NULL"))
        assert states == {first: "archived", second: "pending"}


@pytest.mark.parametrize("era", ERAS)
async def test_which_of_several_sessions_is_asked_for_resume_and_initialize(place, era):
    user = User()
    async with in_memory(place, era, elicitation_callback=user) as (client, _):
        one, two = await session(place, client, "one"), await session(place, client, "two")
        assert user.asked == []
        user.content = {"session": one}
        assert (await succeed(client, RESUME))["id"] == one
        assert f"{two}: two, 0 tasks" in user.asked[-1]
        assert user.schemas[-1]["properties"]["session"]["enum"] == [two, one]
        user.content = {"session_id": two}
        assert await session(place, client) == two
        user.content = {"session_id": "new"}
        assert await session(place, client) not in {one, two}
        before = place.state()
        user.content = {"session_id": "session_of_somebody"}
        await refuse(client, INITIALIZE, "declined", working_directory=str(place.project))
        assert place.state() == before
        assert (await succeed(client, RESUME, session=two))["id"] == two
        asked = len(user.asked)
        await refuse(client, "orchestrator_get_status", "conflict")
        assert len(user.asked) == asked, "only where work is taken up again"


@pytest.mark.parametrize("era", ERAS)
async def test_the_directory_that_a_client_told_is_kept_through_the_question(place, era):
    async def roots(_: ClientRequestContext) -> ListRootsResult:
        told.append("asked")
        return ListRootsResult(roots=[Root(uri=FileUrl((place.root / "elsewhere").as_uri()))])

    told: list[str] = []
    (place.root / "elsewhere").mkdir()
    user = User()
    async with in_memory(place, era, elicitation_callback=user, list_roots_callback=roots) as (client, _):
        for name in ("one", "two"):
            await succeed(client, INITIALIZE, working_directory=str(place.root / "elsewhere"), name=name)
        user.content = {"session_id": "new"}
        answer = await succeed(client, INITIALIZE)
        assert answer["directory"] == str(place.root / "elsewhere")
        assert "elsewhere" in user.asked[0]
        assert told == ["asked"]


async def test_an_answer_counts_for_its_own_question_only_and_survives_a_restart(place):
    raw = ElicitResult(action="accept", content={"confirm": True})
    user = User(confirm=True)
    async with connected(place, elicitation_callback=user) as client:
        task_id = await a_task(place, client)
        other = (await succeed(client, PLAN, title="other"))["tasks"][0]["id"]
        call = {"task_id": task_id, "mode": "delete", "force": True}
        asked = await client.session.call_tool(DELETE, call, allow_input_required=True)
        assert isinstance(asked, InputRequiredResult)
        assert isinstance(asked.input_requests["question"], ElicitRequest)
        assert asked.request_state is not None
        before = place.state()
        states = ["", "nonsense.00", asked.request_state[:-1], f"{asked.request_state}0", None]
        for arguments, state in [(call, one) for one in states] + [({**call, "task_id": other}, asked.request_state)]:
            again = await client.session.call_tool(
                DELETE, arguments, input_responses={"question": raw}, request_state=state, allow_input_required=True
            )
            assert isinstance(again, InputRequiredResult), "whoever did not hear the question did not answer it"
            assert place.state() == before
    async with connected(place, elicitation_callback=user) as client:
        # What would be deleted is another thing now, so the question is put anew.
        await succeed(client, PLAN, title="late", parent_task_id=task_id)
        again = await client.session.call_tool(
            DELETE,
            call,
            input_responses={"question": raw},
            request_state=asked.request_state,
            allow_input_required=True,
        )
        assert isinstance(again, InputRequiredResult)
        done = await client.session.call_tool(
            DELETE,
            call,
            input_responses={"question": raw},
            request_state=again.request_state,
            allow_input_required=True,
        )
        assert not isinstance(done, InputRequiredResult)
        assert not done.is_error, text_of(done)
    assert place.rows("SELECT title FROM task") == [("other",)]
    key = place.root / "state" / "vespera" / "signing.key"
    assert (key.stat().st_mode & 0o777, len(key.read_bytes())) == (0o600, 32)


async def test_an_answer_that_comes_too_late_is_none(place, monkeypatch):
    user = User(confirm=True)
    monkeypatch.setattr(questions, "_STATE_SECONDS", -1.0)
    async with in_memory(place, elicitation_callback=user) as (client, _):
        task_id = await a_task(place, client)
        with pytest.raises(Exception, match=r"more than 10 rounds"):
            await client.call_tool(DELETE, {"task_id": task_id, "mode": "delete", "force": True})
        assert place.status("whole") == "pending"


async def test_a_user_who_takes_minutes_holds_up_nobody_else(place, monkeypatch):
    opened, decided = trio.Event(), trio.Event()

    async def slow(_: ClientRequestContext, __: ElicitRequestParams) -> ElicitResult:
        opened.set()
        await decided.wait()
        return ElicitResult(action="decline")

    monkeypatch.setattr(questions, "ANSWER_SECONDS", 60.0)
    async with in_memory(place, "legacy", elicitation_callback=slow) as (client, _):
        task_id = await a_task(place, client)
        texts: list[str] = []

        async def delete() -> None:
            arguments = {"task_id": task_id, "mode": "delete", "force": True}
            texts.append(await refuse(client, DELETE, "declined", **arguments))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(delete)
            await opened.wait()
            await succeed(client, "orchestrator_get_status")
            assert texts == []
            decided.set()
        assert "declined" in texts[0]
        decided = trio.Event()
        monkeypatch.setattr(questions, "ANSWER_SECONDS", 0.1)
        await delete()
        assert "did not answer" in texts[1]
        assert place.status("whole") == "pending"


async def test_a_client_that_fails_to_ask_is_a_refusal(place):
    async def broken(_: ClientRequestContext, __: ElicitRequestParams) -> ErrorData:
        return ErrorData(code=-32000, message="no window")

    async with in_memory(place, "legacy", elicitation_callback=broken) as (client, _):
        task_id = await a_task(place, client)
        await refuse(client, DELETE, "declined", task_id=task_id, mode="delete", force=True)
    async with in_memory(place, elicitation_callback=broken) as (client, _):
        with pytest.raises(MCPError, match="no window"):
            await client.call_tool(DELETE, {"task_id": task_id, "mode": "delete", "force": True})
        assert place.status("whole") == "pending"
