"""Restarts that wait: each child whose backoff runs, with the alarm that ends it.

How long a backoff lasts is `supervisors.backoff`, pure; what happens when one is over is `supervisors.supervision`'s.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from typing import final

from supervisors.children import Child
from supervisors.exits import Exit
from supervisors.incarnation import Incarnation
from supervisors.listeners import ReportContext, Reporter, ReportKind
from supervisors.timekeeper import Alarm


@final
class Delays:
    """The delayed restarts of one supervisor."""

    __slots__ = ("_alarms", "_on_over", "_reporter")

    def __init__(self, reporter: Reporter, on_over: Callable[[Child, Incarnation], None]) -> None:
        self._reporter = reporter
        self._on_over = on_over
        self._alarms: dict[Child, Alarm] = {}

    def __len__(self) -> int:
        """How many wait."""
        return len(self._alarms)

    def begin(self, child: Child, exit_: Exit, rng: random.Random) -> None:
        """Let the backoff of a child begin, unless something happens to it before; then `on_over` is told."""
        backoff, incarnation = child.spec.backoff, child.incarnation
        assert backoff is not None, "only a child with a backoff is delayed"
        assert incarnation is not None, "a child that is restarted has had a life"
        ready = 0.0 if incarnation.ready_at is None else exit_.at - incarnation.ready_at
        failures = backoff.series(child.failures, ready)
        child.failures = failures + 1
        seconds = backoff.delay_seconds(failures, rng.random())
        self.forget(child)
        timekeeper = incarnation.ground.timekeeper
        alarm = self._alarms[child] = Alarm(timekeeper, partial(self._over, child, incarnation))
        alarm.set(timekeeper.clock() + seconds)
        self._reporter.report(
            ReportKind.RESTART_DELAYED,
            ReportContext.RESTART,
            f"restart in {seconds:g} s, after {failures + 1} failures in a row",
            offender=child.offender(exit_.incarnation),
            exit_=exit_,
        )

    def forget(self, child: Child) -> None:
        """Let the backoff of a child, if it waits for one, end in nothing."""
        alarm = self._alarms.pop(child, None)
        if alarm is not None:
            alarm.discard()

    def close(self) -> None:
        """Let all of them end in nothing."""
        for alarm in self._alarms.values():
            alarm.discard()
        self._alarms.clear()

    def _over(self, child: Child, incarnation: Incarnation) -> None:
        self.forget(child)
        self._on_over(child, incarnation)
