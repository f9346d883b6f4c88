"""Probes: what comes is expected within a bound, what comes instead is shown, and requests are answered by the test."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import trio
from trio.testing import MockClock

from vespera_agents.actors import (
    Actor,
    ActorCrashed,
    ActorRef,
    AskTimeout,
    MailboxFull,
    MailboxSpec,
    Overflow,
    Request,
    open_system,
    receives,
)
from vespera_agents.actors.testing import Probe, Unexpected


@dataclass(frozen=True)
class Greet:
    reply_to: ActorRef[Actor]


@dataclass(frozen=True)
class Greeting:
    text: str


@dataclass(frozen=True)
class Price(Request[int]):
    of: str


class Greeter(Actor):
    @receives
    async def greet(self, message: Greet) -> None:
        await trio.sleep(1.0)
        await message.reply_to.send(Greeting("hello"))


async def test_what_is_told_is_expected_in_its_order(autojump_clock: MockClock) -> None:
    async with open_system() as system:
        probe = await Probe.open(system, name="probe")
        greeter = await system.start(Greeter)
        greeter.tell(Greet(probe.ref))
        probe.ref.tell("first")
        assert await probe.expect(str) == "first"
        greeting = await probe.expect(Greeting)
        assert greeting.text == "hello"
        assert trio.current_time() == 1.0
        assert probe.ref.kind == "ProbeActor"


async def test_what_does_not_come_is_reported_after_the_bound(autojump_clock: MockClock) -> None:
    async with open_system() as system:
        probe = await Probe.open(system, name="probe")
        with pytest.raises(Unexpected, match=r"No Greeting came to 'probe' within 2 s\."):
            await probe.expect(Greeting, within_seconds=2.0)
        assert trio.current_time() == 2.0


async def test_what_comes_instead_is_shown_with_what_follows_it(autojump_clock: MockClock) -> None:
    async with open_system() as system:
        probe = await Probe.open(system, name="probe")
        for number in range(8):
            probe.ref.tell(number)
        with pytest.raises(AssertionError, match=r"Instead of a Greeting, 0 came to 'probe'; then 1, 2, 3, 4, 5 and 2"):
            await probe.expect(Greeting)
        # What was wrong has been read; the rest is still there.
        assert await probe.expect(int) == 1
        assert probe.unread == (2, 3, 4, 5, 6, 7)


async def test_fishing_passes_over_other_messages(autojump_clock: MockClock) -> None:
    async with open_system() as system:
        probe = await Probe.open(system)
        for message in (1, 2, "a", 3):
            probe.ref.tell(message)
        assert await probe.fish(str) == "a"
        with pytest.raises(Unexpected, match=r"within 3 s, but 3\."):
            await probe.fish(str)
        assert trio.current_time() == 3.0


async def test_nothing_is_expected_for_a_while(autojump_clock: MockClock) -> None:
    async with open_system() as system:
        probe = await Probe.open(system, name="probe")
        await probe.expect_none(within_seconds=5.0)
        assert trio.current_time() == 5.0
        probe.ref.tell("oh")
        with pytest.raises(Unexpected, match="'oh' came; then nothing"):
            await probe.expect_none()


async def test_a_request_waits_for_the_answer_of_the_test(autojump_clock: MockClock) -> None:
    prices: list[int] = []
    async with open_system() as system, trio.open_nursery() as nursery:
        probe = await Probe.open(system)

        async def ask(what: str) -> None:
            prices.append(await probe.ref.ask(Price(what)))

        nursery.start_soon(ask, "pears")
        assert (await probe.expect(Price)).of == "pears"
        await trio.sleep(1.0)
        assert prices == []
        probe.reply(7)
        await trio.testing.wait_all_tasks_blocked()
        assert prices == [7]
        with pytest.raises(Unexpected, match="No request waits"):
            probe.reply(8)


async def test_a_request_is_answered_by_what_the_test_has_said_beforehand(autojump_clock: MockClock) -> None:
    async with open_system() as system:
        probe = await Probe.open(system)
        probe.answer(Price, lambda price: len(price.of))
        assert await probe.ref.ask(Price("pears")) == 5
        assert await probe.expect(Price) == Price("pears")


async def test_a_request_fails_as_the_test_says_and_the_probe_goes_on(autojump_clock: MockClock) -> None:
    async with open_system() as system, trio.open_nursery() as nursery:
        probe = await Probe.open(system)

        async def ask() -> None:
            with pytest.raises(ActorCrashed) as caught:
                await probe.ref.ask(Price("pears"))
            assert isinstance(caught.value.cause, OSError)

        nursery.start_soon(ask)
        await probe.expect(Price)
        probe.ref.tell("later")
        probe.fail(OSError("no pears"))
        assert await probe.expect(str) == "later"


async def test_a_request_that_nobody_answers_times_out_and_at_last_crashes_the_probe(autojump_clock: MockClock) -> None:
    async with open_system() as system:
        probe = await Probe.open(system, reply_seconds=20.0)
        with pytest.raises(AskTimeout):
            await probe.ref.ask(Price("pears"))
        with pytest.raises(ActorCrashed, match="was not answered within 20 s"):
            await probe.ref.ask(Price("plums"), timeout_seconds=100.0)
        assert trio.current_time() == 40.0
        assert probe.unread == (Price("pears"), Price("plums"))
        probe.answer(Price, lambda _: 3)
        assert await probe.ref.ask(Price("figs")) == 3


async def test_a_probe_has_a_mailbox_as_any_actor(autojump_clock: MockClock) -> None:
    async with open_system() as system, trio.open_nursery() as nursery:
        probe = await Probe.open(system, mailbox=MailboxSpec(1, Overflow.REJECT))
        nursery.start_soon(probe.ref.ask, Price("pears"))
        await probe.expect(Price)
        probe.ref.tell(1)
        with pytest.raises(MailboxFull):
            probe.ref.tell(2)
        probe.reply(0)
        assert await probe.expect(int) == 1


async def test_the_end_of_an_actor_is_expected(autojump_clock: MockClock) -> None:
    async with open_system() as system:
        probe = await Probe.open(system)
        greeter = await system.start(Greeter, name="greeter")
        with pytest.raises(Unexpected, match="was to end within 1 s, and goes on"):
            await probe.expect_terminated(greeter, within_seconds=1.0)
        greeter.stop()
        assert (await probe.expect_terminated(greeter)).name == "greeter"
        # It has ended already: that is told at once.
        assert (await probe.expect_terminated(greeter)).name == "greeter"


async def test_a_closed_probe_keeps_what_has_come(autojump_clock: MockClock) -> None:
    async with open_system() as system:
        probe = await Probe.open(system, name="probe")
        probe.ref.tell("last")
        await trio.testing.wait_all_tasks_blocked()
        await probe.close()
        assert system.whereis("probe") is None
        assert await probe.expect(str) == "last"
