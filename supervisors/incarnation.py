"""One life of a child: its trio task's cancel scope, its ready handshake, its end.

It decides nothing: `supervisors.offspring` starts it, waits for it and draws the conclusions. An incarnation that was
fenced (it went on past its time) keeps its number, and nothing it says is heard any more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, final

import trio

from supervisors.errors import Ignore
from supervisors.exits import Exit, StopCause, hidden_error

if TYPE_CHECKING:
    from supervisors.listeners import Listener
    from supervisors.specs import ChildSpec

KILL_GRACE_SECONDS: Final = 1.0
"""How long a killed child's task may take to unwind before it is fenced."""


@final
@dataclass(frozen=True, slots=True)
class Ground:
    """What a whole tree stands on; handed down from the root supervisor with each child's task status."""

    nursery: trio.Nursery
    """Where every incarnation of the tree runs. One nursery for all, so that a task which cannot be stopped keeps
    only the root waiting at its very end, and never a supervisor in the middle of the tree."""
    listener: Listener | None
    """The root's listener: supervisors below that have none of their own use it."""


@final
class Incarnation:
    """The live side of a child, from its start to the end of its trio task."""

    __slots__ = (
        "_answered",
        "_on_ready",
        "ended",
        "error",
        "exit",
        "fenced",
        "hidden",
        "number",
        "ready",
        "scope",
        "settled",
        "since",
        "stop_cause",
        "stop_deadline",
        "stop_requested_at",
        "value",
    )

    def __init__(self, number: int, since: float, on_ready: Callable[[Incarnation], None]) -> None:
        self.number = number
        """Which life of the child this is, from 1."""
        self.since = since
        """When it began, on trio's clock."""
        self.scope = trio.CancelScope(shield=True)
        """Its own scope, shielded: only its supervisor stops it, in the supervisor's order."""
        self.ready = False
        """Whether it called started() while that still counted."""
        self.value: object = None
        """What it gave to started()."""
        self.settled = trio.Event()
        """Set when it is ready, or has ended without becoming so."""
        self.ended = trio.Event()
        """Set when its trio task is over."""
        self.exit: Exit | None = None
        """How it ended."""
        self.error: BaseException | None = None
        """What a failed start raised, until whoever waits for the start has taken it."""
        self.hidden: BaseException | None = None
        """An error that its cancellation replaced."""
        self.stop_cause: StopCause | None = None
        """Why it was cancelled; None while it was not."""
        self.stop_requested_at = since
        """When it was cancelled, once it was."""
        self.stop_deadline = since
        """When it is fenced, once it was cancelled."""
        self.fenced = False
        """Whether it went on past its time and was cut off."""
        self._answered = False
        self._on_ready = on_ready

    async def live(self, spec: ChildSpec, ground: Ground, on_end: Callable[[BaseException | None], None]) -> None:
        """Run the child to its end and hand what came out to `on_end`; raises nothing, whatever the child does."""
        error: BaseException | None = None
        try:
            with self.scope:
                try:
                    child = spec.start(*spec.args, task_status=ChildStatus(self, ground))
                    # The spec of a temporary child gives up its arguments once it runs; this frame must not keep them.
                    del spec
                    await child
                except BaseException as cancellation:
                    self.hidden = hidden_error(cancellation)
                    raise
        except BaseException as caught:  # noqa: BLE001 - the boundary of supervision: a crash becomes a value here.
            error = caught
        try:
            on_end(error)
        finally:
            # An error's traceback holds this frame, so keeping the error in it would make garbage of every crash.
            del error
            self.hidden = None

    def started(self, value: object) -> None:
        """Take the child's answer: it is ready, or (Ignore) it does not want to run."""
        if self._answered:
            raise RuntimeError("started() was called twice; call it once, when the child is ready")
        self._answered = True
        if self.stop_cause is not None or self.fenced:
            return
        if value is Ignore or isinstance(value, Ignore):
            self.cancel(StopCause.IGNORED)
            return
        self.value = value
        self.ready = True
        self._on_ready(self)
        self.settled.set()

    def request_stop(self, cause: StopCause, patience_seconds: float) -> None:
        """Cancel it, and set the moment at which it is fenced; asking again changes neither cause nor moment."""
        if self.stop_cause is None or self.stop_cause is StopCause.IGNORED:
            self.stop_requested_at = trio.current_time()
            self.stop_deadline = self.stop_requested_at + patience_seconds
            self.cancel(self.stop_cause or cause)

    def cancel(self, cause: StopCause) -> None:
        """Cancel it, once; what it does afterwards is classified by `cause`."""
        self.stop_cause = cause
        self.scope.cancel(reason=cause.value)


@final
class ChildStatus:
    """The `task_status` a child is given. A supervisor that runs as a child finds the tree's ground in it."""

    __slots__ = ("_incarnation", "ground")

    def __init__(self, incarnation: Incarnation, ground: Ground) -> None:
        self._incarnation = incarnation
        self.ground = ground
        """What the tree stands on."""

    def started(self, value: object = None) -> None:
        """Say that the child is ready, with the value it is known by; or answer Ignore: "do not run me"."""
        self._incarnation.started(value)
