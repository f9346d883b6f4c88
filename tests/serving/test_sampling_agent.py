"""A task carried out in agent mode by the client's own model, with real servers: both eras, over a pipe and over HTTP.

The client is the SDK's. Its model is a function of the test: what it is asked is what a specialist asks its model.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
from typing import Any

import pytest
import trio
from mcp import Client
from mcp.client.context import ClientRequestContext
from mcp_types import CreateMessageRequestParams, CreateMessageResult

from tests.serving.kit import ERAS, Place, connected, http_client, http_server, new_place, refuse, succeed
from tests.serving.sampling_kit import said, text_of
from tests.serving.tasks_client import Known, begun, request, status

EXECUTE, STATUS = "orchestrator_execute_task", "orchestrator_get_status"
TITLES = ("Draw the harbour", "Name the boats")
_READY = re.compile(r"worker (\d+) \(pid (\d+)\) is ready")


@pytest.fixture
def place():
    with new_place() as made:
        yield made


class Writer:
    """The client's model: hands in what it writes about the task that it is asked about."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def __call__(self, _: ClientRequestContext, params: CreateMessageRequestParams) -> CreateMessageResult:
        return self.write(text_of(params))

    def write(self, text: str) -> CreateMessageResult:
        (title,) = [one for one in TITLES if one in text] or ["?"]
        self.asked.append(title)
        return said(f"Written: {title}.")


async def planned(place: Place, client: Client) -> str:
    await succeed(client, "orchestrator_initialize_session", working_directory=str(place.project))
    subtasks = [{"title": title, "description": f"{title}, in a sentence.", "key": title[:4]} for title in TITLES]
    answer = await succeed(client, "orchestrator_plan_task", title="Picture", subtasks=subtasks)
    return answer["tasks"][0]["id"]


async def until_done(place: Place, client: Client) -> None:
    """Look after the work as any client does."""
    with trio.fail_after(60):
        while place.status("Picture") != "completed":
            await succeed(client, STATUS)
            await trio.sleep(0.02)


def judge(place: Place) -> None:
    summaries = dict(place.rows("SELECT title, summary FROM task WHERE parent_id IS NOT NULL"))
    assert summaries == {title: f"Written: {title}." for title in TITLES}
    steps = place.rows("SELECT provider, model FROM step WHERE provider IS NOT NULL")
    assert steps == [("client", "the-client-s")] * len(TITLES)


async def test_over_a_pipe_a_client_that_knows_no_tasks_answers_what_its_calls_need(place):
    writer = Writer()
    async with connected(place, "auto", sampling_callback=writer) as client:
        root = await planned(place, client)
        await succeed(client, EXECUTE, task_id=root, mode="agent")
        await until_done(place, client)
        assert sorted(writer.asked) == sorted(TITLES)
        judge(place)


async def test_over_http_in_both_eras_and_never_by_a_client_without_a_model(place):
    async with http_server(place) as server:
        for era in ERAS:
            writer = Writer()
            async with http_client(server.url, era, name=f"writer-{era}", sampling_callback=writer) as client:
                if era == ERAS[0]:
                    await succeed(client, "orchestrator_initialize_session", working_directory=str(place.project))
                answer = await succeed(client, "orchestrator_plan_task", title=era, description=TITLES[0])
                await succeed(client, EXECUTE, task_id=answer["tasks"][0]["id"], mode="agent")
                with trio.fail_after(60):
                    while place.status(era) != "completed":
                        await succeed(client, STATUS)
                        await trio.sleep(0.02)
            assert writer.asked == [TITLES[0]]
        async with http_client(server.url, "auto", name="mute") as client:
            # There is the provider by now; it is none for the work of this client.
            task = (await succeed(client, "orchestrator_plan_task", title="Picture"))["tasks"][0]["id"]
            text = await refuse(client, EXECUTE, "invalid_input", task_id=task, mode="agent")
            assert "your client offers no model of its own (sampling)" in text


async def test_an_answer_to_a_worker_that_was_killed_counts_with_the_next_one(place):
    writer = Writer()
    async with connected(place, "auto", extensions=[Known()], sampling_callback=writer) as client:
        root = await planned(place, client)
        task = await begun(client, EXECUTE, task_id=root, mode="agent")
        asked: dict[str, Any] = {}
        with trio.fail_after(30):
            while len(asked) < len(TITLES):
                asked |= (await status(client, task.task_id)).get("inputRequests", {})
        early, late = asked
        await request(client, "tasks/update", task.task_id, input_responses={early: answered(writer, asked[early])})
        kill_worker(place)
        await request(client, "tasks/update", task.task_id, input_responses={late: answered(writer, asked[late])})
        with trio.fail_after(60):
            while (found := await status(client, task.task_id))["status"] != "completed":
                assert not found.get("inputRequests"), "what was answered is not asked again"
                await trio.sleep(0.02)
        assert sorted(writer.asked) == sorted(TITLES)
        judge(place)


async def test_a_client_of_the_handshake_era_is_asked_again_over_the_same_pipe(place):
    killed = trio.Event()
    writer = Writer()

    async def slow(context: ClientRequestContext, params: CreateMessageRequestParams) -> CreateMessageResult:
        if not killed.is_set():
            kill_worker(place)
            killed.set()
            # Its worker is gone, and nobody waits for this answer.
            return said("too late")
        return await writer(context, params)

    async with connected(place, "legacy", sampling_callback=slow) as client:
        root = await planned(place, client)
        await succeed(client, EXECUTE, task_id=root, mode="agent")
        await until_done(place, client)
        # An answer that was not yet written down when the worker died is asked for once more, and no other.
        assert set(writer.asked) == set(TITLES)
        assert len(writer.asked) <= len(TITLES) + 1
        judge(place)


def answered(writer: Writer, question: Any) -> dict[str, Any]:
    told = writer.write(question["params"]["messages"][0]["content"]["text"])
    return told.model_dump(by_alias=True, mode="json", exclude_none=True)


def kill_worker(place: Place) -> None:
    """Kill the newest worker: the front's log names them."""
    logs = (place.root / "state" / "vespera" / "logs").glob("*.log")
    pids = [int(pid) for log in logs for _, pid in _READY.findall(log.read_text())]
    with contextlib.suppress(ProcessLookupError):
        os.kill(pids[-1], signal.SIGKILL)
