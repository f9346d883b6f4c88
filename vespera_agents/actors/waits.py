"""Who waits for whom, so that a circle of waiting actors is refused before it closes.

Each actor handles one message at a time, and waits for one other actor, or for several where it asks many at once.
Every circle closes with one last step: looking along the pointers at each step finds them all. An actor is known by
its trio task, never by a context variable, because contexts travel to other tasks. Tasks that a handler starts itself
are not seen, unless they say whom they wait for (`waiting_for`): their asks end by their timeouts.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Final, Protocol, final

from trio.lowlevel import Task, current_task

from vespera_agents.actors.errors import AskCycle


class Party(Protocol):
    """Somebody who waits and is waited for: the address of an actor, or a branch of it."""

    name: str
    """The actor's name, for the path in the error."""
    waiting_on: Party | None
    """Whose answer, or room in whose mailbox, it waits for."""
    branches: list[Branch] | None
    """The tasks that wait in its place, each for one other."""

    @property
    def actor(self) -> Party:
        """Itself, or the actor in whose place it waits."""
        ...


@final
class Branch:
    """A task that waits in the place of an actor."""

    __slots__ = ("actor", "branches", "name", "waiting_on")

    def __init__(self, actor: Party) -> None:
        self.actor = actor
        """In whose place it waits."""
        self.name = actor.name
        """That actor's name."""
        self.waiting_on: Party | None = None
        """Whom it waits for."""
        self.branches: list[Branch] | None = None
        """It has none of its own: whoever waits for it, waits for the actor."""


CALLERS: Final[dict[Task, Party]] = {}
"""Who asks, by trio task: every actor of every system for as long as it lives, and every branch."""


@contextmanager
def waiting_for(caller: Task) -> Generator[None]:
    """Let what this task waits for count as what `caller` waits for, who waits for this task."""
    party = CALLERS.get(caller)
    if party is None:
        yield
        return
    task, actor = current_task(), party.actor
    branch = CALLERS[task] = Branch(actor)
    if actor.branches is None:
        actor.branches = []
    branches = actor.branches
    branches.append(branch)
    try:
        yield
    finally:
        del CALLERS[task]
        branches.remove(branch)
        if not branches and actor.branches is branches:
            actor.branches = None


def refuse_cycle(caller: Party, callee: Party) -> None:
    """Do nothing unless `callee` waits, directly or through others, for `caller`.

    Raises:
        AskCycle: It does.
    """
    actor = caller.actor
    before: dict[int, Party] = {}
    left = [callee]
    while left:
        party = left.pop()
        if party is actor:
            path = [party.name]
            while party is not callee:
                party = before[id(party)]
                if party.actor is party:
                    path.append(party.name)
            raise AskCycle((actor.name, *reversed(path)))
        following: list[Party] = list(party.branches or ())
        if party.waiting_on is not None:
            following.append(party.waiting_on)
        for each in following:
            if id(each) not in before and each is not callee:
                before[id(each)] = party
                left.append(each)
