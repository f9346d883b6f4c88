"""Every exception of the package, and the two signals a child may raise to say how it ends.

    SupervisorError                 the root: catch it to catch all of them
    ├── SpecError                   a child spec or a flag makes no sense (also a ValueError)
    ├── StartFailed                 a child did not become ready: start error or start timeout
    ├── MaxRestartsExceeded         more restarts than `intensity` in `period_seconds`: the supervisor gave up
    ├── TooManyChildren             start_child: the dynamic supervisor has its `max_children`
    ├── SupervisorNotRunning        a call reached a supervisor that has not started or has ended
    └── CallRefused                 the supervisor runs, and the call does not fit the child's state
        ├── AlreadyStarted          start_child: this id runs
        ├── AlreadyPresent          start_child: this id is known and not running
        ├── ChildNotFound           no child has this id
        ├── ChildRunning            restart_child, delete_child: it runs
        ├── ChildRestarting         restart_child, delete_child: a restart is pending
        └── ChildNotRunning         child_value: it does not run

    Ignore, Shutdown                signals raised *by* a child, never *to* a caller; not errors

How a child ended is not here: an exit is a value (`supervisors.exits`), not an exception.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from supervisors.exits import Exit


class SupervisorError(Exception):
    """Anything this package raises at a caller."""


@final
class SpecError(SupervisorError, ValueError):
    """A child spec or a supervisor flag is invalid; the message names the field and what it accepts."""


@final
class StartFailed(SupervisorError):
    """A child did not become ready. `__cause__` is what its start raised, where it raised something."""

    def __init__(self, supervisor: str, child_id: str, exit_: Exit) -> None:
        super().__init__(
            f"supervisor {supervisor!r}: child {child_id!r} failed to start ({exit_.kind.value}): {exit_.reason}",
        )
        self.supervisor = supervisor
        """Name of the supervisor that tried."""
        self.child_id = child_id
        """The child that did not start."""
        self.exit = exit_
        """How its start ended: kind START_ERROR, START_TIMEOUT or ESCALATED."""


@final
class MaxRestartsExceeded(SupervisorError):
    """The supervisor gave up. Its parent treats this as a crash, so a melted-down subtree is restarted."""

    def __init__(self, supervisor: str, child_id: str, exit_: Exit, intensity: int, period_seconds: float) -> None:
        super().__init__(
            f"supervisor {supervisor!r}: more than {intensity} restarts in {period_seconds:g} s; "
            f"the last was for child {child_id!r} ({exit_.kind.value}): {exit_.reason}",
        )
        self.supervisor = supervisor
        """Name of the supervisor that gave up."""
        self.child_id = child_id
        """The child whose exit was one too many."""
        self.exit = exit_
        """That exit."""
        self.intensity = intensity
        """The limit: restarts allowed in `period_seconds`."""
        self.period_seconds = period_seconds
        """Length of the sliding window in seconds."""


@final
class SupervisorNotRunning(SupervisorError):
    """The supervisor has not been started, is stopping or has ended; no child was touched by this call."""

    def __init__(self, supervisor: str, state: str) -> None:
        super().__init__(f"supervisor {supervisor!r} is {state}: start a new one, or call it while it runs")
        self.supervisor = supervisor
        """Name of the supervisor that was called."""
        self.state = state
        """Its state at that moment."""


@final
class TooManyChildren(SupervisorError):
    """The dynamic supervisor has as many children as it may have, those that are being restarted included."""

    def __init__(self, supervisor: str, children_max: int) -> None:
        super().__init__(
            f"supervisor {supervisor!r} has its {children_max} children: wait until one ends, or change max_children"
        )
        self.supervisor = supervisor
        """Name of the supervisor that was called."""
        self.children_max = children_max
        """Its limit."""


class CallRefused(SupervisorError):
    """The call does not fit the child's state; nothing was changed."""

    advice = "nothing was changed"
    """What the caller can do instead; one sentence per subclass."""

    def __init__(self, child_id: str, state: str) -> None:
        super().__init__(f"child {child_id!r} is {state}: {self.advice}")
        self.child_id = child_id
        """The child that was meant."""
        self.state = state
        """Its state, as in `which_children()`; "unknown" where no child has the id."""


@final
class AlreadyStarted(CallRefused):
    """start_child: a child with this id is alive (OTP: already_started)."""

    advice = "use it through child_value(), or choose another id"


@final
class AlreadyPresent(CallRefused):
    """start_child: a spec with this id is known, and not running (OTP: already_present)."""

    advice = "start it with restart_child(), or delete_child() first"


@final
class ChildNotFound(CallRefused):
    """No child has this id (OTP: not_found)."""

    advice = "see which_children() for the ids there are"


@final
class ChildRunning(CallRefused):
    """restart_child, delete_child: the child is alive (OTP: running)."""

    advice = "terminate_child() it first"


@final
class ChildRestarting(CallRefused):
    """restart_child, delete_child: a restart of the child is pending (OTP: restarting)."""

    advice = "terminate_child() cancels the pending restart"


@final
class ChildNotRunning(CallRefused):
    """child_value: the child has no value, because it is not running."""

    advice = "wait until it runs, or restart_child() it"


@final
class Ignore(Exception):
    """Raised by a child before it is ready (or given to `started()`): "do not run me, and that is no error"."""


@final
class Shutdown(Exception):
    """Raised by a ready child: "I end on purpose" (OTP: exit(shutdown)); a transient child then stays down."""
