"""The last steps of an actor of a system's root: wait for its end, see to it where it takes too long, and forget it.

They run in tasks of the system's own, never in that of whoever wants the end: a caller that is cancelled half-way would
leave a dead child in the tree, and its name with it. Who may be stopped so is the business of `system`.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Final

import trio

from supervisors.errors import SupervisorError
from supervisors.supervisor import Supervisor
from vespera_agents.actors.cell import Cell
from vespera_agents.actors.statistics import ActorState

DOWN: Final = (ActorState.STOPPED, ActorState.RESTARTING)
"""The states in which no incarnation lives."""


async def see_off(cell: Cell, root: Supervisor, timeout_seconds: float, leaving: dict[str, trio.Event]) -> None:
    """End an actor that was told to stop for the last time; take its name out of `leaving` when it is forgotten."""
    name = cell.endpoint.name
    try:
        if cell.endpoint.state is not ActorState.RESTARTING:
            with trio.move_on_after(timeout_seconds):
                await cell.wait_done()
        with suppress(SupervisorError):
            await root.terminate_child(name)
        if cell.endpoint.state not in DOWN:
            # The supervisor is ending itself, and so it refused; the actor ends with it, in its own time.
            await cell.wait_done()
        cell.give_up("it was stopped")
        await forget(root, name)
    finally:
        cell.free_name()
        leaving.pop(name).set()


async def forget(root: Supervisor, name: str) -> None:
    """Take the spec of an actor that has ended out of the tree."""
    with suppress(SupervisorError):
        await root.delete_child(name)
