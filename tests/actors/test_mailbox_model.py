"""The mailbox against a model made of plain lists, for every overflow rule."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from trio.lowlevel import Abort

from vespera_agents.actors.asks import WITHDRAWN, PendingAsk
from vespera_agents.actors.mailbox import Mailbox, MailboxSpec, Overflow, Signal


class MailboxMachine(RuleBasedStateMachine):
    """Tells, asks, waiting asks, withdrawals, taking, closing and opening, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.number = 0
        self.mailbox = Mailbox(MailboxSpec(1))
        self.rule = Overflow.WAIT
        self.capacity = 1
        self.open = False
        self.user: list[tuple[int, PendingAsk | None]] = []
        self.waiting: list[tuple[int, PendingAsk]] = []
        self.gone = False

    @initialize(capacity=st.integers(1, 4), overflow=st.sampled_from(Overflow))
    def make(self, capacity: int, overflow: Overflow) -> None:
        self.mailbox = Mailbox(MailboxSpec(capacity, overflow))
        self.rule, self.capacity = overflow, capacity

    @rule(asks=st.booleans())
    def put(self, asks: bool) -> None:
        self.number += 1
        ask = PendingAsk(self.mailbox, None, 0.0, 1.0) if asks else None  # type: ignore[arg-type]
        lost = self.mailbox.put((self.number, 0.0, ask))
        wanted = self.model_put(self.number, ask)
        assert (None if lost is None else lost[0]) == wanted

    def model_put(self, number: int, ask: PendingAsk | None) -> int | None:
        if not self.open:
            return number
        if len(self.user) >= self.capacity and self.gone:
            self.gone = False
            self.user = [each for each in self.user if each[1] is None or each[1].state != WITHDRAWN]
            self.model_admit()
        if len(self.user) < self.capacity:
            self.user.append((number, ask))
            return None
        if self.rule is Overflow.DROP_OLDEST:
            oldest = self.user.pop(0)[0]
            self.user.append((number, ask))
            return oldest
        return number

    def model_admit(self) -> None:
        while self.waiting and len(self.user) < self.capacity:
            self.user.append(self.waiting.pop(0))

    @precondition(lambda self: self.open and len(self.user) >= self.capacity)
    @rule()
    def wait_for_room(self) -> None:
        self.number += 1
        ask = PendingAsk(self.mailbox, None, 0.0, 1.0)  # type: ignore[arg-type]
        self.mailbox.put_when_room((self.number, 0.0, ask))
        self.waiting.append((self.number, ask))

    @precondition(lambda self: any(ask for _, ask in self.user) or self.waiting)
    @rule(data=st.data())
    def withdraw(self, data: st.DataObject) -> None:
        queued = [(n, ask) for n, ask in self.user if ask is not None] + self.waiting
        number, ask = data.draw(st.sampled_from(queued))
        if ask.state == WITHDRAWN:
            return
        assert ask.abort(lambda: None) is Abort.SUCCEEDED  # type: ignore[arg-type, return-value]
        if (number, ask) in self.waiting:
            self.waiting.remove((number, ask))
        else:
            self.gone = True

    @precondition(lambda self: self.user)
    @rule()
    def take(self) -> None:
        taken = self.mailbox.user.popleft()
        if self.mailbox.waiting:
            self.mailbox.admit()
        assert taken[0] == self.user.pop(0)[0]
        self.model_admit()

    @rule()
    def signal(self) -> None:
        self.mailbox.signal(Signal.STOP)
        assert list(self.mailbox.system) == [Signal.STOP]

    @rule()
    def open_it(self) -> None:
        self.mailbox.open()
        self.open, self.gone = True, False

    @rule()
    def close(self) -> None:
        left = [each[0] for each in self.mailbox.close()]
        assert left == [number for number, _ in self.user + self.waiting]
        self.open, self.user, self.waiting = False, [], []

    @invariant()
    def it_holds_what_the_model_holds(self) -> None:
        assert [each[0] for each in self.mailbox.user] == [number for number, _ in self.user]
        assert [entry.letter[0] for entry in self.mailbox.waiting] == [number for number, _ in self.waiting]
        assert len(self.mailbox.user) <= self.capacity
        assert self.mailbox.is_open == self.open

    @invariant()
    def nobody_waits_while_there_is_room(self) -> None:
        assert not self.mailbox.waiting or len(self.mailbox.user) == self.capacity


TestMailboxAgainstItsModel = MailboxMachine.TestCase
TestMailboxAgainstItsModel.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
