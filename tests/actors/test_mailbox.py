"""The mailbox as a data structure, and its two parking places."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.lowlevel import current_task, wait_task_rescheduled
from trio.testing import wait_all_tasks_blocked

from vespera_agents.actors.asks import ANSWERED, FAILED, QUEUED, STARTED, WITHDRAWN, Letter, PendingAsk
from vespera_agents.actors.errors import ActorStopped
from vespera_agents.actors.mailbox import Mailbox, MailboxSpec, Overflow, Signal


def letter(message: object, ask: PendingAsk | None = None) -> Letter:
    return (message, 0.0, ask)


def opened(capacity: int, overflow: Overflow = Overflow.WAIT) -> Mailbox:
    mailbox = Mailbox(MailboxSpec(capacity, overflow))
    mailbox.open()
    return mailbox


def messages(mailbox: Mailbox) -> list[Any]:
    return [each[0] for each in mailbox.user]


def test_a_mailbox_holds_at_least_one_message() -> None:
    with pytest.raises(ValueError, match="capacity of 1 or more"):
        MailboxSpec(0)


def test_mail_comes_out_in_the_order_it_went_in() -> None:
    mailbox = opened(3)
    assert [mailbox.put(letter(n)) for n in range(3)] == [None, None, None]
    assert messages(mailbox) == [0, 1, 2]


@pytest.mark.parametrize("overflow", [Overflow.WAIT, Overflow.REJECT, Overflow.DROP_NEWEST])
def test_a_full_mailbox_gives_the_newest_back(overflow: Overflow) -> None:
    mailbox = opened(1, overflow)
    mailbox.put(letter("first"))
    newest = letter("second")
    assert mailbox.put(newest) is newest
    assert messages(mailbox) == ["first"]


def test_a_full_mailbox_that_drops_the_oldest_gives_that_back() -> None:
    mailbox = opened(2, Overflow.DROP_OLDEST)
    oldest = letter("first")
    mailbox.put(oldest)
    mailbox.put(letter("second"))
    assert mailbox.put(letter("third")) is oldest
    assert messages(mailbox) == ["second", "third"]


def test_a_closed_mailbox_gives_everything_back_whatever_its_rule() -> None:
    for overflow in Overflow:
        mailbox = Mailbox(MailboxSpec(2, overflow))
        lost = letter("x")
        assert mailbox.put(lost) is lost
        assert not mailbox.is_open


def test_a_signal_is_in_the_system_lane_once() -> None:
    mailbox = opened(1)
    mailbox.signal(Signal.STOP)
    mailbox.signal(Signal.STOP)
    assert list(mailbox.system) == [Signal.STOP]


async def test_the_reader_wakes_for_user_mail_and_for_system_mail() -> None:
    mailbox = opened(2)
    woken: list[str] = []

    async def reader() -> None:
        await mailbox.wait_for_mail()
        woken.append("user" if mailbox.user else "system")

    for leave in (lambda: mailbox.put(letter("m")), lambda: mailbox.signal(Signal.STOP)):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reader)
            await wait_all_tasks_blocked()
            leave()
            leave()  # A second one must not reschedule the reader twice.
        mailbox.user.clear()
        mailbox.system.clear()
    assert woken == ["user", "system"]


async def test_a_reader_that_was_cancelled_is_not_woken_by_later_mail() -> None:
    mailbox = opened(1)
    with trio.move_on_after(0):
        await mailbox.wait_for_mail()
    assert mailbox.reader is None
    assert mailbox.put(letter("m")) is None


async def test_senders_that_wait_get_in_in_their_order_and_nobody_overtakes_them() -> None:
    mailbox = opened(1)
    mailbox.put(letter(0))
    entered: list[int] = []

    async def sender(number: int) -> None:
        assert await mailbox.wait_and_put(letter(number))
        entered.append(number)

    async with trio.open_nursery() as nursery:
        for number in (1, 2):
            nursery.start_soon(sender, number)
            await wait_all_tasks_blocked()
        mailbox.user.popleft()
        mailbox.admit()
        assert mailbox.put(letter("late")) is not None
        assert messages(mailbox) == [1]
        await wait_all_tasks_blocked()
        assert entered == [1]
        mailbox.user.popleft()
        mailbox.admit()
    assert entered == [1, 2]
    assert messages(mailbox) == [2]


async def test_a_cancelled_sender_leaves_the_line() -> None:
    mailbox = opened(1)
    mailbox.put(letter(0))
    with trio.move_on_after(0):
        await mailbox.wait_and_put(letter(1))
    assert not mailbox.waiting


async def test_closing_returns_the_mail_and_tells_waiting_senders() -> None:
    mailbox = opened(1)
    mailbox.put(letter(0))
    answers: list[bool] = []

    async def sender() -> None:
        answers.append(await mailbox.wait_and_put(letter(1)))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(sender)
        await wait_all_tasks_blocked()
        ask = PendingAsk(mailbox, current_task(), 0.0, 1.0)
        mailbox.put_when_room(letter("ask", ask))
        mailbox.signal(Signal.STOP)
        left = mailbox.close()
    assert [each[0] for each in left] == [0, "ask"]
    assert answers == [False]
    assert not mailbox.system


async def park(ask: PendingAsk) -> None:
    await wait_task_rescheduled(ask.abort)


async def test_an_ask_is_finished_once_and_later_finishers_are_told() -> None:
    mailbox = opened(1)
    asks: list[PendingAsk] = []

    async def caller() -> None:
        asks.append(PendingAsk(mailbox, current_task(), 0.0, 1.0))
        await park(asks[0])

    async with trio.open_nursery() as nursery:
        nursery.start_soon(caller)
        await wait_all_tasks_blocked()
        ask = asks[0]
        assert ask.state == QUEUED
        ask.state = STARTED
        assert ask.answer(1)
        assert not ask.answer(2)
        assert not ask.fail(ActorStopped("a", "b"))
    assert ask.reply == 1
    assert ask.state == ANSWERED


async def test_a_withdrawn_ask_in_the_waiting_line_leaves_it() -> None:
    mailbox = opened(1)
    mailbox.put(letter(0))
    with trio.move_on_after(0):
        other = PendingAsk(mailbox, current_task(), 0.0, 1.0)
        ask = PendingAsk(mailbox, current_task(), 0.0, 1.0)
        mailbox.put_when_room(letter("other", other))
        mailbox.put_when_room(letter("ask", ask))
        await park(ask)
    assert ask.state == WITHDRAWN
    assert [entry.letter[0] for entry in mailbox.waiting] == ["other"]
    assert not mailbox.has_forgotten


async def test_withdrawn_asks_make_room_in_a_full_mailbox() -> None:
    mailbox = opened(2)
    mailbox.put(letter("kept"))
    ask = PendingAsk(mailbox, current_task(), 0.0, 1.0)
    mailbox.put(letter("withdrawn", ask))
    with trio.move_on_after(0):
        await park(ask)
    assert mailbox.has_forgotten
    assert mailbox.put(letter("new")) is None
    assert messages(mailbox) == ["kept", "new"]
    refused = letter("too many")
    assert mailbox.put(refused) is refused


async def test_a_failed_ask_hands_its_error_over_and_keeps_nothing() -> None:
    mailbox = opened(1)
    asks: list[PendingAsk] = []

    async def caller() -> None:
        asks.append(PendingAsk(mailbox, current_task(), 0.0, 1.0))
        await park(asks[0])

    failure = ActorStopped("a", "b")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(caller)
        await wait_all_tasks_blocked()
        assert asks[0].fail(failure)
    assert asks[0].state == FAILED
    assert asks[0].take_failure() is failure
    assert asks[0].failure is None
