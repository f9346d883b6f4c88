"""Actors: how fast are tell, ask and spawn beside bare trio and beside other actor libraries?

Ours runs with everything on: supervision, a bounded mailbox, counters, a registered name, and the sender's context with
each message. Against bare trio both sides run in this thread and nothing waits outside of it, so time is processor
time. The peers run in processes of their own, from the environment that `make bench-peers` creates, and take turns with
ours round by round, by the wall clock, for both sides.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, final

from benchmarks.harness import Clock, Measure, Options, Row, compare, measured, row_of
from benchmarks.messages import AsyncAdder, asks, asks_of_many, channel, context_is_carried, parks, sends, tells
from benchmarks.peers import HOW_TO_INSTALL, PEERS
from benchmarks.peers.processes import PeerProcess, running_peers
from benchmarks.populations import (
    FEW,
    Costs,
    costs_of_bare,
    costs_of_ours,
    memory_of_actors,
    memory_of_parked,
    spawns,
    start_soons,
    starts,
)
from benchmarks.supervision import THRESHOLDS, gc_settings

TELLS = 100_000
TELLS_BARE = 20_000
ASKS = 20_000
MANY = 100_000
MESSAGES = 200_000
"""Single messages in one round, in the small and in the large population."""
BURSTS = 5_000
"""Bursts of 100 in one round."""
STARTED = 10_000
KEPT = 5_000
CHANNEL: Final = "trio memory channel, awaited send and receive"
PARKING: Final = "two tasks that park and reschedule each other"


@final
@dataclass(frozen=True, slots=True)
class Goal:
    """What a row's ratio should reach or keep."""

    ratio: float
    """The number."""
    goal_is: Literal["at least", "at most"] = "at least"
    """Which side of it is good."""


GOALS: Final = {
    "tell, sync handler, 100 per wake-up": Goal(14),
    "tell, async handler that does not suspend": Goal(10),
    "await send with backpressure, mailbox of 100": Goal(10),
    "tell beside the best peer": Goal(8),
    "ask, one caller": Goal(1.0),
    "ask beside the best peer with a mailbox": Goal(4),
    "ask beside Thespian, simple base": Goal(1.0),
    "ask, 100 callers": Goal(3),
    "message in a burst of 100, among many actors": Goal(1.3, "at most"),
    "single message, growth among many actors": Goal(1.2, "at most"),
    "spawn": Goal(0.4),
    "start, awaited until ready": Goal(0.25),
    "memory of an idle actor": Goal(2.0, "at most"),
}
"""Each row that is judged. Rows without a goal show single peers."""

CAVEATS: Final = f"""\
- Only ratios carry over to other machines. Absolute times do not, and ratios not exactly: the kernel's share in a
  wake-up of bare trio depends on the machine.
- A ratio is taken within each round, of two measurements right after each other; its median is judged, and its
  smallest and largest are the noise.
- Ours supervises, bounds, counts, registers and carries context in every row. The raw channel does none of it, and of
  the peers each does what the table of peers says.
- The best peer is the actor library with the highest median. The raw asyncio queue is shown and is no actor library.
- Growth, spawn and start run with `gc.set_threshold{THRESHOLDS}`, as recommended for 10,000 actors and more, on both
  sides.
- A spawned actor counts when it waits for mail, a bare task when it is parked. Memory is what tracemalloc sees.
- Among many actors, ten get one message each per wake-up of the loop, or one of them gets a hundred. The growth of
  single messages is divided by that of bare parked tasks in the same pattern: both pay for memory that does not fit the
  processor's caches.
- Every handler counts what it did, in the peers as well, and a wrong count is no measurement.
"""
"""What a reader of the table has to know."""


async def run(options: Options) -> list[Row]:
    """Measure everything."""
    rows = [*await messages(options)]
    with running_peers() as peers:
        rows += await beside_peers(options, peers)
    with gc_settings():
        rows += await growth(options)
        rows += await lives(options)
    return in_order(rows)


async def messages(options: Options) -> list[Row]:
    """Measure tell, send and ask beside bare trio."""
    told, told_bare, asked = options.scaled(TELLS), options.scaled(TELLS_BARE), options.scaled(ASKS)

    async def beside_channel(name: str, unit: str, ours: Measure) -> Row:
        return await beside_bare(name, unit, ours, CHANNEL, lambda: channel(told_bare), options)

    rows = [
        await beside_channel("tell, sync handler, 100 per wake-up", "tells/s", lambda: tells(told)),
        await beside_channel("tell, async handler that does not suspend", "tells/s", lambda: tells(told, AsyncAdder)),
        await beside_channel("await send with backpressure, mailbox of 100", "sends/s", lambda: sends(told)),
        await beside_bare("ask, one caller", "asks/s", lambda: asks(asked), PARKING, lambda: parks(asked), options),
        await beside_bare(
            "ask, 100 callers", "asks/s", lambda: asks_of_many(asked), "ours, one caller", lambda: asks(asked), options
        ),
    ]
    if await context_is_carried():
        return rows
    return [replace(row, reference=f"{row.reference}; ours does not carry context", met=False) for row in rows]


async def growth(options: Options) -> list[Row]:
    """Measure what a message costs among ever more actors."""
    many, singles, bursts = options.scaled(MANY), options.scaled(MESSAGES), options.scaled(BURSTS)
    ours: dict[int, list[Costs]] = {FEW: [], many: []}
    bare: dict[int, list[float]] = {FEW: [], many: []}
    for _ in range(options.rounds):
        for size in (FEW, many):
            gc.collect()
            ours[size].append(await costs_of_ours(size, singles, bursts))
            gc.collect()
            bare[size].append(await costs_of_bare(size, singles))
    burst, single = "message in a burst of 100, among many actors", "single message, growth among many actors"
    return [
        row_of(
            burst,
            unit="us",
            ours=[costs.burst for costs in ours[many]],
            reference=f"the same among {FEW} actors instead of {many:,}",
            references=[costs.burst for costs in ours[FEW]],
            goal=GOALS[burst].ratio,
            goal_is=GOALS[burst].goal_is,
            clock="processor",
        ),
        row_of(
            single,
            unit="times",
            ours=[most.single / least.single for most, least in zip(ours[many], ours[FEW], strict=True)],
            reference=f"growth of bare parked tasks, from {FEW} to {many:,}",
            references=[most / least for most, least in zip(bare[many], bare[FEW], strict=True)],
            goal=GOALS[single].ratio,
            goal_is=GOALS[single].goal_is,
            clock="processor",
        ),
    ]


async def lives(options: Options) -> list[Row]:
    """Measure starting and keeping actors."""
    started, kept = options.scaled(STARTED), options.scaled(KEPT)
    reference = "start_soon of a task that parks"
    spawn, start = "spawn", "start, awaited until ready"
    return [
        await beside_bare(spawn, "actors/s", lambda: spawns(started), reference, lambda: start_soons(started), options),
        await beside_bare(start, "actors/s", lambda: starts(started), reference, lambda: start_soons(started), options),
        await beside_bare(
            "memory of an idle actor",
            "bytes",
            lambda: memory_of_actors(kept),
            "a bare parked task",
            lambda: memory_of_parked(kept),
            options,
            clock="none",
        ),
    ]


async def beside_bare(
    name: str,
    unit: str,
    ours: Measure,
    reference: str,
    bare: Measure,
    options: Options,
    clock: Clock = "processor",
) -> Row:
    """Compare ours with bare trio in this thread, against the goal of this name."""
    return await compare(
        name,
        unit=unit,
        ours=ours,
        reference=reference,
        measure_reference=bare,
        goal=GOALS[name].ratio,
        goal_is=GOALS[name].goal_is,
        options=options,
        clock=clock,
    )


async def beside_peers(options: Options, peers: Sequence[PeerProcess]) -> list[Row]:
    """Measure tell and ask beside every peer, in turns round by round, and beside the best of them."""
    told, asked = options.scaled(TELLS), options.scaled(ASKS)
    rows: list[Row] = []
    for measure, ours in (
        ("tell", lambda: tells(told, timer=time.perf_counter)),
        ("ask", lambda: asks(asked, timer=time.perf_counter)),
    ):
        mine, theirs = await turns(measure, ours, peers, options)
        best = best_peer(measure, peers, theirs)
        beside_best = "tell beside the best peer" if measure == "tell" else "ask beside the best peer with a mailbox"
        rows.append(beside_peer(beside_best, mine, best, theirs))
        rows += [beside_peer(f"{measure} beside {peer.peer.title}", mine, peer, theirs) for peer in peers]
    return rows


async def turns(
    measure: str, ours: Measure, peers: Sequence[PeerProcess], options: Options
) -> tuple[list[float], dict[str, list[float]]]:
    """Let ours and each peer take turns; return the rates of ours, and of each peer that did all of its rounds."""
    mine: list[float] = []
    theirs: dict[str, list[float]] = {peer.peer.script: [] for peer in peers}
    for number in range(options.rounds + 1):
        rates = [await measured(ours)]
        for peer in peers:
            count = options.scaled(peer.peer.tells if measure == "tell" else peer.peer.asks)
            rate = peer.round(measure, count)
            if rate is not None and number > 0:
                theirs[peer.peer.script].append(rate)
        # The first round warms up and does not count.
        mine += rates[number == 0 :]
    return mine, {script: rates if len(rates) == options.rounds else [] for script, rates in theirs.items()}


def best_peer(measure: str, peers: Sequence[PeerProcess], theirs: Mapping[str, Sequence[float]]) -> PeerProcess | None:
    """Return the fastest actor library by its median; for ask, of those where a message waits in a mailbox."""
    fit = [
        peer
        for peer in peers
        if peer.peer.is_library and theirs[peer.peer.script] and (measure == "tell" or peer.peer.has_mailbox)
    ]
    return max(fit, key=lambda peer: statistics.median(theirs[peer.peer.script]), default=None)


def beside_peer(
    name: str, mine: Sequence[float], peer: PeerProcess | None, theirs: Mapping[str, Sequence[float]]
) -> Row:
    """Make the row of one peer; it has a goal only if there is one of its name."""
    goal = GOALS.get(name)
    return row_of(
        name,
        unit=f"{name.partition(' ')[0]}s/s",
        ours=mine,
        reference=HOW_TO_INSTALL if peer is None else peer.title,
        references=[] if peer is None else theirs[peer.peer.script],
        goal=None if goal is None else goal.ratio,
    )


def in_order(rows: Iterable[Row]) -> list[Row]:
    """Put what is judged first, in the order of the goals."""
    places = {name: place for place, name in enumerate(GOALS)}
    return sorted(rows, key=lambda row: places.get(row.name, len(places)))


def notes() -> str:
    """Return what a reader has to know beside the table, as Markdown."""
    lines = [f"| {peer.title} | {'yes' if peer.has_mailbox else 'no'} | {peer.about} |" for peer in PEERS]
    head = "| peer | a message waits in a mailbox | what it does and does not do |\n|---|---|---|\n"
    return f"How to read it:\n\n{CAVEATS}\n{head}" + "\n".join(lines)
