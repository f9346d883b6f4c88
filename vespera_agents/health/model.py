"""`HealthModel`: whether a server lives, is ready, and how well it is, with the reasons and who is to blame.

    a light look every few seconds ─┐
    `examine`, all measured now  ───┴─ measurements, components' own checks ── `checks.grade` ── `verdict`, recoveries

One model for the tool, the endpoints and the commands. `liveness`, `readiness` and `current` answer in any thread, also
while the loop is blocked: that is what they are asked for. Not the measuring (`vitals`), not the
thresholds (`settings`). Neighbours: `subtree` places it in the tree, `pages` writes it down for HTTP.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, final

import trio

from vespera_agents.health.checks import FrontVital, Grade, Measurements, Reason, Verdict, grade, worst_of
from vespera_agents.health.component_checks import ComponentChecks
from vespera_agents.health.errors import SettingsRefused
from vespera_agents.health.recoveries import Recoveries
from vespera_agents.health.settings import HealthSettings
from vespera_agents.health.vitals import Commits, measure
from vespera_agents.logs.events import log_event
from vespera_agents.specialists.runtime import Runtime
from vespera_agents.workspace import WorkspaceError

if TYPE_CHECKING:
    from vespera_agents.health.watchdog.watchdog import Watchdog

__all__ = ["Change", "HealthModel", "Probe"]

BEAT_SECONDS: Final = 1.0
"""How often the loop shows that it runs; between two beats it may have been blocked unseen, where nobody watches it."""
CHANGES_MAX: Final = 64
_FIRST_SECONDS: Final = 1.0
"""When the first look is; not at once, for clients wait for a server that starts."""
_FRONT_SECONDS: Final = 1.0
_READ_SECONDS: Final = 2.0
_STALE_EXAMINATIONS: Final = 3
STALE_SECONDS: Final = 30.0
"""How much longer than some examinations it may take until a verdict counts as old: a disk that hangs takes twenty."""

log = logging.getLogger("vespera_agents.health")


@final
@dataclass(frozen=True, slots=True)
class Probe:
    """What a probe is answered: words that name nobody and nothing."""

    ok: bool
    words: str


@final
@dataclass(frozen=True, slots=True)
class Change:
    """A moment at which the grade changed."""

    at: float
    """In seconds since the epoch."""
    grade: Grade
    """From then on."""
    reasons: tuple[Reason, ...]
    """Then."""


@final
class HealthModel:
    """How well a server is. `bind` it to a runtime; examined regularly while `run` runs."""

    def __init__(
        self,
        settings: HealthSettings | None = None,
        *,
        clock: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        """Know nothing yet.

        Args:
            settings: thresholds and recoveries; `read` may give others while it runs.
            clock: wall-clock seconds since the epoch.
            steady: seconds that go on while the loop is blocked.
        """
        self.settings = settings or HealthSettings()
        """What counts at this moment."""
        self.checks: Final = ComponentChecks()
        """What components say of themselves."""
        self.recoveries: Final = Recoveries(clock=clock)
        """What is done about reasons."""
        self.measured = Measurements()
        """What the last examination found."""
        self.read: Callable[[], HealthSettings] | None = None
        """Gives the settings as they are now, in a thread; raises SettingsRefused or WorkspaceError for wrong ones."""
        self.front: Callable[[], Awaitable[FrontVital | None]] | None = None
        """Tells how the front fares, where there is one."""
        self.unready: Callable[[], str | None] | None = None
        """Says what keeps clients from being served, in words that tell strangers nothing; asked in any thread."""
        self.recoveries.declare(self.settings.recoveries)
        self._clock = clock
        self._steady = steady
        self._verdict = Verdict(Grade.HEALTHY, (), clock(), clock())
        self._changes: deque[Change] = deque(maxlen=CHANGES_MAX)
        self._runtime: Runtime | None = None
        self._watchdog: Watchdog | None = None
        self._commits = Commits()
        self._reading = trio.CapacityLimiter(1)
        self._nursery: trio.Nursery | None = None
        self._beat: float | None = None
        self._judged: float | None = None
        self._refused: str | None = None
        self._examining: trio.Event | None = None
        self._restarts: Callable[[], int] | None = None
        self._restarts_seen = 0
        self._examinations = 0

    # ---- its life

    def bind(
        self, runtime: Runtime, watchdog: Watchdog | None = None, restarts: Callable[[], int] | None = None
    ) -> None:
        """Say whose health it is.

        Args:
            runtime: what is looked at.
            watchdog: who watches the loop, if anybody does.
            restarts: how many restarts of children there were, if somebody counts them.
        """
        self._runtime, self._watchdog, self._restarts = runtime, watchdog, restarts

    async def run(self, *, task_status: trio.TaskStatus[HealthModel]) -> None:
        """Examine regularly: a child for a supervisor."""
        self._beat = self._steady()
        try:
            async with trio.open_nursery() as self._nursery:
                self._nursery.start_soon(self._keep_beating)
                task_status.started(self)
                pause = min(_FIRST_SECONDS, self.settings.examine_seconds)
                while True:
                    await trio.sleep(pause)
                    await self._look()
                    pause = self.settings.examine_seconds
        finally:
            self._nursery = self._beat = None
            if self._runtime is not None:
                self.recoveries.end(self._runtime.admission)

    async def _keep_beating(self) -> None:
        while True:
            self._beat = self._steady()
            await trio.sleep(BEAT_SECONDS)

    async def _look(self) -> None:
        """Examine without disturbing anybody; not while somebody has it examined."""
        if self._examining is not None:
            return
        async with self._one_at_a_time():
            await self._look_around()

    async def _look_around(self) -> None:
        await self._read_settings()
        # All windows are empty while nothing restarts, and there may be ten thousand supervisors.
        restarts = 0 if self._restarts is None else self._restarts()
        restarted, self._restarts_seen = restarts != self._restarts_seen, restarts
        found = await measure(
            self._bound(),
            self._watchdog,
            commits=self._commits,
            age_seconds_max=self.settings.probe_seconds,
            supervisors=restarted or any(one.used_ratio for one in self.measured.supervisors),
        )
        await self._judge(found)

    # ---- asked in the loop

    async def examine(self) -> Verdict:
        """Measure everything now, and judge it; who comes while that is done gets what it comes to.

        Cancelled: it ends at once, and whoever waits for it too measures anew.
        """
        while self._examining is not None:
            examinations = self._examinations
            await self._examining.wait()
            if self._examinations != examinations:
                return self._verdict
        async with self._one_at_a_time():
            await self._read_settings()
            await self._judge(await measure(self._bound(), self._watchdog, commits=self._commits))
            self._examinations += 1
        return self._verdict

    @asynccontextmanager
    async def _one_at_a_time(self) -> AsyncGenerator[None]:
        """Hold up other examinations: two at once would find each component's check busy with the other."""
        self._examining = trio.Event()
        try:
            yield
        finally:
            self._examining.set()
            self._examining = None

    async def _judge(self, found: Measurements) -> None:
        """Make the verdict of what was measured, and do what is declared about it."""
        if self.front is not None:
            with trio.move_on_after(_FRONT_SECONDS):
                found = replace(found, front=await self.front())
        noted = [] if self._nursery is None else list(await self.checks.ask(self._nursery))
        if self._refused is not None:
            noted.append(Reason(Grade.DEGRADED, "configuration", self._refused))
        self.measured = found
        verdict = grade(found, self.settings.thresholds, noted)
        if self._nursery is not None:
            await self.recoveries.act(verdict.reasons, self._bound(), self.settings.examine_seconds)
            verdict = worst_of((*verdict.reasons, *self.recoveries.reasons()))
        self._keep(verdict)

    def _keep(self, verdict: Verdict) -> None:
        now, before = self._clock(), self._verdict
        changed = verdict.grade is not before.grade
        self._verdict = replace(verdict, at=now, since=now if changed else before.since)
        self._judged = self._steady()
        if changed:
            self._changes.append(Change(now, verdict.grade, verdict.reasons))
            reasons = [f"{one.component}: {one.what}" for one in verdict.reasons]
            log_event(log, logging.WARNING, "health changed", grade=verdict.grade.value, reasons=reasons)

    async def _read_settings(self) -> None:
        """Take settings that have changed; wrong ones change nothing, and are a reason."""
        if self.read is None:
            return
        try:
            # A disk that hangs keeps one thread, and everybody else goes on with what is known.
            with trio.move_on_after(_READ_SECONDS):
                self.settings = await trio.to_thread.run_sync(self.read, abandon_on_cancel=True, limiter=self._reading)
                if self._watchdog is not None:
                    self._watchdog.adapt(self.settings.watchdog)
        except (SettingsRefused, WorkspaceError) as error:
            if self._refused != str(error):
                log_event(log, logging.WARNING, "settings of health not taken", why=str(error))
            self._refused = str(error)
            return
        self._refused = None
        self.recoveries.declare(self.settings.recoveries)

    def _bound(self) -> Runtime:
        assert self._runtime is not None, "a model is bound to a runtime before it is asked"
        return self._runtime

    # ---- asked in any thread

    @property
    def verdict(self) -> Verdict:
        """The last verdict; `current` also knows of a loop that is blocked since."""
        return self._verdict

    @property
    def changes(self) -> tuple[Change, ...]:
        """When the grade changed lately, the newest last."""
        return tuple(self._changes.copy())

    def current(self) -> Verdict:
        """Give the last verdict, with what the loop cannot say of itself now because it is blocked."""
        verdict = self._verdict
        seconds, who = self._blocked()
        degraded, unhealthy = self.settings.thresholds.stall_seconds
        reasons: list[Reason] = []
        # Without a watchdog a little lateness of a beat is nothing.
        if seconds >= max(degraded, 0.1):
            worst = Grade.UNHEALTHY if seconds >= unhealthy else Grade.DEGRADED
            reasons.append(Reason(worst, "loop", f"{who} has blocked it for {seconds:.1f} s"))
        age = 0.0 if self._judged is None else self._steady() - self._judged
        if age > _STALE_EXAMINATIONS * self.settings.examine_seconds + STALE_SECONDS:
            reasons.append(Reason(Grade.DEGRADED, "health", f"nobody has examined the server for {age:.0f} s"))
        if not reasons:
            return verdict
        return replace(worst_of((*reasons, *verdict.reasons)), at=verdict.at, since=verdict.since)

    def liveness(self) -> Probe:
        """Say whether the process gets on at all; if not, it should be replaced."""
        seconds, _ = self._blocked()
        if seconds >= self.settings.live_seconds:
            return Probe(False, f"not alive: the event loop has been blocked for {seconds:.0f} s")
        return Probe(True, "ok")

    def readiness(self) -> Probe:
        """Say whether requests should be sent here now."""
        alive = self.liveness()
        if not alive.ok:
            return Probe(False, f"not ready: {alive.words}")
        why = self._unready()
        return Probe(True, "ok") if why is None else Probe(False, f"not ready: {why}")

    def _unready(self) -> str | None:
        runtime = self._runtime
        if runtime is None:
            return "it starts"
        if runtime.admission.draining:
            return "another process takes over"
        if runtime.admission.prepared_since is not None:
            return "a shutdown is prepared"
        return None if self.unready is None else self.unready()

    def _blocked(self) -> tuple[float, str]:
        """Say for how long the loop has been blocked by now, and by whom."""
        stall = None if self._watchdog is None else self._watchdog.current_stall()
        if stall is not None:
            place = "" if stall.line is None else f" at {stall.line}"
            return stall.seconds, f"{stall.actor or stall.task or 'somebody'}{place}"
        beat = self._beat
        return (0.0, "") if beat is None else (max(0.0, self._steady() - beat - BEAT_SECONDS), "somebody")

    # ---- shown

    def tree_detail(self) -> dict[str, str | int | float]:
        """Say what the tree shows of it."""
        return {"grade": self._verdict.grade.value, "reasons": len(self._verdict.reasons)}
