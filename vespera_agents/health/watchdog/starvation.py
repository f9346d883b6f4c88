"""Time that the machine did not give us: what of a slow tick is nobody's fault.

Linux says of a thread for how long it ran, for how long it waited for a processor, and how often it was given one.
Where a machine has too much to do, waiting for the interpreter's lock is the same thing in another guise: whoever has
the lock waits for a processor. It is told from a call that sleeps, or asks the disk again and again, by three signs: a
thread that waits for the lock is woken at every switch interval; the thread of the watchdog, which needs the lock, too,
comes late; and no other thread of ours computes meanwhile, for that would be our own affair. Elsewhere than on Linux
nothing is known, and none of it counts.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from typing import Final, NamedTuple, final

__all__ = ["Spent", "Starvation", "starved"]

_FIELD_BYTES: Final = 128


@final
class Spent(NamedTuple):
    """What became of a time."""

    seconds: float
    """How long it was."""
    running: float
    """For how much of it our thread ran."""
    queued: float
    """For how much of it that thread waited for a processor."""
    runs: int
    """How often it was given one."""
    others: float
    """For how much of it other threads of ours ran, all together."""
    late: float
    """By how much another thread that has nothing to do came too late."""
    switch_interval: float
    """How long a thread that waits for the interpreter sleeps before it asks again."""


def starved(spent: Spent) -> float:
    """Give for how much of a time neither we nor what we waited for had a processor. Pure."""
    asleep = max(0.0, spent.seconds - spent.running - spent.queued)
    for_the_lock = min(asleep, spent.runs * spent.switch_interval, spent.late)
    return min(spent.seconds, max(0.0, spent.queued) + max(0.0, for_the_lock - spent.others))


@final
class _Look(NamedTuple):
    """What had become of the thread's time at one moment."""

    at: float
    running: float = 0.0
    queued: float = 0.0
    runs: float = 0.0
    everybody: float = 0.0
    late: float = 0.0


@final
class Starvation:
    """Measures it for the thread that `open` was called in; any thread may ask."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self._file = -1
        self._late = 0.0
        self._due = time.perf_counter()
        self._tick = -1.0
        self._looks = (_Look(self._due), _Look(self._due))

    def open(self) -> None:
        """Look at this thread from now on."""
        self.close()
        with suppress(OSError):
            self._file = os.open("/proc/thread-self/schedstat", os.O_RDONLY | os.O_CLOEXEC)
        self._due = time.perf_counter()
        self._looks = (self._look(self._due),) * 2

    def expect(self, at: float) -> None:
        """Say when the next look is due, by `time.perf_counter`: one that comes late is a sign."""
        self._due = at

    def look(self, now: float, tick: float) -> None:
        """Note at `now` where things stand, in 5 us, if another tick is under way than at the last look.

        Called by whoever has nothing else to do, when it said that it would.
        """
        self._late += max(0.0, now - self._due)
        self._due = now
        if tick != self._tick:
            self._tick = tick
            self._looks = (self._looks[1], self._look(now))

    def since(self, began: float) -> float:
        """Give how many of the seconds since a tick began, by `time.perf_counter`, were not given to us."""
        if self._file < 0:
            return 0.0
        now = self._look(time.perf_counter())
        before, after = self._looks
        # The last look before it began, and the first one since: where things stood between them is estimated.
        if after.at <= began:
            before, after = after, now
        share = min(1.0, max(0.0, (began - before.at) / (after.at - before.at))) if after.at > before.at else 0.0
        at, running, queued, runs, everybody, late = (
            end - (low + (high - low) * share) for low, high, end in zip(before, after, now, strict=True)
        )
        others = everybody - running
        return starved(Spent(at, running, queued, int(runs), others, late, sys.getswitchinterval()))

    def close(self) -> None:
        """Stop looking."""
        file, self._file = self._file, -1
        if file >= 0:
            os.close(file)

    def _look(self, now: float) -> _Look:
        running, queued, runs = 0, 0, 0
        with suppress(OSError, ValueError):
            running, queued, runs = map(int, os.pread(self._file, _FIELD_BYTES, 0).split())
        late = self._late + max(0.0, now - self._due)
        return _Look(now, running / 1e9, queued / 1e9, runs, time.process_time(), late)
