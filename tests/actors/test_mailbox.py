"""The mailbox as a data structure, its two parking places, and the asks that lie in it."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import copy_context
from typing import Any

import pytest
import trio
from trio.lowlevel import current_task
from trio.testing import wait_all_tasks_blocked

from vespera_agents.actors.asks import ANSWERED, FAILED, QUEUED, STARTED, WITHDRAWN, Letter, PendingAsk
from vespera_agents.actors.errors import ActorStopped
from vespera_agents.actors.mailbox import NO_MAIL, Mailbox, MailboxSpec, Overflow
from vespera_agents.actors.parking import SHARED_TRAP, check, park


class Alarming(str):
    """A message that is urgent where a test says so."""

    __slots__ = ()


def letter(message: object, ask: PendingAsk | None = None) -> Letter:
    return (message, copy_context(), ask)


def opened(capacity: int, overflow: Overflow = Overflow.WAIT, urgent: tuple[type, ...] = ()) -> Mailbox:
    mailbox = Mailbox(MailboxSpec(capacity, overflow, urgent))
    mailbox.open()
    return mailbox


def messages(mailbox: Mailbox) -> list[Any]:
    return [each[0] for each in mailbox.letters()]


def take(mailbox: Mailbox) -> Letter:
    """Take the next letter as the hot loop does."""
    taken = mailbox.next_urgent() or mailbox.user.popleft()
    if mailbox.waiting:
        mailbox.admit()
    return taken


def errand(_actor: object) -> None: ...


async def reading(mailbox: Mailbox, woken: list[str]) -> None:
    mailbox.reader = current_task()
    mailbox.reader.custom_sleep_data = mailbox
    check(await park(SHARED_TRAP))
    woken.append("errand" if mailbox.system else "mail")


def test_a_mailbox_holds_at_least_one_message() -> None:
    with pytest.raises(ValueError, match="capacity of 1 or more"):
        MailboxSpec(0)


def test_mail_comes_out_in_the_order_it_went_in() -> None:
    mailbox = opened(3)
    assert [mailbox.put(letter(n)) for n in range(3)] == [None, None, None]
    assert messages(mailbox) == [0, 1, 2]
    assert mailbox.depth == 3


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


def test_a_lane_is_made_with_its_first_mail_and_only_then_may_senders_skip_all_questions() -> None:
    """A hundred thousand actors that never had mail must not hold a hundred thousand lanes."""
    mailbox = opened(5)
    assert (mailbox.user, mailbox.limit) == (NO_MAIL, 0)
    mailbox.put(letter("m"))
    assert mailbox.user is not NO_MAIL
    assert mailbox.limit == 5
    mailbox.close()
    assert (mailbox.user, mailbox.limit) == (NO_MAIL, 0)
    assert not NO_MAIL


def test_a_mailbox_that_has_lanes_is_quick_again_once_it_is_open_again() -> None:
    mailbox = opened(5)
    mailbox.put(letter("m"))
    mailbox.open()
    assert mailbox.limit == 5


# Two lanes of user mail ----------------------------------------------------------------------------------------------


def test_urgent_mail_comes_first_and_in_its_own_order() -> None:
    mailbox = opened(3, urgent=(Alarming,))
    for each in ("a", Alarming("b"), "c", Alarming("d")):
        mailbox.put(letter(each))
    assert mailbox.limit == 0, "senders must ask each time, which lane a message belongs into"
    assert mailbox.alert
    assert [take(mailbox)[0] for _ in range(4)] == ["b", "d", "a", "c"]
    assert mailbox.next_urgent() is None
    assert not mailbox.alert


def test_each_lane_has_the_whole_capacity() -> None:
    mailbox = opened(1, urgent=(Alarming,))
    assert mailbox.put(letter("a")) is None
    assert mailbox.put(letter(Alarming("b"))) is None
    assert mailbox.depth == 2
    for full in (letter("c"), letter(Alarming("d"))):
        assert not mailbox.room_for(full)
        assert mailbox.put(full) is full


def test_what_is_put_back_is_the_next_to_be_taken_from_its_lane() -> None:
    mailbox = opened(2, urgent=(Alarming,))
    for each in ("a", "b", Alarming("u")):
        mailbox.put(letter(each))
    first = take(mailbox)
    second = take(mailbox)
    mailbox.put_back(second)
    mailbox.put_back(first)
    assert mailbox.alert
    assert [take(mailbox)[0] for _ in range(3)] == ["u", "a", "b"]


def test_what_is_put_back_may_exceed_the_capacity_and_then_nobody_else_gets_in() -> None:
    mailbox = opened(1)
    mailbox.put(letter("a"))
    first = take(mailbox)
    mailbox.put(letter("b"))
    mailbox.put_back(first)
    refused = letter("c")
    assert mailbox.put(refused) is refused
    assert messages(mailbox) == ["a", "b"]


def test_mail_of_the_runtime_gets_into_a_full_mailbox() -> None:
    mailbox = opened(1)
    mailbox.put(letter("a"))
    mailbox.put_always(letter("ended"))
    assert messages(mailbox) == ["a", "ended"]


def test_a_letter_is_found_and_taken_back_by_itself_and_not_by_an_equal_one() -> None:
    mailbox = opened(4, urgent=(Alarming,))
    context = copy_context()
    one, other, urgent = ("x", context, None), ("x", context, None), (Alarming("x"), context, None)
    mailbox.put(one)
    mailbox.put(urgent)
    assert mailbox.holds(one)
    assert not mailbox.holds(other)
    mailbox.put(other)
    mailbox.take_back(other)
    mailbox.take_back(urgent)
    assert [each is one for each in mailbox.letters()] == [True]
    mailbox.take_back(other)
    assert mailbox.depth == 1


async def test_taking_a_letter_back_lets_a_waiting_letter_in() -> None:
    """Nobody may be taking: the next who could let it in would come with the next message, or never."""
    mailbox = opened(1)
    tick = letter("tick")
    mailbox.put(tick)
    mailbox.put_when_room(letter("ask", PendingAsk(mailbox, current_task())))
    mailbox.take_back(tick)
    assert messages(mailbox) == ["ask"]
    assert not mailbox.waiting


# The system lane and the reader --------------------------------------------------------------------------------------


def test_an_errand_is_in_the_system_lane_once() -> None:
    mailbox = opened(1)
    mailbox.order(errand)
    mailbox.order(errand)
    assert list(mailbox.system or ()) == [errand]
    assert mailbox.alert
    assert mailbox.next_urgent() is None
    assert mailbox.alert, "an errand is still to be done"


async def test_the_reader_wakes_for_user_mail_and_for_errands() -> None:
    mailbox = opened(9)
    woken: list[str] = []
    leave_mail: tuple[Callable[[], object], ...] = (
        lambda: mailbox.put(letter("m")),
        lambda: mailbox.put_always(letter("m")),
        lambda: mailbox.order(errand),
    )
    for leave in leave_mail:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reading, mailbox, woken)
            await wait_all_tasks_blocked()
            leave()
            leave()  # A second one must not reschedule the reader twice.
    assert woken == ["mail", "mail", "errand"]


async def test_a_reader_that_is_being_cancelled_is_not_woken_by_mail_as_well() -> None:
    """Trio dies on a second reschedule of the same task, before that has run."""
    mailbox = opened(1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reading, mailbox, [])
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
        assert mailbox.put(letter("m")) is None
    assert messages(mailbox) == ["m"]


# Waiting for room ----------------------------------------------------------------------------------------------------


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
        take(mailbox)
        assert mailbox.put(letter("late")) is not None
        assert messages(mailbox) == [1, 2]
        await wait_all_tasks_blocked()
        assert entered == [1]
        take(mailbox)
    assert entered == [1, 2]
    assert messages(mailbox) == [2]


async def test_a_cancelled_sender_leaves_the_line() -> None:
    mailbox = opened(1)
    mailbox.put(letter(0))
    with trio.move_on_after(0):
        await mailbox.wait_and_put(letter(1))
    assert not mailbox.waiting


async def test_closing_returns_the_mail_and_tells_waiting_senders() -> None:
    mailbox = opened(1, urgent=(Alarming,))
    mailbox.put(letter(0))
    mailbox.put(letter(Alarming("u")))
    answers: list[bool] = []

    async def sender() -> None:
        answers.append(await mailbox.wait_and_put(letter(1)))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(sender)
        await wait_all_tasks_blocked()
        mailbox.put_when_room(letter("ask", PendingAsk(mailbox, current_task())))
        mailbox.order(errand)
        left = mailbox.close()
    assert [each[0] for each in left] == ["u", 0, "ask"]
    assert answers == [False]
    assert not mailbox.system
    assert not mailbox.alert


# Asks in it ----------------------------------------------------------------------------------------------------------


async def parked(mailbox: Mailbox, asks: list[PendingAsk]) -> None:
    asks.append(PendingAsk(mailbox, current_task()))
    await park(asks[-1].trap)


async def test_an_ask_is_failed_once_and_later_finishers_are_told() -> None:
    mailbox = opened(1)
    asks: list[PendingAsk] = []
    failure = ActorStopped("a", "b")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(parked, mailbox, asks)
        await wait_all_tasks_blocked()
        assert asks[0].state == QUEUED
        asks[0].state = STARTED
        assert asks[0].fail(failure)
        assert not asks[0].fail(ActorStopped("a", "too late"))
    assert asks[0].state == FAILED
    assert asks[0].take_failure() is failure
    assert asks[0].failure is None, "an error that is kept keeps its traceback and all frames in it"


async def test_an_ask_that_was_answered_cannot_fail() -> None:
    ask = PendingAsk(opened(1), current_task())
    ask.state = ANSWERED
    assert not ask.fail(ActorStopped("a", "b"))


async def cancelled_while_parked(ask: PendingAsk) -> None:
    with trio.move_on_after(0):
        check(await park(ask.trap))
    assert ask.state == WITHDRAWN


async def test_a_withdrawn_ask_in_the_waiting_line_leaves_it() -> None:
    mailbox = opened(1)
    mailbox.put(letter(0))
    other, ask = PendingAsk(mailbox, current_task()), PendingAsk(mailbox, current_task())
    mailbox.put_when_room(letter("other", other))
    mailbox.put_when_room(letter("ask", ask))
    await cancelled_while_parked(ask)
    assert [entry.letter[0] for entry in mailbox.waiting or ()] == ["other"]
    assert not mailbox.has_forgotten


async def test_withdrawn_asks_make_room_in_a_full_mailbox() -> None:
    mailbox = opened(2)
    mailbox.put(letter("kept"))
    ask = PendingAsk(mailbox, current_task())
    mailbox.put(letter("withdrawn", ask))
    await cancelled_while_parked(ask)
    assert mailbox.has_forgotten
    assert mailbox.put(letter("new")) is None
    assert messages(mailbox) == ["kept", "new"]
    refused = letter("too many")
    assert mailbox.put(refused) is refused


async def test_an_ask_that_a_handler_has_is_not_forgotten_by_the_mailbox_when_its_caller_leaves() -> None:
    mailbox = opened(1)
    ask = PendingAsk(mailbox, current_task())
    ask.state = STARTED
    await cancelled_while_parked(ask)
    assert not mailbox.has_forgotten
