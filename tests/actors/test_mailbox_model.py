"""The mailbox against a model made of plain lists, for every overflow rule, with and without urgent messages."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any, cast

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from trio.lowlevel import Abort

from vespera_agents.actors.asks import QUEUED, STARTED, WITHDRAWN, Letter, PendingAsk
from vespera_agents.actors.mailbox import Mailbox, MailboxSpec, Overflow


@dataclass(frozen=True)
class Plain:
    number: int


@dataclass(frozen=True)
class Urgent:
    number: int


NOBODY = cast("Any", None)
"""The task of asks that are never woken."""


def is_urgent(letter: Letter) -> bool:
    return isinstance(letter[0], Urgent)


def errand(_actor: object) -> None: ...


class MailboxMachine(RuleBasedStateMachine):
    """Tells, asks, waiting asks, withdrawals, taking, giving back, taking out, closing and opening, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.number = 0
        self.mailbox = Mailbox(MailboxSpec(1))
        self.rule = Overflow.WAIT
        self.capacity = 1
        self.splits = False
        self.open = False
        self.user: list[Letter] = []
        self.urgent: list[Letter] = []
        self.waiting: list[Letter] = []
        self.hand: list[Letter] = []
        self.errands = False
        self.gone = False

    @initialize(capacity=st.integers(1, 4), overflow=st.sampled_from(Overflow), splits=st.booleans())
    def make(self, capacity: int, overflow: Overflow, splits: bool) -> None:
        self.mailbox = Mailbox(MailboxSpec(capacity, overflow, (Urgent,) if splits else ()))
        self.rule, self.capacity, self.splits = overflow, capacity, splits
        self.mailbox.open()
        self.open = True

    def letter(self, asks: bool, urgent: bool) -> Letter:
        self.number += 1
        message = Urgent(self.number) if urgent else Plain(self.number)
        return (message, copy_context(), PendingAsk(self.mailbox, NOBODY) if asks else None)

    def lane(self, letter: Letter) -> list[Letter]:
        return self.urgent if self.splits and is_urgent(letter) else self.user

    # What comes in

    @rule(asks=st.booleans(), urgent=st.booleans())
    def put(self, asks: bool, urgent: bool) -> None:
        letter = self.letter(asks, urgent)
        room = self.mailbox.room_for(letter)
        assert room == (len(self.lane(letter)) < self.capacity)
        assert self.mailbox.put(letter) is self.model_put(letter)

    def model_put(self, letter: Letter) -> Letter | None:
        if not self.open:
            return letter
        lane = self.lane(letter)
        lost = None
        if len(lane) >= self.capacity and self.gone:
            self.gone = False
            for each in (self.user, self.urgent):
                each[:] = [kept for kept in each if kept[2] is None or kept[2].state == QUEUED]
            self.model_admit()
        if len(lane) >= self.capacity:
            if self.rule is not Overflow.DROP_OLDEST:
                return letter
            lost = lane.pop(0)
        lane.append(letter)
        return lost

    def model_admit(self) -> None:
        while self.waiting and len(lane := self.lane(self.waiting[0])) < self.capacity:
            lane.append(self.waiting.pop(0))

    @precondition(lambda self: self.open)
    @rule(urgent=st.booleans())
    def put_always(self, urgent: bool) -> None:
        letter = self.letter(False, urgent)
        self.mailbox.put_always(letter)
        self.lane(letter).append(letter)

    @precondition(lambda self: self.open)
    @rule(urgent=st.booleans())
    def wait_for_room(self, urgent: bool) -> None:
        letter = self.letter(True, urgent)
        if len(self.lane(letter)) >= self.capacity:
            self.mailbox.put_when_room(letter)
            self.waiting.append(letter)

    @rule()
    def order(self) -> None:
        if self.open:
            self.mailbox.order(errand)
            self.errands = True

    # What goes out

    @precondition(lambda self: self.user or self.urgent)
    @rule(keep=st.booleans())
    def take(self, keep: bool) -> None:
        taken = self.mailbox.next_urgent() if self.mailbox.alert else None
        if taken is None:
            taken = self.mailbox.user.popleft()
        if self.mailbox.waiting:
            self.mailbox.admit()
        lane = self.urgent or self.user
        assert taken is lane.pop(0)
        self.model_admit()
        if keep and (taken[2] is None or taken[2].state == QUEUED):
            self.hand.append(taken)

    @precondition(lambda self: self.hand and self.open)
    @rule()
    def put_back(self) -> None:
        """As a retry does, and as several of these do for what was put aside, newest first."""
        letter = self.hand.pop()
        self.mailbox.put_back(letter)
        self.lane(letter).insert(0, letter)

    @precondition(lambda self: self.user or self.urgent)
    @rule(data=st.data())
    def take_back(self, data: st.DataObject) -> None:
        letter = data.draw(st.sampled_from(self.user + self.urgent))
        assert self.mailbox.holds(letter)
        self.mailbox.take_back(letter)
        assert not self.mailbox.holds(letter)
        self.lane(letter).remove(letter)
        self.model_admit()

    @rule(asks=st.booleans())
    def take_back_what_is_not_there(self, asks: bool) -> None:
        letter = self.letter(asks, urgent=False)
        assert not self.mailbox.holds(letter)
        self.mailbox.take_back(letter)

    @precondition(lambda self: any(ask for *_, ask in (*self.user, *self.urgent, *self.waiting, *self.hand)))
    @rule(data=st.data(), started=st.booleans())
    def withdraw(self, data: st.DataObject, started: bool) -> None:
        queued = [each for each in (*self.user, *self.urgent, *self.waiting, *self.hand) if each[2] is not None]
        letter = data.draw(st.sampled_from(queued))
        ask = cast("PendingAsk", letter[2])
        if ask.state != QUEUED:
            return
        in_hand = any(each is letter for each in self.hand)
        if in_hand and started:
            ask.state = STARTED
        abort = cast("Callable[[object], Abort]", ask._abort)
        assert abort(lambda: None) is Abort.SUCCEEDED
        assert ask.state == WITHDRAWN
        if any(each is letter for each in self.waiting):
            self.waiting.remove(letter)
        elif not (in_hand and started):
            self.gone = True

    # Its life

    @rule()
    def open_it(self) -> None:
        self.mailbox.open()
        self.open = True

    @rule()
    def close(self) -> None:
        left = self.mailbox.close()
        assert [id(each) for each in left] == [id(each) for each in (*self.urgent, *self.user, *self.waiting)]
        self.open = self.errands = self.gone = False
        self.user, self.urgent, self.waiting, self.hand = [], [], [], []

    # What always holds

    @invariant()
    def it_holds_what_the_model_holds(self) -> None:
        wanted = [each[0] for each in (*self.urgent, *self.user, *self.waiting)]
        assert [each[0] for each in self.mailbox.letters()] == wanted
        assert self.mailbox.depth == len(self.user) + len(self.urgent)
        assert self.mailbox.is_open == self.open
        assert list(self.mailbox.system or ()) == [errand] * self.errands

    @invariant()
    def whoever_skips_the_questions_may_put_a_letter_in(self) -> None:
        """`tell` appends without a question while the lane is shorter than the limit."""
        if len(self.mailbox.user) < self.mailbox.limit:
            assert self.open
            assert not self.splits
            assert len(self.user) < self.capacity
            assert not self.waiting

    @invariant()
    def it_looks_for_withdrawn_asks_only_where_there_may_be_some(self) -> None:
        assert self.mailbox.has_forgotten == self.gone

    @invariant()
    def nobody_waits_while_there_is_room(self) -> None:
        if self.waiting:
            assert self.user or self.urgent, "nothing would be taken, and so nobody let in, ever"
            assert self.splits or len(self.user) >= self.capacity

    @invariant()
    def the_reader_is_told_to_look_beyond_the_user_lane(self) -> None:
        assert self.mailbox.alert or not (self.urgent or self.errands)


TestMailboxAgainstItsModel = pytest.mark.unmeasured(MailboxMachine.TestCase)
TestMailboxAgainstItsModel.settings = settings(max_examples=250, stateful_step_count=40, deadline=None)
