"""tell, send and ask: what arrives, in which order, and what a full receiver does with it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from vespera_agents.actors import (
    Actor,
    ActorRef,
    ActorSystem,
    AskTimeout,
    DeadLetterReason,
    DropReason,
    MailboxFull,
    MailboxSpec,
    MessageOutcome,
    Overflow,
    Request,
    Unhandled,
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
    async def send_on(self, message: SendOn) -> None:
        await message.to.send(Note("sent on"))


async def busy_worker(system: ActorSystem, overflow: Overflow, log: list[str] | None = None) -> ActorRef[Worker]:
    """Start a worker with room for one message, that is busy for a second and has its mailbox full."""
    ref = await system.start(Worker, log, name="w", mailbox=MailboxSpec(1, overflow))
    ref.tell(Slow("busy"))
    await wait_all_tasks_blocked()
    ref.tell(Note("queued"))
    return ref


async def test_messages_are_handled_one_at_a_time_in_their_order_also_across_awaits(autojump_clock: MockClock) -> None:
    log: list[str] = []
    async with open_system() as system:
        ref = await system.start(Worker, log)
        ref.tell(Note("a"))
        ref.tell(Slow("b"))
        await ref.send(Note("c"))
        assert await ref.ask(Slow("d")) == "d"
    assert log == ["a", "b begins", "b ends", "c", "d begins", "d ends"]


async def test_an_ask_is_answered_with_the_reply(autojump_clock: MockClock) -> None:
    async with open_system() as system:
        ref = await system.start(Worker)
        assert await ref.ask(Slow("yes", 0.5)) == "yes"
        kind = system.statistics().kinds["Worker"]
        assert kind.asks == 1
        assert kind.ask_duration.count == 1
        assert kind.ask_duration.sum == pytest.approx(0.5)
        assert kind.messages[MessageOutcome.HANDLED] == 1


async def test_a_message_nobody_handles_is_a_dead_letter_and_an_ask_is_refused(autojump_clock: MockClock) -> None:
    class Strange(Request[int]): ...

    async with open_system() as system:
        ref = await system.start(Worker, name="w")
        ref.tell("a string")
        with pytest.raises(Unhandled, match=r"no handler for .*Strange.*@receives"):
            await ref.ask(Strange())
        [dead] = system.dead_letters
        assert (dead.message, dead.recipient, dead.kind) == ("a string", "w", "Worker")
        assert dead.reason is DeadLetterReason.UNHANDLED
        assert system.statistics().kinds["Worker"].unhandled == 2


async def test_only_requests_can_be_asked_and_only_with_a_time_limit_above_zero(autojump_clock: MockClock) -> None:
    async with open_system() as system:
        ref = await system.start(Worker)
        with pytest.raises(TypeError, match="is not a Request"):
            await ref.ask(Note("x"))  # type: ignore[arg-type]
        with pytest.raises(TypeError, match=r"Slow is a class. Ask with an object of it"):
            await ref.ask(Slow)  # type: ignore[arg-type]
        for seconds in (0.0, -1.0, math.nan):
            with pytest.raises(ValueError, match=r"math\.inf for no limit"):
                await ref.ask(Slow("x"), timeout_seconds=seconds)
        assert await ref.ask(Slow("x", 1000.0), timeout_seconds=math.inf) == "x"


# A full mailbox ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("overflow", [Overflow.WAIT, Overflow.REJECT])
async def test_tell_to_a_full_mailbox_raises(overflow: Overflow, autojump_clock: MockClock) -> None:
    async with open_system() as system:
        ref = await busy_worker(system, overflow)
        with pytest.raises(MailboxFull, match="limit of 1 messages"):
            ref.tell(Note("too much"))
        assert system.statistics().kinds["Worker"].drops[DropReason.REJECTED] == 1


async def test_send_waits_for_room_under_every_rule(autojump_clock: MockClock) -> None:
    for overflow in Overflow:
        log: list[str] = []
        async with open_system() as system:
            ref = await busy_worker(system, overflow, log)
            began = trio.current_time()
            await ref.send(Note("sent"))
            assert trio.current_time() - began == pytest.approx(1.0)
            await ref.ask(Slow("last", 0.0))
        assert log[2:4] == ["queued", "sent"]


async def test_ask_waits_for_room_when_the_rule_is_wait(autojump_clock: MockClock) -> None:
    async with open_system() as system:
        ref = await busy_worker(system, Overflow.WAIT)
        assert ref.statistics().mailbox.fill_ratio == 1.0
        assert await ref.ask(Slow("asked"), timeout_seconds=3.0) == "asked"


async def test_an_ask_that_waits_for_room_in_vain_times_out_and_leaves_the_line(autojump_clock: MockClock) -> None:
    async with open_system() as system:
        ref = await busy_worker(system, Overflow.WAIT)
        with pytest.raises(AskTimeout):
            await ref.ask(Slow("asked"), timeout_seconds=0.5)
        assert ref.statistics().mailbox.waiting_senders == 0


@pytest.mark.parametrize("overflow", [Overflow.REJECT, Overflow.DROP_NEWEST])
async def test_ask_of_a_full_mailbox_is_refused(overflow: Overflow, autojump_clock: MockClock) -> None:
    async with open_system() as system:
        ref = await busy_worker(system, overflow)
        with pytest.raises(MailboxFull):
            await ref.ask(Slow("asked"))


async def test_dropping_the_newest_makes_it_a_dead_letter(autojump_clock: MockClock) -> None:
    async with open_system() as system:
        ref = await busy_worker(system, Overflow.DROP_NEWEST)
        ref.tell(Note("newest"))
        assert [(d.message, d.reason) for d in system.dead_letters] == [(Note("newest"), DeadLetterReason.DROPPED)]
        assert system.statistics().kinds["Worker"].drops[DropReason.NEWEST] == 1


async def test_dropping_the_oldest_makes_it_a_dead_letter_or_fails_its_ask(autojump_clock: MockClock) -> None:
    log: list[str] = []
    async with open_system() as system:
        ref = await busy_worker(system, Overflow.DROP_OLDEST, log)

        async def ask() -> None:
            with pytest.raises(MailboxFull):
                await ref.ask(Slow("asked"))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await wait_all_tasks_blocked()
            ref.tell(Note("newest"))
        assert [(d.message, d.reason) for d in system.dead_letters] == [(Note("queued"), DeadLetterReason.DROPPED)]
        assert system.statistics().kinds["Worker"].drops[DropReason.OLDEST] == 2
        await trio.sleep(2)
    assert log == ["busy begins", "busy ends", "newest"]


# Fairness ------------------------------------------------------------------------------------------------------------


async def test_an_actor_with_much_mail_gives_way_to_others(autojump_clock: MockClock) -> None:
    log: list[str] = []
    async with open_system() as system:
        ref = await system.start(Worker, log)
        for number in range(1000):
            ref.tell(Note(str(number)))
        seen: list[int] = []
        while len(log) < 1000:
            await trio.lowlevel.checkpoint()
            seen.append(len(log))
        assert len(seen) >= 1000 // 128
    assert log == [str(number) for number in range(1000)]


async def test_an_actor_with_slow_handlers_gives_way_after_a_few_milliseconds() -> None:
    class Clumsy(Actor):
        handled = 0

        @receives
        def note(self, _message: Note) -> None:
            Clumsy.handled += 1
            end = trio.current_time() + 0.001
            while trio.current_time() < end:
                pass

    async with open_system() as system:
        ref = await system.start(Clumsy)
        for _ in range(60):
            ref.tell(Note("x"))
        await trio.lowlevel.checkpoint()
        await trio.lowlevel.checkpoint()
        assert 0 < Clumsy.handled < 60
        while Clumsy.handled < 60:
            await trio.lowlevel.checkpoint()
