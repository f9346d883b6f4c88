"""What happens to each alert, as Prometheus tells it: pending, firing, resolved; printed as it comes, and as a table.

Not why: the causes write that into it, too.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum, unique
from typing import Final, final

import trio

from grafana.private import Prometheus

__all__ = ["Moment", "State", "Timeline"]

LOOK_SECONDS: Final = 0.5


@unique
class State(StrEnum):
    """What an alert can be."""

    CAUSE = "cause"
    """What leads to it is being done."""
    PENDING = "pending"
    """Its expression holds."""
    FIRING = "firing"
    """It has held for long enough."""
    UNDONE = "undone"
    """What leads to it is no longer done."""
    RESOLVED = "resolved"
    """Its expression holds no longer."""


@final
@dataclass(frozen=True, slots=True)
class Moment:
    """Something that happened to an alert."""

    seconds: float
    """Since the beginning of the drill."""
    alert: str
    """Which."""
    state: State
    """What it is now."""
    text: str
    """What was done, or the alert's summary."""


@final
@dataclass(slots=True)
class Timeline:
    """The drill so far."""

    prometheus: Prometheus
    """Whom to ask."""
    expected: Mapping[str, str]
    """The instance that each alert is expected of."""
    moments: list[Moment] = field(default_factory=list[Moment])
    """What happened, oldest first."""
    _began: float = field(default_factory=time.monotonic)
    _active: dict[tuple[str, str], str] = field(default_factory=dict[tuple[str, str], str])
    _news: trio.Event = field(default_factory=trio.Event)

    def note(self, alert: str, state: State, text: str = "") -> None:
        """Write down what happened, and print it."""
        moment = Moment(time.monotonic() - self._began, alert, state, text)
        self.moments.append(moment)
        print(f"{_clock(moment.seconds)}  {alert:18}  {state:8}  {text}".rstrip(), flush=True)
        self._news.set()
        self._news = trio.Event()

    def last(self, alert: str) -> State | None:
        """Say what an alert was last, causes aside."""
        told = (State.PENDING, State.FIRING, State.RESOLVED)
        return next((each.state for each in reversed(self.moments) if each.alert == alert and each.state in told), None)

    def is_over(self, alert: str) -> bool:
        """Say whether an alert has fired and resolved: what it does later is not the drill's."""
        states = [each.state for each in self.moments if each.alert == alert]
        return State.FIRING in states and State.RESOLVED in states[states.index(State.FIRING) :]

    async def until(self, alert: str, state: State) -> None:
        """Wait until an alert is in a state; whoever calls this bounds it."""
        while self.last(alert) is not state:
            await self._news.wait()

    async def run(self) -> None:
        """Look at the alerts again and again, until cancelled."""
        while True:
            self._look(await trio.to_thread.run_sync(self.prometheus.alerts))
            await trio.sleep(LOOK_SECONDS)

    def _look(self, alerts: list[dict[str, dict[str, str]]]) -> None:
        now: dict[tuple[str, str], str] = {}
        for alert in alerts:
            labels = alert["labels"]
            key = (labels["alertname"], labels.get("instance", ""))
            if self.expected.get(key[0]) != key[1] or self.is_over(key[0]):
                continue
            now[key] = str(alert["state"])
            if self._active.get(key) != now[key]:
                self.note(key[0], State(now[key]), alert["annotations"]["summary"])
        for key in self._active.keys() - now.keys():
            # One that was only pending has alarmed nobody.
            if self._active[key] == State.FIRING:
                self.note(key[0], State.RESOLVED)
        self._active = now

    def table(self) -> str:
        """Give the moments of each alert as a table for a document."""
        lines = ["| alert | cause | pending | firing | undone | resolved |", "|---|---|---|---|---|---|"]
        for alert in self.expected:
            firsts: dict[State, float] = {}
            for moment in self.moments:
                if moment.alert == alert:
                    firsts.setdefault(moment.state, moment.seconds)
            cells = (_clock(firsts[state]).strip() if state in firsts else "at once" for state in State)
            lines.append(f"| {alert} | {' | '.join(cells)} |")
        return "\n".join(lines)


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60:3d}:{int(seconds) % 60:02d}"
