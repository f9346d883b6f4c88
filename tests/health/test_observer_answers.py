"""What the observer answers about one node, about where all actors wait, and about one session."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from tests.health.kit import open_session, plan
from tests.health.observing import Watcher, even_work, fed_runtime
from vespera_agents.actors import Actor, ActorRef, Request, receives
from vespera_agents.health import Health
from vespera_agents.health.observer.asking import EVENTS_MAX, PEEK_MAX
from vespera_agents.store import queries
from vespera_agents.store.commands import ClaimTask, FinishTask
from vespera_agents.work.drafts import DependencyDraft, TaskDraft
from vespera_agents.work.models import TaskStatus


@pytest.fixture(autouse=True)
def work_is_even(monkeypatch: pytest.MonkeyPatch) -> None:
    even_work(monkeypatch)


@dataclass(frozen=True)
class Secret:
    text: str


@dataclass(frozen=True)
class Question(Request[str]):
    text: str


class Keeper(Actor):
    @receives
    async def keep(self, _: Secret) -> None:
        await self.hold_on()

    async def hold_on(self) -> None:
        await trio.sleep(1_000)

    @receives
    def answer(self, message: Question) -> str:
        return message.text


class Asker(Actor):
    def __init__(self, keeper: ActorRef[Keeper]) -> None:
        self.keeper = keeper

    @receives
    async def ask(self, message: Secret) -> None:
        await self.keeper.ask(Question(message.text), timeout_seconds=math.inf)


class Breaker(Actor):
    @receives
    def broken(self, _: Secret) -> None:
        raise LookupError("it broke")


async def told_of(health: Health, name: str) -> dict[str, Any]:
    async with health.feed.watch() as viewer:
        watcher = Watcher(viewer)
        await watcher.hear()
        answer = await health.answers.actor(watcher.named(name)["key"])
    assert answer is not None
    return json.loads(answer)


async def test_a_mailbox_is_shown_by_types_and_ages_and_who_asks(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with fed_runtime(tmp_path) as (runtime, health):
        keeper = await runtime.system.start(Keeper, name="keeper")
        asker = await runtime.system.start(Asker, keeper, name="asker")
        keeper.tell(Secret("first"))
        await trio.sleep(1)
        for number in range(PEEK_MAX + 5):
            keeper.tell(Secret(f"canary {number}"))
        asker.tell(Secret("canary"))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: keeper.ask(Question("canary"), timeout_seconds=500))
            await trio.sleep(3)
            told = await told_of(health, "keeper")
            nursery.cancel_scope.cancel()
        assert (told["name"], told["kind"], told["state"]) == ("keeper", "Keeper", "running")
        mailbox = told["mailbox"]
        assert (mailbox["depth"], mailbox["capacity"]) == (PEEK_MAX + 7, 1_000)
        assert 2.9 < mailbox["oldest_seconds"] < 3.1
        assert mailbox["peek"] == [{"type": "Secret", "age_seconds": None}] * PEEK_MAX, "the oldest, and no bodies"
        assert "canary" not in json.dumps(told)
        functions = [line["function"] for line in told["await_stack"]]
        assert functions[functions.index("Keeper.keep") :][:2] == ["Keeper.keep", "Keeper.hold_on"]
        assert all(Path(line["file"]).name and line["line"] > 0 for line in told["await_stack"])
        assert told["crash"] is None
        assert told["context"] is None
        assert [event["kind"] for event in told["events"]] == ["child_started"]


async def test_who_waits_for_an_answer_is_named(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with fed_runtime(tmp_path) as (runtime, health):
        keeper = await runtime.system.start(Keeper, name="keeper")
        asker = await runtime.system.start(Asker, keeper, name="asker")
        keeper.tell(Secret("first"))
        async with trio.open_nursery() as nursery:
            asker.tell(Secret("for ever"))
            nursery.start_soon(lambda: keeper.ask(Question("canary"), timeout_seconds=500), name="a task")
            await trio.sleep(3)
            peek = (await told_of(health, "keeper"))["mailbox"]["peek"]
            nursery.cancel_scope.cancel()
        by_asker = {each.pop("from").rpartition(".")[2]: each for each in peek}
        assert by_asker["asker"] == {"type": "Question", "age_seconds": None}, "for ever does not say since when"
        assert by_asker["a task"] == {"type": "Question", "age_seconds": pytest.approx(3.0, abs=0.5)}


async def test_the_last_crash_is_shown_with_its_traceback_and_what_was_told_of_it(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with fed_runtime(tmp_path) as (runtime, health):
        breaker = await runtime.system.start(Breaker, name="breaker")
        breaker.tell(Secret("canary"))
        await trio.sleep(2)
        told = await told_of(health, "breaker")
        assert "LookupError: it broke" in told["crash"]["reason"]
        assert 'raise LookupError("it broke")' in told["crash"]["traceback"]
        assert "canary" not in json.dumps(told)
        kinds = [event["kind"] for event in told["events"]]
        assert kinds == ["child_started", "child_crashed", "child_restarted"]
        assert {event["offender"]["id"] for event in told["events"]} == {"breaker"}
        assert len(kinds) <= EVENTS_MAX


async def test_what_is_no_actor_and_what_is_not_there(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with fed_runtime(tmp_path) as (_, health):
        assert await health.answers.actor(1) is None, "nobody watches, so there are no numbers"
        told = await told_of(health, "watchdog")
        assert (told["kind"], told["mailbox"], told["await_stack"]) == ("", None, [])
        assert [event["supervisor"] for event in told["events"]] == ["health"]
        assert await health.answers.actor(999_999) is None
        assert await health.answers.session("nobody") is None
        root = json.loads(await health.answers.actor(0) or b"null")
        assert (root["name"], root["state"]) == ("root", "running")


async def test_where_all_actors_wait_is_told_in_one_answer(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with fed_runtime(tmp_path) as (runtime, health):
        busy = await runtime.system.start(Keeper, name="keeper")
        busy.tell(Secret("canary"))
        for _ in range(250):
            runtime.system.spawn(Breaker)
        await trio.sleep(1)
        answer = json.loads(await health.answers.stacks() or b"null")
        lines = dict(answer["actors"])
        assert len(lines) == 251
        assert answer["took_seconds"] > 0
        assert all(" in " in line and ":" in line for line in lines.values())
        assert "canary" not in json.dumps(answer)


async def test_a_session_is_shown_with_its_graph_and_how_long_tasks_of_a_role_take(tmp_path: Path) -> None:
    async with fed_runtime(tmp_path) as (runtime, health):
        directory = tmp_path / "project"
        directory.mkdir()
        opened = await runtime.workspace(directory)
        session = await open_session(opened, "work")
        ids = await plan(
            opened,
            session,
            [
                TaskDraft(key="a", title="First", description="canary", specialist="tester"),
                TaskDraft(key="b", title="Second", dependencies=(DependencyDraft(on="a"),)),
            ],
        )
        await opened.store.execute(ClaimTask("tester", ids["a"], opened.server), opened.key())
        finish = FinishTask("tester", ids["a"], opened.server, TaskStatus.COMPLETED, summary="canary")
        await opened.store.execute(finish, opened.key())
        task = await opened.store.read(queries.task, ids["a"])
        answer = await health.answers.session(session)
        assert answer is not None
        assert b"canary" not in answer
        told = json.loads(answer)
        first, second = told["tasks"]
        assert (told["name"], told["tasks_total"]) == ("work", 2)
        assert (first["title"], first["status"], first["role"], first["attempts"]) == (
            "First",
            "completed",
            "tester",
            1,
        )
        assert (first["started_at"], first["ended_at"]) == (task.started, task.finished)
        assert (second["depends_on"], second["status"], second["started_at"]) == ([ids["a"]], "pending", None)
        assert list(told["durations"]) == ["tester"]
        async with health.feed.watch() as viewer:
            watcher = Watcher(viewer)
            with trio.fail_after(30):
                while not watcher.told.get("sessions"):
                    await watcher.hear()
        (line,) = watcher.told["sessions"]
        assert (line["id"], line["name"], line["counts"]) == (session, "work", {"completed": 1, "pending": 1})
        assert line["workspace"] == str(directory)
        assert watcher.told["server"]["workspaces"] == [str(directory)]
        assert watcher.told["life"] == f"{opened.server}/1"
