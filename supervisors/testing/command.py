"""A simulation from the command line: `--seeds 20000`, or `--replay 17 --shrink`; the same for whatever is simulated.

It reports how many seeds a second it ran, how often each fault struck, and for each violation the command that shows
it again. The exit status is 1 if there was one.
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, final

from supervisors.testing.choices import Schedule
from supervisors.testing.faults import Coverage
from supervisors.testing.outcomes import Outcome, Simulator
from supervisors.testing.shrinking import shrink

SHOWN_MAX: Final = 10
"""Violations that are shown; the others are only counted."""
PROGRESS_SEEDS: Final = 5_000
"""Seeds between two signs of life."""


@final
@dataclass(frozen=True, slots=True)
class Command:
    """One simulation as a command."""

    program: str
    """How it is called."""
    description: str
    """What it does, in a few words."""
    simulate: Simulator
    """Makes one run."""
    faults: Iterable[str]
    """The fault points that the table lists."""
    calls: str
    """What is counted as calls."""

    def main(self, arguments: Sequence[str] | None = None) -> int:
        """Run seeds, or show one; return the exit status."""
        parser = argparse.ArgumentParser(prog=self.program, description=self.description)
        parser.add_argument("--seeds", type=int, default=1_000, help="how many seeds to run")
        parser.add_argument("--first", type=int, default=0, help="the first of them")
        parser.add_argument("--replay", type=int, metavar="SEED", help="run one seed and show everything that happens")
        parser.add_argument("--shrink", action="store_true", help="with --replay: make a failing run short first")
        given = parser.parse_args(arguments)
        # Each run leaves some garbage at its end; looking for it less often makes 20 % more runs a second.
        gc.set_threshold(50_000, 20, 100)
        if given.replay is not None:
            return self._replay(given.replay, given.shrink)
        return self._run(given.first, given.seeds)

    def _run(self, first: int, seeds: int) -> int:
        coverage = Coverage(self.faults)
        violations = melted = quiet_points = calls = 0
        began = time.perf_counter()
        for seed in range(first, first + seeds):
            outcome = self.simulate(seed=seed)
            coverage.add(outcome.struck)
            melted += outcome.melted
            quiet_points += outcome.quiet_points
            calls += outcome.calls
            if outcome.violation is not None:
                violations += 1
                if violations <= SHOWN_MAX:
                    _say(f"VIOLATION at seed {seed}: {outcome.violation}")
                    _say(f"  {self.program} --replay {seed} --shrink")
            if (seed - first + 1) % PROGRESS_SEEDS == 0:
                _say(f"{seed - first + 1:,} seeds, {violations} violations")
        seconds = time.perf_counter() - began
        _say(coverage.table())
        _say(f"{calls:,} {self.calls}, {quiet_points:,} quiet points checked, the root gave up in {melted:,} runs")
        _say(f"{seeds:,} seeds in {seconds:.1f} s ({seeds / seconds:.0f} a second), {violations} violations")
        return 1 if violations else 0

    def _replay(self, seed: int, short: bool) -> int:
        outcome = self.simulate(seed=seed)
        if short and outcome.violation is not None:
            outcome = shrink(partial(self._again, seed), outcome)
        _say(outcome.story())
        _say(f"seed {seed}: trace {outcome.digest}, {outcome.violation or 'no violation'}")
        return 0 if outcome.violation is None else 1

    def _again(self, seed: int, schedule: Schedule) -> Outcome:
        return self.simulate(seed=seed, schedule=schedule)


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
