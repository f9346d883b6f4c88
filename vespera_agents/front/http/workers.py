"""What requests must know of the front's workers: which one takes them now, how one ended, and whether to wait longer.

Not how they are started, watched and replaced: that is the business of the front, which stands behind this protocol.
Neighbours: `exchange` waits for workers, `side` is where they come from.
"""

from __future__ import annotations

from typing import Final, Protocol, final

import trio

__all__ = ["HttpWorker", "HttpWorkers"]


@final
class HttpWorker:
    """One worker that is ready, or was."""

    __slots__ = ("blamed", "ended", "path", "why")

    def __init__(self, path: str) -> None:
        self.path: Final = path
        """Its private socket."""
        self.ended: Final = trio.Event()
        """Set when its process is known to be gone."""
        self.blamed = False
        """Whether what it had in hand may have killed it."""
        self.why = ""
        """What a client is told whose request was there at too many ends of workers."""

    def end(self, *, blamed: bool, why: str) -> None:
        """Take in that it is gone."""
        self.blamed, self.why = blamed, why
        self.ended.set()


class HttpWorkers(Protocol):
    """The workers of a front."""

    def number(self) -> int:
        """Give the next number for a request, unique for as long as the front lives."""
        ...

    def written(self, number: int) -> None:
        """Hear that the answer to a request was written to its client: nobody will repeat it."""
        ...

    def current(self) -> HttpWorker | None:
        """Give the worker that takes new requests; None while there is none."""
        ...

    async def changed(self) -> None:
        """Wait until `current` or `expired` may give another answer."""
        ...

    def expired(self, since_seconds: float) -> str | None:
        """Say why a request that came then shall wait for a worker no longer; None while it shall."""
        ...
