"""The client's own model does the thinking, in both eras: over the connection, by tasks, by what a call needs first.

Source: sampling/createMessage up to 2025-11-25; since 2026-07-28 input requests of results and of tasks (SEP-2663).
"""

from __future__ import annotations

from typing import Any

import pytest
import trio
from mcp import Client
from mcp_types import (
    CreateMessageResult,
    CreateMessageResultWithTools,
    ErrorData,
    ImageContent,
    Implementation,
    InputRequiredResult,
    SamplingCapability,
    SamplingToolsCapability,
    ToolUseContent,
)

from tests.serving.kit import ERAS, Place, new_place, succeed
from tests.serving.sampling_kit import THINK, Model, Thinker, said, thinking
from tests.serving.tasks_client import Known, begun, request, status, until
from tests.specialists.one_front import one_front
from vespera_agents.providers.exchange import Completion, Finish, ModelRequest

TOOLED = {"sampling_capabilities": SamplingCapability(tools=SamplingToolsCapability())}
STATUS = "orchestrator_get_status"


class NobodyAsksIt:
    async def answer(self, request: ModelRequest) -> Completion:
        raise AssertionError(request)


@pytest.fixture
def place():
    with new_place() as made:
        yield made


async def session(place: Place, client: Client) -> None:
    await succeed(client, "orchestrator_initialize_session", working_directory=str(place.project))


async def ended(client: Client, thinker: Thinker, job_id: str) -> Any:
    """Look after a job as any client does until it has ended, and give it."""
    with trio.fail_after(20):
        while True:
            await succeed(client, STATUS)
            job = await thinker.orchestrator.jobs.get(job_id)
            if job.ended:
                return job
            await trio.sleep(0.01)


@pytest.mark.parametrize("era", ERAS)
async def test_a_client_that_knows_no_tasks_lends_its_model(place, era):
    model = Model()
    async with thinking(place, era, sampling_callback=model) as (client, thinker, _):
        await session(place, client)
        job = (await succeed(client, THINK, purposes=["a/1", "b/1"]))["job"]
        found = await ended(client, thinker, job)
        assert found.status == "completed", found.message
        assert thinker.texts == {"a/1": "answer to: what of a/1?", "b/1": "answer to: what of b/1?"}
        assert {one.system_prompt for one in model.asked} == {"You are a role."}
        assert len(model.asked) == 2
        answer = thinker.answers["a/1"]
        assert (answer.provider, answer.model, answer.cost_usd) == ("client", "the-client-s", 0.0)
        assert answer.usage.estimated
        assert answer.finish is Finish.END


async def test_a_client_that_knows_tasks_finds_the_questions_there(place):
    async with thinking(place, "auto", sampling_callback=Model(), extensions=[Known()]) as (client, thinker, _):
        await session(place, client)
        task = await begun(client, THINK, purposes=["a/1", "b/1"])
        asked: dict[str, Any] = {}
        with trio.fail_after(20):
            while len(asked) < 2:
                asked |= (await status(client, task.task_id)).get("inputRequests", {})
        assert {one["method"] for one in asked.values()} == {"sampling/createMessage"}
        texts = {key: one["params"]["messages"][0]["content"]["text"] for key, one in asked.items()}
        first, second = asked
        assert "inputRequests" in await status(client, task.task_id), "nobody had to be asked by another call"
        for key in (first, second):
            told = said(f"yes: {texts[key]}").model_dump(by_alias=True, mode="json", exclude_none=True)
            await request(client, "tasks/update", task.task_id, input_responses={key: told})
        await until(client, task.task_id, "completed")
        assert thinker.texts == {"a/1": "yes: what of a/1?", "b/1": "yes: what of b/1?"}


@pytest.mark.parametrize("era", ERAS)
async def test_without_sampling_there_is_no_such_provider_and_it_says_why(place, era):
    async with thinking(place, era) as (client, thinker, _):
        await session(place, client)
        job = await ended(client, thinker, (await succeed(client, THINK, purposes=["a/1"]))["job"])
        assert job.status == "failed"
        assert "no provider is configured" in job.message
        # There is one now, for somebody else's session.
        opened = await thinker.orchestrator.home_workspace()
        with opened.model_source.lent("session_of_another", NobodyAsksIt()):
            job = await ended(client, thinker, (await succeed(client, THINK, purposes=["a/2"]))["job"])
        assert "offers no model (it declares no sampling)" in job.message


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("takes_tools", [True, False], ids=["tools", "words"])
async def test_tools_are_offered_as_the_client_takes_them(place, era, takes_tools):
    if takes_tools:
        wanted = ToolUseContent(name="search", id="t1", input={"text": "x"})
        answer: Any = CreateMessageResultWithTools(role="assistant", content=[wanted], model="m", stop_reason="toolUse")
    else:
        answer = said('I look.\n```json\n{"calls": [{"name": "search", "arguments": {"text": "x"}}]}\n```')
    model = Model(answer)
    more = TOOLED if takes_tools else {}
    async with thinking(place, era, sampling_callback=model, **more) as (client, thinker, _):
        await session(place, client)
        await ended(client, thinker, (await succeed(client, THINK, purposes=["a/1"], tools=True))["job"])
        completion = thinker.answers["a/1"]
        assert completion.finish is Finish.TOOLS
        assert [(call.name, dict(call.arguments)) for call in completion.calls] == [("search", {"text": "x"})]
        (asked,) = model.asked
        assert (asked.tools is not None) is takes_tools
        assert ('"calls"' in (asked.system_prompt or "")) is not takes_tools


async def test_an_answer_that_is_none_is_asked_for_again_although_it_was_kept(place):
    picture = ImageContent(data="", mime_type="image/png")
    model = Model(CreateMessageResult(role="assistant", content=picture, model="m"), said("in words"))
    async with thinking(place, "auto", sampling_callback=model) as (client, thinker, _):
        await session(place, client)
        await ended(client, thinker, (await succeed(client, THINK, purposes=["a/1"]))["job"])
        assert thinker.texts == {"a/1": "in words"}
        assert len(model.asked) == 2


async def test_a_user_who_does_not_want_it_ends_it(place):
    model = Model(ErrorData(code=-1, message="User rejected sampling request"))
    async with thinking(place, "legacy", sampling_callback=model) as (client, thinker, _):
        await session(place, client)
        job = await ended(client, thinker, (await succeed(client, THINK, purposes=["a/1"]))["job"])
        assert "the user of the client does not want it" in job.message
        assert len(model.asked) == 1


async def test_another_client_is_not_asked(place):
    """Its questions hold what the work is about, and its answers cost somebody else."""
    async with thinking(place, "auto", sampling_callback=Model()) as (client, thinker, _):
        await session(place, client)
        job = (await succeed(client, THINK, purposes=["a/1"]))["job"]
        with trio.fail_after(20):
            await waiting(thinker, job)
        stranger = Model()
        info = Implementation(name="stranger", version="1")
        async with Client(client.server, client_info=info, sampling_callback=stranger) as other:
            await succeed(other, STATUS)
        assert stranger.asked == []
        asked = await client.session.call_tool(STATUS, {}, allow_input_required=True)
        assert isinstance(asked, InputRequiredResult)
        found = await ended(client, thinker, job)
        assert found.status == "completed", found.message


async def waiting(thinker: Thinker, job_id: str) -> None:
    """Wait until a job has asked."""
    while (await thinker.orchestrator.jobs.get(job_id)).status != "input_required":  # noqa: ASYNC110 - a row tells nobody
        await trio.sleep(0.01)


async def test_an_answer_counts_whichever_worker_goes_on(place):
    """One came just before the worker was replaced, the other to a question of the worker before."""
    tasks = {"sampling_callback": Model(), "extensions": [Known()]}
    told = {key: said(key).model_dump(by_alias=True, mode="json", exclude_none=True) for key in ("early", "late")}
    with one_front() as front:
        async with thinking(place, "auto", front=front, **tasks) as (client, thinker, _):
            await session(place, client)
            task = await begun(client, THINK, purposes=["a/1", "b/1"])
            asked: dict[str, Any] = {}
            with trio.fail_after(20):
                while len(asked) < 2:
                    asked |= (await status(client, task.task_id)).get("inputRequests", {})
            first, second = asked
            await request(client, "tasks/update", task.task_id, input_responses={first: told["early"]})
        front.replace()
        async with thinking(place, "auto", front=front, **tasks) as (client, thinker, _):
            again = await until(client, task.task_id, "input_required", having="inputRequests")
            assert again["inputRequests"] == {second: asked[second]}, "what was answered is not asked again"
            await request(client, "tasks/update", task.task_id, input_responses={second: told["late"]})
            await until(client, task.task_id, "completed")
            assert sorted(thinker.texts.values()) == ["early", "late"]
