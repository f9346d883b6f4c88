"""What a child is, before it lives: `ChildSpec` and the enums it is made of; validated, frozen, in OTP's words.

It starts nothing. `supervisors.supervisor` turns specs into children; `supervisor_spec` there makes one for a subtree.
What a supervisor is, before it lives, is `supervisors.flags`.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Awaitable, Callable
from contextvars import Context, copy_context
from dataclasses import dataclass, field, fields
from typing import Final, final

from supervisors.backoff import Backoff
from supervisors.errors import SpecError

WORKER_SHUTDOWN_SECONDS: Final = 5.0
"""How long a worker may take to stop unless its spec says otherwise (OTP: 5000 ms)."""

ChildStart = Callable[..., Awaitable[object]]
"""`async def child(*args, task_status) -> None`; calls `task_status.started(value)` once it is ready."""


class Restart(enum.StrEnum):
    """When a child that ended is started again."""

    PERMANENT = "permanent"
    """Always."""
    TRANSIENT = "transient"
    """Only after a crash; after a normal end its spec is kept and it stays down."""
    TEMPORARY = "temporary"
    """Never; its spec is deleted with it."""


class Strategy(enum.StrEnum):
    """Who is restarted with the child that ended."""

    ONE_FOR_ONE = "one_for_one"
    """Nobody else."""
    ONE_FOR_ALL = "one_for_all"
    """Everybody: the others stop in reverse order, then all start in order."""
    REST_FOR_ONE = "rest_for_one"
    """Those started after it: they stop in reverse order, then it and they start in order."""


class ChildType(enum.StrEnum):
    """What a child is; it decides the default `shutdown_seconds` and the columns of count_children."""

    WORKER = "worker"
    """A leaf of the tree."""
    SUPERVISOR = "supervisor"
    """A subtree: its value is the live Supervisor."""


@final
@dataclass(frozen=True, slots=True)
class ChildSpec:
    """One child: how to start it, when to restart it, how long to wait for it. Raises SpecError when invalid."""

    id: str
    """Its name among its siblings; not empty."""
    start: ChildStart
    """Called with `*args` and `task_status=`; returning means the child ended normally."""
    args: tuple[object, ...] = field(default=(), kw_only=True)
    """Positional arguments of `start`; not kept for a temporary child once it runs."""
    restart: Restart = field(default=Restart.PERMANENT, kw_only=True)
    """When it is started again."""
    shutdown_seconds: float | None = field(default=None, kw_only=True)
    """How long it may take to end once asked; 0.0 kills, math.inf waits, None is 5 s or for supervisors inf."""
    grace_seconds: float = field(default=0.0, kw_only=True)
    """The first part of shutdown_seconds, in which it is only asked (`stop_requested`) and not yet cancelled."""
    start_timeout_seconds: float = field(default=30.0, kw_only=True)
    """How long it may take to call `started()`; more than 0, math.inf waits for ever."""
    type: ChildType = field(default=ChildType.WORKER, kw_only=True)
    """Worker or supervisor."""
    significant: bool = field(default=False, kw_only=True)
    """Whether its end may end the supervisor (see AutoShutdown); never for a permanent child."""
    backoff: Backoff | None = field(default=None, kw_only=True)
    """How long to wait before each restart; None restarts at once."""
    beat_seconds: float = field(default=math.inf, kw_only=True)
    """It promises a `beat()` at least this often once it is ready, and counts as hung if it breaks that; > 0."""
    context: Context = field(default_factory=copy_context, kw_only=True, repr=False, compare=False)
    """The context variables each incarnation starts with: those of the place where the spec was made."""

    def __post_init__(self) -> None:
        _check_id(self.id)
        _check_start(self.id, self.start, self.args)
        _check_enum(self.id, "restart", self.restart, Restart)
        _check_enum(self.id, "type", self.type, ChildType)
        if self.shutdown_seconds is not None:
            _check_seconds(self.id, "shutdown_seconds", self.shutdown_seconds, zero_allowed=True)
        _check_seconds(self.id, "start_timeout_seconds", self.start_timeout_seconds, zero_allowed=False)
        _check_seconds(self.id, "grace_seconds", self.grace_seconds, zero_allowed=True)
        _check_seconds(self.id, "beat_seconds", self.beat_seconds, zero_allowed=False)
        _check_backoff(self.id, self.backoff)
        if self.grace_seconds > self.stop_seconds:
            raise SpecError(
                f"child {self.id!r}: grace_seconds is a part of shutdown_seconds ({self.stop_seconds:g}), and no longer"
            )
        if self.significant and self.restart is Restart.PERMANENT:
            raise SpecError(f"child {self.id!r}: a significant child is transient or temporary, never permanent")

    @property
    def stop_seconds(self) -> float:
        """`shutdown_seconds` with its default by type filled in: seconds, 0.0 for kill, math.inf for no limit."""
        if self.shutdown_seconds is not None:
            return self.shutdown_seconds
        return math.inf if self.type is ChildType.SUPERVISOR else WORKER_SHUTDOWN_SECONDS

    def without_arguments(self) -> ChildSpec:
        """Return the same spec with no start arguments; not validated again."""
        bare = object.__new__(ChildSpec)
        for each in fields(ChildSpec):
            object.__setattr__(bare, each.name, () if each.name == "args" else getattr(self, each.name))
        return bare


def _check_id(child_id: object) -> None:
    if not isinstance(child_id, str) or not child_id:
        raise SpecError(f"a child's id is a non-empty string, not {child_id!r}")


def _check_start(child_id: str, start: object, args: object) -> None:
    if not callable(start):
        raise SpecError(f"child {child_id!r}: start is an async function that takes task_status=, not {start!r}")
    if not isinstance(args, tuple):
        raise SpecError(f"child {child_id!r}: args is a tuple of positional arguments, not {args!r}")


def _check_backoff(child_id: str, backoff: object) -> None:
    if backoff is not None and not isinstance(backoff, Backoff):
        raise SpecError(f"child {child_id!r}: backoff is a Backoff or None, not {backoff!r}")


def _check_enum(child_id: str, name: str, value: object, kind: type[enum.StrEnum]) -> None:
    if not isinstance(value, kind):
        raise SpecError(f"child {child_id!r}: {name} is one of {members_of(kind)}, not {value!r}")


def _check_seconds(child_id: str, name: str, value: object, *, zero_allowed: bool) -> None:
    if not is_seconds(value) or (value == 0.0 and not zero_allowed):
        least = ">= 0" if zero_allowed else "> 0"
        raise SpecError(
            f"child {child_id!r}: {name} is a number of seconds {least} (math.inf: no limit), not {value!r}"
        )


def is_seconds(value: object) -> bool:
    """Whether `value` is a number of seconds: not negative, math.inf allowed."""
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 0.0 and not math.isnan(value)


def members_of(kind: type[enum.StrEnum]) -> str:
    """Return what an enum accepts, for an error message."""
    return ", ".join(f"{kind.__name__}.{member.name}" for member in kind)
