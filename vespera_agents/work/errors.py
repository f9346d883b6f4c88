"""What the rules of work refuse, as one small tree.

    WorkError
    ├── PlanError          a document that is not a usable plan (raised by `plans/`)
    └── Refusal            a change that the rules do not allow; nothing was written
        ├── NotFound       an id that names nothing (with near matches)
        ├── InvalidInput   a value out of its bounds
        ├── StaleVersion   somebody else changed the row first
        ├── BadTransition  the task state machine has no such edge
        ├── Conflict       the rows do not allow it now (claimed, live dependents, unmet gates)
        ├── Overloaded     the server is not well and takes no such work for a while
        └── Cycle          a dependency that would close a circle, with its path

Every refusal says what is wrong, which value, and what to do next: the three parts that reach a model as `isError`.
Neighbours: `store/` raises them inside a transaction, `serving/` and `cli` print them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "BadTransition",
    "Conflict",
    "Cycle",
    "InvalidInput",
    "NotFound",
    "Overloaded",
    "PlanError",
    "Refusal",
    "StaleVersion",
    "WorkError",
]


class WorkError(Exception):
    """The root of everything that the rules of work raise."""


class PlanError(WorkError):
    """A document that cannot be read as a plan; the message says what to do next."""


class Refusal(WorkError):
    """A change that is not allowed. Nothing was written.

    Attributes:
        what: what is wrong, a sentence without a full stop.
        next_action: what the caller should do next, an imperative sentence.
    """

    def __init__(self, what: str, next_action: str) -> None:
        super().__init__(what, next_action)
        self.what = what
        self.next_action = next_action

    def __str__(self) -> str:
        return f"{self.what}. {self.next_action}"


@final
class NotFound(Refusal):
    """An id or prefix that names nothing, or more than one thing."""


@final
class InvalidInput(Refusal):
    """A value that is out of its bounds or of the wrong shape."""


@final
class StaleVersion(Refusal):
    """The row changed since the caller read it.

    Attributes:
        current: the row's version now.
    """

    def __init__(self, subject: str, expected: int, current: int) -> None:
        super().__init__(
            f"{subject} is at version {current}, not {expected}: somebody changed it first",
            "Read it again, look at what changed, and repeat the update with expected_version="
            f"{current} if it still applies.",
        )
        self.current = current


@final
class BadTransition(Refusal):
    """The task state machine has no such edge."""

    def __init__(self, subject: str, status: str, wanted: str, allowed: Sequence[str]) -> None:
        choices = ", ".join(allowed) if allowed else "nothing: this status is final"
        super().__init__(
            f"{subject} is {status} and cannot become {wanted}",
            f"From {status} it can become: {choices}.",
        )


@final
class Conflict(Refusal):
    """The rows as they are now do not allow the change."""


@final
class Overloaded(Refusal):
    """The server is not well, and begins no such work for a while.

    Attributes:
        retry_seconds: when to come again.
    """

    def __init__(self, subject: str, why: str, retry_seconds: float) -> None:
        super().__init__(
            f"{subject} begins new work, and this server takes none for now: {why}",
            f"Call again in {retry_seconds:.0f} s; orchestrator_health_check tells how it stands.",
        )
        self.retry_seconds = retry_seconds


@final
class Cycle(Refusal):
    """A dependency that would close a circle.

    Attributes:
        path: the titles or keys around the circle, first and last the same.
    """

    def __init__(self, path: Sequence[str]) -> None:
        super().__init__(
            f"these dependencies form a cycle: {' -> '.join(path)}",
            "Remove one of these dependencies and call again.",
        )
        self.path = tuple(path)
