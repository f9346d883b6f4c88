"""Timers and idle time: what an actor is told by the clock, and that all of it ends with its incarnation."""

from __future__ import annotations

import gc
import math
import weakref
from dataclasses import dataclass

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from supervisors import Restart
from supervisors.timekeeper import Alarm
from vespera_agents.actors import (
    Actor,
    ActorState,
    DeadLetterReason,
    DropReason,
    MailboxSpec,
    Overflow,
    Request,
    open_system,
    receives,
)
from vespera_agents.actors.endpoint import Endpoint
from vespera_agents.actors.timers import Timer


@dataclass(frozen=True)
class Tick:
    name: str = "tick"


@dataclass(frozen=True)
class After:
    seconds: float
    name: str = "after"


@dataclass(frozen=True)
class Every:
    seconds: float
    name: str = "every"


@dataclass(frozen=True)
class Busy:
    seconds: float


class Cancel: ...


class Crash: ...


class Ask(Request[None]): ...


class Clock(Actor):
    def __init__(self, log: list[tuple[str, float]], timers: list[Timer]) -> None:
        self.log = log
        self.timers = timers

    @receives
    def after(self, message: After) -> None:
        self.timers.append(self.tell_after(message.seconds, Tick(message.name)))

    @receives
    def every(self, message: Every) -> None:
        self.timers.append(self.tell_every(message.seconds, Tick(message.name)))

    @receives
    def tick(self, message: Tick) -> None:
        self.log.append((message.name, trio.current_time()))

    @receives
    async def busy(self, message: Busy) -> None:
        await trio.sleep(message.seconds)

    @receives
    def cancel(self, _message: Cancel) -> None:
        for timer in self.timers:
            timer.cancel()
            timer.cancel()

    @receives
    def crash(self, _message: Crash) -> None:
        raise LookupError("broken")

    @receives
    def ask(self, _message: Ask) -> None: ...


async def test_a_single_timer_ticks_once_at_its_time(autojump_clock: MockClock) -> None:
    log: list[tuple[str, float]] = []
    timers: list[Timer] = []
    async with open_system() as system:
        ref = await system.start(Clock, log, timers)
        for seconds in (3.0, 1.0, 0.0):
            ref.tell(After(seconds, f"{seconds:g}"))
        await wait_all_tasks_blocked()
        assert [timer.active for timer in timers] == [True, True, False]
        await trio.sleep(10)
        assert [timer.active for timer in timers] == [False, False, False]
    assert log == [("0", 0.0), ("1", 1.0), ("3", 3.0)]


async def test_a_repeated_timer_ticks_without_drift_although_handlers_take_time(autojump_clock: MockClock) -> None:
    log: list[tuple[str, float]] = []

    class Slow(Clock):
        @receives
        async def tick(self, message: Tick) -> None:
            await trio.sleep(0.3)
            self.log.append((message.name, trio.current_time()))

    async with open_system() as system:
        ref = await system.start(Slow, log, [])
        ref.tell(Every(1.0))
        await trio.sleep(4.5)
    assert [when for _, when in log] == pytest.approx([1.3, 2.3, 3.3, 4.3])


async def test_a_timer_that_rings_late_leaves_out_what_it_missed_and_keeps_its_beat(autojump_clock: MockClock) -> None:
    log: list[tuple[str, float]] = []
    timers: list[Timer] = []

    class Blocking(Clock):
        @receives
        def ask(self, _message: Ask) -> None:
            autojump_clock.jump(2.2)

    async with open_system() as system:
        ref = await system.start(Blocking, log, timers)
        ref.tell(Every(1.0))
        await trio.sleep(1.5)
        await ref.ask(Ask())
        await trio.sleep(1.5)
    assert log == [("every", 1.0), ("every", pytest.approx(3.7)), ("every", 4.0), ("every", 5.0)]
    assert timers[0].skipped == 1


async def test_a_tick_that_lies_in_the_mailbox_is_not_repeated_and_the_beat_is_kept(autojump_clock: MockClock) -> None:
    log: list[tuple[str, float]] = []
    timers: list[Timer] = []
    async with open_system() as system:
        ref = await system.start(Clock, log, timers)
        ref.tell(Every(1.0))
        ref.tell(Busy(3.5))
        await trio.sleep(3.2)
        assert ref.statistics().mailbox.depth == 1
        await trio.sleep(2)
    assert log == [("every", 3.5), ("every", 4.0), ("every", 5.0)]
    assert timers[0].skipped == 2


async def test_a_cancelled_timer_takes_back_the_tick_that_nobody_has_begun_with(autojump_clock: MockClock) -> None:
    log: list[tuple[str, float]] = []
    timers: list[Timer] = []
    async with open_system() as system:
        ref = await system.start(Clock, log, timers)
        ref.tell(Every(1.0))
        ref.tell(After(1.0))
        ref.tell(Busy(1.5))
        ref.tell(Cancel())
        await trio.sleep(1.2)
        assert ref.statistics().mailbox.depth == 3
        await trio.sleep(5)
        assert [timer.active for timer in timers] == [False, False]
        assert system.dead_letters == ()
    assert log == []


async def test_whoever_waits_for_room_gets_that_of_a_tick_that_was_taken_back(autojump_clock: MockClock) -> None:
    """Nothing else would come into the mailbox, and the actor would wait for mail while the sender waits for room."""
    log: list[tuple[str, float]] = []

    class Canceller(Clock):
        @receives
        async def busy(self, message: Busy) -> None:
            await trio.sleep(message.seconds)
            self.timers[0].cancel()

    async with open_system() as system:
        ref = await system.start(Canceller, log, [], mailbox=MailboxSpec(1))
        ref.tell(Every(1.0))
        await wait_all_tasks_blocked()
        ref.tell(Busy(1.5))
        await trio.sleep(1.2)
        with trio.fail_after(5):
            await ref.send(Tick("sent"))
        await wait_all_tasks_blocked()
    assert log == [("sent", 1.5)]


async def test_a_restart_ends_the_timers_and_takes_their_ticks_out_of_the_mail(autojump_clock: MockClock) -> None:
    log: list[tuple[str, float]] = []
    timers: list[Timer] = []
    async with open_system() as system:
        ref = await system.start(Clock, log, timers)
        for message in (Every(1.0), After(1.0), After(9.0), Busy(1.5), Crash(), Tick("kept")):
            ref.tell(message)
        await trio.sleep(20)
        assert ref.statistics().incarnations == 2
        assert [timer.active for timer in timers] == [False, False, False]
    assert log == [("kept", 1.5)]


async def test_a_tick_that_was_put_aside_ends_with_its_incarnation_too(autojump_clock: MockClock) -> None:
    log: list[tuple[str, float]] = []

    class Putting(Clock):
        @receives
        def tick(self, message: Tick) -> None:
            self.log.append((message.name, trio.current_time()))
            self.stash()

    async with open_system() as system:
        ref = await system.start(Putting, log, [])
        ref.tell(After(1.0))
        await trio.sleep(2)
        ref.tell(Crash())
        await trio.sleep(2)
    assert log == [("after", 1.0)]


async def test_a_tick_that_crashed_its_handler_is_a_dead_letter_and_is_not_tried_again(
    autojump_clock: MockClock,
) -> None:
    class Broken(Clock):
        crash_retries = 3

        @receives
        def tick(self, message: Tick) -> None:
            raise LookupError(message.name)

    async with open_system() as system:
        ref = await system.start(Broken, [], [])
        ref.tell(After(1.0))
        await trio.sleep(2)
        assert ref.statistics().incarnations == 2
        assert [(dead.message, dead.reason) for dead in system.dead_letters] == [
            (Tick("after"), DeadLetterReason.CRASHED)
        ]


async def test_the_end_of_an_actor_ends_its_timers(autojump_clock: MockClock) -> None:
    timers: list[Timer] = []
    async with open_system() as system:
        ref = await system.start(Clock, [], timers)
        ref.tell(Every(1.0))
        ref.tell(After(1.0))
        await wait_all_tasks_blocked()
        await system.stop(ref)
        await trio.sleep(5)
        assert system.dead_letters == ()
        assert [timer.active for timer in timers] == [False, False]


@pytest.mark.parametrize("overflow", list(Overflow))
async def test_a_full_mailbox_skips_repeated_ticks_and_takes_in_a_single_one(
    overflow: Overflow, autojump_clock: MockClock
) -> None:
    log: list[tuple[str, float]] = []
    timers: list[Timer] = []
    async with open_system() as system:
        ref = await system.start(Clock, log, timers, mailbox=MailboxSpec(1, overflow))
        for message in (Every(1.0), After(2.5), Busy(3.5)):
            await ref.send(message)
        await wait_all_tasks_blocked()
        ref.tell(Tick("fills"))
        await trio.sleep(3.2)
        refused = overflow in {Overflow.WAIT, Overflow.REJECT}
        assert timers[0].skipped == (3 if refused else 2 if overflow is Overflow.DROP_OLDEST else 0)
        assert system.statistics().kinds["Clock"].drops[DropReason.REJECTED] == (3 if refused else 0)
        await trio.sleep(0.5)
    names = [name for name, _ in log]
    assert names == (["every", "after"] if overflow is Overflow.DROP_OLDEST else ["fills", "after"])


async def test_timers_that_are_over_are_not_kept(autojump_clock: MockClock) -> None:
    """A session that sets a timeout with each message would grow for ever."""

    class Session(Actor):
        ticks = 0

        @receives
        def tick(self, message: Tick) -> None:
            self.ticks += 1
            self.tell_after(1.0, message)
            self.tell_after(50.0, Tick("cancelled")).cancel()

    async with open_system() as system:
        ref = await system.start(Session)
        ref.tell(Tick())
        await trio.sleep(100.5)
        assert isinstance(ref, Endpoint)
        assert len(ref.belongings or ()) == 1


async def test_a_timer_that_is_over_needs_no_garbage_collection(autojump_clock: MockClock) -> None:
    timers: list[weakref.ref[object]] = []

    class Session(Actor):
        @receives
        def after(self, message: After) -> None:
            tick = Marked()
            timers.append(weakref.ref(tick))
            self.tell_after(message.seconds, tick)

        @receives
        def tick(self, message: Marked) -> None: ...

    async with open_system() as system:
        ref = await system.start(Session)
        gc.collect()
        gc.disable()
        try:
            ref.tell(After(1.0))
            await trio.sleep(2)
            await ref.send(After(1.0))
            await wait_all_tasks_blocked()
            assert [timer() is None for timer in timers] == [True, False]
        finally:
            gc.enable()


class Marked:
    """A message that a weak reference can be made to."""


@pytest.mark.parametrize("seconds", [-1.0, math.nan, math.inf])
async def test_a_time_that_is_none_is_refused(seconds: float, autojump_clock: MockClock) -> None:
    class Wrong(Clock):
        @receives
        def after(self, message: After) -> None:
            with pytest.raises(ValueError, match="a number of seconds >= 0"):
                self.tell_after(message.seconds, Tick())
            with pytest.raises(ValueError, match=r"a number of seconds >= 0\.001"):
                self.tell_every(message.seconds, Tick())
            with pytest.raises(ValueError, match=r"a number of seconds >= 0\.001"):
                self.tell_every(0.0, Tick())
            self.log.append(("refused", 0.0))

    log: list[tuple[str, float]] = []
    async with open_system() as system:
        ref = await system.start(Wrong, log, [])
        ref.tell(After(seconds))
        await wait_all_tasks_blocked()
    assert log == [("refused", 0.0)]


# Idle time -----------------------------------------------------------------------------------------------------------


async def test_an_actor_that_nothing_happens_to_stops_after_its_idle_time(autojump_clock: MockClock) -> None:
    class Short(Clock):
        idle_timeout_seconds = 5.0

    async with open_system() as system:
        ref = await system.start(Short, [], [], name="w")
        await trio.sleep(3)
        await ref.ask(Ask())
        await trio.sleep(4)
        assert ref.statistics().state is ActorState.RUNNING
        await trio.sleep(1.5)
        assert ref.statistics().state is ActorState.STOPPED
        assert system.whereis("w") is None


async def test_the_time_of_a_handler_is_no_idle_time(autojump_clock: MockClock) -> None:
    class Short(Clock):
        idle_timeout_seconds = 5.0

    async with open_system() as system:
        ref = await system.start(Short, [], [])
        ref.tell(Busy(20.0))
        await trio.sleep(24.5)
        assert ref.statistics().state is ActorState.RUNNING
        await trio.sleep(1)
        assert ref.statistics().state is ActorState.STOPPED


class Restless(Clock):
    idle_timeout_seconds = 5.0

    async def on_idle(self) -> None:
        self.log.append(("idle", trio.current_time()))


async def test_an_override_is_called_again_after_each_further_idle_time(autojump_clock: MockClock) -> None:
    log: list[tuple[str, float]] = []
    async with open_system() as system:
        ref = await system.start(Restless, log, [])
        await trio.sleep(11)
        await ref.ask(Ask())
        await trio.sleep(6)
    assert log == [("idle", 5.0), ("idle", 10.0), ("idle", 16.0)]


@pytest.mark.parametrize("restart", [Restart.TRANSIENT, Restart.PERMANENT])
async def test_the_idle_time_of_a_new_incarnation_begins_anew(restart: Restart, autojump_clock: MockClock) -> None:
    log: list[tuple[str, float]] = []
    async with open_system() as system:
        ref = await system.start(Restless, log, [], restart=restart)
        await trio.sleep(3)
        ref.tell(Crash())
        await trio.sleep(6)
        assert ref.statistics().incarnations == 2
    assert log == [("idle", 8.0)]


async def test_mail_that_comes_in_the_same_instant_is_handled_before_an_idle_actor_stops(
    autojump_clock: MockClock,
) -> None:
    class Short(Clock):
        idle_timeout_seconds = 5.0

    log: list[tuple[str, float]] = []
    async with open_system() as system:
        ref = await system.start(Short, log, [])
        assert isinstance(ref, Endpoint)
        await wait_all_tasks_blocked()
        # It rings after the alarm of the actor, and before the actor has had a chance to run.
        Alarm(ref.switchboard.timekeeper, lambda: ref.tell(Tick("in time"))).set(5.0)
        await trio.sleep(6)
    assert [name for name, _ in log] == ["in time"]
