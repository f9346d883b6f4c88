"""A message that an actor tells itself later, once or again and again, for as long as this incarnation lives.

All timers of a system share one task (`supervisors.timekeeper`): setting one costs 1 us and no task of its own. A tick
that has not been taken from the mailbox yet is not repeated, and is taken out again when its timer is cancelled.
"""

from __future__ import annotations

import math
from contextvars import Context, copy_context
from typing import Final, final

from supervisors.timekeeper import Alarm
from vespera_agents.actors.asks import Tick
from vespera_agents.actors.endpoint import Endpoint
from vespera_agents.actors.errors import MailboxFull

EVERY_SECONDS_MIN: Final = 0.001
"""The least time between two ticks: a shorter one would leave the timers of all others no time."""


@final
class Timer:
    """One timer of one incarnation. Made by `Actor.tell_after` and `Actor.tell_every`."""

    __slots__ = ("_alarm", "_context", "_endpoint", "_message", "_tick", "due", "every_seconds", "skipped")

    def __init__(self, endpoint: Endpoint, message: object, after_seconds: float, every_seconds: float | None) -> None:
        self._endpoint = endpoint
        self._message = message
        self._context: Context = copy_context()
        tracing = endpoint.switchboard.tracing
        if tracing is not None and every_seconds is not None:
            tracing.begin_anew(self._context)
        self._tick: Tick | None = None
        self._alarm = Alarm(endpoint.switchboard.timekeeper, self._ring)
        self.every_seconds = every_seconds
        """The time between two ticks; None for a single one."""
        self.due = endpoint.clock() + after_seconds
        """When it ticks next, on trio's clock."""
        self.skipped = 0
        """Ticks that were left out, because the one before was still in the mailbox or the mailbox was full. That of a
        single timer is never left out: it gets into a full mailbox, too."""
        self._alarm.set(self.due)
        # After it was set, for where no incarnation lives it is cancelled at once.
        endpoint.own(self)

    @property
    def active(self) -> bool:
        """Whether it will tick again."""
        return self._alarm.due < math.inf

    def cancel(self) -> None:
        """Tick no more, and take back a tick that nobody has begun with. Idempotent."""
        self._alarm.discard()
        self._endpoint.disown(self)
        if self._tick is not None:
            self._endpoint.take_back(self._tick)
            self._tick = None

    def _ring(self) -> None:
        endpoint = self._endpoint
        if self.every_seconds is None:
            # It is over, but for its tick: an actor that sets one with each message must not keep them all.
            self._alarm.discard()
            endpoint.disown(self)
            self._tick = self._next_tick()
            endpoint.put_always(self._tick)
            return
        if self._tick is not None and endpoint.holds(self._tick):
            self.skipped += 1
        else:
            self._tick = self._next_tick()
            try:
                endpoint.deliver(self._tick)
            except MailboxFull:
                self._tick = None
                self.skipped += 1
        # From the time it was due, not from now: ticks do not drift. Those that were missed altogether are left out.
        now = endpoint.clock()
        missed = max(0, int((now - self.due) // self.every_seconds))
        self.skipped += missed
        self.due += (missed + 1) * self.every_seconds
        self._alarm.set(self.due)

    def _next_tick(self) -> Tick:
        return Tick((self._message, self._context.copy(), None))
