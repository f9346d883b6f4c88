"""Unique names: who is alive in a system, by name. An actor between two incarnations is alive."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar, final

from vespera_agents.actors.endpoint import Endpoint
from vespera_agents.actors.errors import NameTaken
from vespera_agents.actors.statistics import ActorState


class Holder(Protocol):
    """Whoever can have a name: a cell."""

    @property
    def endpoint(self) -> Endpoint:
        """The address with the name on it."""
        ...

    @property
    def is_final(self) -> bool:
        """Whether somebody is stopping it for good, and needs its name for that."""
        ...

    def give_up(self, reason: str) -> None:
        """End for good."""
        ...


HolderT = TypeVar("HolderT", bound=Holder)


@final
class Registry(Generic[HolderT]):
    """The living actors of one system by name."""

    __slots__ = ("_holders",)

    def __init__(self) -> None:
        self._holders: dict[str, HolderT] = {}

    def find(self, name: str) -> HolderT | None:
        """Return who has this name."""
        return self._holders.get(name)

    def claim(self, newcomer: HolderT) -> None:
        """Give a newcomer its name. An actor that waits for a restart loses its own to a newcomer, and ends.

        Raises:
            NameTaken: Another actor has the name and is up.
        """
        name = newcomer.endpoint.name
        holder = self._holders.get(name)
        if holder is not None and holder is not newcomer:
            if holder.is_final or holder.endpoint.state is not ActorState.RESTARTING:
                raise NameTaken(name)
            holder.give_up("a successor of the same name was started")
        self._holders[name] = newcomer

    def release(self, holder: HolderT) -> None:
        """Take a name back, if `holder` still has it."""
        if self._holders.get(holder.endpoint.name) is holder:
            del self._holders[holder.endpoint.name]

    def __iter__(self) -> Iterator[HolderT]:
        """Go through the living; they may end meanwhile."""
        return iter(tuple(self._holders.values()))
