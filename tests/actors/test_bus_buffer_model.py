"""The buffer of an event stream against a model made of one plain list, for every overflow rule."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from vespera_agents.actors.events.buffer import EventBuffer, EventPriority, WaitingEvent
from vespera_agents.actors.mailbox import Overflow
from vespera_agents.actors.statistics import DropReason

REASONS = {
    Overflow.WAIT: DropReason.REJECTED,
    Overflow.REJECT: DropReason.REJECTED,
    Overflow.DROP_OLDEST: DropReason.OLDEST,
    Overflow.DROP_NEWEST: DropReason.NEWEST,
}


class BufferMachine(RuleBasedStateMachine):
    """Events of three priorities, replays, waiting publishers that may give up, and a reader, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.number = 0
        self.buffer: EventBuffer[int] = EventBuffer(1, Overflow.WAIT)
        self.replayed: list[int] = []
        self.unread: list[tuple[EventPriority, int]] = []
        self.waiting: list[tuple[EventPriority, int, WaitingEvent[int]]] = []
        self.settled: list[int] = []

    @initialize(capacity=st.integers(1, 4), overflow=st.sampled_from(Overflow))
    def make(self, capacity: int, overflow: Overflow) -> None:
        self.buffer = EventBuffer(capacity, overflow)

    @rule(priority=st.sampled_from(EventPriority))
    def put(self, priority: EventPriority) -> None:
        self.number += 1
        lost = self.buffer.put(self.number, priority)
        overflow = self.buffer.overflow
        if len(self.unread) < self.buffer.capacity:
            assert lost is None
            self.unread.append((priority, self.number))
            return
        assert lost is REASONS[overflow]
        if lost is DropReason.REJECTED:
            return
        # The lowest priority loses, the new event included: of it the oldest, or the newest.
        self.unread.append((priority, self.number))
        lowest = min(level for level, _ in self.unread)
        losers = [each for each in self.unread if each[0] == lowest]
        self.unread.remove(losers[0 if overflow is Overflow.DROP_OLDEST else -1])

    @rule(number=st.integers(1, 3))
    def replay(self, number: int) -> None:
        events = list(range(self.number + 1, self.number + 1 + number))
        self.number += number
        self.buffer.replay(events)
        self.replayed += events

    @precondition(lambda self: len(self.unread) == self.buffer.capacity)
    @rule(priority=st.sampled_from(EventPriority))
    def wait(self, priority: EventPriority) -> None:
        self.number += 1
        number = self.number
        waiting = WaitingEvent(number, priority, lambda: self.settled.append(number))
        self.buffer.wait(waiting)
        self.waiting.append((priority, number, waiting))

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def withdraw(self, data: st.DataObject) -> None:
        entry = data.draw(st.sampled_from(self.waiting))
        self.buffer.withdraw(entry[2])
        self.waiting.remove(entry)

    @precondition(lambda self: self.replayed or self.unread)
    @rule()
    def take(self) -> None:
        taken = self.buffer.take()
        if self.replayed:
            assert taken == self.replayed.pop(0)
        else:
            wanted = min(self.unread, key=lambda each: (-each[0], self.unread.index(each)))
            self.unread.remove(wanted)
            assert taken == wanted[1]
        admitted = self.buffer.admit()
        if self.waiting and len(self.unread) < self.buffer.capacity:
            first = min(self.waiting, key=lambda each: (-each[0], each[1]))
            self.waiting.remove(first)
            self.unread.append(first[:2])
            assert admitted is first[2]
        else:
            assert admitted is None

    @rule()
    def clear(self) -> None:
        assert self.buffer.clear() == [each[2] for each in self.waiting]
        self.replayed, self.unread, self.waiting = [], [], []

    @invariant()
    def it_holds_what_the_model_holds(self) -> None:
        assert list(self.buffer.replayed) == self.replayed
        for priority in EventPriority:
            held = [number for level, number in self.unread if level == priority]
            assert list(self.buffer.lanes[priority]) == held
        assert len(self.buffer) == len(self.replayed) + len(self.unread)
        assert self.buffer.depth <= self.buffer.capacity

    @invariant()
    def nobody_waits_while_there_is_room(self) -> None:
        assert not self.buffer.waiting or self.buffer.depth == self.buffer.capacity
        assert self.settled == []


TestBufferAgainstItsModel = pytest.mark.unmeasured(BufferMachine.TestCase)
TestBufferAgainstItsModel.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
