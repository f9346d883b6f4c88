"""What the model knows of one child, and what it is told about ends: data only, see `supervisors.testing.model`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, final

from supervisors.exits import ExitKind
from supervisors.listeners import ReportContext
from supervisors.specs import ChildSpec, Restart

DOWN: Final = "down"
ALIVE: Final = "alive"
RESTARTING: Final = "restarting"
FORCE_SECONDS_MAX: Final = 1.0
"""How long force may take on top of a child's own time before it is cut off."""
_FAILED_STARTS: Final = frozenset({ExitKind.START_ERROR, ExitKind.START_TIMEOUT})


@final
@dataclass(frozen=True, slots=True)
class End:
    """The end of one life, as a report told it."""

    kind: ExitKind
    """In which way."""
    context: ReportContext
    """What the supervisor was doing with it."""
    ready: bool
    """Whether it had been ready."""

    @property
    def failed_start(self) -> bool:
        """Whether it ended before it was ready, and not because somebody stopped it."""
        return not self.ready and self.kind in _FAILED_STARTS

    @property
    def by_itself(self) -> bool:
        """Whether nobody had asked for it."""
        return self.ready and self.context is ReportContext.RUN

    @property
    def asked(self) -> bool:
        """Whether its supervisor stopped it."""
        return not self.by_itself and not self.failed_start and self.kind is not ExitKind.IGNORED

    @property
    def quiet(self) -> bool:
        """Whether a transient child stays down after it."""
        return self.kind in {ExitKind.NORMAL, ExitKind.SHUTDOWN}


@final
class Kid:
    """One child, as the model sees it."""

    __slots__ = (
        "begun_at",
        "delay",
        "due",
        "end",
        "ended_at",
        "failures",
        "id",
        "live",
        "number",
        "ready",
        "ready_at",
        "restarting",
        "spec",
        "stop_at",
        "undecided",
    )

    def __init__(self, child_id: str, spec: ChildSpec) -> None:
        self.id = child_id
        """Its name among its siblings."""
        self.spec = spec
        """What it is."""
        self.number = 0
        """Which life it is in."""
        self.live = False
        """Whether that life goes on, and was not cut off."""
        self.ready = False
        """Whether it has become ready."""
        self.begun_at = 0.0
        """When it began."""
        self.ready_at: float | None = None
        """When it became ready."""
        self.ended_at = 0.0
        """When its last life ended."""
        self.stop_at = math.inf
        """When it must be over, force included, because it is being stopped."""
        self.undecided = False
        """Whether it ended by itself and the supervisor has not come to that yet."""
        self.restarting = False
        """Whether a restart is pending or under way."""
        self.failures = 0
        """How many failures in a row its backoff counts."""
        self.delay: float | None = None
        """How long its restart is delayed, before any jitter; None: there is no delay."""
        self.due: float | None = None
        """When its delayed restart is to begin."""
        self.end: End | None = None
        """How its last life ended."""

    @property
    def temporary(self) -> bool:
        """Whether nothing is kept of it."""
        return self.spec.restart is Restart.TEMPORARY

    @property
    def taken(self) -> bool:
        """Whether calls treat it as running."""
        return self.live or self.undecided

    @property
    def state(self) -> str:
        """DOWN, ALIVE or RESTARTING."""
        if self.restarting:
            return RESTARTING
        return ALIVE if self.live else DOWN

    def begin(self, now: float) -> None:
        """Take note that a new life begins."""
        self.number += 1
        self.live = True
        self.ready = False
        self.ready_at = None
        self.begun_at = now
        self.stop_at = math.inf
        self.end = None

    def overdue(self, now: float) -> str | None:
        """Say what should have happened to it by now."""
        if not self.live:
            return None
        if now > self.stop_at:
            return f"{self.id} is still there, {now - self.stop_at:g} s after its last moment"
        limit = self.begun_at + self.spec.start_timeout_seconds + self.spec.stop_seconds + FORCE_SECONDS_MAX
        if not self.ready and now > limit:
            return f"{self.id} is neither ready nor stopped after {now - self.begun_at:g} s"
        return None


@final
@dataclass(frozen=True, slots=True)
class Wait:
    """What an operation waits for."""

    kid: Kid
    """Whose move it is."""
    what: str
    """begin, ready (or over), or end."""

    def over(self, number: int) -> bool:
        """Whether that has happened; `number` is the life that there was when the waiting began."""
        match self.what:
            case "begin":
                return self.kid.number > number
            case "ready":
                return self.kid.ready or not self.kid.live
            case _:
                return not self.kid.live
