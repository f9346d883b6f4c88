"""Who waits for whom, so that a circle of waiting actors is refused before it closes.

Each actor handles one message at a time, and waits for one other actor, or for several where it asks many at once.
Every circle closes with one last step: looking along the pointers at each step finds them all. An actor is known by
its trio task, never by a context variable, because contexts travel to other tasks. Tasks that a handler starts itself
are not seen, unless they say whom they wait for (`waiting_for`): their asks end by their timeouts.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Final, final

from trio.lowlevel import Task, current_task

from vespera_agents.actors.errors import AskCycle


@final
class Party:
    """One actor as somebody who waits and is waited for, or a task that waits in its place."""

    __slots__ = ("branches", "name", "root", "waiting_on")

    def __init__(self, name: str, root: Party | None = None) -> None:
        self.name = name
        """The actor's name, for the path in the error."""
        self.waiting_on: Party | None = None
        """Whose answer, or room in whose mailbox, its handler is waiting for."""
        self.root = root
        """The actor, where this is a task that waits in its place; None where this is the actor."""
        self.branches: list[Party] | None = None
        """The tasks that wait in its place, each for one other."""


@final
class _StandIn:
    """A task that waits in the place of another."""

    __slots__ = ("caller", "party")

    def __init__(self, caller: Task) -> None:
        self.caller = caller
        self.party: Party | None = None


_STAND_INS: Final[dict[Task, _StandIn]] = {}
"""By task, of all systems: a task is in it for as long as it is inside `waiting_for`."""


@contextmanager
def waiting_for(caller: Task) -> Generator[None]:
    """Let what this task waits for count as what `caller` waits for, who waits for this task."""
    task = current_task()
    stand_in = _STAND_INS[task] = _StandIn(caller)
    try:
        yield
    finally:
        del _STAND_INS[task]
        party = stand_in.party
        branches = None if party is None or party.root is None else party.root.branches
        if party is not None and branches is not None and party in branches:
            branches.remove(party)


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
            caller = self._in_place_of(task) if _STAND_INS else None
            if caller is None:
                return None
        actor = caller.root or caller
        if actor is callee or callee.waiting_on is not None or callee.branches:
            _refuse_cycle(actor, callee)
        caller.waiting_on = callee
        return caller

    def _in_place_of(self, task: Task) -> Party | None:
        stand_in = _STAND_INS.get(task)
        actor = None if stand_in is None else self.parties.get(stand_in.caller)
        if stand_in is None or actor is None:
            return None
        if stand_in.party is None:
            party = stand_in.party = Party(actor.name, actor)
            if actor.branches is None:
                actor.branches = []
            actor.branches.append(party)
        return stand_in.party


def _refuse_cycle(caller: Party, callee: Party) -> None:
    """Go along everything that the callee waits for, each party once; `before` is the way back."""
    before: dict[Party, Party] = {}
    left = [callee]
    while left:
        party = left.pop()
        if party is caller:
            path = [party.name]
            while party is not callee:
                party = before[party]
                if party.root is None:
                    path.append(party.name)
            raise AskCycle((caller.name, *reversed(path)))
        following = list(party.branches or ())
        if party.waiting_on is not None:
            following.append(party.waiting_on)
        for each in following:
            if each not in before and each is not callee:
                before[each] = party
                left.append(each)
