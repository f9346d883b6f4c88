"""Parking with a trap that is used again, and waking with a bare value: what this relies on of trio's inside."""

from __future__ import annotations

import pytest
import trio
from outcome import Value
from trio.lowlevel import Abort, RaiseCancelT, Task, current_task, reschedule
from trio.testing import wait_all_tasks_blocked

from supervisors.forcing import Killed, force_kill
from vespera_agents.actors.parking import TESTED_TRIO_VERSIONS, check, park, trap_of, wake_with


def succeed(_raise_cancel: RaiseCancelT) -> Abort:
    return Abort.SUCCEEDED


def test_the_trio_that_is_installed_is_one_in_which_this_was_tried() -> None:
    """A new trio: run these tests and the benchmark of asks under it, and add the version there."""
    assert ".".join(trio.__version__.split(".")[:2]) in TESTED_TRIO_VERSIONS


@pytest.mark.parametrize("value", [None, 7, "x", ValueError("a reply may be an error"), Value(1)], ids=repr)
async def test_whoever_parks_gets_the_very_value_that_the_waker_gave_each_time(value: object) -> None:
    got: list[object] = []
    tasks: list[Task] = []
    trap = trap_of(succeed)

    async def wait_twice() -> None:
        tasks.append(current_task())
        for _ in range(2):
            got.append(await park(trap))
            check(got[-1])

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait_twice)
        for _ in range(2):
            await wait_all_tasks_blocked()
            wake_with(tasks[0], value)
    assert [each is value for each in got] == [True, True]


async def test_a_wake_up_without_a_value_is_none_that_check_lets_pass() -> None:
    tasks: list[Task] = []

    async def wait() -> None:
        tasks.append(current_task())
        check(await park(trap_of(succeed)))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await wait_all_tasks_blocked()
        reschedule(tasks[0])


async def test_a_cancelled_wait_calls_the_abort_and_check_raises_the_cancellation() -> None:
    aborted: list[str] = []

    def abort(_raise_cancel: RaiseCancelT) -> Abort:
        aborted.append("abort")
        return Abort.SUCCEEDED

    trap = trap_of(abort)
    for _ in range(2):
        with trio.CancelScope() as scope:
            scope.cancel()
            check(await park(trap))
            pytest.fail("a cancelled wait went on")
        assert scope.cancelled_caught
    assert aborted == ["abort", "abort"]


@pytest.mark.parametrize("awake", [False, True], ids=["parked", "about to run"])
async def test_a_forced_kill_gets_through_whether_parked_or_about_to_run(awake: bool) -> None:
    tasks: list[Task] = []
    ends: list[BaseException] = []

    async def wait() -> None:
        tasks.append(current_task())
        try:
            check(await park(trap_of(succeed)))
        except Killed as killed:
            ends.append(killed)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await wait_all_tasks_blocked()
        if awake:
            wake_with(tasks[0], 1)
        assert force_kill(tasks[0]) == 1
    assert len(ends) == 1
