"""`Watchdog`: sees an event loop that is blocked, from a thread of its own, and says who blocks it and where.

A daemon thread sleeps until the tick under way would be a stall, and looks whether it has become one: then it takes the
evidence; what was blocked is told in the log by that thread, too, because the loop cannot. It looks no more often than
that, because a thread that wants the interpreter from a loop of short ticks is woken in vain at each of them, hundreds
of times: a look every 50 ms took 13 % of such a loop. The accounting is `meter`'s, in the loop; the reading of stacks
`evidence`'s. A look that finds the loop blocked tells little if the machine had no processor for us: the time that the
kernel made us wait does not count.

Once each: every stall is logged when it is over; one that lasts for `STILL_SECONDS` while it goes on, and its end is
then only information. A hundred in a minute are logged, the others counted.
"""

from __future__ import annotations

import gc
import logging
import threading
import time
from collections import deque
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final, final

import trio

from supervisors import ChildSpec
from vespera_agents.health.errors import WatchdogEnded
from vespera_agents.health.watchdog.evidence import Evidence, evidence_of, glimpse
from vespera_agents.health.watchdog.figures import LoopFigures, LoopStatistics, Stall, Wedged
from vespera_agents.health.watchdog.meter import LoopMeter
from vespera_agents.health.watchdog.settings import WatchdogSettings
from vespera_agents.health.watchdog.starvation import Starvation
from vespera_agents.health.watchdog.wedging import WedgeScan
from vespera_agents.logs.events import log_event
from vespera_agents.logs.throttle import Throttle

if TYPE_CHECKING:
    from vespera_agents.actors import ActorSystem

__all__ = ["STILL_SECONDS", "Watchdog", "watchdog_spec"]

STILL_SECONDS: Final = 5.0
"""After how long a stall is told although it is not over."""
_logger: Final = logging.getLogger("vespera_agents.watchdog")
_SLEEP_SECONDS_MAX: Final = 0.5
"""How long the thread sleeps at most, also where a tick may take longer."""
_MARGIN_SECONDS: Final = 0.001
"""So much after a tick would be a stall the thread looks."""
_MOMENT_SECONDS: Final = 1.0
"""Between two remembered moments of the loop."""
_RECENT_MOMENTS: Final = 10
"""Moments that are remembered: what is recent goes back ten seconds."""


@final
class Watchdog:
    """Watches one loop while it runs: a child for a supervisor, or for any nursery."""

    def __init__(self, settings: WatchdogSettings | None = None) -> None:
        """Make one that watches nothing yet."""
        self.settings = settings or WatchdogSettings()
        """When it barks."""
        self.figures = LoopFigures()
        """The accounting of the loop."""
        self._stalls: deque[Stall] = deque(maxlen=self.settings.stalls_max)
        self._scan: WedgeScan | None = None
        self._meter = LoopMeter(self.figures, self.settings.stall_seconds, self._slow)
        self._watching = False
        self._thread = 0
        self._starvation = Starvation()
        self._evidence: tuple[float, Evidence] | None = None
        self._moments: deque[tuple[float, float, float]] = deque(maxlen=_RECENT_MOMENTS)
        self._throttle = Throttle(100, 60.0)
        self._to_log: deque[tuple[float, Stall]] = deque(maxlen=self.settings.stalls_max)
        self._told_early = 0.0
        self._collecting_since = 0.0
        self._collection = (0.0, 0.0, 0)

    # Its life -------------------------------------------------------------------------------------------------------

    async def run(self, system: ActorSystem | None = None, *, task_status: trio.TaskStatus[Watchdog]) -> None:
        """Watch the loop that this runs in, and the actors of a system, until cancelled.

        Args:
            system: whose actors may be wedged; none are looked at without one.
            task_status: how a supervisor, or a nursery, learns that it watches.

        Raises:
            WatchdogEnded: the thread that looks broke.
        """
        self._scan = None if system is None else WedgeScan(system, self.settings)
        with self._watched() as ended:
            task_status.started(self)
            async with trio.open_nursery() as nursery:
                if self._scan is not None:
                    nursery.start_soon(self._scan.run)
                await ended.wait()
                nursery.cancel_scope.cancel(reason="the thread has ended")
        raise WatchdogEnded("the thread that watches the loop has ended; its supervisor starts another. See above why.")

    @contextmanager
    def _watched(self) -> Generator[trio.Event]:
        """Count ticks, and have a thread look, for the length of a block; the event tells that the thread has ended."""
        ended = trio.Event()
        self._thread = threading.get_ident()
        self._starvation.open()
        self._meter = LoopMeter(self.figures, self.settings.stall_seconds, self._slow)
        going_on = threading.Lock()
        going_on.acquire()
        looking = partial(self._look_until, going_on, trio.lowlevel.current_trio_token(), ended)
        thread = threading.Thread(target=looking, name="vespera-watchdog", daemon=True)
        # First what may fail: where no thread can be had, nothing is left behind.
        thread.start()
        trio.lowlevel.add_instrument(self._meter)
        gc.callbacks.append(self._hear_collection)
        # Here, and not when the thread gets to it: what is busy by then would not be seen.
        self._moments.append((*self._moment(), 0.0))
        self._watching = True
        try:
            yield ended
        finally:
            self._watching = False
            going_on.release()
            # Trio takes out one that has raised, and says so in its log.
            with suppress(KeyError):
                trio.lowlevel.remove_instrument(self._meter)
            gc.callbacks.remove(self._hear_collection)
            thread.join(2.0)
            self._starvation.close()

    def adapt(self, settings: WatchdogSettings) -> None:
        """Go on with other settings, in the loop; how many stalls are kept stays as it was."""
        self.settings = settings
        self._meter.threshold_seconds = settings.stall_seconds
        if self._scan is not None:
            self._scan.limits = settings

    # What it knows; from any thread -----------------------------------------------------------------------------------

    @property
    def stalls(self) -> tuple[Stall, ...]:
        """The last stalls, the newest last."""
        return tuple(self._stalls.copy())

    @property
    def wedged(self) -> tuple[Wedged, ...]:
        """The actors that did not get on when they were last looked through, the longest first."""
        return () if self._scan is None else self._scan.wedged

    @property
    def wedged_count(self) -> int:
        """How many actors did not get on then, also where that is more than are told."""
        return 0 if self._scan is None else self._scan.count

    def current_stall(self, now: float | None = None) -> Stall | None:
        """Give the stall that goes on, with what is known of it by now.

        Args:
            now: the moment, by `time.perf_counter`; the present unless given.
        """
        began = self._meter.tick_began
        moment = time.perf_counter() if now is None else now
        seconds = moment - began
        if not self._watching or not began or seconds <= self.settings.stall_seconds:
            return None
        found = self._evidence
        return self._stall(began, seconds, 0.0, found[1] if found is not None and found[0] == began else None)

    @property
    def utilisation(self) -> float:
        """The part of the last ten seconds that the loop spent in tasks, 0 to 1; 1 while it is blocked for long."""
        moments = self._moments.copy()
        if not self._watching or not moments:
            return 0.0
        at, busy, _ = moments[0]
        now, busy_now = self._moment()
        return max(0.0, min(1.0, (busy_now - busy) / (now - at))) if now > at else 0.0

    @property
    def lag_seconds(self) -> float:
        """The longest tick of the last ten seconds, the one under way included."""
        began = self._meter.tick_began
        under_way = time.perf_counter() - began if self._watching and began else 0.0
        return max(under_way, self._meter.worst, *(worst for _, _, worst in self._moments.copy()), 0.0)

    def statistics(self) -> LoopStatistics:
        """Return a picture of the loop's figures."""
        return self.figures.statistics()

    def tree_detail(self) -> dict[str, str | int | float]:
        """Say what the tree shows of it."""
        return {
            "utilisation": round(self.utilisation, 3),
            "lag_seconds": round(self.lag_seconds, 3),
            "stalls": self.figures.stalls,
            "wedged": self.wedged_count,
        }

    # In the loop, at the end of a slow tick ---------------------------------------------------------------------------

    def _slow(self, began: float, seconds: float) -> None:
        starved = min(seconds, self._starvation.since(began))
        figures = self.figures
        figures.starved_seconds += starved
        if seconds - starved <= self.settings.stall_seconds:
            return
        found = self._evidence
        evidence = found[1] if found is not None and found[0] == began else None
        figures.stalls += 1
        figures.stall_seconds += seconds
        stall = self._stall(began, seconds, starved, evidence)
        collected_at, collecting, generation = self._collection
        if collected_at >= began and collecting > seconds / 2:
            where = f", at {stall.line}" if stall.line else ""
            stall = replace(stall, line=f"garbage collection of generation {generation}, {collecting:.3f} s{where}")
        self._stalls.append(stall)
        self._to_log.append((began, stall))

    def _hear_collection(self, phase: str, info: Mapping[str, int]) -> None:
        """Note how long garbage was collected in the loop: no line of anybody's is to blame for that."""
        if threading.get_ident() == self._thread:
            now = time.perf_counter()
            if phase == "start":
                self._collecting_since = now
            elif now - self._collecting_since > self.settings.stall_seconds / 2:
                self._collection = (self._collecting_since, now - self._collecting_since, info["generation"])

    def _stall(self, began: float, seconds: float, starved: float, evidence: Evidence | None) -> Stall:
        at = time.time() - (time.perf_counter() - began)
        if evidence is None:
            return Stall(at, seconds, None, None, (), None, starved)
        return Stall(at, seconds, evidence.task, evidence.actor, evidence.stack, evidence.line, starved)

    # In the thread ----------------------------------------------------------------------------------------------------

    def _look_until(self, going_on: threading.Lock, token: trio.lowlevel.TrioToken, ended: trio.Event) -> None:
        try:
            self._look(going_on)
        finally:
            # The trio run may be over before we are.
            with suppress(trio.RunFinishedError):
                token.run_sync_soon(ended.set)

    def _look(self, going_on: threading.Lock) -> None:
        remember_at = 0.0
        # Not an Event: the way out of its wait is long, and what blocked may be over before we get to look.
        while not going_on.acquire(timeout=self._sleep_seconds()):
            began, now = self._meter.tick_began, time.perf_counter()
            if began and now - began > self.settings.stall_seconds:
                self._look_at_tick(began)
            self._starvation.look(now, began)
            if now >= remember_at:
                remember_at = now + _MOMENT_SECONDS
                at, busy = self._moment()
                worst, self._meter.worst = self._meter.worst, 0.0
                self._moments.append((at, busy, worst))
            self._log_stalls()
        self._log_stalls()

    def _sleep_seconds(self) -> float:
        """Give how long nothing can become a stall that was not seen: the tick under way, or one that begins now."""
        began, now, allowed = self._meter.tick_began, time.perf_counter(), self.settings.stall_seconds
        left = began + allowed - now if began else allowed
        # A stall that was seen goes on: what else may happen to it takes long.
        seconds = min(left if left > 0.0 else allowed, _SLEEP_SECONDS_MAX) + _MARGIN_SECONDS
        self._starvation.expect(now + seconds)
        return seconds

    def _look_at_tick(self, began: float) -> None:
        """Take the evidence, once; tell of a tick that goes on for long, once."""
        found = self._evidence
        if found is None or found[0] != began:
            seen = glimpse(self._thread)
            if self._meter.tick_began == began:
                self._evidence = (began, evidence_of(seen))
        if self._told_early != began and time.perf_counter() - began > STILL_SECONDS:
            self._told_early = began
            stall = self.current_stall()
            if stall is not None:
                self._log(logging.ERROR, "event loop is blocked", stall)

    def _log_stalls(self) -> None:
        while self._to_log:
            began, stall = self._to_log.popleft()
            self._log(logging.INFO if began == self._told_early else logging.ERROR, "event loop was blocked", stall)

    def _log(self, level: int, event: str, stall: Stall) -> None:
        if not self._throttle.lets():
            return
        log_event(
            _logger,
            level,
            event,
            seconds=round(stall.seconds, 3),
            starved_seconds=round(stall.starved_seconds, 3),
            actor=stall.actor,
            trio_task=stall.task,
            line=stall.line,
            stack=list(stall.stack),
            unlogged=self._throttle.take_held_back(),
        )

    def _moment(self) -> tuple[float, float]:
        """Give the time, and how long the loop has been busy until then."""
        now = time.perf_counter()
        began = self._meter.tick_began
        return now, self.figures.busy_seconds + (now - began if began else 0.0)


def watchdog_spec(system: ActorSystem, settings: WatchdogSettings | None = None) -> ChildSpec:
    """Return the spec of a watchdog for the loop and the actors of a system; the child's value is the `Watchdog`.

    ```python
    async with open_system() as system:
        watchdog = (await system.supervisor.start_child(watchdog_spec(system))).value
    ```
    """
    return ChildSpec("watchdog", Watchdog(settings).run, args=(system,))
