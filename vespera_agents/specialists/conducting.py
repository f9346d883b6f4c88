"""Having a session conducted: one conductor at a time, brought back when its part of the tree was lost.

Neighbours: `conductor` walks the graph; `running` does this for a whole plan, `agents` for a part of a session.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable
from typing import Final

import trio

from supervisors import ChildSpec, Restart, SupervisorError
from vespera_agents.specialists.conductor import Conductor
from vespera_agents.specialists.runtime import first_cause
from vespera_agents.specialists.sessions import OpenSession, OpenWorkspace
from vespera_agents.store import StoreError
from vespera_agents.workspace import WorkspaceError, session_lock

__all__ = ["CONCURRENCY_DEFAULT", "CONCURRENCY_MAX", "CONDUCTOR_CHILD", "conduct", "run_lock"]

CONCURRENCY_DEFAULT: Final = 4
CONCURRENCY_MAX: Final = 64
_STARTS_MAX: Final = 4
"""How often a conductor is started: the first time, and when it was lost with its subtree."""
_PAUSE_SECONDS: Final = 0.1
CONDUCTOR_CHILD: Final = "conductor"
"""The name of a session's child that conducts it."""


def run_lock(opened: OpenWorkspace, name: str) -> contextlib.AbstractContextManager[None]:
    """Be the only one who has sessions of that name conducted, while the block lasts.

    By name, because a session's name may be anything, a file's may not, and two runs that begin at the same moment must
    not both open a session.

    Raises:
        WorkspaceError: somebody else has one conducted.
    """
    return session_lock(opened.workspace, f"run-{hashlib.sha256(name.encode()).hexdigest()[:16]}")


async def conduct(opened: OpenWorkspace, session_id: str, make: Callable[[OpenSession], Conductor | None]) -> None:
    """Let a conductor work under the session's supervisor until nothing more can be done.

    Cancelled: it is stopped, its commands are killed and their tasks given back, within bounds.

    Args:
        opened: the workspace.
        session_id: the session.
        make: makes the conductor for the live session, again when it was lost; None to let it be.

    Raises:
        WorkspaceError: the tree did not stay up.
        StoreError: the store did not.
    """
    problem: BaseException = WorkspaceError("its part of the supervision tree did not stay up")
    for _ in range(_STARTS_MAX):
        live = await opened.session(session_id)
        # After a restart of the workspace its former name, and the claims under it, are a dead server's.
        await opened.release_dead_claims()
        conductor = make(live)
        if conductor is None:
            return
        try:
            spec = ChildSpec(CONDUCTOR_CHILD, conductor.run, restart=Restart.TRANSIENT, shutdown_seconds=15.0)
            # A start that has begun is finished: cancelled here, the conductor would go on and nobody would stop it.
            with trio.CancelScope(shield=True):
                await live.supervisor.start_child(spec)
        except SupervisorError as error:
            problem = first_cause(error)
        else:
            try:
                await _either(conductor.done, live.ended)
            finally:
                # Also when this is cancelled: nobody else would stop it.
                with trio.CancelScope(shield=True):
                    await _forget_conductor(live)
            if conductor.done.is_set():
                return
            # The subtree went down with something below it (the store, say); its supervisor brings it back.
            problem = _last_crash(live) or problem
        await trio.sleep(_PAUSE_SECONDS)
    if isinstance(problem, StoreError):
        raise problem
    raise WorkspaceError(f"the run could not go on: {problem}. When that is mended, run again with --resume.")


async def _forget_conductor(live: OpenSession) -> None:
    """Stop the conductor and take it out of the session's tree."""
    with contextlib.suppress(SupervisorError):
        await live.supervisor.terminate_child(CONDUCTOR_CHILD)
        await live.supervisor.delete_child(CONDUCTOR_CHILD)


async def _either(one: trio.Event, other: trio.Event) -> None:
    """Wait until one of two events has come."""

    async def wait(event: trio.Event) -> None:
        await event.wait()
        nursery.cancel_scope.cancel("one of the two has come")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait, one)
        nursery.start_soon(wait, other)


def _last_crash(live: OpenSession) -> WorkspaceError | None:
    """Say what the conductor of a session that has ended died of, if it died."""
    with contextlib.suppress(SupervisorError):
        history = live.supervisor.crash_history(CONDUCTOR_CHILD)
        if history:
            return WorkspaceError(history[-1].reason)
    return None
