"""Handlers that hang: the deadline of a handler, and what becomes of its message, its actor, and the other mail."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from supervisors import Report, ReportKind, Restart
from supervisors.forcing import force_kill
from vespera_agents.actors import (
    Actor,
    ActorCrashed,
    ActorRef,
    ActorState,
    ActorStopped,
    ActorTerminated,
    AskTimeout,
    DeadLetterReason,
    MessageOutcome,
    Request,
    StopReason,
    open_system,
    receives,
)
from vespera_agents.actors.endpoint import Endpoint
from vespera_agents.actors.errors import ActorHung


class Ping(Request[int]):
    """Answered with the number of pings this incarnation has had."""


@dataclass
class Work(Request[str]):
    seconds: float
    times: int = 1


@dataclass
class Deaf(Request[str]):
    """Work that swallows so many cancellations, and then hears of no other."""

    swallows: int


class Block(Request[str]):
    """Block the event loop for some seconds of virtual time."""


class Worker(Actor):
    handler_timeout_seconds = 2.0

    def __init__(self, log: list[str], clock: MockClock | None = None) -> None:
        self.log = log
        self.clock = clock
        self.pings = 0

    async def on_restart(self, cause: BaseException | None) -> None:
        self.log.append(f"restart after {type(cause).__name__}")

    async def on_stop(self) -> None:
        self.log.append("stop")

    @receives
    def ping(self, _message: Ping) -> int:
        self.pings += 1
        return self.pings

    @receives
    async def work(self, message: Work) -> str:
        for _ in range(message.times):
            await trio.sleep(message.seconds)
        return "done"

    @receives
    async def deaf(self, message: Deaf) -> str:
        try:
            for _ in range(message.swallows):
                try:
                    await trio.sleep(1000)
                except trio.Cancelled:
                    self.log.append("swallowed")
            with trio.CancelScope(shield=True):
                await trio.sleep(1000)
        except BaseException as error:
            self.log.append(f"unwound by {type(error).__name__}")
            raise
        return "done"

    @receives
    def block(self, _message: Block) -> str:
        assert self.clock is not None
        self.clock.jump(100.0)
        return "done"


async def asking(ref: ActorRef[Worker], request: Request[str], errors: list[BaseException]) -> None:
    with pytest.raises((ActorCrashed, ActorStopped, AskTimeout)) as caught:
        await ref.ask(request, timeout_seconds=1000.0)
    errors.append(caught.value)


async def test_a_hung_handler_is_cancelled_its_ask_fails_and_the_actor_restarts_with_its_mail(
    autojump_clock: MockClock,
) -> None:
    log: list[str] = []
    errors: list[BaseException] = []
    async with open_system() as system:
        ref = await system.start(Worker, log)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(asking, ref, Work(1000.0), errors)
            await wait_all_tasks_blocked()
            began = trio.current_time()
            assert await ref.ask(Ping()) == 1
            assert trio.current_time() - began == pytest.approx(2.0)
        [error] = errors
        assert isinstance(error, ActorCrashed)
        assert isinstance(error.cause, ActorHung)
        assert (error.cause.name, error.cause.timeout_seconds) == (ref.name, 2.0)
        assert "took longer than 2 s" in str(error)
        assert log == ["stop", "restart after ActorHung"]
        kind = system.statistics().kinds["Worker"]
        assert kind.stops[StopReason.CRASHED] == 1
        assert kind.messages[MessageOutcome.CRASHED] == 1


async def test_a_told_message_that_hung_is_a_dead_letter_with_its_cause(autojump_clock: MockClock) -> None:
    async with open_system() as system:
        ref = await system.start(Worker, [])
        ref.tell(Work(1000.0))
        assert await ref.ask(Ping()) == 1
        [dead] = system.dead_letters
        assert dead.reason is DeadLetterReason.CRASHED
        assert dead.cause.startswith("ActorHung")


async def test_a_handler_that_waits_several_times_has_one_deadline_for_all(autojump_clock: MockClock) -> None:
    async with open_system() as system:
        ref = await system.start(Worker, [])
        assert await ref.ask(Work(0.3, 6)) == "done"
        assert await ref.ask(Work(0.3, 6)) == "done"
        with pytest.raises(ActorCrashed):
            await ref.ask(Work(0.3, 7))


async def test_the_time_between_messages_counts_for_none_of_them(autojump_clock: MockClock) -> None:
    async with open_system() as system:
        ref = await system.start(Worker, [])
        for _ in range(3):
            assert await ref.ask(Work(1.5)) == "done"
            await trio.sleep(100)
        assert ref.statistics().incarnations == 1


async def test_a_handler_that_blocks_the_event_loop_is_not_interrupted(autojump_clock: MockClock) -> None:
    async with open_system() as system:
        ref = await system.start(Worker, [], autojump_clock)
        assert await ref.ask(Block(), timeout_seconds=1000.0) == "done"
        assert await ref.ask(Ping()) == 1
        assert ref.statistics().incarnations == 1


async def test_a_handler_without_a_deadline_may_take_for_ever(autojump_clock: MockClock) -> None:
    class Patient(Worker):
        handler_timeout_seconds = float("inf")

    async with open_system() as system:
        ref = await system.start(Patient, [])
        assert await ref.ask(Work(1e6), timeout_seconds=1e7) == "done"


@pytest.mark.parametrize("swallows", [0, 3])
async def test_one_that_swallows_its_cancellation_is_stopped_by_force_and_unwinds(
    swallows: int, autojump_clock: MockClock
) -> None:
    log: list[str] = []
    errors: list[BaseException] = []
    async with open_system() as system:
        ref = await system.start(Worker, log)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(asking, ref, Deaf(swallows), errors)
            await wait_all_tasks_blocked()
            with trio.fail_after(60):
                assert await ref.ask(Ping(), timeout_seconds=1000.0) == 1
        [error] = errors
        assert isinstance(error, ActorCrashed)
        assert isinstance(error.cause, ActorHung)
    assert log == ["swallowed"] * swallows + ["unwound by Killed", "stop", "restart after ActorHung", "stop"]


async def test_a_deadline_may_be_met_by_a_retry(autojump_clock: MockClock) -> None:
    class Lucky(Worker):
        crash_retries = 1
        hangs = 1

        @receives
        async def work(self, _message: Work) -> str:
            if Lucky.hangs:
                Lucky.hangs -= 1
                await trio.sleep(1000)
            return "done"

    async with open_system() as system:
        ref = await system.start(Lucky, [])
        assert await ref.ask(Work(0.0)) == "done"
        assert ref.statistics().incarnations == 2


async def test_a_temporary_actor_that_hung_is_not_restarted_and_its_mail_fails_with_the_cause(
    autojump_clock: MockClock,
) -> None:
    async with open_system() as system:
        ref = await system.start(Worker, [], restart=Restart.TEMPORARY)
        ref.tell(Work(1000.0))
        with pytest.raises(ActorCrashed) as caught:
            await ref.ask(Ping())
        assert isinstance(caught.value.cause, ActorHung)


class Threaded(Worker):
    """Waits for a thread that cannot be interrupted: not even force ends it."""

    release = threading.Event()

    @receives
    async def work(self, _message: Work) -> str:
        await trio.to_thread.run_sync(Threaded.release.wait)
        return "too late"


@pytest.mark.parametrize("restart", [Restart.TRANSIENT, Restart.TEMPORARY])
async def test_one_that_nothing_can_end_is_cut_off_and_its_successor_has_the_mail(restart: Restart) -> None:
    """On the real clock, because of the thread; nothing is measured."""
    Threaded.release.clear()
    log: list[str] = []
    errors: list[BaseException] = []
    told: list[ActorTerminated] = []
    reports: list[Report] = []

    class Quick(Threaded):
        handler_timeout_seconds = 0.05

    class Listener:
        def on_report(self, report: Report) -> None:
            reports.append(report)

    async with open_system(listener=Listener()) as system:
        ref = await system.start(Quick, log, restart=restart, shutdown_seconds=0.1)
        ref.watch(told.append)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(asking, ref, Work(0.0), errors)
            await trio.testing.wait_all_tasks_blocked()
            if restart is Restart.TRANSIENT:
                assert await ref.ask(Ping(), timeout_seconds=60.0) == 1
                assert told == []
                assert log == ["restart after ActorHung"]
            else:
                with pytest.raises(ActorCrashed) as caught:
                    await ref.ask(Ping(), timeout_seconds=60.0)
                assert isinstance(caught.value.cause, ActorHung)
                assert [type(each.cause) for each in told] == [ActorHung]
        assert ReportKind.CHILD_FENCED in [report.kind for report in reports]
        [error] = errors
        assert isinstance(error, ActorCrashed)
        assert isinstance(error.cause, ActorHung)
        Threaded.release.set()


async def test_a_told_message_in_the_hand_of_one_that_was_cut_off_is_a_dead_letter_once() -> None:
    Threaded.release.clear()

    class Quick(Threaded):
        handler_timeout_seconds = 0.05

    async with open_system() as system:
        ref = await system.start(Quick, [], shutdown_seconds=0.1)
        message = Telling()
        ref.tell(message)
        assert await ref.ask(Ping(), timeout_seconds=60.0) == 1
        assert [(dead.message, dead.reason) for dead in system.dead_letters] == [(message, DeadLetterReason.CRASHED)]
        Threaded.release.set()
    assert len(system.dead_letters) == 1


class Telling(Work):
    def __init__(self) -> None:
        super().__init__(0.0)


async def test_one_that_was_cut_off_and_then_puts_its_message_aside_takes_no_mail_of_its_successor() -> None:
    Threaded.release.clear()

    class Late(Threaded):
        handler_timeout_seconds = 0.05

        @receives
        async def work(self, message: Work) -> str:
            await trio.to_thread.run_sync(Threaded.release.wait)
            self.log.append(f"late by {message.seconds}")
            self.stash()

    async with open_system() as system:
        log: list[str] = []
        ref = await system.start(Late, log, shutdown_seconds=0.1)
        ref.tell(Work(0.0))
        assert await ref.ask(Ping(), timeout_seconds=60.0) == 1
        Threaded.release.set()
        while "late by 0.0" not in log:
            await trio.lowlevel.checkpoint()
        assert isinstance(ref, Endpoint)
        assert ref.stash is None
        assert [await ref.ask(Ping()) for _ in range(3)] == [2, 3, 4]


# Force, and what can be seen of a handler ----------------------------------------------------------------------------


async def test_force_reaches_a_handler_that_is_about_to_run_and_unwinds_its_nurseries(
    autojump_clock: MockClock,
) -> None:
    """It may be about to run for the hundredth time with a Cancelled that it swallows: then the error is thrown in."""
    log: list[str] = []

    class Parent(Actor):
        @receives
        async def work(self, _message: Work) -> str:
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self.child)
                    while True:
                        await trio.lowlevel.checkpoint()
            except BaseException as error:
                log.append(f"parent {type(error).__name__}")
                raise

        async def child(self) -> None:
            try:
                await trio.sleep_forever()
            finally:
                log.append("child ends")

    async with open_system() as system:
        ref = await system.start(Parent, restart=Restart.TEMPORARY)
        ref.tell(Work(0.0))
        for _ in range(10):
            await trio.lowlevel.checkpoint()
        assert isinstance(ref, Endpoint)
        assert ref.task is not None
        force_kill(ref.task)
        while ref.statistics().state is not ActorState.STOPPED:
            await trio.lowlevel.checkpoint()
    assert log[0] == "child ends"
    assert log[1].startswith("parent")
    assert len(log) == 2


async def test_the_stack_of_an_actor_shows_where_its_handler_waits(autojump_clock: MockClock) -> None:
    class Deep(Actor):
        @receives
        async def work(self, message: Work) -> str:
            await self.deeper(message.seconds)
            return "done"

        async def deeper(self, seconds: float) -> None:
            await trio.sleep(seconds)
            await trio.sleep(seconds)

    async with open_system() as system:
        ref = await system.start(Deep)
        ref.tell(Work(1.0))
        for _ in range(2):
            await trio.sleep(0.5)
            assert isinstance(ref, Endpoint)
            assert ref.task is not None
            names = [frame.f_code.co_name for frame, _ in ref.task.iter_await_frames()]
            assert {"serve", "work", "deeper", "sleep"} <= set(names)
            assert names.index("serve") < names.index("work") < names.index("deeper") < names.index("sleep")
            await trio.sleep(0.5)
