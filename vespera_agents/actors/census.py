"""Adding up the living actors of a system, by kind, in one pass over plain attributes.

A scrape asks for this while ten thousand actors may live, and a picture of each costs as much as twenty messages; here
an actor with nothing to do costs 0.2 us. May be called in another thread than the loop's: each attribute is read once,
and what was taken out of a mailbox meanwhile is at most one step old.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, final

from vespera_agents.actors.statistics import ActorState, KindCounts, Present

if TYPE_CHECKING:
    from vespera_agents.actors.cell import Cell

_RUNNING = ActorState.RUNNING
_STOPPED = ActorState.STOPPED


@final
class _Sum:
    """What is found of one kind."""

    __slots__ = ("began", "busy", "fill_ratio", "messages", "others", "put_in", "running")

    def __init__(self) -> None:
        self.running = 0
        self.others: dict[ActorState, int] = {}
        self.messages = 0
        self.busy = 0
        self.fill_ratio = 0.0
        self.began = math.inf
        self.put_in = math.inf


def census(cells: Iterable[Cell], kinds: Mapping[str, KindCounts], now: float) -> dict[str, Present]:
    """Add up the living.

    Args:
        cells: who may be alive.
        kinds: the kinds that are told of, also where nobody of them lives.
        now: on trio's clock.
    """
    sums: dict[KindCounts, _Sum] = {}
    counts: KindCounts | None = None
    found = _Sum()
    for cell in cells:
        endpoint = cell.endpoint
        if endpoint.counts is not counts:
            counts = endpoint.counts
            known = sums.get(counts)
            found = sums[counts] = _Sum() if known is None else known
        state = endpoint.state
        # Most run; to count by an enum costs as much as the rest of this.
        if state is _RUNNING:
            found.running += 1
        elif state is _STOPPED:
            continue
        else:
            found.others[state] = found.others.get(state, 0) + 1
        urgent = endpoint.urgent
        depth = len(endpoint.user) + len(urgent) if urgent else len(endpoint.user)
        began = endpoint.busy_since
        if began is not None:
            found.busy += 1
            # Comparisons, because a call of min takes as long as everything else that is done for an actor.
            if began < found.began:  # noqa: PLR1730
                found.began = began
        if depth:
            found.busy += began is None
            found.messages += depth
            if depth > found.fill_ratio * endpoint.capacity:
                found.fill_ratio = depth / endpoint.capacity
            if endpoint.woken_at < found.put_in:  # noqa: PLR1730
                found.put_in = endpoint.woken_at
    nothing = _Sum()
    return {kind: _present(sums.get(counts, nothing), now) for kind, counts in sorted(kinds.items())}


def _present(found: _Sum, now: float) -> Present:
    states = dict.fromkeys((state for state in ActorState if state is not _STOPPED), 0) | found.others
    return Present(
        states | {_RUNNING: found.running},
        found.messages,
        found.fill_ratio,
        # Whoever is read in the middle of a step may have been woken after this look began.
        max(0.0, now - found.put_in) if found.put_in < math.inf else 0.0,
        max(0.0, now - found.began) if found.began < math.inf else 0.0,
        found.busy,
    )
