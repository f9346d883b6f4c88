"""Who waits for whom, so that a circle of waiting actors is refused before it closes.

Each actor handles one message at a time, so it waits for at most one other actor, and every circle closes with one
last step: looking along the pointers at each step finds them all. An actor is known by its trio task, never by a
context variable, because contexts travel to other tasks. Tasks that a handler starts itself are not seen: their asks
end by their timeouts.
"""

from __future__ import annotations

from typing import Protocol

from vespera_agents.actors.errors import AskCycle


class Party(Protocol):
    """Somebody who waits and is waited for: the address of an actor."""

    @property
    def name(self) -> str:
        """The actor's name, for the path in the error."""
        ...

    @property
    def waiting_on(self) -> Party | None:
        """Whose answer, or room in whose mailbox, its handler is waiting for."""
        ...


def refuse_cycle(caller: Party, callee: Party) -> None:
    """Do nothing unless `callee` waits, directly or through others, for `caller`.

    Raises:
        AskCycle: It does.
    """
    path = [caller.name]
    party: Party | None = callee
    while party is not None:
        path.append(party.name)
        if party is caller:
            raise AskCycle(tuple(path))
        party = party.waiting_on
