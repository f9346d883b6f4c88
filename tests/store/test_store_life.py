"""The store as a supervised child: opening, closing, restarting, and who waits meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from supervisors import ChildSpec, Supervisor
from vespera_agents.store import store as store_module
from vespera_agents.store import writer as writer_module
from vespera_agents.store.commands import ClaimTask, FinishTask, OpenSession, PlanTasks
from vespera_agents.store.errors import StoreClosed, StoreUnavailable
from vespera_agents.store.store import Store
from vespera_agents.store.transaction import CommandKey, StatusChange, Transaction
from vespera_agents.work.models import TaskStatus


def key(name: str) -> CommandKey:
    return CommandKey("test", name)


def session(name: str) -> OpenSession:
    return OpenSession("test", "/somewhere", name)


@dataclass(frozen=True)
class Hold:
    """A command that stays in the writer until it may go."""

    begun: threading.Event = field(default_factory=threading.Event)
    go: threading.Event = field(default_factory=threading.Event)
    by: str = "test"

    def fingerprint(self) -> bytes:
        return b"hold"

    def apply(self, transaction: Transaction) -> str:
        transaction.event("held")
        self.begun.set()
        assert self.go.wait(30)
        return "held"


def outcome_of(results: dict[str, Any], name: str, work: Callable[[], Any]):
    async def run() -> None:
        try:
            results[name] = await work()
        except Exception as error:
            results[name] = error

    return run


async def test_a_store_that_is_not_running_says_so_after_a_while(database, autojump_clock: MockClock) -> None:
    store = Store(database, database.parent)
    started = trio.current_time()
    with pytest.raises(StoreClosed, match="not running"):
        await store.execute(session("a"), key("a"))
    with pytest.raises(StoreClosed, match="not running"):
        await store.read(lambda connection: connection)
    assert trio.current_time() - started == 2 * store_module.OPEN_WAIT_SECONDS
    assert not database.exists()


async def test_callers_that_come_before_the_store_is_open_are_served_when_it_is(database) -> None:
    store = Store(database, database.parent)
    results: dict[str, Any] = {}
    async with trio.open_nursery() as nursery:
        async with trio.open_nursery() as callers:
            callers.start_soon(outcome_of(results, "write", lambda: store.execute(session("a"), key("a"))))
            callers.start_soon(outcome_of(results, "read", lambda: store.read(lambda _: "read")))
            await wait_all_tasks_blocked()
            nursery.start_soon(store.run)
        nursery.cancel_scope.cancel()
    assert results["write"]["created"]
    assert results["read"] == "read"


async def test_what_is_queued_when_the_store_stops_is_still_committed(database, running, look) -> None:
    store = Store(database, database.parent)
    results: dict[str, Any] = {}
    hold = Hold()
    async with trio.open_nursery() as callers, running(store):
        callers.start_soon(outcome_of(results, "hold", lambda: store.execute(hold, key("hold"))))
        assert await trio.to_thread.run_sync(hold.begun.wait, 30)
        for name in ("a", "b"):
            work = lambda name=name: store.execute(session(name), key(name))
            callers.start_soon(outcome_of(results, name, work))
        await wait_all_tasks_blocked()
        assert store.statistics().queue_depth == 3
        assert store.tree_detail()["waiting"] == 3
        threading.Timer(0.05, hold.go.set).start()
    assert results["hold"] == "held"
    assert results["a"]["created"]
    assert results["b"]["created"]
    assert look("SELECT count(*) FROM session") == [(2,)]
    assert store.statistics().queue_depth == 0


async def test_a_stop_that_runs_out_of_time_answers_those_who_still_wait(database, running, monkeypatch, look) -> None:
    monkeypatch.setattr(store_module, "CLOSE_SECONDS", 0.05)
    monkeypatch.setattr(store_module, "OPEN_WAIT_SECONDS", 0.05)
    store = Store(database, database.parent)
    results: dict[str, Any] = {}
    hold = Hold()
    async with trio.open_nursery() as callers:
        async with trio.open_nursery() as waiting, running(store):
            callers.start_soon(outcome_of(results, "begun", lambda: store.execute(hold, key("hold"))))
            assert await trio.to_thread.run_sync(hold.begun.wait, 30)
            waiting.start_soon(outcome_of(results, "waiting", lambda: store.execute(session("a"), key("a"))))
            await wait_all_tasks_blocked()
        assert isinstance(results["waiting"], StoreClosed)
        assert "begun" not in results
        hold.go.set()
    assert results["begun"] == "held"
    async with running(store):
        assert (await store.execute(session("a"), key("a")))["created"]
    assert look("SELECT count(*) FROM event WHERE what = 'held'") == [(1,)]


async def test_too_many_waiting_commands_are_refused(database, running, monkeypatch) -> None:
    monkeypatch.setattr(store_module, "PENDING_MAX", 1)
    hold = Hold()
    async with running() as store, trio.open_nursery() as callers:
        callers.start_soon(store.execute, hold, key("hold"))
        assert await trio.to_thread.run_sync(hold.begun.wait, 30)
        with pytest.raises(StoreUnavailable, match="wait for the disk already"):
            await store.execute(session("a"), key("a"))
        hold.go.set()


class BrokenClock:
    """A wall clock that fails when it is told to: a fault that is nobody's command."""

    def __init__(self) -> None:
        self.broken = False
        self.now = 1_000_000.0

    def __call__(self) -> float:
        if self.broken:
            self.broken = False
            raise ZeroDivisionError("the clock stopped")
        self.now += 1
        return self.now


async def test_a_supervised_store_comes_back_and_callers_only_wait(database, look) -> None:
    clock = BrokenClock()
    store = Store(database, database.parent, clock=clock)
    results: dict[str, Any] = {}
    async with trio.open_nursery() as nursery:
        supervisor = Supervisor([ChildSpec("store", store.run)], name="root")
        await nursery.start(supervisor.run)
        await store.execute(session("a"), key("a"))
        clock.broken = True
        with pytest.raises(StoreUnavailable, match="clock stopped"):
            await store.execute(session("b"), key("b"))
        async with trio.open_nursery() as callers:
            for name in ("b", "c"):
                work = lambda name=name: store.execute(session(name), key(name))
                callers.start_soon(outcome_of(results, name, work))
            callers.start_soon(outcome_of(results, "read", lambda: store.read(lambda _: "read")))
        assert results["b"]["created"]
        assert results["c"]["created"]
        assert results["read"] == "read"
        (child,) = supervisor.snapshot().children
        assert child.restarts == 1
        nursery.cancel_scope.cancel()
    assert sorted(look("SELECT name FROM session")) == [("a",), ("b",), ("c",)]


async def test_callers_wait_through_a_start_that_failed(database, running, monkeypatch) -> None:
    store = Store(database, database.parent)
    results: dict[str, Any] = {}

    def fail(*_: object) -> int:
        raise StoreUnavailable("not now")

    async with trio.open_nursery() as callers:
        served = trio.Event()

        async def call() -> None:
            await outcome_of(results, "a", lambda: store.execute(session("a"), key("a")))()
            served.set()

        callers.start_soon(call)
        await wait_all_tasks_blocked()
        with monkeypatch.context() as patch:
            patch.setattr(writer_module, "migrate", fail)
            with pytest.RaisesGroup(StoreUnavailable):
                async with running(store):
                    pytest.fail("it must not open")
        await wait_all_tasks_blocked()
        assert "a" not in results
        async with running(store):
            await served.wait()
    assert results["a"]["created"]


async def test_a_store_that_is_stopped_while_it_opens_stays_closed(database, monkeypatch) -> None:
    begun, go = threading.Event(), threading.Event()
    migrate = writer_module.migrate

    def slowly(*arguments: Any) -> int:
        begun.set()
        assert go.wait(30)
        return migrate(*arguments)

    monkeypatch.setattr(writer_module, "migrate", slowly)
    monkeypatch.setattr(store_module, "OPEN_WAIT_SECONDS", 0.01)
    store = Store(database, database.parent)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.run)
        assert await trio.to_thread.run_sync(begun.wait, 30)
        nursery.cancel_scope.cancel()
        go.set()
    with pytest.raises(StoreClosed):
        await store.execute(session("a"), key("a"))


async def test_subscribers_hear_of_every_committed_change_until_they_leave(database, running, draft) -> None:
    now = 100.0
    heard: list[StatusChange] = []
    async with running(Store(database, database.parent, clock=lambda: now)) as store:
        leave = store.subscribe(heard.extend)
        opened = await store.execute(session("a"), key("a"))
        planned = await store.execute(PlanTasks("test", opened["session_id"], (draft("t"),)), key("plan"))
        (task,) = planned["ids"].values()
        now = 105.0
        await store.execute(ClaimTask("test", task, "srv"), key("claim"))
        now = 107.5
        await store.execute(FinishTask("test", task, "srv", TaskStatus.FAILED, reason="no"), key("finish"))
        with pytest.raises(Exception, match="cannot"):
            await store.execute(FinishTask("test", task, "srv", TaskStatus.FAILED), key("again"))
        leave()
        await store.execute(PlanTasks("test", opened["session_id"], (draft("t"),)), key("unheard"))
        statistics = store.statistics()
    assert [(change.before, change.after) for change in heard] == [
        (None, "pending"),
        ("pending", "in_progress"),
        ("in_progress", "failed"),
    ]
    assert [change.queued_seconds for change in heard] == [None, 5.0, None]
    assert [change.worked_seconds for change in heard] == [None, None, 2.5]
    assert {change.specialist for change in heard} == {"generic"}
    assert statistics.commits == statistics.commands == 6
    assert statistics.errors == {("commit", "unavailable"): 0, ("read", "unavailable"): 0}
    assert store.tree_detail() == {"waiting": 0, "commits": 6}
