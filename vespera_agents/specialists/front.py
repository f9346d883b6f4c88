"""The front before this process, where there is one: the process that owns the client's connection and outlives us.

Only what the tree and the tools need of it; the link itself is the business of `serving`. Neighbours: `runtime` has it,
`sessions` announces each workspace under its name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

__all__ = ["Front"]


class Front(Protocol):
    """The front, as a worker behind it sees it."""

    at_standing: Callable[[], object]
    """Hears that it fares otherwise."""
    brings_http: bool
    """Whether it brings requests of HTTP clients, over a socket of ours."""

    @property
    def server(self) -> str:
        """The id under which all workers of this front serve."""
        ...

    @property
    def generation(self) -> int:
        """Which of its workers this process is, counted from 1."""
        ...

    @property
    def standing(self) -> Mapping[str, object]:
        """How the front fares, as it said last."""
        ...

    def is_gone(self) -> bool:
        """Say whether it has ended, or no longer needs this process."""
        ...

    def give_way(self) -> None:
        """End this process: a newer one has taken its place, which it learns when it wants to write."""
        ...

    async def ask(self, question: Mapping[str, object]) -> dict[str, object]:
        """Ask it, and give its answer."""
        ...

    def answered_later(self, request: str) -> None:
        """Leave the answer to a request to a later worker: this one can be drained without it."""
        ...

    async def keep_lock(self, name: str, descriptor: int) -> None:
        """Give it a descriptor, whose lock is then held for as long as it lives."""
        ...
