"""What a worker decides about its own life: when it asks, waits, refuses, answers for the one before, and ends.

In this process, with a front that says what the test wants it to say; `test_lifecycle.py` has real ones.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import trio
from mcp import Client
from mcp_types import CallToolResult, Implementation

from tests.serving.kit import Place, new_place, refuse, succeed, text_of
from tests.specialists.one_front import OneFront, one_front
from vespera_agents.serving.front_link import LinkClosed
from vespera_agents.serving.lifecycle import preparing, restarting
from vespera_agents.serving.lifecycle.life import Life, Told, life_of, life_spec
from vespera_agents.serving.lifecycle.standing import standing_of
from vespera_agents.serving.lifecycle.surface import surface_of
from vespera_agents.serving.protocol.callers import KEY_META
from vespera_agents.serving.protocol.server import build_server
from vespera_agents.serving.tools.catalogue import TOOLS
from vespera_agents.specialists.orchestrator import Orchestrator
from vespera_agents.specialists.runtime import Runtime, open_runtime
from vespera_agents.store.commands import PlanTasks
from vespera_agents.work.drafts import DependencyDraft, TaskDraft
from vespera_agents.work.models import CommandLine

RESTART = "orchestrator_restart_server"
STATUS = "orchestrator_restart_status"
PREPARE = "orchestrator_shutdown_prepare"
KEY = {KEY_META: "one wish"}
NUMBERS = itertools.count(1)
ACCEPTED = {"accepted": True}
SURFACE = {"tools": "t1", "prompts": "p1", "resources": "r1"}


@pytest.fixture
def place() -> Iterator[Place]:
    with new_place() as one:
        yield one


@pytest.fixture
def front() -> Iterator[OneFront]:
    with one_front() as one:
        one.answers = answers({})
        yield one


def answers(restart: Mapping[str, object] | Exception) -> Callable[[Mapping[str, object]], dict[str, object]]:
    """Answer as a front does, and a wish for a restart with what is given."""

    def answer(question: Mapping[str, object]) -> dict[str, object]:
        if question["ask"] == "restart":
            if isinstance(restart, Exception):
                raise restart
            return dict(restart)
        return dict(question)

    return answer


def under_way(*phases: tuple[str, float, float], error: str | None = None, reason: str = "r") -> dict[str, object]:
    told = [{"name": name, "seconds": seconds, "percent": percent} for name, seconds, percent in phases]
    return {"key": "1", "reason": reason, "mode": "graceful", "phases": told, "error": error}


class Keyed:
    """A client that names each of its calls, as a front does: numbers go on where the last worker's ended."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def call_tool(self, name: str, arguments: Mapping[str, Any], meta: Any = None) -> CallToolResult:
        return await self._client.call_tool(name, dict(arguments), meta=meta or {KEY_META: f"call {next(NUMBERS)}"})


@dataclass
class Worker:
    """One generation, and a client of it."""

    client: Any
    runtime: Runtime
    orchestrator: Orchestrator
    renewed: list[str] = field(default_factory=list)

    async def life(self) -> Life:
        found = await life_of(self.orchestrator)
        assert found is not None
        return found


@asynccontextmanager
async def worker(
    place: Place,
    front: OneFront,
    reason: str = "start",
    surface: Mapping[str, str] = SURFACE,
    part_of: Mapping[str, object] | None = None,
) -> AsyncIterator[Worker]:
    """Be the worker of a front at this moment."""
    renewed: list[str] = []
    told = Told(reason, "1.0", surface, part_of)
    async with open_runtime("serve", registry=place.registry, front=front) as runtime:
        orchestrator = Orchestrator(runtime, place.project)
        await runtime.workspace(place.project)
        await runtime.doors.start_child(life_spec(orchestrator, front, told, renewed.extend))
        async with Client(build_server(orchestrator), client_info=Implementation(name="one", version="1")) as client:
            with trio.fail_after(30):
                await (await life_of_(orchestrator)).begun.wait()
                yield Worker(Keyed(client), runtime, orchestrator, renewed)


async def life_of_(orchestrator: Orchestrator) -> Life:
    found = await life_of(orchestrator)
    assert found is not None
    return found


async def until(condition: Callable[[], object]) -> None:
    with trio.fail_after(20):
        while not condition():  # noqa: ASYNC110 - what is waited for is in the store
            await trio.sleep(0.01)


# ---- a restart


async def test_a_restart_that_the_front_refuses_is_a_failure_and_the_worker_goes_on(place, front) -> None:
    front.answers = answers({"error": "there is no room for another process"})
    async with worker(place, front) as one:
        text = await refuse(one.client, RESTART, "restart_failed", reason="why")
        assert "there is no room for another process" in text
        assert place.rows("SELECT status, error, following FROM restart") == [
            ("failed", "there is no room for another process", None)
        ]
        assert one.runtime.admission.is_open
        state = await succeed(one.client, STATUS)
        assert (state["phase"], state["error"]) == ("failed", "there is no room for another process")
        asked = next(question for question in front.asked if question["ask"] == "restart")
        assert (asked["mode"], asked["timeout"], asked["reason"]) == ("graceful", 30.0, "why")


async def test_a_front_that_is_gone_is_a_failure(place, front) -> None:
    front.answers = answers(LinkClosed("the front of this server is gone: start the server again"))
    async with worker(place, front) as one:
        text = await refuse(one.client, RESTART, "restart_failed")
        assert "start the server again" in text


async def test_a_new_worker_that_does_not_become_ready_is_told_by_the_old_one(place, front) -> None:
    front.answers = answers(ACCEPTED)
    # It tells of an earlier restart, which is none of this one's business.
    front.standing = {"restarting": under_way(("start", 1.0, 50), error="an old failure")}
    texts: list[str] = []
    async with worker(place, front) as one, trio.open_nursery() as nursery:

        async def ask() -> None:
            texts.append(await refuse(one.client, RESTART, "restart_failed"))

        nursery.start_soon(ask)
        await until(lambda: any(question["ask"] == "restart" for question in front.asked))
        front.say(restarting=under_way(("start", 0.1, 10)))
        await trio.sleep(0.05)
        assert texts == []
        front.say(restarting=under_way(("start", 2.0, 100), error="it ended with exit status 1"))
        await until(lambda: texts)
        assert "it ended with exit status 1" in texts[0]
        assert "an old failure" not in texts[0]


async def test_a_front_that_says_nothing_more_is_given_up(place, front, monkeypatch) -> None:
    monkeypatch.setattr(restarting, "GRACE_SECONDS", -0.9)
    front.answers = answers(ACCEPTED)
    async with worker(place, front) as one:
        text = await refuse(one.client, RESTART, "restart_failed", timeout=1)
        assert "no new worker was ready within" in text


async def test_a_restart_is_answered_by_the_next_worker_from_the_row_and_asks_for_nothing(place, front) -> None:
    front.answers = answers(ACCEPTED)
    given = {"reason": "once"}
    async with worker(place, front) as one, trio.open_nursery() as nursery:
        nursery.start_soon(one.client.call_tool, RESTART, given, KEY)
        await until(lambda: front.asked)
        nursery.cancel_scope.cancel("this worker is replaced")
    assert place.rows("SELECT status, generation FROM restart") == [("asked", 1)]
    front.replace()
    front.standing = {"restarting": under_way(("start", 1.25, 100), ("drain", 0.5, 100), ("activate", 0.01, 50))}
    async with worker(place, front, "restart") as two:
        asked = len(front.asked)
        answered: list[Any] = []

        async def repeat() -> None:
            answered.append(await two.client.call_tool(RESTART, given, KEY))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(repeat)
            await trio.sleep(0.05)
            whole = under_way(("start", 1.25, 100), ("drain", 0.5, 100), ("activate", 0.02, 100))
            front.say(restarting=whole)
            front.say()
        (result,) = answered
        assert not result.is_error, text_of(result)
        told = result.structured_content
        assert told["from_worker"].startswith("generation 1, process ")
        assert told["to_worker"].startswith("generation 2, process ")
        assert told["phases"] == [["start", 1.25], ["drain", 0.5], ["activate", 0.02]]
        assert len(front.asked) == asked, "it asked for another one"
        assert place.rows("SELECT status, following FROM restart") == [("done", 2)]
        await until(lambda: "0.02" in place.rows("SELECT phases FROM restart")[0][0])


async def test_a_worker_that_died_before_it_was_replaced_has_failed_to_be(place, front) -> None:
    """Killed between the wish and the drain: a spare took over, whose code nobody renewed, and the history has both."""
    front.answers = answers(ACCEPTED)
    async with worker(place, front) as one, trio.open_nursery() as nursery:
        nursery.start_soon(one.client.call_tool, RESTART, {}, KEY)
        await until(lambda: front.asked)
        nursery.cancel_scope.cancel("it dies")
    front.replace()
    front.standing = {"crashes": [{"generation": 1, "at": 1.0, "pid": 7, "status": -9, "ready": True}]}
    async with worker(place, front, "crash") as two:
        result = await two.client.call_tool(RESTART, {}, KEY)
        assert result.is_error
        assert "generation 2 took over as after a crash: the worker that was asked died" in text_of(result)
        assert place.rows("SELECT status, following FROM restart") == [("failed", 2)]
        assert place.rows("SELECT ending FROM generation WHERE number=1") == [("signal 9",)]


async def test_a_spare_that_takes_over_in_a_restart_says_that_it_failed_and_which_code_serves(place, front) -> None:
    front.answers = answers(ACCEPTED)
    async with worker(place, front) as one, trio.open_nursery() as nursery:
        nursery.start_soon(one.client.call_tool, RESTART, {}, KEY)
        await until(lambda: front.asked)
        nursery.cancel_scope.cancel("this worker is replaced")
    front.replace()
    error = "the new process ended; worker 2 serves, with the code from before the restart"
    front.standing = {"restarting": under_way(("start", 1.0, 100), error=error)}
    async with worker(place, front, "restart", part_of={"error": error}) as two:
        result = await two.client.call_tool(RESTART, {}, KEY)
        assert result.is_error
        assert error in text_of(result)
        state = await succeed(two.client, STATUS, include_history=True)
        assert (state["generation"], state["phase"], state["error"]) == (2, "failed", error)
        assert any(what.endswith(f": {error}") for _, what in state["history"])


async def test_a_worker_between_the_one_that_was_asked_and_the_fresh_one_leaves_the_answer_to_that(
    place, front
) -> None:
    """The old one died while the fresh one started: a spare works meanwhile, and is replaced."""
    front.answers = answers(ACCEPTED)
    async with worker(place, front) as one, trio.open_nursery() as nursery:
        nursery.start_soon(one.client.call_tool, RESTART, {}, KEY)
        await until(lambda: front.asked)
        nursery.cancel_scope.cancel("it dies")
    front.replace()
    begun = under_way(("start", 1.0, 50))
    front.standing = {"restarting": begun}
    async with worker(place, front, "crash", part_of=begun) as two, trio.open_nursery() as nursery:
        nursery.start_soon(two.client.call_tool, RESTART, {}, KEY)
        await (await two.life()).settled.wait()
        assert place.rows("SELECT status, following FROM restart") == [("asked", None)]
        nursery.cancel_scope.cancel("this worker is replaced, too")
    front.replace()
    async with worker(place, front, "restart", part_of=begun) as three:
        front.standing = {}
        result = await three.client.call_tool(RESTART, {}, KEY)
        assert not result.is_error, text_of(result)
        assert place.rows("SELECT status, following FROM restart") == [("done", 3)]


async def test_without_room_to_write_the_wish_down_nothing_is_restarted(place, front) -> None:
    front.answers = answers(ACCEPTED)
    async with worker(place, front) as one:
        opened = await one.orchestrator.home_workspace()
        database = opened.store.database
        database.rename(database.with_suffix(".away"))
        result = await one.client.call_tool(RESTART, {})
        assert result.is_error
        assert not any(question["ask"] == "restart" for question in front.asked)
        database.with_suffix(".away").rename(database)


# ---- a drain


async def test_a_drain_lets_calls_end_holds_new_ones_and_goes_on_when_it_is_called_off(place, front) -> None:
    async with worker(place, front) as one:
        await succeed(one.client, "orchestrator_initialize_session", name="work")
        life = await one.life()
        made: list[str] = []

        async def plan() -> None:
            await succeed(one.client, "orchestrator_plan_task", title="held")
            made.append("held")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(life.drain, 30.0)
            await until(lambda: one.runtime.admission.draining)
            nursery.start_soon(plan)
            # What only reads is answered by whoever is there.
            assert (await succeed(one.client, STATUS))["generation"] == 1
            await until(lambda: one.runtime.admission.statistics().held)
            assert made == []
            life.resume()
            await until(lambda: made)
        assert one.runtime.admission.is_open


async def test_a_drain_ends_when_nothing_is_under_way_and_names_what_is_left(place, front) -> None:
    async with worker(place, front) as one:
        life = await one.life()
        left = await life.drain(30.0)
        assert (left["calls"], left["work"]) == ([], [])
        life.resume()
        with one.runtime.admission.under_way("slow", "mcp:two"):
            left = await life.drain(0.2)
        assert left["calls"] == ["slow of mcp:two"]


async def test_with_preserve_state_false_nothing_is_written_down_for_the_next_worker(place, front) -> None:
    front.answers = answers(ACCEPTED)
    file = place.workspace.servers / f"{front.server}.handover"
    for preserve in (True, False):
        async with worker(place, front) as one, trio.open_nursery() as nursery:
            await one.client.call_tool("orchestrator_initialize_session", {"name": "work"})
            planned = await succeed(one.client, "orchestrator_plan_task", title=f"preserve {preserve}")
            task_id = planned["tasks"][0]["id"]
            await succeed(one.client, "orchestrator_execute_task", task_id=task_id)
            front.asked.clear()
            nursery.start_soon(one.client.call_tool, RESTART, {"preserve_state": preserve})
            await until(lambda: any(question["ask"] == "restart" for question in front.asked))
            # A share of it is for what is written down.
            await (await one.life()).drain(30.0)
            assert file.exists() == preserve
            nursery.cancel_scope.cancel("it is replaced")
        front.replace()
        async with worker(place, front, "restart") as two:
            await (await two.life()).settled.wait()
            kept = place.rows("SELECT handed_over FROM restart ORDER BY seq DESC LIMIT 1")[0][0]
            assert (task_id in kept) == preserve
        front.replace()


# ---- what is written down


async def test_lists_that_are_others_than_those_of_the_worker_before_are_told(place, front) -> None:
    async with worker(place, front) as one:
        assert one.renewed == []
    front.replace()
    async with worker(place, front, "crash") as two:
        assert two.renewed == []
    front.replace()
    async with worker(place, front, "restart", {**SURFACE, "tools": "t2"}) as three:
        assert three.renewed == ["tools"]
    front.replace()
    async with worker(place, front, "restart", {"tools": "t2", "prompts": "p2", "resources": "r2"}) as four:
        assert four.renewed == ["prompts", "resources"]


async def test_deaths_are_written_down_once_and_how_when_that_is_known(place, front) -> None:
    crash = {"generation": 1, "at": 5.0, "pid": 7, "status": None, "ready": False}
    front.generation = 3
    async with worker(place, front, "crash"):
        front.say(crashes=[crash])
        await until(lambda: place.rows("SELECT 1 FROM generation WHERE ending LIKE '%not known%'"))
        front.say(crashes=[{**crash, "status": 70}, {**crash, "generation": 2, "status": -9, "ready": True}])
        await until(lambda: place.rows("SELECT 1 FROM generation WHERE number=2"))
        assert place.rows("SELECT number, ending FROM generation ORDER BY number") == [
            (1, "exit status 70 before it was ready"),
            (2, "signal 9"),
            (3, None),
        ]
        assert len(place.rows("SELECT 1 FROM event WHERE what='worker_died'")) == 2


async def test_what_a_front_says_is_read_kindly() -> None:
    for odd in ({}, {"restarting": 7, "crashes": "many", "spare": "yes", "processes": None}, {"crashes": [1, None]}):
        read = standing_of(odd)
        assert (read.restarting, read.crashes, read.spare, read.processes) == (None, (), None, 0)
    read = standing_of({"restarting": {"phases": [{"name": "start"}, 3]}, "spare": True, "processes": 4})
    assert read.restarting is not None
    assert [phase.name for phase in read.restarting.phases] == ["start"]
    assert not read.restarting.is_over


async def test_a_phase_that_is_under_way_is_live(place, front) -> None:
    async with worker(place, front) as one:
        before = await succeed(one.client, STATUS)
        front.answers = lambda _: {"restarting": under_way(("start", 2.0, 100), ("drain", 0.5, 40), reason="new code")}
        state = await succeed(one.client, STATUS)
        assert (state["phase"], state["percent"], state["reason"]) == ("drain", 40.0, "new code")
        assert state["phases"] == [["start", 2.0], ["drain", 0.5]]
        # When it began by its phases, not when this worker did: nobody but the front knows of one by SIGHUP.
        front.answers = lambda _: {"restarting": under_way(("start", 2000.0, 100), ("drain", 0.5, 40), reason="SIGHUP")}
        assert (await succeed(one.client, STATUS))["started"] < before["started"]


def test_the_surface_says_when_lists_are_others_and_nothing_else() -> None:
    name, tool = next(iter(TOOLS.items()))
    before = surface_of(TOOLS)
    assert surface_of(dict(TOOLS)) == before
    after = surface_of({**TOOLS, name: replace(tool, title="Another title")})
    assert after["tools"] != before["tools"]
    assert (after["prompts"], after["resources"]) == (before["prompts"], before["resources"])
    assert surface_of({name: tool})["tools"] != before["tools"]


# ---- a shutdown


async def test_a_prepared_shutdown_names_what_holds_it_up_and_waits_for_what_ends(place, front) -> None:
    async with worker(place, front) as one:
        await succeed(one.client, "orchestrator_initialize_session", name="work")
        planned = await succeed(one.client, "orchestrator_plan_task", title="mine")
        task_id = planned["tasks"][0]["id"]
        await succeed(one.client, "orchestrator_execute_task", task_id=task_id)
        prepared = await succeed(one.client, PREPARE)
        assert not prepared["ready"]
        ((what, by, since),) = prepared["blockers"]
        assert (what, by) == (f"{task_id} mine", front.server)
        assert since
        again = await succeed(one.client, PREPARE)
        assert again["prepared_since"] == prepared["prepared_since"]
        await succeed(one.client, "orchestrator_complete_task", task_id=task_id, summary="done", next_action="complete")
        assert (await succeed(one.client, PREPARE))["ready"]


async def test_a_call_that_does_not_end_is_a_blocker(place, front, monkeypatch) -> None:
    monkeypatch.setattr(preparing, "DRAIN_SECONDS", 0.1)
    async with worker(place, front) as one:
        with one.runtime.admission.under_way("orchestrator_complete_task", "mcp:two"):
            prepared = await succeed(one.client, PREPARE)
        ((what, by, _),) = prepared["blockers"]
        assert (what, by) == ("call orchestrator_complete_task", "mcp:two")
        assert (await succeed(one.client, PREPARE))["ready"]


async def test_a_prepared_shutdown_outlives_a_crash_and_ends_with_a_restart(place, front) -> None:
    front.answers = answers(ACCEPTED)
    async with worker(place, front) as one:
        await succeed(one.client, "orchestrator_initialize_session", name="work")
        await succeed(one.client, PREPARE)
    front.replace()
    async with worker(place, front, "crash") as two, trio.open_nursery() as nursery:
        await refuse(two.client, "orchestrator_plan_task", "conflict", title="new")
        nursery.start_soon(two.client.call_tool, RESTART, {})
        await until(lambda: any(question["ask"] == "restart" for question in front.asked))
        nursery.cancel_scope.cancel("it is replaced")
    front.replace()
    async with worker(place, front, "restart") as three:
        await succeed(three.client, "orchestrator_plan_task", title="new")


async def test_specialists_begin_nothing_while_the_door_is_closed_and_go_on_when_it_opens(place, front) -> None:
    place.workspace.make()
    place.trust('[commands]\nallow = ["sleep", "true"]\nshell = true\n')
    async with worker(place, front) as one:
        session = await succeed(one.client, "orchestrator_initialize_session", name="work")
        opened = await one.orchestrator.home_workspace()
        drafts = [
            TaskDraft(key="a", title="first", run=CommandLine(text="sleep 0.5")),
            TaskDraft(key="b", title="second", run=CommandLine(text="true"), dependencies=(DependencyDraft(on="a"),)),
        ]
        both = TaskDraft(key="both", title="both", subtasks=tuple(drafts))
        await opened.store.execute(PlanTasks("test", session["id"], (both,)), opened.key())
        root = place.rows("SELECT id FROM task WHERE title='both'")[0][0]
        await succeed(one.client, "orchestrator_execute_task", task_id=root, mode="agent")
        await until(lambda: place.status("first") == "in_progress")
        left = await (await one.life()).drain(20.0)
        assert left["work"] == [], "it waited for what was at work"
        assert (place.status("first"), place.status("second")) == ("completed", "pending")
        await trio.sleep(1.2)
        assert place.status("second") == "pending"
        assert place.rows("SELECT status FROM job") == [("working",)]
        (await one.life()).resume()
        await until(lambda: place.status("second") == "completed")
        await until(lambda: place.rows("SELECT status FROM job") == [("completed",)])
