"""Chaos: does a client whose server is killed again and again see anything but latency, and is every effect there once?

The library's own client, in both eras, over stdio through the real front, makes mixed calls, several in flight, half of
them of 50 to 500 ms; the worker is killed with SIGKILL at random moments, sometimes twice within 50 ms; then the same
over HTTP. A call that is in flight at three deaths is answered with an error on purpose, so no moment is chosen at
which one has met two deaths already: the front repeats such a call alone, and an unlucky seed would test that rule
instead. Afterwards the client's own book is compared with the rows of the store: each acknowledged effect once, nothing
else.

Beside the random kills, workers with fault points (`killing.faulty_worker`) die before COMMIT, after COMMIT and in the
middle of an answer, and are stopped inside a transaction; others are stopped at random (SIGSTOP), which the front finds
out by its pings. A control run on a store that forgets the keys of commands must show doubled effects, else all of this
proves nothing. A gap is the time in which no worker works: from a kill until the next one says that it does, as a cold
worker's start ends when it says so; the bound holds for the kills that found a spare at rest, beside cold workers that
start under the same load. What the client waits is longer by what its call takes, and is shown: from a kill to the
first answer to a call that was made after it. Linux only.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Final

from benchmarks.harness import Options, Row, row_of
from benchmarks.killing.faulty_worker import POINTS
from benchmarks.killing.scenarios import Outcome, control, forced, killed, wedged

CALLS: Final = 5_000
QUICK_CALLS: Final = 180
KILLS: Final = 100
FORCED: Final = 40
STOPPED: Final = 5
"""Of the workers that are stopped inside a transaction."""
WEDGED: Final = 20
CONTROL: Final = 60
COLD_STARTS: Final = 12
GAP_GOAL: Final = 1 / 40
IN_FLIGHT_MIN: Final = 0.6
"""The share of the kills that must meet a call in flight."""
SPARES_MIN: Final = 0.3
"""The share of the kills that must find a spare."""
PROCESSES_MAX: Final = 10
"""Processes of ours at one time, commands left out: the front, the forker, two workers and a spare, their guardians."""
PROMISES: Final = ("calls answered", "effects there once", "processes of ours", "deaths forced", "control without keys")
"""In the names of the rows that say whether the promise holds; how fast it is depends on the machine."""
ERAS: Final = ("legacy", "auto")


async def run(options: Options) -> list[Row]:
    """Kill in every way, and judge each run by itself."""
    calls, kills = QUICK_CALLS if options.quick else CALLS, options.scaled(KILLS)
    rows: list[Row] = []
    for era in ERAS:
        outcome = await killed(era, calls, kills, cold_starts=options.scaled(COLD_STARTS))
        rows += _judged(f"SIGKILL, stdio, {era}", outcome)
        rows += _kills_and_gaps(f"stdio, {era}", outcome, kills)
    points = {point: options.scaled(STOPPED if "stopped" in point else FORCED) for point in POINTS}
    outcome = await forced(points)
    rows += _judged("fault points", outcome)
    rows += [
        _count(f"deaths forced at {point}", sum(kill.how == point for kill in outcome.calls.kills), "asked for", times)
        for point, times in points.items()
    ]
    rows += _judged("SIGSTOP, stdio", await wedged("auto", options.scaled(WEDGED)))
    rows += _judged("SIGSTOP, HTTP", await wedged("auto", options.scaled(WEDGED), http=True))
    outcome = await killed("auto", calls, kills, cold_starts=options.scaled(COLD_STARTS), http=True)
    rows += _judged("SIGKILL, HTTP", outcome)
    rows += _kills_and_gaps("HTTP", outcome, kills)
    times = options.scaled(CONTROL)
    outcome = await control(times)
    rows.append(_count("control without keys: effects doubled", outcome.doubled, "deaths after COMMIT", times, 0.9))
    return rows


def _judged(name: str, outcome: Outcome) -> list[Row]:
    """Count what must be whole: calls, effects, processes."""
    calls, problems = outcome.calls, outcome.problems
    told = f"all of them{': ' if problems else ''}{'; '.join(problems[:3])}"
    effects = outcome.record.effects
    verdict = outcome.verdict
    wrong = len(verdict.lost) + len(verdict.doubled) + len(verdict.damaged) + len(verdict.unfinished)
    return [
        _count(f"{name}: calls answered", calls.answered - len(outcome.misread), told, calls.begun),
        _count(f"{name}: effects there once", effects - wrong, told, effects),
        _count(f"{name}: processes of ours at one time", outcome.processes_max, "ceiling", PROCESSES_MAX, at_most=True),
    ]


def _kills_and_gaps(name: str, outcome: Outcome, kills: int) -> list[Row]:
    """Say what the kills met and how long the client waited."""
    calls = outcome.calls
    gaps = [1000 * gap for gap in calls.gaps()]
    spared = [1000 * gap for gap in calls.gaps(spare=True)]
    without = [1000 * gap for gap in outcome.gaps_seconds()]
    cold = 1000 * statistics.median(outcome.cold_seconds)
    return [
        _count(f"{name}: percent of calls that take 50 ms or more", 100 * calls.long_share, "half", 50.0, 0.96),
        _count(f"{name}: kills that met a call in flight", calls.hits(), f"of {kills}", IN_FLIGHT_MIN * kills),
        _count(f"{name}: kills that found a spare", len(spared), f"of {kills}", SPARES_MIN * kills),
        _gap(f"{name}: from a kill to the next answer, all {len(gaps)}, longest {max(gaps):.0f} ms", gaps, cold),
        _gap(f"{name}: the same, median of the {len(spared)} that found a spare", _median(spared), cold),
        _gap(
            f"{name}: no worker works, median of the {len(without)} that found a spare",
            _median(without),
            cold,
            GAP_GOAL,
        ),
    ]


def _median(gaps: Sequence[float]) -> Sequence[float]:
    """Give the median; where there is none, a time that no bound allows."""
    return [statistics.median(gaps) if gaps else math.inf]


def _gap(name: str, gaps: Sequence[float], cold: float, goal: float | None = None) -> Row:
    return row_of(
        name,
        unit="ms",
        ours=gaps,
        reference="a cold worker's start",
        references=[cold] * len(gaps),
        goal=goal,
        goal_is="at most",
    )


def _count(name: str, ours: float, reference: str, wanted: float, goal: float = 1.0, *, at_most: bool = False) -> Row:
    return row_of(
        name,
        unit="",
        ours=[ours],
        reference=reference,
        references=[wanted],
        goal=goal,
        goal_is="at most" if at_most else "at least",
        clock="none",
    )
