"""Using the store of a workspace for a moment, without becoming one of its servers.

Nothing is claimed there, so nobody needs to know of us; other processes' stores go on beside it. Not for work: who
serves a workspace has its store as a supervised child.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

import trio
from outcome import Outcome, acapture

from vespera_agents.store.store import Store
from vespera_agents.workspace import Workspace, elder_server

__all__ = ["visit"]

R = TypeVar("R")


async def visit(workspace: Workspace, act: Callable[[Store], Awaitable[R]]) -> R:
    """Open a store, let `act` use it, and close it.

    Raises:
        SchemaTooNew, StoreUnavailable: it cannot be opened; and whatever `act` raises.
    """
    store = Store(workspace.database, workspace.artifacts, elder=partial(elder_server, workspace))

    async def use(nursery: trio.Nursery) -> R:
        await nursery.start(store.run)
        return await act(store)

    # Kept until the nursery is closed, which would wrap it into a group.
    result: Outcome[R]
    async with trio.open_nursery() as nursery:
        result = await acapture(use, nursery)
        nursery.cancel_scope.cancel()
    return result.unwrap()
