"""What a supervisor is: its flags and states; and `check_childspecs`, which validates without starting anything.

Source: OTP `supervisor.erl::check_flags/1` and `check_startspec/2`.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, final

from supervisors.errors import SpecError
from supervisors.specs import ChildSpec, Strategy, is_seconds, members_of


class AutoShutdown(enum.StrEnum):
    """Whether a supervisor ends because its significant children have ended by themselves."""

    NEVER = "never"
    """It does not, and has no significant children."""
    ANY_SIGNIFICANT = "any_significant"
    """It ends when one of them does."""
    ALL_SIGNIFICANT = "all_significant"
    """It ends when the last running one of them does."""


class SupervisorState(enum.StrEnum):
    """Where a supervisor is in its one life."""

    NEW = "new"
    """Not started."""
    STARTING = "starting"
    """Its static children are being started."""
    RUNNING = "running"
    """All static children were ready; it supervises."""
    STOPPING = "stopping"
    """Its children are being stopped in reverse order."""
    STOPPED = "stopped"
    """It has ended."""


LIVE: Final = (SupervisorState.STARTING, SupervisorState.RUNNING)
"""The states in which a supervisor takes calls."""


@final
@dataclass(frozen=True, slots=True)
class Flags:
    """How one supervisor supervises. Raises SpecError when invalid."""

    name: str
    """What it is called; not empty."""
    strategy: Strategy = Strategy.ONE_FOR_ONE
    """Who restarts with a child that ended."""
    intensity: int = 3
    """Restarts allowed in one period, >= 0; 0 allows none."""
    period_seconds: float = 5.0
    """Length of the sliding window in seconds, > 0."""
    auto_shutdown: AutoShutdown = AutoShutdown.NEVER
    """Whether the end of significant children ends it."""
    max_children: int | None = None
    """How many children it may have, those that are being restarted included; None is no limit."""

    def __post_init__(self) -> None:
        name = self.name
        if not _is(str, name) or not name:
            raise SpecError(f"a supervisor's name is a non-empty string, not {name!r}")
        if not _is(int, self.intensity) or self.intensity < 0:
            raise SpecError(
                f"supervisor {name!r}: intensity is a whole number of restarts >= 0, not {self.intensity!r}"
            )
        if not is_seconds(self.period_seconds) or self.period_seconds == 0.0:
            raise SpecError(
                f"supervisor {name!r}: period_seconds is a number of seconds > 0, not {self.period_seconds!r}"
            )
        if not _is(Strategy, self.strategy):
            raise SpecError(f"supervisor {name!r}: strategy is one of {members_of(Strategy)}, not {self.strategy!r}")
        if not _is(AutoShutdown, self.auto_shutdown):
            raise SpecError(
                f"supervisor {name!r}: auto_shutdown is one of {members_of(AutoShutdown)}, not {self.auto_shutdown!r}"
            )
        if self.max_children is not None and (not _is(int, self.max_children) or self.max_children < 0):
            raise SpecError(
                f"supervisor {name!r}: max_children is a whole number >= 0 or None, not {self.max_children!r}"
            )

    def check_child(self, spec: object) -> None:
        """Check that `spec` makes sense below this supervisor.

        Raises:
            SpecError: it is no ChildSpec, or significant where nothing follows from that.
        """
        if not isinstance(spec, ChildSpec):
            raise SpecError(f"supervisor {self.name!r}: a child is described by a ChildSpec, not {spec!r}")
        if spec.significant and self.auto_shutdown is AutoShutdown.NEVER:
            raise SpecError(
                f"child {spec.id!r}: supervisor {self.name!r} has no use for a significant child; set auto_shutdown"
            )


def check_childspecs(specs: Iterable[object], *, auto_shutdown: AutoShutdown | None = None) -> None:
    """Check that a supervisor could be made of `specs`, without starting anything.

    Args:
        specs: what would be its children.
        auto_shutdown: checked against the significant ones among them, unless None.

    Raises:
        SpecError: one is no ChildSpec, two have one id, or one is significant where nothing follows from that.
    """
    seen: set[str] = set()
    for spec in specs:
        if not isinstance(spec, ChildSpec):
            raise SpecError(f"a child is described by a ChildSpec, not {spec!r}")
        if spec.id in seen:
            raise SpecError(f"two children have the id {spec.id!r}; ids are unique")
        seen.add(spec.id)
        if auto_shutdown is not None:
            Flags("checked", auto_shutdown=auto_shutdown).check_child(spec)


def _is(kind: type, value: object) -> bool:
    # The annotations say so already; a caller without a type checker gets an error that says what to write instead.
    return isinstance(value, kind) and not isinstance(value, bool)
