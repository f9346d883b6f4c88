"""Children whose start nobody waits for (`start_child_nowait`): begun in the caller's task, judged where they end.

Any number of them may be on their way at once. One that becomes ready is a child like any other from then on; one whose
start fails is forgotten and never restarted, as after a start_child that failed. Starts that somebody waits for are
`supervisors.offspring`'s; when a child may be added, and when its start must wait its turn, is `supervisors.calls`'.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final, final

from supervisors.children import Child
from supervisors.exits import StopCause
from supervisors.incarnation import Incarnation
from supervisors.ladder import Rung
from supervisors.timekeeper import Alarm, Timekeeper

_NOBODY_STOPS_IT: Final = (None, StopCause.START_TIMEOUT, StopCause.IGNORED)


@final
class Newcomers:
    """The lives of one supervisor that were begun without waiting and are not ready yet."""

    __slots__ = ("_alarm", "_ask", "_climb", "_discard", "_start_again", "due")

    def __init__(
        self,
        ask: Callable[[Child, Incarnation, StopCause], None],
        climb: Callable[[Child, Incarnation], None],
        discard: Callable[[Child], None],
        start_again: Callable[[Child], None],
    ) -> None:
        """Make it of what is done about one: stop it (first step, next step), forget it, let it wait its turn again."""
        self._ask = ask
        self._climb = climb
        self._discard = discard
        self._start_again = start_again
        self.due: dict[Incarnation, float] = {}
        """The lives, and when something has to be done about each."""
        self._alarm: Alarm | None = None

    def settle(self, timekeeper: Timekeeper) -> None:
        """Take the clock by which their starts are limited."""
        # One alarm for all: one of its own would cost each of them 0.5 us and 300 bytes for as long as it could ring.
        self._alarm = Alarm(timekeeper, self._rang)

    def close(self) -> None:
        """Limit nothing any more: the supervisor has ended."""
        if self._alarm is not None:
            self._alarm.discard()

    def add(self, incarnation: Incarnation) -> None:
        """Keep an eye on a life that was just begun."""
        alarm = self._alarm
        assert alarm is not None, "a supervisor that starts children is running"
        due = self.due[incarnation] = incarnation.since + incarnation.child.spec.start_timeout_seconds
        if due < alarm.due:
            alarm.set(due)

    def became_ready(self, incarnation: Incarnation) -> None:
        """Let go of one that is ready, if it is one of them."""
        if self.due.pop(incarnation, None) is not None and not self.due:
            self.due.clear()  # A dict never shrinks by itself: after 5,000 starts at once it would keep 300 kB.

    def over(self, incarnation: Incarnation) -> None:
        """Draw the conclusions from the end of one that was not ready, if it is one of them."""
        if self.due.pop(incarnation, None) is None:
            return
        child, cause = incarnation.child, incarnation.stop_cause
        incarnation.error = None  # Nobody takes it, and its traceback would keep frames alive.
        if cause in _NOBODY_STOPS_IT:
            self._discard(child)
        elif cause is StopCause.RESTART:
            # Stopped with its group. Its first start is still to come: a failure of that is nobody's restart.
            self._start_again(child)

    def _rang(self) -> None:
        alarm = self._alarm
        assert alarm is not None, "an alarm that rings was made"
        now = alarm.now()
        for incarnation, due in list(self.due.items()):
            if due <= now and incarnation in self.due:
                self.due[incarnation] = math.inf
                self._hurry(incarnation, now)
        alarm.set(min(self.due.values(), default=math.inf))

    def _hurry(self, incarnation: Incarnation, now: float) -> None:
        """Take the step that is due; whoever stops it in the meantime for another reason takes the steps himself."""
        child, cause = incarnation.child, incarnation.stop_cause
        if incarnation.rung is Rung.NONE or (cause is StopCause.IGNORED and incarnation.stop_due == math.inf):
            self._ask(child, incarnation, StopCause.START_TIMEOUT)
        elif cause not in _NOBODY_STOPS_IT:
            return
        elif incarnation.stop_due <= now:
            self._climb(child, incarnation)
        if incarnation in self.due:
            self.due[incarnation] = incarnation.stop_due
