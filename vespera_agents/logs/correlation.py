"""Whose work a line of the log is about: the session, the task, the request and its tool.

A context variable, so it travels wherever work does: into tasks that a nursery starts, and with each message to an
actor, whose handler runs in the context of whoever sent it. Ids only; what they stand for is in the store.
"""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, final

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["NOBODY", "Correlation", "correlated", "correlation", "uncorrelated"]


@final
@dataclass(frozen=True, slots=True)
class Correlation:
    """Whose work it is; None where it is nobody's."""

    session: str | None = None
    """The id of a session."""
    task: str | None = None
    """The id of a task."""
    request: str | int | None = None
    """What a client calls its request: unique for one connection only."""
    tool: str | None = None
    """The tool that the request calls, or the method that it is."""

    def fields(self) -> dict[str, str | int]:
        """Give what is known, by name."""
        known = {"session": self.session, "task": self.task, "request": self.request, "tool": self.tool}
        return {name: value for name, value in known.items() if value is not None}


NOBODY: Final = Correlation()
_CURRENT: Final = ContextVar("vespera_correlation", default=NOBODY)


def correlation() -> Correlation:
    """Say whose work this is."""
    return _CURRENT.get()


@contextmanager
def correlated(
    *,
    session: str | None = None,
    task: str | None = None,
    request: str | int | None = None,
    tool: str | None = None,
) -> Generator[None]:
    """Let what is done in a block, and what it causes, be known as this work; what is not given stays as it was."""
    given = {"session": session, "task": task, "request": request, "tool": tool}
    token = _CURRENT.set(replace(_CURRENT.get(), **{name: value for name, value in given.items() if value is not None}))
    try:
        yield
    finally:
        _CURRENT.reset(token)


@contextmanager
def uncorrelated() -> Generator[None]:
    """Let what is done in a block be nobody's: a child keeps the context of the request that happened to start it."""
    token = _CURRENT.set(NOBODY)
    try:
        yield
    finally:
        _CURRENT.reset(token)
