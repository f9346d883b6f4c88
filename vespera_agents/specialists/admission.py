"""Whether new work may begin in this process, and which calls are under way.

Closed for one of two reasons: the process is about to be replaced, and whoever comes waits unanswered for the next one;
or a shutdown is prepared, and whoever wants to begin something is refused. Open, it may have breakers: of one tool, or
of all work that begins, because the server is not well. Neighbours: `conductor` begins nothing while it is closed;
`serving` counts calls here and says when it closes and opens; `health` opens breakers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, final

import trio

from vespera_agents.specialists.breaker import Breaker, BreakerStatistics
from vespera_agents.work.errors import Conflict

__all__ = ["EVERYTHING", "Admission", "AdmissionStatistics", "UnderWay"]

EVERYTHING: Final = "everything"
"""The kind of the breaker that refuses all work that begins."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class UnderWay:
    """A call that was begun and not answered yet."""

    what: str
    """The tool."""
    by: str
    """Who calls."""
    since: float
    """Seconds since the epoch."""
    waited_for: bool
    """Whether a drain waits for it; nobody waits for a call that itself waits for the drain."""


@final
@dataclass(frozen=True, slots=True)
class AdmissionStatistics:
    """Who is in, and who stands outside."""

    under_way: int
    held: int
    """Calls that wait until it opens, or until this process is replaced."""
    refused: int
    """Calls so far, by breakers, too."""
    breakers: tuple[BreakerStatistics, ...]


@final
class Admission:
    """The entrance to the work of one process."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        """Be open.

        Args:
            clock: wall-clock seconds since the epoch.
        """
        self._clock = clock
        self._calls: dict[UnderWay, None] = {}
        self._opened = trio.Event()
        self._left = trio.Event()
        self._held = 0
        self._refused = 0
        self._breakers: dict[str, Breaker] = {}
        self.draining = False
        """This process is about to be replaced."""
        self.prepared_since: float | None = None
        """When a shutdown was prepared, seconds since the epoch; None while none is."""

    @property
    def is_open(self) -> bool:
        """Whether new work may begin."""
        return not self.draining and self.prepared_since is None

    def drain(self) -> None:
        """Let nothing begin: what comes waits for `resume`, or for the process that replaces this one."""
        self.draining = True

    def resume(self) -> None:
        """Let begin what waits."""
        self.draining = False
        self._wake()

    def prepare(self, since: float) -> None:
        """Refuse what would begin new work."""
        self.prepared_since = since

    def undo(self) -> None:
        """Take new work again."""
        self.prepared_since = None
        self._wake()

    async def until_open(self) -> None:
        """Wait until new work may begin."""
        while not self.is_open:
            await self._opened.wait()

    @property
    def refuses(self) -> bool:
        """Whether anything that begins new work is refused."""
        return self.prepared_since is not None or any(one.is_open for one in self._breakers.values())

    def breaker(self, kind: str) -> Breaker:
        """Give the breaker of a tool, or of EVERYTHING."""
        return self._breakers.setdefault(kind, Breaker(kind))

    def refuse(self, what: str) -> None:
        """Refuse to begin something while a shutdown is prepared, or a breaker open.

        Args:
            what: the tool.

        Raises:
            Conflict: a shutdown is prepared.
            Overloaded: a breaker is open.
        """
        if self.prepared_since is not None:
            self._refused += 1
            raise Conflict(
                f"{what} begins new work, and this server is prepared for its shutdown",
                "Finish or release what is in progress; to go on working, call "
                "orchestrator_shutdown_prepare(undo=true) first.",
            )
        for kind in (EVERYTHING, what):
            if kind in self._breakers:
                self._breakers[kind].refuse(what)

    async def until_begun(self) -> None:
        """Wait while this process is about to be replaced."""
        self._held += 1
        try:
            while self.draining:
                await self._opened.wait()
        finally:
            self._held -= 1

    @contextmanager
    def under_way(self, what: str, by: str, *, waited_for: bool = True) -> Generator[None]:
        """Count a call while the block lasts."""
        call = UnderWay(what, by, self._clock(), waited_for)
        self._calls[call] = None
        try:
            yield
        finally:
            del self._calls[call]
            self._left.set()
            self._left = trio.Event()

    def waited_for(self) -> list[UnderWay]:
        """List the calls that a drain waits for, the oldest first."""
        return [call for call in self._calls if call.waited_for]

    async def until_left(self) -> None:
        """Wait until a call has ended; look again then."""
        await self._left.wait()

    def statistics(self) -> AdmissionStatistics:
        """Count who is in and who waits."""
        breakers = tuple(one.statistics() for one in self._breakers.values())
        refused = self._refused + sum(one.refused for one in breakers)
        return AdmissionStatistics(len(self._calls), self._held, refused, breakers)

    def _wake(self) -> None:
        self._opened.set()
        self._opened = trio.Event()
