"""What a client sees of its calls: which are in flight, when answers came, which failed, and what each kill hit.

A call that was in flight at three deaths is answered with an error on purpose, so nobody may kill while one is in
flight that was hit twice: `fit` waits for that. No server, no processes here.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast, final

import trio
from mcp import Client, MCPError
from mcp_types import CallToolResult, TextContent

from benchmarks.killing.waiting import until

__all__ = ["Calls", "Kill"]

HITS_MAX: Final = 2
"""So many deaths a call may meet while it is in flight, and still succeeds."""
CALL_SECONDS: Final = 60.0
"""How long a call may take at all: the front itself gives up after 50."""
LONG_SECONDS: Final = 0.05
"""A call is long from here on."""


@final
@dataclass(slots=True)
class _InFlight:
    tool: str
    began: float
    hits: int
    """Deaths that it met, or may have met."""


@final
@dataclass(slots=True)
class Kill:
    """One death that we caused, as the client saw it."""

    how: str
    """Which way: the name of a signal or of a fault point."""
    at: float
    in_flight: int
    """Calls that it met."""
    spare: bool
    """Whether a spare was waiting that had come to rest."""
    answered: float | None = None
    """When the first answer came to a call that was made after it: no answer of the dead one can be that."""

    @property
    def gap_seconds(self) -> float | None:
        """How long the client waited; None where the run ended before."""
        return None if self.answered is None else self.answered - self.at


@final
@dataclass(slots=True)
class Calls:
    """All calls of one run."""

    begun: int = 0
    answered: int = 0
    failures: list[str] = field(default_factory=list[str])
    untouched_seconds: list[float] = field(default_factory=list[float])
    """How long each call took that met no death: what the work itself takes."""
    seconds_max: float = 0.0
    kills: list[Kill] = field(default_factory=list[Kill])
    _flying: dict[int, _InFlight] = field(default_factory=dict[int, _InFlight])

    @property
    def in_flight(self) -> int:
        """How many calls wait for their answer."""
        return len(self._flying)

    def may_meet(self, deaths: int) -> bool:
        """Say whether no call in flight would meet more deaths than it may."""
        return all(call.hits + deaths <= HITS_MAX for call in self._flying.values())

    @property
    def long_share(self) -> float:
        """Give the share of long calls among those that met no death."""
        seconds = self.untouched_seconds
        return sum(one >= LONG_SECONDS for one in seconds) / len(seconds) if seconds else 0.0

    async def fit(self, deaths: int = 1) -> None:
        """Wait until so many deaths are not one too many for any call in flight."""
        with trio.fail_after(CALL_SECONDS):
            await until(lambda: self.may_meet(deaths), 0.002)

    def killed(self, how: str, *, spare: bool, at: float | None = None) -> Kill:
        """Note that a worker was killed just now, or when it was; gives the note."""
        kill = Kill(how, time.perf_counter() if at is None else at, len(self._flying), spare)
        for call in self._flying.values():
            call.hits += 1
        self.kills.append(kill)
        return kill

    async def call(self, client: Client, tool: str, arguments: Mapping[str, object]) -> dict[str, Any] | None:
        """Call a tool; None when the call failed, which is noted."""
        number = self.begun
        self.begun += 1
        flying = self._flying[number] = _InFlight(tool, time.perf_counter(), self._unnoticed())
        result: CallToolResult | None = None
        problem = "no answer"
        try:
            with trio.move_on_after(CALL_SECONDS):
                result = await client.call_tool(tool, dict(arguments))
        except (MCPError, trio.BrokenResourceError, trio.ClosedResourceError, OSError, RuntimeError) as error:
            problem = repr(error)
        del self._flying[number]
        if result is None or result.is_error:
            texts = [] if result is None else [one.text for one in result.content if isinstance(one, TextContent)]
            self.failures.append(f"{tool} after {flying.hits} deaths: {' '.join(texts) or problem}"[:400])
            return None
        self._answered(flying)
        return cast("dict[str, Any]", result.structured_content)

    def gaps(self, *, spare: bool | None = None, how: str | None = None) -> Sequence[float]:
        """Give the gaps of all kills, or of those that found a spare or found none, or of one way to kill."""
        chosen = (kill.gap_seconds for kill in self.kills if spare in {None, kill.spare} and how in {None, kill.how})
        return [gap for gap in chosen if gap is not None]

    def hits(self) -> int:
        """Count the kills that met a call in flight."""
        return sum(kill.in_flight > 0 for kill in self.kills)

    def median_seconds(self) -> float:
        """Give the median of the calls that met no death."""
        return statistics.median(self.untouched_seconds)

    def _unnoticed(self) -> int:
        """Count the last deaths that nobody may have noticed yet: a call made now may still go to who is dead."""
        return sum(1 for _ in itertools.takewhile(lambda kill: kill.answered is None, reversed(self.kills)))

    def _answered(self, flying: _InFlight) -> None:
        now = time.perf_counter()
        self.answered += 1
        self.seconds_max = max(self.seconds_max, now - flying.began)
        if not flying.hits:
            self.untouched_seconds.append(now - flying.began)
        for kill in reversed(self.kills):
            if kill.answered is not None:
                break
            if flying.began > kill.at:
                kill.answered = now
