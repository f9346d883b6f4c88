"""Health: what do the metrics, the watchdog and the observer cost the work that they watch?

Ours is a server's own tree with everything on: the watchdog, the judging of the health and all figures. Beside it runs
the same tree with nothing of that. A row without a goal adds a scrape each second, five times as often as the
configuration in `grafana/` asks. What happens in threads takes the same processor, so a rate is by the time
of the whole process; a scrape is measured in the thread that answers it, and the observer in the event loop's own, less
what that does without the feed. A viewer's first picture is not in it: that is made in a hurry, once. Neighbours:
`observing` has the viewers, `messages` and `populations` what is watched.
"""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import trio

from benchmarks.harness import Options, Row, compare, row_of
from benchmarks.messages import BURST, SENDER, Adder, rate, tell_all
from benchmarks.observing import observed_population
from benchmarks.populations import populate
from benchmarks.supervision import gc_settings
from vespera_agents.actors import MailboxSpec
from vespera_agents.health.subtree import Health
from vespera_agents.specialists.runtime import Runtime, open_runtime
from vespera_agents.workspace import Registry

TELLS: Final = 2_000_000
FEW: Final = 10
MANY: Final = 10_000
SCRAPES: Final = 10
SCRAPE_SECONDS: Final = 1.0
WATCH_SECONDS: Final = 4.0
"""How long the loop's work is added up."""
VIEWERS: Final = (0, 1, 10)
LOOP_SHARE_MAX: Final = 0.02


async def run(options: Options) -> list[Row]:
    """Measure tells, scrapes, viewers and stacks."""
    told, scrapes = options.scaled(TELLS), options.scaled(SCRAPES)
    # Making ten thousand actors at once blocks the loop, which the watchdog tells; nobody wants to read that here.
    logging.getLogger("vespera_agents").addHandler(logging.NullHandler())
    with gc_settings():
        return [
            await compare(
                "tell with all metrics and the watchdog on",
                unit="tells/s",
                ours=lambda: tells(told, watched=True),
                reference="the same with all of it off",
                measure_reference=lambda: tells(told, watched=False),
                goal=0.93,
                options=options,
                clock="processor",
            ),
            await compare(
                "the same, scraped each second",
                unit="tells/s",
                ours=lambda: tells(told, watched=True, scraped=True),
                reference="all of it off",
                measure_reference=lambda: tells(told, watched=False),
                goal=None,
                options=options,
                clock="processor",
            ),
            await compare(
                f"a scrape at {MANY:,} actors",
                unit="ms",
                ours=lambda: scrape(MANY, scrapes),
                reference=f"a scrape at {FEW} actors",
                measure_reference=lambda: scrape(FEW, scrapes),
                goal=1.5,
                goal_is="at most",
                options=options,
                clock="processor",
            ),
            *await observing(options),
            await compare(
                f"await stacks of {MANY:,} actors, as JSON",
                unit="ms",
                ours=lambda: stacks(MANY),
                reference="a bare walk to the innermost frame of each",
                measure_reference=lambda: walks(MANY),
                goal=None,
                options=options,
                clock="processor",
            ),
        ]


@asynccontextmanager
async def a_runtime(*, watched: bool) -> AsyncIterator[tuple[Runtime, Health]]:
    """Run a server's tree without its doors; its health only where it is watched."""
    health = Health()
    with tempfile.TemporaryDirectory(prefix="vsp-", ignore_cleanup_errors=True) as place:
        registry = Registry(Path(place) / "state")
        async with open_runtime("serve", registry=registry, listener=health if watched else None) as runtime:
            if watched:
                await health.start(runtime, "127.0.0.1:0")
            yield runtime, health


# Messages ------------------------------------------------------------------------------------------------------------


async def tells(count: int, *, watched: bool, scraped: bool = False) -> float:
    """Tell so many messages, 100 per wake-up of the actor, in a tree that may be watched, and scraped each second."""
    async with a_runtime(watched=watched) as (runtime, health), trio.open_nursery() as nursery:
        adder = await runtime.system.start(Adder, mailbox=MailboxSpec(10 * BURST))
        SENDER.set("the sender")
        if watched:
            assert health.measured is not None
            await trio.to_thread.run_sync(health.measured.scrape)
        if scraped:
            nursery.start_soon(_scrape_each_second, health)
        result = await rate(count // BURST * BURST, lambda: tell_all(adder, count), time.process_time)
        nursery.cancel_scope.cancel()
    return result


async def _scrape_each_second(health: Health) -> None:
    assert health.measured is not None
    while True:
        await trio.sleep(SCRAPE_SECONDS)
        await trio.to_thread.run_sync(health.measured.scrape)


# Scrapes -------------------------------------------------------------------------------------------------------------


async def scrape(actors: int, times: int) -> float:
    """Scrape so many actors again and again, and return what one scrape took in its thread, in milliseconds."""
    async with a_runtime(watched=True) as (runtime, health):
        await populate(runtime.system, actors)
        assert health.measured is not None
        scrape = health.measured.scrape

        def several() -> float:
            assert f'state="running"}} {float(actors)}'.encode() in scrape().body
            began = time.thread_time()
            for _ in range(times):
                scrape()
            return (time.thread_time() - began) / times * 1e3

        return await trio.to_thread.run_sync(several)


# Viewers -------------------------------------------------------------------------------------------------------------


async def observing(options: Options) -> list[Row]:
    """Measure the loop's work with each number of viewers, beside the same tree without the feed."""
    seconds = WATCH_SECONDS / 4 if options.quick else WATCH_SECONDS
    shares: list[Sequence[float]] = []
    async with observed_population(MANY) as population:
        for _ in range(options.rounds):
            without = await population.share_without(seconds)
            shares.append([await population.share(viewers, seconds) - without for viewers in VIEWERS])
    return [
        row_of(
            f"the observer at {MANY:,} actors, viewers: {viewers}",
            unit="ms/s",
            ours=[1e3 * share[place] for share in shares],
            reference=f"{LOOP_SHARE_MAX:.0%} of the loop's time",
            references=[1e3 * LOOP_SHARE_MAX] * len(shares),
            goal=1.0,
            goal_is="at most",
            clock="processor",
        )
        for place, viewers in enumerate(VIEWERS)
    ]


# Stacks --------------------------------------------------------------------------------------------------------------


async def stacks(count: int) -> float:
    """Ask where every actor waits, and return how long the loop's thread worked, in milliseconds."""
    async with a_runtime(watched=True) as (runtime, health):
        await populate(runtime.system, count)
        began = time.thread_time()
        answer = await health.answers.stacks()
        took = time.thread_time() - began
        assert answer is not None
        assert answer.count(b" in ") >= count
        return took * 1e3


async def walks(count: int) -> float:
    """Follow each actor's task to its innermost frame, and note the line."""
    async with a_runtime(watched=True) as (runtime, _):
        await populate(runtime.system, count)
        tasks = [cell.endpoint.task for cell in runtime.system.cells()]
        began = time.thread_time()
        lines = [[(frame.f_code, line) for frame, line in task.iter_await_frames()][-1] for task in tasks if task]
        took = time.thread_time() - began
        assert len(lines) >= count
        return took * 1e3
