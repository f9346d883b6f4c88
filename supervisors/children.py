"""A supervisor's record of one child, and the answers made from it: which_children, count_children, start_child.

Only data and its reading; `supervisors.offspring` is what changes it.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Awaitable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, final

from supervisors.deathwatch import Terminated, Watch
from supervisors.exits import Exit, ExitKind
from supervisors.listeners import Offender
from supervisors.specs import ChildSpec, ChildType, Restart

if TYPE_CHECKING:
    from supervisors.incarnation import Incarnation

HISTORY_MAX: Final = 8
"""Failed ends kept per child: the last ones."""
_CRASHED: Final = ExitKind.CRASHED
_TEMPORARY: Final = Restart.TEMPORARY


class ChildState(enum.StrEnum):
    """Where a child is between start and end."""

    DOWN = "down"
    """Known, not running (OTP: undefined)."""
    STARTING = "starting"
    """Started, not yet ready."""
    RUNNING = "running"
    """Ready."""
    STOPPING = "stopping"
    """Asked to stop, not yet ended."""
    RESTARTING = "restarting"
    """Ended; its restart is under way or will be tried again."""


@final
class Child:
    """One child of one supervisor; changed only by that supervisor."""

    __slots__ = (
        "args",
        "ended_at",
        "exit",
        "failures",
        "history",
        "id",
        "incarnation",
        "incarnations",
        "restarts",
        "spec",
        "state",
        "undecided",
        "watches",
    )

    def __init__(self, child_id: str, spec: ChildSpec, args: tuple[object, ...] = ()) -> None:
        self.id = child_id
        """Its name among its siblings: the spec's id, or a number of its own where all share a template."""
        self.spec = spec
        """What it is; shared with its siblings where it comes from a template."""
        self.args = args
        """Further start arguments, after those of the spec."""
        self.state = ChildState.DOWN
        self.incarnation: Incarnation | None = None
        """The newest life, also after its end."""
        self.incarnations = 0
        """How many lives it has had."""
        self.restarts = 0
        """How many of them were restarts, as offender or as bystander."""
        self.failures = 0
        """How many restarts in a row its backoff counts."""
        self.exit: Exit | None = None
        """How the last life ended."""
        self.ended_at: float | None = None
        """When it ended by itself; None again once it is back."""
        self.undecided: Incarnation | None = None
        """A life that ended by itself while the supervisor was busy; until it decides, the child counts as alive."""
        self.history: deque[Exit] | None = None
        """Failed ends, oldest first; made with the first of them."""
        self.watches: list[Watch] | None = None
        """Who is told when it has ended for good; made with the first of them."""

    @property
    def alive(self) -> bool:
        """Whether calls treat it as running: it has a live task, or its end is not yet decided upon."""
        return self.undecided is not None or self.state not in {ChildState.DOWN, ChildState.RESTARTING}

    @property
    def pending(self) -> bool:
        """Whether its first life is still to begin: its supervisor was busy when it was added without waiting."""
        return self.incarnation is None and self.state is ChildState.STARTING

    @property
    def ignored(self) -> bool:
        """Whether its last start answered Ignore."""
        return self.exit is not None and self.exit.kind is ExitKind.IGNORED and self.state is ChildState.DOWN

    @property
    def value(self) -> object:
        """What the running life gave to started(); None where there is none."""
        running = self.incarnation is not None and self.state is ChildState.RUNNING
        return self.incarnation.value if running and self.incarnation is not None else None

    def offender(self, number: int | None = None) -> Offender:
        """Return it as a report names it; `number` is the life that is meant, the newest unless given."""
        spec = self.spec
        return Offender(self.id, spec.type.value, spec.restart.value, self.incarnations if number is None else number)

    def info(self) -> ChildInfo:
        """Return its line of which_children."""
        return ChildInfo(self.id, self.state, self.spec.type, self.value)

    def lived_seconds(self, now: float) -> float:
        """Return how long the current life lasts, or the last one lasted."""
        if self.incarnation is None:
            return 0.0
        return self.incarnation.exit.lived_seconds if self.incarnation.exit else now - self.incarnation.since

    def remember(self, exit_: Exit) -> None:
        """Make `exit_` the last end, and keep it in the history where it failed."""
        self.exit = exit_
        if exit_.kind is _CRASHED or exit_.kind.failed:
            if self.history is None:
                self.history = deque(maxlen=HISTORY_MAX)
            self.history.append(exit_)

    def start(self, status: Incarnation) -> Awaitable[object]:
        """Call its start function for a new life, with all its arguments."""
        spec = self.spec
        return spec.start(*spec.args, *self.args, task_status=status)

    def forget_arguments(self) -> None:
        """Give up the start arguments of a temporary child: it is never started again. Source: OTP supervisor.erl."""
        if self.spec.restart is _TEMPORARY:
            self.args = ()
            if self.spec.args and self.id == self.spec.id:
                self.spec = self.spec.without_arguments()

    def terminated(self) -> Terminated:
        """Return what those who watch it are told once it has ended for good."""
        return Terminated(self.id, self.incarnations, self.exit)


@final
@dataclass(frozen=True, slots=True)
class ChildInfo:
    """One line of which_children."""

    id: str
    """The child's name among its siblings."""
    state: ChildState
    """Where it is between start and end."""
    type: ChildType
    """Worker or supervisor."""
    value: object
    """What it gave to started(); None unless it runs."""


@final
@dataclass(frozen=True, slots=True)
class ChildCounts:
    """The answer of count_children."""

    specs: int
    """Children known, running or not."""
    active: int
    """Children with a live task."""
    supervisors: int
    """Children that are supervisors, running or not."""
    workers: int
    """Children that are workers, running or not."""


@final
@dataclass(frozen=True, slots=True)
class StartedChild:
    """The answer of start_child and restart_child."""

    id: str
    """The child's name among its siblings."""
    value: object
    """What it gave to started(); None where it was ignored."""
    incarnation: int
    """Which life this is, from 1."""
    ignored: bool = False
    """Whether it answered Ignore: it does not run, and that is no error (a temporary child is forgotten)."""


def count(children: Iterable[Child]) -> ChildCounts:
    """Count `children` as OTP's count_children does."""
    known = list(children)
    supervisors = sum(child.spec.type is ChildType.SUPERVISOR for child in known)
    return ChildCounts(
        specs=len(known),
        active=sum(child.state not in {ChildState.DOWN, ChildState.RESTARTING} for child in known),
        supervisors=supervisors,
        workers=len(known) - supervisors,
    )
