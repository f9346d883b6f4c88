"""Akka's cases for backoff supervision, and what backoff means in a group."""

from __future__ import annotations

import itertools
import random

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from supervisors import (
    Backoff,
    ChildRestarting,
    DynamicSupervisor,
    MaxRestartsExceeded,
    ReportKind,
    Restart,
    SpecError,
    Strategy,
    Supervisor,
)
from tests.supervisors.otp import DOWN, RESTARTING, RUNNING, spec, states

STEADY = Backoff(1.0, 8.0, jitter=0.0)
DAY = 86_400.0


@pytest.mark.parametrize(
    ("failures", "shortest", "longest", "expected"),
    [
        (0, 300.0, 420.0, 300.0),
        (2, 5.0, 7.0, 7.0),
        (2, 5.0, 7 * DAY, 20.0),
        (29, 300.0, 600.0, 600.0),
        (29, 10_000 * DAY, 10_000 * DAY, 10_000 * DAY),
        (2**31, 10_000 * DAY, 10_000 * DAY, 10_000 * DAY),
    ],
)
def test_the_delay_is_calculated_as_in_akka(failures, shortest, longest, expected):
    """Akka: BackoffSupervisor must correctly calculate the delay."""
    assert Backoff(shortest, longest, jitter=0.0).delay_seconds(failures, 0.7) == expected


@given(
    shortest=st.floats(0.001, 1e6),
    factor=st.floats(1.0, 1e6),
    jitter=st.floats(0.0, 1.0),
    failures=st.integers(0, 10_000),
    chance=st.floats(0.0, 1.0),
)
def test_no_delay_is_shorter_than_the_least_or_longer_than_the_most_with_its_jitter(
    shortest, factor, jitter, failures, chance
):
    backoff = Backoff(shortest, shortest * factor, jitter)
    delay = backoff.delay_seconds(failures, chance)
    assert shortest <= delay <= shortest * factor * (1.0 + jitter)
    assert backoff.delay_seconds(failures + 1, chance) >= delay


@pytest.mark.parametrize(
    "arguments",
    [
        (0.0, 1.0),
        (-1.0, 1.0),
        (2.0, 1.0),
        (1.0, float("inf")),
        (float("nan"), 1.0),
        (1.0, 2.0, 1.5),
        (1.0, 2.0, 0.1, 0.0),
    ],
)
def test_a_backoff_that_makes_no_sense_is_refused(arguments):
    with pytest.raises(SpecError):
        Backoff(*arguments)
    with pytest.raises(SpecError, match="backoff is a Backoff or None"):
        spec(backoff=1.0)


async def pass_time(seconds):
    """Let time pass, and everything happen that is due at its end."""
    await trio.sleep(seconds)
    await wait_all_tasks_blocked()


async def restarted_after(supervisor, child_id) -> float:
    began = trio.current_time()
    while supervisor.which_child(child_id).state != RUNNING:
        await pass_time(0.125)
    return trio.current_time() - began


async def test_each_restart_in_a_row_waits_twice_as_long_until_the_longest(autojump_clock, theatre, running, recorder):
    """Akka: start child again when it stops."""
    supervisor = Supervisor([theatre.spec("a", backoff=STEADY)], name="s", intensity=100, listener=recorder)
    async with running(supervisor):
        waited = []
        for _ in range(6):
            await theatre.crash("a")
            assert states(supervisor) == {"a": RESTARTING}
            waited.append(await restarted_after(supervisor, "a"))
        assert waited == [1.0, 2.0, 4.0, 8.0, 8.0, 8.0]
        reasons = [r.reason for r in recorder.of(ReportKind.RESTART_DELAYED)]
        assert reasons[1] == "restart in 2 s, after 2 failures in a row"
        assert supervisor.statistics().restart_seconds.sum == pytest.approx(sum(waited), abs=0.2)


async def test_a_life_without_failure_ends_the_row(autojump_clock, theatre, running):
    """Akka: auto-reset after (min + max) / 2."""
    supervisor = Supervisor([theatre.spec("a", backoff=STEADY)], name="s", intensity=100)
    async with running(supervisor):
        waited = []
        for lived in (0.0, 4.25, 4.5, 0.0):
            await trio.sleep(lived)
            await theatre.crash("a")
            waited.append(await restarted_after(supervisor, "a"))
        assert waited == [1.0, 2.0, 1.0, 2.0]


async def test_starts_that_fail_belong_to_the_row_however_long_they_take(autojump_clock, running):
    moments = []

    async def child(*, task_status):
        moments.append(trio.current_time())
        if len(moments) > 1:
            await trio.sleep(20)
            raise ValueError("not ready")
        task_status.started()
        raise ValueError("crash")

    supervisor = Supervisor([spec("a", child, backoff=STEADY)], name="s", intensity=100)
    async with running(supervisor):
        await trio.sleep(80)
    gaps = [later - earlier for earlier, later in itertools.pairwise(moments)]
    assert gaps == [pytest.approx(1.0), pytest.approx(22.0), pytest.approx(24.0), pytest.approx(28.0)]


async def test_more_restarts_than_the_intensity_allows_end_it_all_the_same(autojump_clock, theatre, running):
    """Akka: stop restarting the child after reaching maxNrOfRetries."""
    backoff = Backoff(1.0, 1.0, jitter=0.0)
    supervisor = Supervisor([theatre.spec("a", backoff=backoff)], name="s", intensity=2, period_seconds=100)
    async with running(supervisor) as run:
        for _ in range(2):
            await theatre.crash("a")
            await trio.sleep(2)
        await theatre.crash("a")
        await run.over.wait()
    assert isinstance(run.error, MaxRestartsExceeded)


async def test_a_seed_makes_the_jitter_repeatable_for_the_whole_tree(autojump_clock, theatre, running, recorder):
    async def delays(seed):
        supervisor = Supervisor(
            [theatre.spec("a", backoff=Backoff(1.0, 100.0, jitter=1.0))],
            name="s",
            intensity=100,
            rng=random.Random(seed),
        )
        moments = []
        async with running(supervisor):
            for _ in range(4):
                await theatre.crash("a")
                moments.append(await restarted_after(supervisor, "a"))
        return moments

    first = await delays(7)
    assert first == await delays(7)
    assert first != await delays(8)
    assert all(delay <= measured for delay, measured in zip((1, 2, 4, 8), first, strict=True))


@pytest.mark.parametrize("call", ["terminate", "stop"])
async def test_a_delayed_restart_can_be_called_off(autojump_clock, theatre, running, call):
    supervisor = Supervisor([theatre.spec("a", backoff=STEADY)], name="s", intensity=100)
    async with running(supervisor) as run:
        await theatre.crash("a")
        with pytest.raises(ChildRestarting):
            await supervisor.restart_child("a")
        if call == "terminate":
            await supervisor.terminate_child("a")
            await supervisor.restart_child("a")
            await theatre.crash("a")
            assert await restarted_after(supervisor, "a") == 2.0
        else:
            supervisor.stop()
            await run.over.wait()
            await trio.sleep(10)
    assert theatre.log.count("+a") == (3 if call == "terminate" else 1)


async def test_a_supervisor_serves_its_other_children_while_one_waits(autojump_clock, theatre, running):
    supervisor = Supervisor([theatre.spec("a", backoff=STEADY), theatre.spec("b")], name="s", intensity=100)
    async with running(supervisor):
        await theatre.crash("a")
        await theatre.crash("b")
        assert states(supervisor) == {"a": RESTARTING, "b": RUNNING}
        await supervisor.start_child(theatre.spec("c"))
        await pass_time(1)
        assert states(supervisor) == {"a": RUNNING, "b": RUNNING, "c": RUNNING}


async def test_a_group_stops_at_once_and_comes_back_together_when_the_wait_is_over(autojump_clock, theatre, running):
    specs = [theatre.spec("a"), theatre.spec("b", backoff=STEADY), theatre.spec("c")]
    supervisor = Supervisor(specs, name="s", strategy=Strategy.REST_FOR_ONE)
    async with running(supervisor):
        theatre.taken()
        await theatre.crash("b")
        assert theatre.taken() == ["-b", "-c"]
        assert states(supervisor) == {"a": RUNNING, "b": RESTARTING, "c": DOWN}
        await pass_time(1)
        assert theatre.taken() == ["+b", "+c"]


async def test_children_of_a_template_wait_as_well_and_count_as_children_meanwhile(autojump_clock, theatre, running):
    template = spec("child", theatre.play, backoff=STEADY, restart=Restart.TRANSIENT)
    supervisor = DynamicSupervisor(template, name="s", max_children=1)
    async with running(supervisor):
        started = await supervisor.start_child("a")
        await theatre.crash("a")
        assert states(supervisor) == {started.id: RESTARTING}
        await pass_time(1)
        assert states(supervisor) == {started.id: RUNNING}
