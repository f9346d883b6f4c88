"""A failing run made short: the same failure with as few faults and calls as can be found.

It works on the written-down choices of the run, in which 0 is always the dullest: whole actors are silenced first, then
ever smaller parts of what each of the others did. The scheduling stays as the seed says.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, final

from supervisors.testing.choices import Schedule
from supervisors.testing.outcomes import Outcome

RUNS_MAX: Final = 600
"""How many runs shrinking may take; each takes milliseconds."""


def shrink(run: Callable[[Schedule], Outcome], failing: Outcome, *, runs_max: int = RUNS_MAX) -> Outcome:
    """Return a run that fails with as little happening as could be found.

    Args:
        run: carries out a run with the given choices, e.g. `lambda schedule: simulate(seed=7, schedule=schedule)`.
        failing: the run to begin with; it has a violation.
        runs_max: when to be content.
    """
    return _Shrinking(run, failing, runs_max).best_of_all()


@final
class _Shrinking:
    """The best failing run so far, and the search for a better one."""

    def __init__(self, run: Callable[[Schedule], Outcome], failing: Outcome, runs_max: int) -> None:
        self._run = run
        self._best = failing
        self._left = runs_max
        self._choices = {actor: list(taken) for actor, taken in failing.schedule.items()}

    def best_of_all(self) -> Outcome:
        before = -1
        while before != self._weight() and self._left > 0:
            before = self._weight()
            for actor in list(self._choices):
                self._try(actor, 0, len(self._choices.get(actor, ())))
            for actor in list(self._choices):
                self._thin_out(actor)
        return self._best

    def _weight(self) -> int:
        return sum(map(bool, (number for taken in self._choices.values() for number in taken)))

    def _thin_out(self, actor: str) -> None:
        """Turn ever smaller parts of what an actor chose into 0."""
        size = len(self._choices.get(actor, ())) // 2
        while size and self._left > 0:
            for first in range(0, len(self._choices.get(actor, ())), size):
                self._try(actor, first, first + size)
            size //= 2

    def _try(self, actor: str, first: int, last: int) -> None:
        chosen = self._choices.get(actor, [])
        if self._left <= 0 or not any(chosen[first:last]):
            return
        self._left -= 1
        simpler = [*chosen[:first], *([0] * len(chosen[first:last])), *chosen[last:]]
        outcome = self._run({**self._choices, actor: simpler})
        if outcome.violation is not None:
            self._best = outcome
            # What it chose when it failed, and no more: a run that fails earlier needs less.
            self._choices = {each: list(taken) for each, taken in outcome.schedule.items()}
