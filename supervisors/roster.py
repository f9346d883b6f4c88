"""Who the children of one supervisor are: their records by id, in start order. Starts and stops nobody."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import final

from supervisors.children import Child, ChildState
from supervisors.errors import ChildNotFound, SpecError
from supervisors.specs import ChildSpec


@final
class Roster:
    """The children of one supervisor, in start order."""

    __slots__ = ("_children", "_name")

    def __init__(self, name: str) -> None:
        self._name = name
        self._children: dict[str, Child] = {}

    def __iter__(self) -> Iterator[Child]:
        """Go through the children in start order."""
        return iter(self._children.values())

    def __len__(self) -> int:
        """How many there are, running or not."""
        return len(self._children)

    def find(self, child_id: str) -> Child | None:
        """Return the child with this id, or None."""
        return self._children.get(child_id)

    def get(self, child_id: str) -> Child:
        """Return the child with this id.

        Raises:
            ChildNotFound: there is none.
        """
        child = self._children.get(child_id)
        if child is None:
            raise ChildNotFound(child_id, "unknown")
        return child

    def add(self, child_id: str, spec: ChildSpec, args: tuple[object, ...] = ()) -> Child:
        """Record a child at the end of the order.

        Raises:
            SpecError: the id is taken.
        """
        if child_id in self._children:
            raise SpecError(f"supervisor {self._name!r}: two children have the id {child_id!r}; ids are unique")
        child = self._children[child_id] = Child(child_id, spec, args)
        return child

    def remove(self, child: Child) -> bool:
        """Forget a child; False where it was not known any more."""
        if self._children.get(child.id) is not child:
            return False
        del self._children[child.id]
        return True

    def move_to_end(self, child: Child) -> None:
        """Make a known child the last of the order: it is started only now."""
        self._children[child.id] = self._children.pop(child.id)

    def arrange(self, specs: Iterable[ChildSpec]) -> None:
        """Take these specs, in this order, before all others; children that run go on, new ones are not started."""
        before, self._children = self._children, {}
        for spec in specs:
            child = before.pop(spec.id, None) or Child(spec.id, spec)
            child.spec = spec
            if child.state is ChildState.RUNNING:
                child.forget_arguments()
            self._children[spec.id] = child
        self._children.update(before)
