"""Actors that do not get on: a handler that takes too long, mail that nobody takes, and who is neither."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest
import trio

from supervisors import Backoff, Supervisor
from vespera_agents.actors import Actor, Request, open_system, receives
from vespera_agents.health.watchdog import WatchdogSettings
from vespera_agents.health.watchdog.wedging import SLICE_ACTORS, WedgeScan

LIMITS = WatchdogSettings(busy_seconds=20.0, mailbox_seconds=10.0, scan_seconds=1.0, wedged_max=3)


class Work(Request[None]):
    def __init__(self, seconds: float) -> None:
        self.seconds = seconds


class Note:
    pass


class Worker(Actor):
    @receives
    async def work(self, message: Work) -> None:
        await trio.sleep(message.seconds)  # where it waits

    @receives
    async def note(self, _: Note) -> None:
        await trio.sleep(1.0)


class Declared(Worker):
    handler_timeout_seconds = 3.0


class Patient(Worker):
    busy_limit_seconds = 100.0


class Knows(Worker):
    """Says for each message how long it may take."""

    @receives
    async def work(self, message: Work) -> None:
        self.busy_limit_seconds = message.seconds / 2
        await trio.sleep(message.seconds)
        self.busy_limit_seconds = None


class Slow(Actor):
    async def on_start(self) -> None:
        await trio.sleep(25.0)

    @receives
    def note(self, _: Note) -> None:
        pass


async def after(scan: WedgeScan, seconds: float) -> list[tuple[str, str, float, float]]:
    """Look through all until so many seconds have gone by, and give what was found last."""
    await trio.sleep_until(trio.current_time() // 1 + seconds + 0.5)
    return [(each.actor, each.what, round(each.since_seconds), each.limit_seconds) for each in scan.wedged]


async def test_a_handler_is_wedged_after_what_its_class_or_itself_or_nobody_says(autojump_clock):
    async with open_system() as system, trio.open_nursery() as nursery:
        scan = WedgeScan(system, LIMITS)
        nursery.start_soon(scan.run)
        for each in (Worker, Patient, Knows):
            ref = await system.start(each, name=each.__name__)
            nursery.start_soon(lambda ref=ref: ref.ask(Work(30.0), timeout_seconds=1_000))
        assert await after(scan, 14) == []
        assert await after(scan, 3) == [("Knows", "busy", 17, 15.0)]
        assert await after(scan, 4) == [("Worker", "busy", 21, 20.0), ("Knows", "busy", 21, 15.0)]
        (worker, _) = scan.wedged
        assert worker.kind == "Worker"
        assert any(line.startswith(__file__) and line.endswith("in Worker.work") for line in worker.await_stack)
        assert await after(scan, 10) == []
        assert scan.count == 0
        nursery.cancel_scope.cancel()


async def test_a_handler_that_goes_on_when_it_is_cut_off_is_seen_until_it_is_replaced(autojump_clock):
    class Stubborn(Declared):
        @receives
        async def work(self, message: Work) -> None:
            with trio.CancelScope(shield=True):
                await trio.sleep(message.seconds)

    async with open_system() as system, trio.open_nursery() as nursery:
        scan = WedgeScan(system, LIMITS)
        nursery.start_soon(scan.run)
        ref = await system.start(Stubborn, name="stubborn", shutdown_seconds=20.0)
        ref.tell(Work(15.0))
        assert await after(scan, 1) == []
        assert await after(scan, 5) == [("stubborn", "busy", 6, 3.0)]
        assert await after(scan, 30) == []
        nursery.cancel_scope.cancel()


async def test_mail_that_waits_while_nothing_is_handled_is_wedged_and_much_mail_is_not(autojump_clock):
    async with open_system() as system, trio.open_nursery() as nursery:
        scan = WedgeScan(system, LIMITS)
        nursery.start_soon(scan.run)
        stuck, busy, patient = [await system.start(each, name=name) for each, name in
                                ((Worker, "stuck"), (Worker, "busy"), (Patient, "patient"))]  # fmt: skip
        stuck.tell(Work(18.0))
        patient.tell(Work(50.0))
        for ref in (stuck, patient):
            ref.tell(Note())
        for _ in range(40):
            busy.tell(Note())
        assert await after(scan, 9) == []
        assert await after(scan, 4) == [("stuck", "mailbox", 12, 10.0)]
        assert await after(scan, 10) == []
        nursery.cancel_scope.cancel()


async def test_mail_of_an_actor_that_does_not_get_ready_waits_too(autojump_clock):
    async with open_system() as system, trio.open_nursery() as nursery:
        scan = WedgeScan(system, LIMITS)
        nursery.start_soon(scan.run)
        system.spawn(Slow, name="slow").tell(Note())
        assert await after(scan, 12) == [("slow", "mailbox", 11, 10.0)]
        nursery.cancel_scope.cancel()


async def test_an_actor_that_waits_for_its_restart_is_its_supervisors_affair(autojump_clock):
    class Doomed(Actor):
        @receives
        def fail(self, _: Work) -> None:
            raise RuntimeError("not today")

        @receives
        def note(self, _: Note) -> None:
            pass

    async with open_system(restart_grace_seconds=1_000) as system, trio.open_nursery() as nursery:
        scan = WedgeScan(system, LIMITS)
        nursery.start_soon(scan.run)
        group = Supervisor(name="group", listener=system)
        await nursery.start(group.run)
        spec = replace(system.actor_spec(Doomed, name="doomed"), backoff=Backoff(500, 500))
        ref = (await group.start_child(spec)).value
        ref.tell(Work(1))
        ref.tell(Note())
        assert await after(scan, 60) == []
        assert system.living()[0].mailbox.depth == 1
        nursery.cancel_scope.cancel()


async def test_each_is_logged_once_and_of_many_the_longest_are_told(autojump_clock, caplog):
    async with open_system() as system, trio.open_nursery() as nursery:
        scan = WedgeScan(system, LIMITS)
        nursery.start_soon(scan.run)
        for number in range(5):
            ref = await system.start(Worker, name=f"w{number}")
            ref.tell(Work(60.0))
            await trio.sleep(0.5)
        assert [name for name, *_ in await after(scan, 30)] == ["w0", "w1", "w2"]
        assert scan.count == 5
        await trio.sleep(20)
        told = [record.vespera_fields for record in caplog.records if record.name == "vespera_agents.watchdog"]
        assert sorted(each["actor"] for each in told) == ["w0", "w1", "w2"]
        assert all(record.levelno == logging.ERROR for record in caplog.records)
        assert told[0].keys() >= {"kind", "what", "since_seconds", "limit_seconds", "await_stack"}
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("number", [1, SLICE_ACTORS, 3 * SLICE_ACTORS + 1])
async def test_all_are_looked_at_a_slice_at_a_time(number, autojump_clock):
    async with open_system() as system:
        refs = [system.spawn(Worker, name=f"w{each}") for each in range(number)]
        await trio.testing.wait_all_tasks_blocked()
        for ref in refs:
            ref.tell(Work(1_000.0))
        await trio.sleep(30)
        scan = WedgeScan(system, LIMITS)
        task = trio.lowlevel.current_task()
        steps = task._schedule_points
        await scan.look_through()
        assert task._schedule_points - steps == (number - 1) // SLICE_ACTORS
        assert (scan.count, scan.rounds) == (number, 1)
