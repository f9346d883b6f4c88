"""The contract of the tools as a table: what each call comes to, for every tool and every kind of situation.

Not a test: `test_contract.py` carries every row out over each transport in both eras and reads the store after it, and
`document.py` writes docs/tools.md from the same rows. What is wrong with a single argument is not in the rows: it
follows from each tool's own input schema (`bad_values.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from tests.serving.contract.world import World

VALID: Final = "a valid call"
WRONG_STATE: Final = "wrong state"
UNKNOWN: Final = "unknown id"
NO_SESSION: Final = "no session"
TWO_CLIENTS: Final = "two clients"
BAD_VALUE: Final = "a value that makes no sense"
KINDS: Final = (VALID, WRONG_STATE, UNKNOWN, NO_SESSION, TWO_CLIENTS, BAD_VALUE)
OK: Final = "ok"

Check = Callable[[World, dict[str, Any]], None]
Calls = tuple[tuple[str, Mapping[str, Any]], ...]
"""Tools without `orchestrator_`, each with its arguments."""


@dataclass(frozen=True)
class Row:
    """One call and what it comes to."""

    tool: str
    """Without `orchestrator_`."""
    kind: str
    """One of KINDS."""
    when: str
    """The situation, in words for the documentation."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """`@name` stands for the id of that task or session of the world."""
    outcome: str = OK
    """`ok`, or the kind of the refusal."""
    words: tuple[str, ...] = ()
    """What the refusal's text names: the offending value, the state, the next call."""
    then: Mapping[str, str] = field(default_factory=dict)
    """The status in the store, afterwards, of tasks by name."""
    check: Check | None = None
    """Reads the store, afterwards, and the answer."""
    first: Calls = ()
    """Calls that the other client makes before."""
    before: Calls = ()
    """Calls that the same client makes before."""
    after: Calls = ()
    """Calls that the same client makes afterwards, so that others find things as they were."""
    front: bool | None = None
    """Only behind a front, or only without one."""
    notes: bool = False
    """The refusal leaves a note on the task, which is in the store then."""
    empty: bool = False
    """In a workspace without any session."""

    @property
    def name(self) -> str:
        return f"{self.tool}: {self.when}"


def ok(tool: str, when: str, /, then: Mapping[str, str] | None = None, check: Check | None = None, *,
       kind: str = VALID, first: Calls = (), before: Calls = (), after: Calls = (), front: bool | None = None,
       empty: bool = False, **arguments: Any) -> Row:  # fmt: skip
    """A call that does what it says."""
    return Row(
        tool, kind, when, arguments, then=then or {}, check=check, first=first, before=before, after=after,
        front=front, empty=empty,
    )  # fmt: skip


def no(tool: str, kind: str, when: str, outcome: str, /, *words: str, notes: bool = False, empty: bool = False,
       first: Calls = (), before: Calls = (), after: Calls = (), front: bool | None = None,
       **arguments: Any) -> Row:  # fmt: skip
    """A call that is refused, and changes nothing."""
    return Row(
        tool, kind, when, arguments, outcome, words, notes=notes, empty=empty, first=first, before=before, after=after,
        front=front,
    )  # fmt: skip
