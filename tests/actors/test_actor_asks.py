"""Asks that are not simply answered: timeouts, cancellation, crashes, ends and circles."""

from __future__ import annotations

import gc
from dataclasses import dataclass, field

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from vespera_agents.actors import (
    Actor,
    ActorCrashed,
    ActorRef,
    ActorStopped,
    ActorSystem,
    AskCycle,
    AskTimeout,
    DeadLetterReason,
    MailboxSpec,
    MessageOutcome,
    Overflow,
    Request,
    open_system,
    receives,
)


@dataclass
class Note:
    text: str


@dataclass
class Slow(Request[str]):
    text: str
    seconds: float = 1.0


class Crash(Request[None]): ...


@dataclass
class Relay(Request[str]):
    """Ask the last of `path`, through the others."""

    path: list[ActorRef[Worker]] = field(default_factory=list)


class SendOn:
    """Send a note to somebody, waiting for room."""

    def __init__(self, to: ActorRef[Worker]) -> None:
        self.to = to


class Worker(Actor):
    def __init__(self, log: list[str] | None = None) -> None:
        self.log = [] if log is None else log

    @receives
    def note(self, message: Note) -> None:
        self.log.append(message.text)

    @receives
    async def slow(self, message: Slow) -> str:
        self.log.append(f"{message.text} begins")
        await trio.sleep(message.seconds)
        self.log.append(f"{message.text} ends")
        return message.text

    @receives
    def crash(self, _message: Crash) -> None:
        raise LookupError("broken")

    @receives
    async def relay(self, message: Relay) -> str:
        if not message.path:
            return "arrived"
        first, *rest = message.path
        return await first.ask(Relay(rest))

    @receives
    async def send_on(self, message: SendOn) -> None:
        await message.to.send(Note("sent on"))


async def busy_worker(system: ActorSystem, overflow: Overflow, log: list[str] | None = None) -> ActorRef[Worker]:
    """Start a worker with room for one message, that is busy for a second and has its mailbox full."""
    ref = await system.start(Worker, log, name="w", mailbox=MailboxSpec(1, overflow))
    ref.tell(Slow("busy"))
    await wait_all_tasks_blocked()
    ref.tell(Note("queued"))
    return ref


async def test_an_ask_times_out_and_its_late_reply_is_dropped_and_counted(autojump_clock: MockClock) -> None:
    async with open_system() as system:
        ref = await system.start(Worker)
        began = trio.current_time()
        with pytest.raises(AskTimeout, match="did not answer within 2 s"):
            await ref.ask(Slow("late", 10.0), timeout_seconds=2.0)
        assert trio.current_time() - began == pytest.approx(2.0)
        assert await ref.ask(Slow("next"), timeout_seconds=60.0) == "next"
        kind = system.statistics().kinds["Worker"]
        assert (kind.ask_timeouts, kind.late_replies) == (1, 1)


async def test_each_ask_times_out_at_its_own_time_and_an_unstarted_one_is_never_handled(
    autojump_clock: MockClock,
) -> None:
    log: list[str] = []
    ends: dict[float, float] = {}
    async with open_system() as system:
        ref = await system.start(Worker, log)
        began = trio.current_time()

        async def ask(seconds: float) -> None:
            with pytest.raises(AskTimeout):
                await ref.ask(Slow(f"{seconds:g}", 100.0), timeout_seconds=seconds)
            ends[seconds] = trio.current_time() - began

        async with trio.open_nursery() as nursery:
            for seconds in (5.0, 3.0, 8.0, 1.0, 4.0):
                nursery.start_soon(ask, seconds)
        assert ends == {seconds: pytest.approx(seconds) for seconds in (1.0, 3.0, 4.0, 5.0, 8.0)}
        await ref.ask(Slow("end", 0.0), timeout_seconds=200.0)
        assert len([line for line in log if line.endswith("begins")]) == 2
        assert system.statistics().kinds["Worker"].messages[MessageOutcome.WITHDRAWN] == 4


async def test_a_cancelled_caller_withdraws_an_ask_that_has_not_been_started(autojump_clock: MockClock) -> None:
    log: list[str] = []
    async with open_system() as system:
        ref = await system.start(Worker, log)
        ref.tell(Slow("busy"))
        with trio.move_on_after(0.5):
            await ref.ask(Slow("withdrawn"))
        await ref.ask(Slow("last"))
    assert log == ["busy begins", "busy ends", "last begins", "last ends"]


async def test_a_cancelled_caller_does_not_disturb_an_ask_that_has_been_started(autojump_clock: MockClock) -> None:
    log: list[str] = []
    async with open_system() as system:
        ref = await system.start(Worker, log)
        with trio.move_on_after(0.5):
            await ref.ask(Slow("begun"))
        await ref.ask(Slow("last"))
        assert system.statistics().kinds["Worker"].late_replies == 1
    assert log[:2] == ["begun begins", "begun ends"]


async def test_callers_that_are_cancelled_need_no_garbage_collection(autojump_clock: MockClock) -> None:
    async with open_system() as system:
        ref = await system.start(Worker, [])

        async def give_up() -> None:
            with trio.move_on_after(0.5):
                await ref.ask(Slow("begun"))

        await give_up()
        gc.collect()
        gc.disable()
        try:
            await give_up()
            await ref.ask(Slow("last"))
            assert gc.collect() == 0
        finally:
            gc.enable()


async def test_a_cancelled_sender_leaves_nothing_behind(autojump_clock: MockClock) -> None:
    log: list[str] = []
    async with open_system() as system:
        ref = await busy_worker(system, Overflow.WAIT, log)
        with trio.move_on_after(0.5):
            await ref.send(Note("never"))
        with trio.CancelScope() as scope:
            scope.cancel()
            await ref.send(Note("never either"))
        await ref.ask(Slow("last"))
    assert "queued" in log
    assert not [line for line in log if line.startswith("never")]


async def test_a_crash_answers_the_ask_in_hand_with_its_cause_and_the_next_mail_is_kept(
    autojump_clock: MockClock,
) -> None:
    async with open_system() as system:
        ref = await system.start(Worker)
        answers: list[str] = []

        async def ask_later() -> None:
            answers.append(await ref.ask(Slow("kept")))

        async with trio.open_nursery() as nursery:
            ref.tell(Slow("busy"))
            await wait_all_tasks_blocked()
            crash = Crash()
            nursery.start_soon(ask_later)
            with pytest.raises(ActorCrashed, match="LookupError: broken") as caught:
                await ref.ask(crash)
        assert isinstance(caught.value.cause, LookupError)
        assert caught.value.__cause__ is caught.value.cause
        assert answers == ["kept"]
        assert ref.statistics().incarnations == 2


async def test_a_told_message_that_crashed_is_a_dead_letter_with_its_cause(autojump_clock: MockClock) -> None:
    async with open_system() as system:
        ref = await system.start(Worker)
        ref.tell(Crash())
        await ref.ask(Slow("after"))
        [dead] = system.dead_letters
        assert dead.reason is DeadLetterReason.CRASHED
        assert dead.cause == "LookupError: broken"


async def test_an_actor_that_has_ended_refuses_asks_and_sends_and_makes_dead_letters_of_tells(
    autojump_clock: MockClock,
) -> None:
    async with open_system() as system:
        ref = await system.start(Worker)
        await system.stop(ref)
        ref.tell(Note("too late"))
        ref.stop()
        with pytest.raises(ActorStopped, match="it stopped"):
            await ref.ask(Slow("x"))
        with pytest.raises(ActorStopped):
            await ref.send(Note("x"))
        assert [d.reason for d in system.dead_letters] == [DeadLetterReason.STOPPED]


async def test_whoever_waits_for_an_actor_that_ends_is_told_so(autojump_clock: MockClock) -> None:
    async with open_system() as system:
        ref = await busy_worker(system, Overflow.WAIT)
        errors: list[str] = []

        async def ask(seconds: float) -> None:
            with pytest.raises(ActorStopped):
                await ref.ask(Slow("x", seconds), timeout_seconds=100.0)
            errors.append("ask")

        async def send() -> None:
            with pytest.raises(ActorStopped):
                await ref.send(Note("x"))
            errors.append("send")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            nursery.start_soon(ask, 1.0)
            await wait_all_tasks_blocked()
            await system.stop(ref)
        assert sorted(errors) == ["ask", "send"]
        assert [d.reason for d in system.dead_letters] == [DeadLetterReason.STOPPED]


# Circles -------------------------------------------------------------------------------------------------------------


async def test_an_ask_to_oneself_is_refused(autojump_clock: MockClock) -> None:
    async with open_system(intensity=10) as system:
        ref = await system.start(Worker, name="w")
        with pytest.raises(ActorCrashed) as caught:
            await ref.ask(Relay([ref]))
        assert isinstance(caught.value.cause, AskCycle)
        assert caught.value.cause.path == ("w", "w")


async def test_a_circle_of_asks_is_refused_with_its_path(autojump_clock: MockClock) -> None:
    async with open_system(intensity=10) as system:
        a, b, c = [await system.start(Worker, name=name) for name in "abc"]
        assert await a.ask(Relay([b, c])) == "arrived"
        with pytest.raises(ActorCrashed) as caught:
            await a.ask(Relay([b, c, a]))
        causes: list[BaseException] = [caught.value]
        while isinstance(causes[-1], ActorCrashed):
            causes.append(causes[-1].cause)
        assert isinstance(causes[-1], AskCycle)
        assert causes[-1].path == ("c", "a", "b", "c")
        assert "c -> a -> b -> c" in str(causes[-1])
        assert await a.ask(Relay([b, c])) == "arrived"


async def test_an_ask_that_is_over_forbids_nothing(autojump_clock: MockClock) -> None:
    async with open_system() as system:
        a, b = await system.start(Worker), await system.start(Worker)
        assert await a.ask(Relay([b])) == "arrived"
        assert await b.ask(Relay([a])) == "arrived"


async def test_a_send_to_ones_own_full_mailbox_is_refused(autojump_clock: MockClock) -> None:
    async with open_system() as system:
        ref = await system.start(Worker, name="w", mailbox=MailboxSpec(1))
        ref.tell(Slow("busy", 0.1))
        await wait_all_tasks_blocked()
        ref.tell(SendOn(ref))
        with trio.fail_after(5):
            await ref.send(Note("fills it"))
            await trio.sleep(1)
        assert "AskCycle" in system.dead_letters[0].cause


async def test_a_send_between_actors_waits_for_room(autojump_clock: MockClock) -> None:
    log: list[str] = []
    async with open_system() as system:
        ref = await busy_worker(system, Overflow.WAIT, log)
        other = await system.start(Worker)
        other.tell(SendOn(ref))
        await trio.sleep(2)
    assert log[-1] == "sent on"
