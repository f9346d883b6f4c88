"""Actors that are state machines: become, stash and unstash; and mail that comes before other mail."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from supervisors import StartFailed
from vespera_agents.actors import (
    Actor,
    ActorCrashed,
    ActorRef,
    AskTimeout,
    DeadLetterReason,
    InvalidReceiver,
    MailboxSpec,
    MessageOutcome,
    Overflow,
    Request,
    open_system,
    receives,
)
from vespera_agents.actors.errors import StashFull


class Open: ...


class Close: ...


class Crash: ...


@dataclass
class Put:
    what: str


@dataclass
class Get(Request[str]):
    what: str = ""


class Door(Actor):
    """Closed, it puts aside what it is given; open, it takes it."""

    initial_state = "closed"

    def __init__(self, log: list[str]) -> None:
        self.log = log

    @receives(when="closed")
    def open(self, _message: Open) -> None:
        self.become("open")
        self.unstash_all()

    @receives(when="closed")
    def put_later(self, _message: Put) -> None:
        self.stash()

    @receives(when="closed")
    async def get_later(self, _message: Get) -> str:
        await trio.lowlevel.checkpoint()
        self.stash()

    @receives(when="open")
    def put(self, message: Put) -> None:
        self.log.append(message.what)

    @receives(when="open")
    def get(self, message: Get) -> str:
        self.log.append(f"get {message.what}")
        return message.what.upper()

    @receives(when="open")
    def close(self, _message: Close) -> None:
        self.become("closed")

    @receives
    def crash(self, _message: Crash) -> None:
        raise LookupError("broken")


async def test_what_was_put_aside_comes_back_in_its_order_before_other_mail(autojump_clock: MockClock) -> None:
    log: list[str] = []
    async with open_system() as system:
        ref = await system.start(Door, log)
        for message in (Put("a"), Put("b"), Open(), Put("c")):
            ref.tell(message)
        assert await ref.ask(Get("d")) == "D"
        kind = system.statistics().kinds["Door"]
        assert kind.messages[MessageOutcome.STASHED] == 2
        assert kind.messages[MessageOutcome.HANDLED] == 5
        assert kind.messages[MessageOutcome.CRASHED] == 0
    assert log == ["a", "b", "c", "get d"]


async def test_a_state_counts_from_the_next_message_on_within_one_turn_and_a_restart_begins_anew(
    autojump_clock: MockClock,
) -> None:
    log: list[str] = []
    async with open_system() as system:
        ref = await system.start(Door, log)
        for message in (Open(), Put("a"), Close(), Put("b"), Open(), Put("c"), Crash(), Put("d")):
            ref.tell(message)
        await wait_all_tasks_blocked()
        assert log == ["a", "b", "c"]
        assert ref.statistics().incarnations == 2
        ref.tell(Open())
        await wait_all_tasks_blocked()
    assert log == ["a", "b", "c", "d"]


async def test_a_message_without_a_handler_in_this_state_is_unhandled(autojump_clock: MockClock) -> None:
    async with open_system() as system:
        ref = await system.start(Door, [])
        ref.tell(Close())
        await wait_all_tasks_blocked()
        assert [dead.reason for dead in system.dead_letters] == [DeadLetterReason.UNHANDLED]


async def test_an_ask_that_was_put_aside_is_answered_later_once(autojump_clock: MockClock) -> None:
    async with open_system() as system:
        ref = await system.start(Door, [])
        answers: list[str] = []

        async def ask(what: str) -> None:
            answers.append(await ref.ask(Get(what)))

        async with trio.open_nursery() as nursery:
            for what in "ab":
                nursery.start_soon(ask, what)
                await wait_all_tasks_blocked()
            assert answers == []
            ref.tell(Open())
        assert sorted(answers) == ["A", "B"]


async def test_an_ask_that_was_put_aside_keeps_its_deadline_and_is_not_handled_after_it(
    autojump_clock: MockClock,
) -> None:
    log: list[str] = []
    async with open_system() as system:
        ref = await system.start(Door, log)
        began = trio.current_time()
        with pytest.raises(AskTimeout):
            await ref.ask(Get("late"), timeout_seconds=3.0)
        assert trio.current_time() - began == pytest.approx(3.0)
        ref.tell(Open())
        assert await ref.ask(Get("next")) == "NEXT"
    assert log == ["get next"]


async def test_a_caller_that_leaves_withdraws_an_ask_that_was_put_aside(autojump_clock: MockClock) -> None:
    log: list[str] = []
    async with open_system() as system:
        ref = await system.start(Door, log)
        with trio.move_on_after(1):
            await ref.ask(Get("withdrawn"))
        ref.tell(Open())
        assert await ref.ask(Get("next")) == "NEXT"
        assert system.statistics().kinds["Door"].messages[MessageOutcome.WITHDRAWN] == 1
    assert log == ["get next"]


async def test_the_end_of_an_actor_answers_the_asks_that_it_put_aside(autojump_clock: MockClock) -> None:
    async with open_system() as system:
        ref = await system.start(Door, [])
        ends: list[str] = []

        async def ask() -> None:
            try:
                await ref.ask(Get("x"))
            except ActorCrashed as crashed:
                ends.append(type(crashed.cause).__name__)
            except Exception as error:
                ends.append(type(error).__name__)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await wait_all_tasks_blocked()
            ref.tell(Put("y"))
            await wait_all_tasks_blocked()
            await system.stop(ref)
        assert ends == ["ActorStopped"]
        assert [dead.reason for dead in system.dead_letters] == [DeadLetterReason.STOPPED]


async def test_more_than_the_mailbox_holds_cannot_be_put_aside(autojump_clock: MockClock) -> None:
    async with open_system() as system:
        ref = await system.start(Door, [], mailbox=MailboxSpec(2))
        ref.tell(Put("a"))
        await wait_all_tasks_blocked()
        ref.tell(Put("b"))
        await wait_all_tasks_blocked()
        with pytest.raises(ActorCrashed) as caught:
            await ref.ask(Get("c"))
        assert isinstance(caught.value.cause, StashFull)
        assert "put 2 messages aside" in str(caught.value.cause)


async def test_a_crash_gives_what_was_put_aside_back_in_its_order_before_other_mail(autojump_clock: MockClock) -> None:
    log: list[str] = []

    class OpensAgain(Door):
        starts = 0

        async def on_start(self) -> None:
            OpensAgain.starts += 1
            if OpensAgain.starts > 1:
                self.become("open")

    async with open_system() as system:
        ref = await system.start(OpensAgain, log)
        for message in (Put("a"), Put("b"), Crash(), Put("c")):
            ref.tell(message)
        await wait_all_tasks_blocked()
    assert log == ["a", "b", "c"]


async def test_a_state_that_no_handler_is_for_is_refused_with_those_that_there_are(autojump_clock: MockClock) -> None:
    class Lost(Door):
        @receives(when="open")
        def close(self, _message: Close) -> None:
            self.become("ajar")

    async with open_system() as system:
        ref = await system.start(Lost, [])
        ref.tell(Open())
        ref.tell(Close())
        await wait_all_tasks_blocked()
        assert system.dead_letters[0].cause.startswith("ValueError")
        assert "'ajar'" in system.dead_letters[0].cause
        assert "'closed', 'open'" in system.dead_letters[0].cause


def test_a_first_state_that_no_handler_is_for_is_refused_with_the_class() -> None:
    with pytest.raises(InvalidReceiver, match=r"Stuck begins in state 'ajar'.*@receives\(when='ajar'\)"):

        class Stuck(Door):
            initial_state = "ajar"


async def test_two_messages_that_bring_each_other_back_give_way_to_others(autojump_clock: MockClock) -> None:
    """Each unstashes the other and puts itself aside: that never ends, and must not stop the event loop."""

    class Seesaw(Actor):
        turns: ClassVar[int] = 0

        @receives
        def put(self, _message: Put) -> None:
            Seesaw.turns += 1
            self.unstash_all()
            self.stash()

    async with open_system() as system:
        ref = await system.start(Seesaw)
        ref.tell(Put("a"))
        ref.tell(Put("b"))
        for _ in range(10):
            await trio.lowlevel.checkpoint()
            if Seesaw.turns > 5000:
                pytest.fail("it never gave way")
        assert Seesaw.turns > 2


async def test_one_method_may_serve_several_states_and_come_before_a_handler_for_all(autojump_clock: MockClock) -> None:
    log: list[str] = []

    class Phone(Actor):
        initial_state = "idle"

        @receives
        def other(self, message: Put) -> None:
            log.append(f"any {message.what}")

        @receives(when=("ringing", "talking"))
        def busy(self, message: Put) -> None:
            log.append(f"busy {message.what}")

        @receives(when="idle")
        def ring(self, _message: Open) -> None:
            self.become("ringing")

        @receives(when="ringing")
        def answer(self, _message: Open) -> None:
            self.become("talking")

        @receives(when="talking")
        def hang_up(self, _message: Open) -> None:
            self.become("idle")

    async with open_system() as system:
        ref = await system.start(Phone)
        for number in range(4):
            ref.tell(Put(str(number)))
            ref.tell(Open())
        await wait_all_tasks_blocked()
    assert log == ["any 0", "busy 1", "busy 2", "any 3"]


async def test_a_catch_all_of_a_state_comes_before_a_handler_for_every_state(autojump_clock: MockClock) -> None:
    log: list[str] = []

    class Patient(Actor):
        initial_state = "asleep"

        @receives(when="asleep")
        def wake(self, _message: Open) -> None:
            self.become(None)
            self.unstash_all()

        @receives(when="asleep")
        def later(self, _message: object) -> None:
            self.stash()

        @receives
        def put(self, message: Put) -> None:
            log.append(message.what)

    async with open_system() as system:
        ref = await system.start(Patient)
        ref.tell(Put("a"))
        await wait_all_tasks_blocked()
        assert log == []
        ref.tell(Open())
        await wait_all_tasks_blocked()
    assert log == ["a"]


async def test_putting_aside_where_there_is_no_message_in_hand_is_an_error_that_says_so(
    autojump_clock: MockClock,
) -> None:
    class Confused(Actor):
        async def on_idle(self) -> None:
            self.stash()

        idle_timeout_seconds = 1.0

        @receives
        def get(self, _message: Get) -> str:
            return "here"

    async with open_system() as system:
        ref = await system.start(Confused)
        await trio.sleep(1.5)
        assert await ref.ask(Get()) == "here"
        assert ref.statistics().incarnations == 2


async def test_nothing_can_be_put_aside_before_there_is_mail(autojump_clock: MockClock) -> None:
    class Hasty(Actor):
        async def on_start(self) -> None:
            self.stash()

    async with open_system() as system:
        with pytest.raises(StartFailed, match=r"stash\(\) with no message in hand"):
            await system.start(Hasty)


# Mail that comes first -----------------------------------------------------------------------------------------------


class Alert(Put): ...


class Reader(Actor):
    def __init__(self, log: list[str]) -> None:
        self.log = log

    @receives
    def put(self, message: Put) -> None:
        self.log.append(message.what)

    @receives
    async def get(self, message: Get) -> str:
        self.log.append(f"get {message.what}")
        await trio.sleep(1)
        return message.what

    @receives
    def crash(self, _message: Crash) -> None:
        raise LookupError("broken")


URGENT = MailboxSpec(2, urgent=(Alert,))


async def busy_reader(ref: ActorRef[Reader]) -> None:
    ref.tell(Get("busy"))
    await wait_all_tasks_blocked()


async def test_urgent_mail_is_handled_before_all_other_in_its_own_order(autojump_clock: MockClock) -> None:
    log: list[str] = []
    async with open_system() as system:
        ref = await system.start(Reader, log, mailbox=URGENT)
        await busy_reader(ref)
        for message in (Put("a"), Alert("first"), Put("b"), Alert("second")):
            ref.tell(message)
        assert ref.statistics().mailbox.depth == 4
        await trio.sleep(2)
        ref.tell(Put("c"))
        await wait_all_tasks_blocked()
    assert log == ["get busy", "first", "second", "a", "b", "c"]


async def test_urgent_mail_has_room_of_its_own_and_need_not_wait_behind_other_mail(autojump_clock: MockClock) -> None:
    log: list[str] = []
    async with open_system() as system:
        ref = await system.start(Reader, log, mailbox=URGENT)
        await busy_reader(ref)
        ref.tell(Put("a"))
        ref.tell(Put("b"))

        async def send(message: Put) -> None:
            await ref.send(message)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send, Put("c"))
            await wait_all_tasks_blocked()
            began = trio.current_time()
            await ref.send(Alert("now"))
            assert trio.current_time() == began
            assert log == ["get busy"]
    assert log == ["get busy", "now", "a", "b", "c"]


@pytest.mark.parametrize("overflow", list(Overflow))
async def test_each_lane_overflows_by_the_rule_on_its_own(overflow: Overflow, autojump_clock: MockClock) -> None:
    log: list[str] = []
    async with open_system() as system:
        ref = await system.start(Reader, log, mailbox=MailboxSpec(1, overflow, (Alert,)))
        await busy_reader(ref)
        ref.tell(Put("a"))
        refused = 0
        for message in (Alert("u"), Alert("v")):
            try:
                ref.tell(message)
            except Exception:
                refused += 1
        await trio.sleep(2)
    assert refused == (overflow in {Overflow.WAIT, Overflow.REJECT})
    assert log == ["get busy", "v" if overflow is Overflow.DROP_OLDEST else "u", "a"]


async def test_urgent_mail_is_kept_across_a_restart(autojump_clock: MockClock) -> None:
    log: list[str] = []
    async with open_system() as system:
        ref = await system.start(Reader, log, mailbox=URGENT)
        ref.tell(Crash())
        ref.tell(Put("a"))
        await trio.lowlevel.checkpoint()
        ref.tell(Alert("u"))
        await wait_all_tasks_blocked()
    assert sorted(log) == ["a", "u"]
