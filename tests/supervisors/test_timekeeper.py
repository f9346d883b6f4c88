"""Alarms: they ring when they are due, once, also when they were moved in between; and they cost no task."""

from __future__ import annotations

import math
from functools import partial

import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from supervisors.timekeeper import Alarm, Timekeeper


async def test_an_alarm_rings_once_when_it_is_due(autojump_clock):
    rung = []
    async with trio.open_nursery() as nursery:
        keeper = Timekeeper()
        nursery.start_soon(keeper.run)
        alarm = Alarm(keeper, lambda: rung.append(trio.current_time()))
        await trio.sleep(1)
        alarm.set(3)
        await trio.sleep(10)
        assert rung == [3]
        assert alarm.due == math.inf
        keeper.stop()


async def test_an_alarm_can_be_moved_both_ways_and_switched_off(autojump_clock):
    rung = []
    async with trio.open_nursery() as nursery:
        keeper = Timekeeper()
        nursery.start_soon(keeper.run)
        later, sooner, off, discarded = (
            Alarm(keeper, lambda name=name: rung.append((name, trio.current_time())))
            for name in ("later", "sooner", "off", "discarded")
        )
        later.set(1)
        sooner.set(9)
        off.set(2)
        discarded.set(2)
        await wait_all_tasks_blocked()
        later.set(5)
        sooner.set(0.5)
        off.set(math.inf)
        discarded.discard()
        await trio.sleep(20)
        assert rung == [("sooner", 0.5), ("later", 5)]
        off.set(25)
        await trio.sleep(20)
        assert rung[2:] == [("off", 25)]
        keeper.stop()


MOVES = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from([0.5, 1.0, 2.0, 3.0, math.inf]), st.sampled_from([0.0, 0.5, 1.0])),
    max_size=30,
)


@given(moves=MOVES)
def test_alarms_ring_like_a_model_that_looks_at_every_moment(moves):
    """Each move sets one of three alarms to so many seconds from now, then time passes."""

    async def run():
        rung, expected, dues, now = [], [], [math.inf] * 3, 0.0
        async with trio.open_nursery() as nursery:
            keeper = Timekeeper()
            nursery.start_soon(keeper.run)
            alarms = [Alarm(keeper, lambda n=n: rung.append((trio.current_time(), n))) for n in range(3)]
            for which, seconds, passing in [*moves, (0, math.inf, 100.0)]:
                alarms[which].set(now + seconds)
                dues[which] = now + seconds
                now += passing
                expected += sorted((due, n) for n, due in enumerate(dues) if due <= now)
                dues = [math.inf if due <= now else due for due in dues]
                if passing:
                    await trio.sleep_until(now)
                await wait_all_tasks_blocked()
            keeper.stop()
        assert sorted(rung) == sorted(expected)

    trio.run(run, clock=MockClock(autojump_threshold=0))


async def test_alarms_that_were_discarded_do_not_pile_up_until_they_would_have_rung(autojump_clock):
    rung = []
    async with trio.open_nursery() as nursery:
        keeper = Timekeeper()
        nursery.start_soon(keeper.run)
        kept = Alarm(keeper, lambda: rung.append(0))
        kept.set(keeper.clock() + 7200.0)
        for number in range(1, 20_001):
            alarm = Alarm(keeper, partial(rung.append, number))
            alarm.set(keeper.clock() + 3600.0)
            if number % 10_000:
                alarm.discard()
        queued = keeper.queued
        await trio.sleep(7201.0)
        keeper.stop()
    assert queued <= 2000
    assert rung == [10_000, 20_000, 0]
