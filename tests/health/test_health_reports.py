"""What supervisors tell is counted by declared name, and kept when they are gone."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import trio
from trio.testing import MockClock

from supervisors import (
    ChildSpec,
    MaxRestartsExceeded,
    Offender,
    Report,
    ReportContext,
    ReportKind,
    Restart,
    Strategy,
    Supervisor,
    supervisor_spec,
)
from vespera_agents.health import SupervisionFigures
from vespera_agents.health.metrics import reports as module

Start = Callable[..., Awaitable[None]]


def crashing(times: int, after_seconds: float = 1.0, start_seconds: float = 0.0) -> Start:
    """A child whose first `times` lives end in an error."""
    lives = [0]

    async def child(*, task_status: trio.TaskStatus[None]) -> None:
        lives[0] += 1
        await trio.sleep(start_seconds if lives[0] > 1 else 0.0)
        task_status.started()
        if lives[0] > times:
            await trio.sleep_forever()
        await trio.sleep(after_seconds)
        raise RuntimeError("planned")

    return child


async def quiet(*, task_status: trio.TaskStatus[None]) -> None:
    task_status.started()
    await trio.sleep_forever()


async def run_for(seconds: float, supervisor: Supervisor) -> None:
    async with trio.open_nursery() as nursery:
        await nursery.start(supervisor.run)
        await trio.sleep(seconds)
        supervisor.stop()


async def test_a_restart_is_counted_by_supervisor_child_type_and_reason(autojump_clock: MockClock) -> None:
    figures = SupervisionFigures()
    children = [ChildSpec("a", crashing(2, start_seconds=0.3))]
    await run_for(10, Supervisor(children, name="/srv/project", listener=figures))
    assert figures.restarts.snapshot() == {("workspace", "worker", "crashed"): 2}
    seconds = figures.restart_seconds["worker"].snapshot()
    assert seconds.count == 2
    assert seconds.sum == pytest.approx(0.6)


async def test_a_child_that_is_restarted_with_another_has_the_reason_sibling(autojump_clock: MockClock) -> None:
    figures = SupervisionFigures()
    children = [ChildSpec("a", crashing(1)), ChildSpec("b", quiet)]
    await run_for(5, Supervisor(children, name="doors", strategy=Strategy.REST_FOR_ONE, listener=figures))
    assert figures.restarts.snapshot() == {("doors", "worker", "crashed"): 1, ("doors", "worker", "sibling"): 1}
    assert figures.restart_seconds["worker"].snapshot().count == 1


async def test_a_normal_end_restarts_a_permanent_child_and_no_transient_one(autojump_clock: MockClock) -> None:
    async def brief(*, task_status: trio.TaskStatus[None]) -> None:
        task_status.started()
        await trio.sleep(4)

    figures = SupervisionFigures()
    children = [ChildSpec("a", brief), ChildSpec("b", brief, restart=Restart.TRANSIENT)]
    await run_for(6, Supervisor(children, name="x", listener=figures))
    assert figures.restarts.snapshot() == {("other", "worker", "normal"): 1}


async def test_a_restart_that_fails_counts_and_its_time_runs_on(autojump_clock: MockClock) -> None:
    lives = [0]

    async def child(*, task_status: trio.TaskStatus[None]) -> None:
        lives[0] += 1
        await trio.sleep(0.5)
        if lives[0] == 2:
            raise RuntimeError("not this time")
        task_status.started()
        if lives[0] == 1:
            raise RuntimeError("planned")
        await trio.sleep_forever()

    figures = SupervisionFigures()
    await run_for(5, Supervisor([ChildSpec("a", child)], name="root", listener=figures))
    assert figures.restarts.snapshot() == {("root", "worker", "crashed"): 1, ("root", "worker", "start_error"): 1}
    assert figures.restart_seconds["worker"].snapshot().sum == pytest.approx(1.0)


async def test_a_supervisor_that_gives_up_is_counted_and_its_parent_restarts_it(autojump_clock: MockClock) -> None:
    figures = SupervisionFigures()
    hopeless = crashing(1_000)

    def subtree() -> Supervisor:
        return Supervisor([ChildSpec("a", hopeless)], name="session_0123456789ab", intensity=1)

    root = Supervisor([supervisor_spec("s", subtree)], name="root", intensity=1, listener=figures)
    with pytest.RaisesGroup(MaxRestartsExceeded):
        await run_for(60, root)
    assert figures.exhausted["session"] == 2
    assert figures.exhausted["root"] == 1
    assert figures.escalations.snapshot() == figures.exhausted.snapshot()
    assert figures.restarts["root", "supervisor", "max_restarts_exceeded"] == 1
    assert figures.restarts["session", "worker", "crashed"] == 2
    assert not figures._pending, "what waits for a restart is forgotten with its supervisor"


def test_an_interrupt_that_is_passed_up_is_an_escalation() -> None:
    figures = SupervisionFigures()
    offender = Offender("a", "worker", "permanent", 1)
    figures.on_report(Report(ReportKind.ESCALATED, "doors", ReportContext.RUN, "KeyboardInterrupt", offender, 0.0))
    assert figures.escalations["doors"] == 1
    assert figures.exhausted.total == 0


async def test_a_first_start_that_fails_and_a_stop_are_no_restarts(autojump_clock: MockClock) -> None:
    async def failing(*, task_status: trio.TaskStatus[None]) -> None:
        raise RuntimeError("never")

    figures = SupervisionFigures()
    supervisor = Supervisor(name="root", listener=figures)
    async with trio.open_nursery() as nursery:
        await nursery.start(supervisor.run)
        with pytest.raises(Exception, match="failed to start"):
            await supervisor.start_child(ChildSpec("a", failing))
        await supervisor.start_child(ChildSpec("b", quiet))
        await supervisor.terminate_child("b")
        await supervisor.restart_child("b")
        supervisor.stop()
    assert figures.restarts.total == 0
    assert not figures._pending


async def test_whoever_watches_hears_of_each_child_that_is_ready(autojump_clock: MockClock) -> None:
    heard: list[tuple[str, str | None]] = []
    figures = SupervisionFigures()
    figures.watch_starts(lambda report: heard.append((report.kind.value, report.offender and report.offender.id)))
    await run_for(5, Supervisor([ChildSpec("a", crashing(1))], name="root", listener=figures))
    assert heard == [("child_started", "a"), ("child_restarted", "a")]


async def test_restarts_under_way_are_remembered_up_to_a_limit(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PENDING_MAX", 2)
    figures = SupervisionFigures()
    children = [ChildSpec(name, crashing(1, start_seconds=0.1)) for name in "abc"]
    await run_for(5, Supervisor(children, name="root", listener=figures))
    assert figures.restarts.total == 3
    assert figures.restarts["root", "worker", "sibling"] == 1
