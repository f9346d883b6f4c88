"""Who waits for whom, so that a circle of waiting actors is refused before it closes.

Each actor handles one message at a time, so it waits for at most one other actor, and every circle closes with one
last step: looking along the pointers at each step finds them all. An actor is known by its trio task, never by a
context variable, because contexts travel to other tasks. Tasks that a handler starts itself are not seen: their asks
end by their timeouts.
"""

from __future__ import annotations

from typing import final

from trio.lowlevel import Task

from vespera_agents.actors.errors import AskCycle


@final
class Party:
    """One actor as somebody who waits and is waited for."""

    __slots__ = ("name", "waiting_on")

    def __init__(self, name: str) -> None:
        self.name = name
        """The actor's name, for the path in the error."""
        self.waiting_on: Party | None = None
        """Whose answer, or room in whose mailbox, its handler is waiting for."""


@final
class Waits:
    """The actors of a system by the trio task that runs their handlers."""

    __slots__ = ("parties",)

    def __init__(self) -> None:
        self.parties: dict[Task, Party] = {}
        """Who runs in which task."""

    def begin(self, task: Task, callee: Party) -> Party | None:
        """Note that `task` is about to wait for `callee`; return the waiting actor, if it is one.

        The caller of this sets the returned party's `waiting_on` back to None when the wait is over.

        Raises:
            AskCycle: The callee waits, directly or through others, for the actor of this task.
        """
        caller = self.parties.get(task)
        if caller is None:
            return None
        if caller is callee or callee.waiting_on is not None:
            _refuse_cycle(caller, callee)
        caller.waiting_on = callee
        return caller


def _refuse_cycle(caller: Party, callee: Party) -> None:
    path = [caller.name]
    party: Party | None = callee
    while party is not None:
        path.append(party.name)
        if party is caller:
            raise AskCycle(tuple(path))
        party = party.waiting_on
