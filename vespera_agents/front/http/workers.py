"""What the HTTP door must know of the front's workers: which one takes requests now, and that another will.

Not how they are started, watched and replaced: that is the business of the front, which stands behind this protocol.
Neighbours: `exchange` waits for workers, `door` is given them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol, final

import trio

__all__ = ["HttpWorker", "HttpWorkers"]


@final
@dataclass(frozen=True, slots=True, eq=False)
class HttpWorker:
    """One worker that is ready."""

    generation: int
    """Counts the workers of this front."""
    path: str
    """Its private socket."""
    ended: trio.Event = field(default_factory=trio.Event)
    """Set when its process is known to be gone."""


class HttpWorkers(Protocol):
    """The workers of a front."""

    def number(self) -> int:
        """Give the next number for a request, unique for as long as the front lives."""
        ...

    def written(self, number: int) -> None:
        """Hear that the answer to a request was written to its client: nobody will repeat it."""
        ...

    def current(self) -> HttpWorker | None:
        """Give the worker that takes new requests; None while there is none, or it is being drained."""
        ...

    async def changed(self) -> None:
        """Wait until `current` gives another answer."""
        ...

    def why(self) -> str:
        """Say why there is no worker, since when, and where its log is."""
        ...
