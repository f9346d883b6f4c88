"""What a supervisor tells the outside: one `Report` per event, to one `Listener`.

Supervisors import nobody who wants to know; they are given a listener. The four keys of a report are the same for
every event: supervisor, context, reason, offender. Source: OTP's supervisor reports (`supervisor.erl::report_error`).
"""

from __future__ import annotations

import enum
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Protocol, final

import trio

if TYPE_CHECKING:
    from supervisors.exits import Exit

_log = logging.getLogger("supervisors")


class ReportKind(enum.StrEnum):
    """What happened."""

    SUPERVISOR_STARTED = "supervisor_started"
    """All its static children are ready."""
    SUPERVISOR_STOPPED = "supervisor_stopped"
    """All its children have ended or are fenced."""
    CHILD_STARTED = "child_started"
    """A child became ready for the first time, or by a call."""
    CHILD_RESTARTED = "child_restarted"
    """A child is ready again after a restart, as offender or as bystander."""
    CHILD_ENDED = "child_ended"
    """A child ended normally, stopped as asked, or was killed."""
    CHILD_CRASHED = "child_crashed"
    """A ready child ended with an error."""
    CHILD_IGNORED = "child_ignored"
    """A child answered Ignore."""
    START_FAILED = "start_failed"
    """A child did not become ready: error or timeout."""
    SHUTDOWN_ERROR = "shutdown_error"
    """A child that was asked to stop ended with an error."""
    CHILD_HUNG = "child_hung"
    """A child broke its promise of a beat and is being stopped; its end is reported when it comes."""
    RESTART_DELAYED = "restart_delayed"
    """A child will be restarted when its backoff is over."""
    CHILD_FENCED = "child_fenced"
    """A child went on although it was stopped by force, and was cut off."""
    ZOMBIE_ENDED = "zombie_ended"
    """The task of a fenced child is over at last."""
    ZOMBIES_LEFT = "zombies_left"
    """A supervisor has ended and tasks of fenced children still run; the root waits for them."""
    AUTO_SHUTDOWN = "auto_shutdown"
    """A significant child has ended by itself, and so the supervisor ends."""
    MAX_RESTARTS_EXCEEDED = "max_restarts_exceeded"
    """The supervisor gives up."""
    ESCALATED = "escalated"
    """KeyboardInterrupt or SystemExit came out of a child and is passed up."""


class ReportContext(enum.StrEnum):
    """What the supervisor was doing with the offender."""

    START = "start"
    """Starting it, first or by a call."""
    RUN = "run"
    """Nothing: it ran."""
    RESTART = "restart"
    """Restarting it, or deciding about that."""
    STOP = "stop"
    """Stopping it."""


@final
@dataclass(frozen=True, slots=True)
class Offender:
    """The child a report is about."""

    id: str
    """Its name among its siblings."""
    type: str
    """worker or supervisor."""
    restart: str
    """permanent, transient or temporary."""
    incarnation: int
    """Which life of it, from 1."""


@final
@dataclass(frozen=True, slots=True)
class Report:
    """One event of one supervisor."""

    kind: ReportKind
    """What happened."""
    supervisor: str
    """Name of the supervisor it happened to."""
    context: ReportContext
    """What it was doing."""
    reason: str
    """One line: why."""
    offender: Offender | None
    """The child it is about; None where it is about the supervisor itself."""
    at: float
    """When, in seconds of trio's clock."""
    exit: Exit | None = None
    """How the offender ended, where it did; its `failure` has the traceback."""

    def to_dict(self) -> dict[str, object]:
        """Return plain values for a structured log; the traceback is not in it."""
        offender = self.offender
        return {
            "kind": self.kind.value,
            "supervisor": self.supervisor,
            "context": self.context.value,
            "reason": self.reason,
            "offender": None
            if offender is None
            else {
                "id": offender.id,
                "type": offender.type,
                "restart": offender.restart,
                "incarnation": offender.incarnation,
            },
            "at": self.at,
        }


class Listener(Protocol):
    """Whoever wants to know. Called in the event loop, in the middle of supervision: be quick, never wait.

    A listener with an attribute `hears_starts` that is False is not told of starts and restarts that went well, which
    are most of what there is to tell: it saves 2 us for each.
    """

    def on_report(self, report: Report) -> None:
        """Take one report. What it raises is logged and counted, and changes nothing for the supervisor."""


@final
class Reporter:
    """The voice of one supervisor: makes reports and survives its listener."""

    __slots__ = ("_listener", "_name", "failures", "tells_starts")

    def __init__(self, name: str, listener: Listener | None) -> None:
        self._name = name
        self.failures = 0
        """Times the listener, or a watch, raised."""
        self.tells_starts = False
        """Whether somebody wants to hear of starts that went well."""
        self.listener = listener

    @property
    def listener(self) -> Listener | None:
        """Who is told; a nested supervisor without its own takes its root's when it starts."""
        return self._listener

    @listener.setter
    def listener(self, listener: Listener | None) -> None:
        self._listener = listener
        self.tells_starts = listener is not None and getattr(listener, "hears_starts", True)

    def report(
        self,
        kind: ReportKind,
        context: ReportContext,
        reason: str = "",
        *,
        offender: Offender | None = None,
        exit_: Exit | None = None,
    ) -> None:
        """Tell the listener, if there is one."""
        if self.listener is None:
            return
        report = Report(kind, self._name, context, reason, offender, trio.current_time(), exit_)
        self.survive(partial(self.listener.on_report, report))

    def survive(self, tell: Callable[[], None]) -> None:
        """Make a call into foreign code; what it raises is logged and counted, and changes nothing."""
        try:
            tell()
        except Exception:  # noqa: BLE001 - foreign code at the boundary: a broken listener must not take a tree down.
            self.failures += 1
            _log.exception("a listener or a watch of supervisor %r raised", self._name)
