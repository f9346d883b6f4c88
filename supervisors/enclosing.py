"""Putting a cancel scope around a task that already runs, so that nobody pays for one that is never cancelled.

Each child must be stoppable alone, which is a cancel scope of its own. Entered at its start, as trio has it, that scope
costs 800 bytes and 3 us per child; most children are never stopped, or only at the very end. So they run without one,
inside a `Shelter` that nothing cancels, and `enclose` gives the scope to the one that is asked to stop: from then on
all is as if the task had entered it first. It reaches into trio; what it reaches for is named here and nowhere else,
and a test compares that with the trio that is installed, as for `supervisors.forcing`.
"""

from __future__ import annotations

from collections.abc import Callable
from inspect import CORO_CREATED, getcoroutinestate
from typing import Final, Protocol, final

import trio

from supervisors.forcing import force_kill

CANCEL_STATUS: Final = "_cancel_status"
"""Of a trio task, a nursery and a cancel scope: the node of trio's tree of cancellations that it is tied to."""
ACTIVATE_CANCEL_STATUS: Final = "_activate_cancel_status"
"""Of a trio task: ties it to another node."""
HAS_BEEN_ENTERED: Final = "_has_been_entered"
"""Of a cancel scope: whether it was; it can be only once."""


class CancelStatus(Protocol):
    """A node of trio's tree of cancellations, as far as it is used here."""

    parent: CancelStatus | None
    """Whose cancellation is its own too, unless its scope is shielded; setting it moves the node with all below it."""

    def __init__(self, scope: trio.CancelScope, *, parent: CancelStatus) -> None: ...


def enclose(task: trio.lowlevel.Task, scope: trio.CancelScope) -> None:
    """Make the unused `scope` the outermost one of `task`, which runs in a nursery; `leave` is its end."""
    base: CancelStatus = getattr(task.parent_nursery, CANCEL_STATUS)
    outermost: CancelStatus = getattr(task, CANCEL_STATUS)
    status = type(base)(scope, parent=base)
    setattr(scope, CANCEL_STATUS, status)
    setattr(scope, HAS_BEEN_ENTERED, True)
    if outermost is base:
        activate: Callable[[CancelStatus], None] = getattr(task, ACTIVATE_CANCEL_STATUS)
        activate(status)
        return
    while outermost.parent is not None and outermost.parent is not base:
        outermost = outermost.parent
    outermost.parent = status


def leave(scope: trio.CancelScope, error: BaseException | None) -> BaseException | None:
    """Leave `scope` at the end of its task, and return what of `error` was not the cancellation that it asked for."""
    try:
        caught = scope.__exit__(type(error), error, None) if error is not None else scope.__exit__(None, None, None)
    except BaseException as rest:  # noqa: BLE001 - what a scope lets through may be anything that a child can raise.
        return rest
    else:
        return None if caught else error
    finally:
        del error  # The traceback of the rest holds this frame.


@final
class Shelter:
    """A nursery that no cancellation reaches, for all the children of a tree: each is stopped by itself, in order."""

    __slots__ = ("_nursery", "_open", "_over")

    def __init__(self) -> None:
        self._nursery: trio.Nursery | None = None
        self._open = trio.Event()
        self._over = trio.Event()

    async def run(self) -> None:
        """Keep the nursery open until `close`, and until all that runs in it has ended."""
        with trio.CancelScope(shield=True):
            async with trio.open_nursery() as self._nursery:
                self._open.set()
                await self._over.wait()

    async def nursery(self) -> trio.Nursery:
        """Return the nursery as soon as it is open; not interrupted, because that is always one step away."""
        with trio.CancelScope(shield=True):
            await self._open.wait()
        assert self._nursery is not None, "an open shelter has its nursery"
        return self._nursery

    def force(self) -> None:
        """Stop all that runs in it by force, at once."""
        for task in tuple(self._nursery.child_tasks if self._nursery is not None else ()):
            # One that has not taken its first step cannot catch this yet: it would break the nursery of all.
            if getcoroutinestate(task.coro) != CORO_CREATED:
                force_kill(task)

    def close(self) -> None:
        """Let it end when all has ended that runs in it."""
        self._over.set()
