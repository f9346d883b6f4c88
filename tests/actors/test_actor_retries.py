"""A message that crashed its handler is tried again where the class says so, and at most so many times."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from vespera_agents.actors import (
    Actor,
    ActorCrashed,
    AskTimeout,
    DeadLetterReason,
    MailboxSpec,
    MessageOutcome,
    Request,
    open_system,
    receives,
)
from vespera_agents.actors.endpoint import Endpoint


@dataclass(frozen=True)
class Do(Request[str]):
    """Crash the first `crashes` times."""

    what: str
    crashes: int = 0


@dataclass(frozen=True)
class DoNow(Do): ...


class Later:
    """Is put aside once by the first incarnation that gets it."""


class Stubborn(Actor):
    crash_retries = 2

    def __init__(self, log: list[str], tries: Counter[str]) -> None:
        self.log = log
        self.tries = tries

    @receives
    async def do(self, message: Do) -> str:
        self.tries[message.what] += 1
        if self.tries[message.what] % 2:
            await trio.lowlevel.checkpoint()
        if self.tries[message.what] <= message.crashes:
            raise LookupError(message.what)
        self.log.append(message.what)
        return message.what.upper()


async def test_without_a_word_of_its_class_nothing_is_tried_again(autojump_clock: MockClock) -> None:
    class Plain(Stubborn):
        crash_retries = 0

    tries: Counter[str] = Counter()
    async with open_system() as system:
        ref = await system.start(Plain, [], tries)
        with pytest.raises(ActorCrashed):
            await ref.ask(Do("a", 1))
        assert system.statistics().kinds["Plain"].messages[MessageOutcome.RETRIED] == 0
    assert tries == {"a": 1}


async def test_a_message_is_tried_again_before_the_mail_that_came_after_it(autojump_clock: MockClock) -> None:
    log: list[str] = []
    async with open_system(intensity=10) as system:
        ref = await system.start(Stubborn, log, Counter())
        ref.tell(Do("a", 2))
        ref.tell(Do("b"))
        await trio.sleep(1)
        kind = system.statistics().kinds["Stubborn"]
        assert kind.messages[MessageOutcome.RETRIED] == 2
        assert kind.messages[MessageOutcome.CRASHED] == 0
        assert kind.messages[MessageOutcome.HANDLED] == 2
        assert system.dead_letters == ()
    assert log == ["a", "b"]


async def test_what_crashes_too_often_is_a_dead_letter_with_its_cause_and_the_next_is_served(
    autojump_clock: MockClock,
) -> None:
    log: list[str] = []
    tries: Counter[str] = Counter()
    async with open_system(intensity=10) as system:
        ref = await system.start(Stubborn, log, tries)
        ref.tell(Do("a", 9))
        ref.tell(Do("b"))
        await trio.sleep(1)
        [dead] = system.dead_letters
        assert (dead.message, dead.reason, dead.cause) == (Do("a", 9), DeadLetterReason.CRASHED, "LookupError: a")
    assert tries["a"] == 3
    assert log == ["b"]


async def test_an_ask_that_is_tried_again_is_answered_once(autojump_clock: MockClock) -> None:
    tries: Counter[str] = Counter()
    async with open_system(intensity=10) as system:
        ref = await system.start(Stubborn, [], tries)
        assert await ref.ask(Do("a", 2)) == "A"
        with pytest.raises(ActorCrashed) as caught:
            await ref.ask(Do("b", 9))
        assert isinstance(caught.value.cause, LookupError)
        assert await ref.ask(Do("c")) == "C"
    assert tries == {"a": 3, "b": 3, "c": 1}


async def test_an_ask_whose_caller_gave_up_meanwhile_is_not_tried_again(autojump_clock: MockClock) -> None:
    class Slow(Stubborn):
        async def on_start(self) -> None:
            await trio.sleep(10 * self.tries["a"])

    tries: Counter[str] = Counter()
    async with open_system() as system:
        ref = await system.start(Slow, [], tries)
        with pytest.raises(AskTimeout):
            await ref.ask(Do("a", 9), timeout_seconds=5.0)
        assert await ref.ask(Do("b"), timeout_seconds=20.0) == "B"
    assert tries == {"a": 1, "b": 1}


async def test_each_message_has_its_own_count_though_another_crashes_in_between(autojump_clock: MockClock) -> None:
    """Urgent mail overtakes a message that is being retried; its crashes must not start that one's count anew."""
    tries: Counter[str] = Counter()

    class Interrupted(Stubborn):
        async def on_restart(self, cause: BaseException | None) -> None:
            if str(cause) == "a" and tries["a"] < 5:
                self.ref.tell(DoNow(f"u{tries['a']}", 1))

    async with open_system(intensity=100) as system:
        ref = await system.start(Interrupted, [], tries, mailbox=MailboxSpec(10, urgent=(DoNow,)))
        with pytest.raises(ActorCrashed):
            await ref.ask(Do("a", 9))
        await trio.sleep(1)
    assert tries == {"a": 3, "u1": 2, "u2": 2, "u3": 2}


async def test_the_counts_of_messages_that_are_through_are_not_kept(autojump_clock: MockClock) -> None:
    async with open_system(intensity=1000) as system:
        ref = await system.start(Stubborn, [], Counter())
        for number in range(50):
            await ref.ask(Do(str(number), 1))
        assert isinstance(ref, Endpoint)
        assert len(ref.retried or ()) <= 1


async def test_what_was_put_aside_comes_before_a_message_that_is_tried_again_and_came_later(
    autojump_clock: MockClock,
) -> None:
    log: list[str] = []

    class Hesitant(Stubborn):
        @receives
        def later(self, _message: Later) -> None:
            if self.tries["later"] == 0:
                self.tries["later"] = 1
                self.stash()
            self.log.append("later")

    async with open_system() as system:
        ref = await system.start(Hesitant, log, Counter())
        for message in (Later(), Do("a", 1), Do("b")):
            ref.tell(message)
        await wait_all_tasks_blocked()
    assert log == ["later", "a", "b"]


async def test_what_nobody_waits_for_any_more_is_not_tried_again(autojump_clock: MockClock) -> None:
    class Late(Stubborn):
        @receives
        async def do(self, message: Do) -> str:
            self.tries[message.what] += 1
            await trio.sleep(2)
            raise LookupError(message.what)

    tries: Counter[str] = Counter()
    async with open_system() as system:
        ref = await system.start(Late, [], tries)
        with trio.move_on_after(1):
            await ref.ask(Do("a"))
        await trio.sleep(10)
        outcomes = system.statistics().kinds["Late"].messages
        assert (outcomes[MessageOutcome.CRASHED], outcomes[MessageOutcome.RETRIED]) == (1, 0)
    assert tries == {"a": 1}
