"""Hung children: a promise of a beat, how it is watched, and what follows when it is broken."""

from __future__ import annotations

from contextlib import suppress

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from supervisors import ExitKind, ReportContext, ReportKind, Restart, SpecError, Strategy, Supervisor
from tests.supervisors.otp import DOWN, RUNNING, spec, states


def beating(plan):
    """Return a child that does what the plan of its life says: a list of (seconds to wait, what to do then)."""
    lives = iter(plan)

    async def child(*, task_status):
        task_status.started()
        for seconds, act in next(lives, []):
            await trio.sleep(seconds)
            act(task_status)
        await trio.sleep_forever()

    return child


def beat(status):
    status.beat()


def rest(status):
    status.rest()


def step(seconds):
    return lambda status: status.beat(seconds)


async def test_a_child_that_keeps_its_promise_is_left_alone(autojump_clock, running):
    supervisor = Supervisor([spec("a", beating([[(0.9, beat)] * 100 + [(0.0, rest)]]), beat_seconds=1)], name="s")
    async with running(supervisor):
        await trio.sleep(1000)
        assert supervisor.statistics().hung == 0
        assert supervisor.snapshot().children[0].incarnation == 1


async def test_a_child_that_breaks_its_promise_is_restarted_with_reason_hung(autojump_clock, running, recorder):
    plan = [[(0.9, beat)] * 3, [(0.0, rest)]]
    supervisor = Supervisor([spec("a", beating(plan), beat_seconds=1)], name="s", listener=recorder)
    async with running(supervisor):
        began = trio.current_time()
        await trio.sleep(10)
        assert supervisor.snapshot().children[0].incarnation == 2
        assert supervisor.statistics().restarts == {ExitKind.HUNG: 1}
        history = supervisor.crash_history("a")
        assert [(e.kind, e.reason) for e in history] == [(ExitKind.HUNG, "hung: broke its promise of a beat")]
    assert [r.at - began for r in recorder.of(ReportKind.CHILD_HUNG)] == [pytest.approx(3.7)]
    crash = recorder.of(ReportKind.CHILD_CRASHED)[0]
    assert (crash.context, crash.exit.kind) == (ReportContext.RUN, ExitKind.HUNG)


async def test_the_first_beat_is_due_from_ready_on_and_not_during_the_start(autojump_clock, running):
    async def slow(*, task_status):
        task_status.beat(0.1)
        await trio.sleep(5)
        task_status.started()
        await trio.sleep(0.5)
        task_status.rest()
        await trio.sleep_forever()

    supervisor = Supervisor([spec("a", slow, beat_seconds=1)], name="s")
    async with running(supervisor):
        await trio.sleep(100)
        assert supervisor.statistics().hung == 0


async def test_a_step_may_have_a_deadline_of_its_own(autojump_clock, running):
    """Nothing promised in general; one step says how long it may take."""
    plan = [[(50.0, step(2.0)), (1.0, rest), (50.0, step(2.0))]]
    supervisor = Supervisor([spec("a", beating(plan), restart=Restart.TRANSIENT)], name="s")
    async with running(supervisor):
        await trio.sleep(102.9)
        assert supervisor.statistics().hung == 0
        await trio.sleep(0.2)
        assert supervisor.statistics().hung == 1
        assert states(supervisor) == {"a": RUNNING}


@pytest.mark.parametrize(
    ("restart", "after"),
    [(Restart.PERMANENT, {"a": RUNNING}), (Restart.TRANSIENT, {"a": RUNNING}), (Restart.TEMPORARY, {})],
)
async def test_hung_is_treated_as_a_crash(autojump_clock, running, restart, after):
    plan = [[], [(0.0, rest)]]
    supervisor = Supervisor([spec("a", beating(plan), beat_seconds=1, restart=restart)], name="s")
    async with running(supervisor):
        await trio.sleep(10)
        assert states(supervisor) == after


async def test_a_hung_child_takes_its_group_with_it(autojump_clock, theatre, running):
    specs = [theatre.spec("first"), spec("a", beating([[], [(0.0, rest)]]), beat_seconds=1)]
    supervisor = Supervisor(specs, name="s", strategy=Strategy.ONE_FOR_ALL)
    async with running(supervisor):
        await trio.sleep(5)
        assert theatre.log == ["+first", "-first", "+first"]


def stuck_first(until):
    lives = []

    async def child(*, task_status):
        lives.append(1)
        task_status.started()
        if len(lives) > 1:
            task_status.rest()
            await trio.sleep_forever()
        await until(task_status)

    return child


async def shielded(_status):
    with trio.CancelScope(shield=True):
        await trio.sleep_forever()


async def undying_for_a_minute(_status):
    until = trio.current_time() + 60
    while trio.current_time() < until:
        with suppress(BaseException), trio.CancelScope(shield=True):
            await trio.sleep_until(until)


async def test_others_are_served_while_a_hung_child_is_being_stopped(autojump_clock, theatre, running):
    specs = [spec("a", stuck_first(shielded), beat_seconds=1, shutdown_seconds=20), theatre.spec("b")]
    supervisor = Supervisor(specs, name="s")
    async with running(supervisor):
        await trio.sleep(2)
        assert supervisor.which_child("a").state == "stopping"
        await theatre.crash("b")
        assert supervisor.which_child("b").state == RUNNING
        await supervisor.start_child(theatre.spec("c"))
        await trio.sleep(20)
        assert states(supervisor) == {"a": RUNNING, "b": RUNNING, "c": RUNNING}
        assert supervisor.snapshot().children[0].incarnation == 2


async def test_a_hung_child_that_nothing_stops_is_fenced_and_replaced(autojump_clock, running, recorder):
    specs = [spec("a", stuck_first(undying_for_a_minute), beat_seconds=1, shutdown_seconds=2)]
    supervisor = Supervisor(specs, name="s", listener=recorder)
    async with running(supervisor):
        began = trio.current_time()
        await trio.sleep(5)
        assert states(supervisor) == {"a": RUNNING}
        assert (supervisor.statistics().hung, supervisor.statistics().zombies) == (1, 1)
        assert supervisor.statistics().restarts == {ExitKind.HUNG: 1}
        await trio.sleep(100)
        assert supervisor.statistics().zombies == 0
        assert supervisor.snapshot().children[0].incarnation == 2
    assert [r.at - began for r in recorder.of(ReportKind.CHILD_FENCED)] == [pytest.approx(4)]
    assert "could not be stopped" in recorder.of(ReportKind.CHILD_FENCED)[0].reason


@pytest.mark.parametrize("call", ["terminate", "stop"])
async def test_a_hung_child_that_is_being_stopped_can_be_terminated(autojump_clock, running, call):
    """The time that it has already had counts; no restart follows."""
    specs = [spec("a", stuck_first(shielded), beat_seconds=1, shutdown_seconds=10)]
    supervisor = Supervisor(specs, name="s")
    async with running(supervisor):
        began = trio.current_time()
        await trio.sleep(5)
        if call == "terminate":
            await supervisor.terminate_child("a")
            assert states(supervisor) == {"a": DOWN}
            assert trio.current_time() - began == pytest.approx(11)
    assert trio.current_time() - began == pytest.approx(11)
    assert supervisor.statistics().restarts == {}
    assert supervisor.snapshot().children[0].incarnation == 1


async def test_a_hung_child_may_be_one_too_many(autojump_clock, running):
    supervisor = Supervisor([spec("a", beating([]), beat_seconds=1)], name="s", intensity=1, period_seconds=10)
    async with running(supervisor) as run:
        await run.over.wait()
        assert run.error.exit.kind is ExitKind.HUNG
        await wait_all_tasks_blocked()


def test_a_promise_is_a_number_of_seconds():
    with pytest.raises(SpecError, match="beat_seconds is a number of seconds > 0"):
        spec(beat_seconds=0.0)
