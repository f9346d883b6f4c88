"""The fault points: every way in which a simulated child or its surroundings misbehave, and how often each has."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import final


class Fault(enum.StrEnum):
    """A way to misbehave."""

    CRASH_AT_START = "crash at start"
    """Raise before it is ready."""
    SLOW_START = "slow start"
    """Take its time before it is ready."""
    HANG_AT_START = "hang at start"
    """Do not become ready in time."""
    IGNORE = "ignore"
    """Answer Ignore instead of becoming ready."""
    CRASH_WITH_STARTED = "crash with started"
    """Raise in the same step in which it became ready."""
    CRASH_BEFORE_HANDLER = "crash before the handler"
    """Raise with a message in hand that nobody has looked at."""
    CRASH_IN_HANDLER = "crash in the handler"
    """Raise in the middle of a message."""
    CRASH_AFTER_HANDLER = "crash after the handler"
    """Raise when a message is done."""
    RETURN = "return"
    """End normally."""
    SHUTDOWN = "shutdown"
    """Raise Shutdown: end on purpose."""
    SLOW_HANDLER = "slow handler"
    """Take its time over a message."""
    HANG_IN_HANDLER = "hang in the handler"
    """Break the promise of a beat."""
    FULL_MAILBOX = "full mailbox"
    """Crash because a neighbour's mailbox is full."""
    STORE_FAILS = "store fails"
    """Crash because the store that all use refuses a write."""
    KILLED = "killed"
    """Be killed from outside, by somebody who is not its supervisor."""
    SWALLOW_CANCELLED = "swallow cancelled"
    """Go on although it was cancelled."""
    HIDE = "hide"
    """Go on in a shielded scope, where no cancellation is heard."""
    SLOW_CLEANUP = "slow cleanup"
    """Take its time to end."""
    HANG_IN_CLEANUP = "hang in cleanup"
    """Do not end in time, shielded."""
    CRASH_IN_CLEANUP = "crash in cleanup"
    """Raise while it ends."""
    IMMORTAL = "immortal"
    """Catch everything, force included, and go on for a while."""


@final
class Coverage:
    """How often each fault has struck, over any number of runs."""

    def __init__(self, faults: Iterable[str] = Fault) -> None:
        self.faults = tuple(faults)
        """The faults that are to strike."""
        self.struck: dict[str, int] = dict.fromkeys(self.faults, 0)
        """Times, by fault."""

    def add(self, struck: dict[str, int]) -> None:
        """Count the faults of one more run."""
        for fault, times in struck.items():
            self.struck[fault] = self.struck.get(fault, 0) + times

    def missing(self, among: Iterable[str] | None = None) -> list[str]:
        """Return the faults that have never struck; among those it was made for, unless others are given."""
        return [fault for fault in (self.faults if among is None else among) if not self.struck.get(fault)]

    def table(self) -> str:
        """Return a table as text: one line per fault, how often it struck."""
        width = max(map(len, self.struck))
        return "\n".join(f"{fault:<{width}}  {times:>9,}" for fault, times in self.struck.items())
