"""Asks from another thread lie in mailboxes without a task of their own: whatever becomes of them, one answer.

Real loop, real thread. Every wait is bounded; nothing measures real time.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from contextvars import ContextVar
from functools import partial
from random import Random
from typing import Any

import pytest
import trio

from vespera_agents.actors import (
    Actor,
    ActorCrashed,
    ActorStopped,
    ActorSystem,
    AskTimeout,
    KindStatistics,
    MailboxFull,
    MailboxSpec,
    MessageOutcome,
    Overflow,
    Request,
    receives,
)
from vespera_agents.actors.embedding.asyncio_host import AsyncioHost, open_system_from_asyncio
from vespera_agents.actors.embedding.outside import ActorHandle
from vespera_agents.actors.embedding.portal import open_system_portal
from vespera_agents.actors.errors import SystemUnresponsive
from vespera_agents.actors.pools.opening import open_pool

COLOUR: ContextVar[str] = ContextVar("colour", default="none")


class Number(Request[int]):
    """Is logged, and answered with the number itself."""

    def __init__(self, number: int) -> None:
        self.number = number


class Urgent(Number):
    """Is handled before other mail."""


class Later(Request[str]):
    """Is put aside until Note("now") has come."""


class Colour(Request[str]):
    """Is answered with the asker's colour."""


class Crash(Request[None]):
    """Breaks the actor."""


class Note:
    def __init__(self, text: str) -> None:
        self.text = text


class Hold(Request[str]):
    """Is answered once `let_go` is set; with `block` it holds up the whole thread meanwhile."""

    def __init__(self, *, block: bool = False) -> None:
        self.block = block
        self.begun = threading.Event()
        self.let_go = threading.Event()


class Clerk(Actor):
    def __init__(self, log: list[object] | None = None) -> None:
        self.log: list[object] = [] if log is None else log
        self.is_now = False

    @receives
    def number(self, message: Number) -> int:
        self.log.append(message.number)
        return message.number

    @receives
    def note(self, message: Note) -> None:
        self.log.append(message.text)
        self.is_now = True
        self.unstash_all()

    @receives
    def later(self, _message: Later) -> str:
        if not self.is_now:
            self.stash()
        return "now"

    @receives
    def colour(self, _message: Colour) -> str:
        return COLOUR.get()

    @receives
    def crash(self, _message: Crash) -> None:
        raise ValueError("broken")

    @receives
    async def hold(self, message: Hold) -> str:
        message.begun.set()
        if message.block:
            message.let_go.wait(30)
        while not message.let_go.is_set():  # noqa: ASYNC110 - set by another thread
            await trio.sleep(0.002)
        return "let go"


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(60):
            await main()

    asyncio.run(bounded())


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - another thread makes it true
            await asyncio.sleep(0.002)


@asynccontextmanager
async def held(
    host: AsyncioHost, clerk: ActorHandle[Clerk], *, block: bool = False
) -> AsyncIterator[asyncio.Task[str]]:
    """Keep the actor at one request for the length of the block."""
    hold = Hold(block=block)
    holding = asyncio.create_task(host.ask(clerk, hold, timeout_seconds=1000))
    try:
        await until(hold.begun.is_set)
        yield holding
    finally:
        hold.let_go.set()
    assert await holding == "let go"


async def ask_soon(host: AsyncioHost, clerk: ActorHandle[Clerk], *numbers: int) -> list[asyncio.Task[int]]:
    """Ask, and go on when every request has been posted, or waits in the way in."""
    before = host.statistics().pending
    asks = [asyncio.create_task(host.ask(clerk, Number(number), timeout_seconds=1000)) for number in numbers]
    await until(lambda: host.statistics().pending == before + len(numbers))
    await host.run(trio.sleep, 0)
    return asks


async def counts(host: AsyncioHost) -> KindStatistics:
    async def look() -> KindStatistics:
        return host.system.statistics().kinds["Clerk"]

    return await host.run(look)


def test_asks_take_no_trio_task() -> None:
    async def tasks() -> int:
        return trio.lowlevel.current_statistics().tasks_living

    async def main() -> None:
        async with open_system_from_asyncio() as host:
            clerk = await host.start(Clerk)
            before = await host.run(tasks)
            async with held(host, clerk):
                asks = await ask_soon(host, clerk, *range(300))
                await host.send(clerk, Note("there is room"))
                assert await host.run(tasks) == before
            assert await asyncio.gather(*asks) == list(range(300))

    run(main)


def test_all_messages_of_one_sender_keep_their_order_whatever_way_they_go() -> None:
    async def main() -> None:
        log: list[object] = []
        async with open_system_from_asyncio() as host:
            clerk = await host.start(Clerk, log)
            calls: list[asyncio.Task[Any]] = []
            for number in range(0, 300, 3):
                calls.append(asyncio.create_task(host.ask(clerk, Number(number))))
                await asyncio.sleep(0)
                host.tell(clerk, Note(str(number + 1)))
                calls.append(asyncio.create_task(host.send(clerk, Note(str(number + 2)))))
                await asyncio.sleep(0)
            await asyncio.gather(*calls)
            await host.ask(clerk, Number(300))
        assert [int(str(each)) for each in log] == list(range(301))

    run(main)


def test_asks_of_one_turn_share_a_wake_up_even_if_the_other_thread_runs_meanwhile() -> None:
    async def main() -> None:
        async with open_system_from_asyncio() as host:
            clerk = await host.start(Clerk)
            never = threading.Event()

            async def ask(number: int) -> int:
                # Lets the other thread take in what there is.
                never.wait(0.001)
                return await host.ask(clerk, Number(number))

            before = host.statistics().batches
            assert await asyncio.gather(*(ask(number) for number in range(50))) == list(range(50))
            # The first may be alone, so it does not wait for the others.
            assert host.statistics().batches - before <= 2

    run(main)


def test_what_was_told_before_the_system_is_closed_is_heard_though_its_wake_up_was_put_off() -> None:
    async def main() -> None:
        log: list[object] = []
        async with open_system_from_asyncio() as host:
            clerk = await host.start(Clerk, log)
            hold, never = Hold(), threading.Event()

            async def ask() -> str:
                # So that the first has been taken in.
                never.wait(0.05)
                # Runs before the wake-up, which comes with the next turn of the loop.
                asyncio.get_running_loop().call_soon(never.wait, 0.2)
                return await host.ask(other, hold)

            other = await host.start(Clerk)
            asks = [asyncio.create_task(host.ask(other, hold)), asyncio.create_task(ask())]
            await asyncio.sleep(0)
            host.tell(clerk, Note("told"))
        assert log == ["told"]
        for ended in await asyncio.gather(*asks, return_exceptions=True):
            assert isinstance(ended, ActorStopped)

    run(main)


def test_the_askers_context_goes_along() -> None:
    async def main() -> None:
        async with open_system_from_asyncio() as host:
            clerk = await host.start(Clerk)

            async def ask(colour: str) -> str:
                COLOUR.set(colour)
                return await host.ask(clerk, Colour())

            assert await asyncio.gather(ask("red"), ask("green")) == ["red", "green"]
            assert await host.ask(clerk, Colour()) == "none"

    run(main)


def test_asks_are_counted_as_inside_the_system() -> None:
    async def main() -> None:
        async with open_system_from_asyncio() as host:
            clerk = await host.start(Clerk)
            for number in range(14):
                await host.ask(clerk, Number(number))
            seen = await counts(host)
            assert (seen.asks, seen.messages[MessageOutcome.HANDLED]) == (14, 14)
            assert seen.ask_duration.count == 2

    run(main)


def test_an_ask_that_is_cancelled_in_the_queue_is_not_handled_and_one_in_hand_has_a_late_reply() -> None:
    async def main() -> None:
        log: list[object] = []
        async with open_system_from_asyncio() as host:
            clerk = await host.start(Clerk, log)
            hold = Hold()
            holding = asyncio.create_task(host.ask(clerk, hold))
            await until(hold.begun.is_set)
            queued, kept = await ask_soon(host, clerk, 1, 2)
            for ask in (holding, queued):
                ask.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await ask
            await host.run(trio.sleep, 0)
            hold.let_go.set()
            assert await kept == 2
            seen = await counts(host)
            assert (seen.messages[MessageOutcome.WITHDRAWN], seen.late_replies) == (1, 1)
            assert (host.statistics().withdrawn, host.statistics().pending) == (2, 0)
        assert log == [2]

    run(main)


def test_an_ask_that_is_cancelled_on_its_way_never_reaches_the_mailbox() -> None:
    async def main() -> None:
        log: list[object] = []
        async with open_system_from_asyncio() as host:
            clerk, other = await host.start(Clerk, log), await host.start(Clerk)
            async with held(host, other, block=True):
                ask = asyncio.create_task(host.ask(clerk, Number(1)))
                await until(lambda: host.statistics().pending == 2)
                ask.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await ask
            assert await host.ask(clerk, Number(2)) == 2
            seen = await counts(host)
            assert (seen.asks, seen.messages[MessageOutcome.WITHDRAWN]) == (2, 0)
        assert log == [2]

    run(main)


def test_asks_that_are_due_fail_wherever_they_are() -> None:
    async def main() -> None:
        log: list[object] = []
        async with open_system_from_asyncio() as host:
            clerk = await host.start(Clerk, log, mailbox=MailboxSpec(1))
            hold = Hold()
            # Long enough to be begun on a busy machine, too: what is due before that is withdrawn, and never begins.
            in_hand = asyncio.create_task(host.ask(clerk, hold, timeout_seconds=0.5))
            await until(hold.begun.is_set)
            queued = asyncio.create_task(host.ask(clerk, Number(1), timeout_seconds=0.05))
            without_room = asyncio.create_task(host.ask(clerk, Number(2), timeout_seconds=0.05))
            for ask in (in_hand, queued, without_room):
                with pytest.raises(AskTimeout, match="Clerk"):
                    await ask
            hold.let_go.set()
            assert await host.ask(clerk, Number(3)) == 3
            seen = await counts(host)
            assert (seen.ask_timeouts, seen.late_replies) == (3, 1)
        assert log == [3]

    run(main)


def test_an_ask_may_wait_without_a_limit() -> None:
    async def main() -> None:
        async with open_system_from_asyncio() as host:
            clerk = await host.start(Clerk)
            for number in range(8):
                assert await host.ask(clerk, Number(number), timeout_seconds=float("inf")) == number
            with pytest.raises(ValueError, match="more than 0 seconds"):
                await host.ask(clerk, Number(1), timeout_seconds=0)
            assert host.statistics().pending == 0

    run(main)


def test_a_crash_fails_the_ask_in_hand_and_keeps_those_behind_it() -> None:
    async def main() -> None:
        async with open_system_from_asyncio() as host:
            clerk = await host.start(Clerk)
            async with held(host, clerk):
                crash = asyncio.create_task(host.ask(clerk, Crash()))
                await until(lambda: host.statistics().pending == 2)
                behind = await ask_soon(host, clerk, 1, 2)
            with pytest.raises(ActorCrashed) as crashed:
                await crash
            assert isinstance(crashed.value.cause, ValueError)
            assert await asyncio.gather(*behind) == [1, 2]

    run(main)


def test_the_end_of_an_actor_answers_who_waits_in_its_mailbox_and_for_room() -> None:
    async def main() -> None:
        async with open_system_from_asyncio() as host:
            clerk = await host.start(Clerk, mailbox=MailboxSpec(2))
            async with held(host, clerk):
                asks = await ask_soon(host, clerk, 1, 2, 3, 4)
                stopping = asyncio.create_task(host.stop(clerk))
                await host.run(trio.sleep, 0)
            for ask in asks:
                with pytest.raises(ActorStopped, match="Clerk"):
                    await ask
            await stopping
            with pytest.raises(ActorStopped):
                await host.ask(clerk, Number(5))
            assert host.statistics().pending == 0

    run(main)


def test_a_full_mailbox_lets_asks_and_sends_wait_for_room() -> None:
    async def main() -> None:
        log: list[object] = []
        async with open_system_from_asyncio() as host:
            clerk = await host.start(Clerk, log, mailbox=MailboxSpec(2, Overflow.WAIT))
            async with held(host, clerk):
                asks = await ask_soon(host, clerk, *range(6))
                sending = asyncio.create_task(host.send(clerk, Note("sent")))
                await until(lambda: host.statistics().pending == 8)
                await host.run(trio.sleep, 0)
                assert clerk.ref.statistics().mailbox.waiting_senders == 5
                asks[4].cancel()
                await asyncio.wait([asks[4]])
                await host.run(trio.sleep, 0)
                assert clerk.ref.statistics().mailbox.waiting_senders == 4
            assert await asyncio.gather(*asks[:4], asks[5]) == [0, 1, 2, 3, 5]
            await sending
        assert log == [0, 1, 2, 3, 5, "sent"]

    run(main)


@pytest.mark.parametrize(
    ("overflow", "refused"),
    [(Overflow.REJECT, [2, 3]), (Overflow.DROP_NEWEST, [2, 3]), (Overflow.DROP_OLDEST, [0, 1])],
)
def test_a_full_mailbox_that_lets_nobody_wait_fails_asks(overflow: Overflow, refused: list[int]) -> None:
    async def main() -> None:
        async with open_system_from_asyncio() as host:
            clerk = await host.start(Clerk, mailbox=MailboxSpec(2, overflow))
            async with held(host, clerk):
                asks = [asyncio.create_task(host.ask(clerk, Number(number))) for number in range(4)]
                for number in refused:
                    with pytest.raises(MailboxFull):
                        await asks[number]
            kept = [number for number in range(4) if number not in refused]
            assert [await asks[number] for number in kept] == kept
            # What was refused is not used again for somebody inside.
            assert await host.run(_ask_inside, host.system, clerk.name) == 7
            assert host.statistics().pending == 0

    run(main)


def test_who_gave_up_leaves_room_in_a_full_mailbox_and_the_others_stay() -> None:
    async def main() -> None:
        async with open_system_from_asyncio() as host:
            clerk = await host.start(Clerk, mailbox=MailboxSpec(2, Overflow.REJECT))
            async with held(host, clerk):
                kept, given_up = await ask_soon(host, clerk, 1, 2)
                given_up.cancel()
                await asyncio.wait([given_up])
                (late,) = await ask_soon(host, clerk, 3)
            assert await asyncio.gather(kept, late) == [1, 3]

    run(main)


async def _ask_inside(system: ActorSystem, name: str) -> int:
    ref = system.whereis(name)
    assert ref is not None
    return await ref.ask(Number(7))


def test_an_ask_that_is_put_aside_is_answered_later_or_withdrawn() -> None:
    async def main() -> None:
        async with open_system_from_asyncio() as host:
            clerk = await host.start(Clerk)
            kept, given_up = (asyncio.create_task(host.ask(clerk, Later())) for _ in range(2))
            assert await host.ask(clerk, Number(1)) == 1
            given_up.cancel()
            await asyncio.wait([given_up])
            await host.run(trio.sleep, 0)
            host.tell(clerk, Note("now"))
            assert await kept == "now"
            assert (await counts(host)).late_replies == 0

    run(main)


def test_urgent_asks_go_first() -> None:
    async def main() -> None:
        log: list[object] = []
        async with open_system_from_asyncio() as host:
            clerk = await host.start(Clerk, log, mailbox=MailboxSpec(10, urgent=(Urgent,)))
            async with held(host, clerk):
                asks = await ask_soon(host, clerk, 1, 2)
                asks.append(asyncio.create_task(host.ask(clerk, Urgent(3))))
                await until(lambda: host.statistics().pending == 4)
                await host.run(trio.sleep, 0)
            await asyncio.gather(*asks)
        assert log == [3, 1, 2]

    run(main)


def test_closing_withdraws_what_was_not_begun() -> None:
    async def main() -> None:
        log: list[object] = []
        async with open_system_from_asyncio() as host:
            clerk = await host.start(Clerk, log, mailbox=MailboxSpec(2))
            hold = Hold()
            waiting: list[asyncio.Task[Any]] = [asyncio.create_task(host.ask(clerk, hold, timeout_seconds=1000))]
            await until(hold.begun.is_set)
            waiting += await ask_soon(host, clerk, 1, 2, 3)
            # Closing waits for the handler, which only goes on when the system has refused its asker.
            waiting[0].add_done_callback(lambda _: hold.let_go.set())
        for ask in waiting:
            with pytest.raises(ActorStopped, match="was closed"):
                await ask
        assert log == []
        assert host.statistics().pending == 0

    run(main)


def test_closing_answers_what_is_still_on_its_way() -> None:
    async def main() -> None:
        async with open_system_from_asyncio() as host:
            clerk = await host.start(Clerk)
            hold = Hold(block=True)
            asks: list[asyncio.Task[Any]] = [asyncio.create_task(host.ask(clerk, hold))]
            await until(hold.begun.is_set)
            asks += [asyncio.create_task(host.ask(clerk, Number(number))) for number in range(3)]
            await until(lambda: host.statistics().pending == 4)
            threading.Timer(0.05, hold.let_go.set).start()
        for answer in await asyncio.gather(*asks, return_exceptions=True):
            # Closing and the end of the handler are close together, so some may have been handled.
            assert isinstance(answer, (ActorStopped, str, int))

    run(main)


def test_thousands_of_asks_under_way_have_one_answer_each() -> None:
    """Some are cancelled, some crash their actor, some come too late; the counts add up."""

    async def main() -> None:
        random = Random(7)
        wishes = [random.choice(("answer", "answer", "answer", "cancel", "late")) for _ in range(5000)]
        async with open_system_from_asyncio() as host:
            clerk = await host.start(Clerk, mailbox=MailboxSpec(1000))
            async with held(host, clerk):
                asks = [
                    asyncio.create_task(
                        host.ask(clerk, Number(number), timeout_seconds=0.01 if wish == "late" else 1000)
                    )
                    for number, wish in enumerate(wishes)
                ]
                await until(lambda: host.statistics().pending == 1 + len(asks) - wishes.count("late"))
                cancelled = [ask for ask, wish in zip(asks, wishes, strict=True) if wish == "cancel"]
                for ask in cancelled:
                    ask.cancel()
                await asyncio.wait(cancelled)
                await host.run(trio.sleep, 0)
            answers = await asyncio.gather(*asks, return_exceptions=True)
            for number, (wish, answer) in enumerate(zip(wishes, answers, strict=True)):
                if wish == "answer":
                    assert answer == number
                else:
                    assert isinstance(answer, AskTimeout if wish == "late" else asyncio.CancelledError)
            seen = await counts(host)
            assert host.statistics().pending == 0
            assert seen.asks == 5001
            assert seen.ask_timeouts == wishes.count("late")
            assert seen.messages[MessageOutcome.HANDLED] == wishes.count("answer") + 1
            assert seen.messages[MessageOutcome.WITHDRAWN] == wishes.count("cancel") + wishes.count("late")

    run(main)


def test_a_pool_is_asked_through_a_task() -> None:
    async def main() -> None:
        async with open_system_from_asyncio() as host:
            pool = ActorHandle(await host.run(partial(open_pool, host.system, Clerk, size=2)))
            assert await host.ask(pool, Number(5)) == 5
            await host.send(pool, Note("sent"))
            host.tell(pool, Note("told"))
            assert await host.ask(pool, Number(6)) == 6
            await until(lambda: host.statistics().carriers_idle > 0)
            assert (await counts(host)).messages[MessageOutcome.HANDLED] == 4

    run(main)


def test_threads_that_ask_through_a_portal_get_their_own_answers() -> None:
    with open_system_portal() as portal, ThreadPoolExecutor(8) as threads:
        clerk = portal.start(Clerk, mailbox=MailboxSpec(2))

        def ask(base: int) -> list[int]:
            return [portal.ask(clerk, Number(base + n)) for n in range(50)]

        answers = list(threads.map(ask, range(0, 800, 100)))
        assert answers == [list(range(base, base + 50)) for base in range(0, 800, 100)]
        assert portal.statistics().pending == 0


def test_a_portal_that_gives_up_withdraws_its_request() -> None:
    log: list[object] = []
    with open_system_portal(patience_seconds=0.05) as portal, ThreadPoolExecutor(1) as threads:
        clerk, other = portal.start(Clerk, log), portal.start(Clerk)
        hold = Hold(block=True)
        holding = threads.submit(portal.ask, other, hold, timeout_seconds=30)
        assert hold.begun.wait(30)
        with pytest.raises(SystemUnresponsive, match="Clerk"):
            portal.ask(clerk, Number(1), timeout_seconds=0.05)
        hold.let_go.set()
        assert holding.result(30) == "let go"
        # The thread is free again; however late it is, it tells of the timeout itself.
        portal._patience_seconds = 10.0
        with pytest.raises(AskTimeout):
            hold_again = Hold()
            portal.ask(other, hold_again, timeout_seconds=0.02)
        hold_again.let_go.set()
        assert portal.ask(clerk, Number(2)) == 2
    assert log == [2]
