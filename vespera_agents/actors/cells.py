"""Makes the cells of a system, and what they share: counters by class, terms and child specs by what was asked for.

It starts nothing and gives no names away: `system` does.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Final, final

from supervisors.specs import ChildSpec, Restart
from vespera_agents.actors.actor import Actor
from vespera_agents.actors.cell import Cell, Terms
from vespera_agents.actors.endpoint import Endpoint
from vespera_agents.actors.mailbox import MailboxSpec
from vespera_agents.actors.registry import Registry
from vespera_agents.actors.statistics import KindCounts
from vespera_agents.actors.switchboard import Switchboard

_MAILBOX_SPEC: Final[type] = MailboxSpec
"""For a check that only those who use no type checker need."""


@final
class CellMaker:
    """The maker of one system's cells."""

    __slots__ = ("_counts", "_last_given", "_last_terms", "_names", "_numbers", "_specs", "_switchboard")

    def __init__(self, switchboard: Switchboard, names: Registry[Cell]) -> None:
        self._switchboard = switchboard
        self._names = names
        self._numbers = count(1)
        self._counts: dict[Callable[..., Actor], KindCounts] = {}
        usual = Terms(Restart.TRANSIENT, 5.0, 30.0)
        self._last_terms: tuple[Terms, ChildSpec] = (usual, usual.child_spec("actor"))
        self._last_given = (usual.restart, usual.shutdown_seconds, usual.start_timeout_seconds)
        self._specs = {self._last_given: self._last_terms}

    def make(
        self,
        actor: Callable[..., Actor],
        args: tuple[object, ...],
        name: str | None,
        mailbox: MailboxSpec,
        terms: Terms,
    ) -> Cell:
        """Make a cell; its name is the class's and a number unless given.

        Raises:
            TypeError: The class is no actor, or the mailbox no MailboxSpec.
        """
        counts = self._counts.get(actor)
        if counts is None:
            if not (isinstance(actor, type) and issubclass(actor, Actor)):
                raise TypeError(f"An actor is a class derived from Actor, not {actor!r}. Pass its arguments after it.")
            counts = self._counts[actor] = self._switchboard.counts_of(actor.__name__)
        if type(mailbox) is not _MAILBOX_SPEC:
            raise TypeError(f"A mailbox is given as MailboxSpec(capacity, overflow), not {mailbox!r}.")
        if name is None:
            name = f"{counts.kind}-{next(self._numbers)}"
        return Cell(actor, args, terms, Endpoint(self._switchboard, name, counts, mailbox), self._names)

    def terms_of(
        self, restart: Restart, shutdown_seconds: float, start_timeout_seconds: float
    ) -> tuple[Terms, ChildSpec]:
        """Return the terms, and the one spec that all children of the system's root share that live on them."""
        given = (restart, shutdown_seconds, start_timeout_seconds)
        if given != self._last_given:  # Most actors are started like the one before; hashing an enum costs 0.2 us.
            found = self._specs.get(given)
            if found is None:
                terms = Terms(*given)
                found = self._specs[given] = (terms, terms.child_spec("actor"))
            self._last_given, self._last_terms = given, found
        return self._last_terms

    def knows(self, spec: ChildSpec) -> bool:
        """Whether this is a spec of the system's own actors."""
        return any(spec is own for _, own in self._specs.values())
