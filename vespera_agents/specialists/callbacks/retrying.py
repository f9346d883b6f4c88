"""When a callback is tried again, and when it is given up. Pure: time and dice are arguments.

Everything but success is tried again, because most of what goes wrong at a receiver is over in a while; only a receiver
that says that it is gone for ever is believed. Neighbours: `posting` makes the attempt, `delivery` waits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Final, final

from vespera_agents.specialists.callbacks.settings import TargetSettings

__all__ = ["RETRY_AFTER_SECONDS_MAX", "Answer", "Verdict", "judge", "pause_of_target", "retry_after_seconds"]

RETRY_AFTER_SECONDS_MAX: Final = 3_600.0
"""The longest that a receiver may have us wait."""
_DOUBLINGS_MAX: Final = 40
_SUCCESS: Final = range(200, 300)
_PAUSE_SECONDS: Final = 0.5
_PAUSE_SECONDS_MAX: Final = 30.0
_FEW: Final = 20
"""Failures in a row, at least, before a target gets a pause."""


@final
@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one attempt."""

    status: int | None = None
    """Of HTTP; None when there was no answer."""
    problem: str | None = None
    """What went wrong before there was one."""
    retry_after_seconds: float | None = None
    """What the receiver asked for."""

    @property
    def delivered(self) -> bool:
        """Whether the receiver took it."""
        return self.status is not None and self.status in _SUCCESS


@final
@dataclass(frozen=True, slots=True)
class Verdict:
    """What is done after a failed attempt."""

    problem: str
    pause_seconds: float | None
    """Until the next one; None: it is given up."""
    target_pause_seconds: float = 0.0
    """How long nothing is sent to this target at all."""


def judge(target: TargetSettings, answer: Answer, failures: int, chance: float) -> Verdict:
    """Say what follows from an attempt that failed.

    Args:
        target: how often, and how soon.
        answer: what came of it.
        failures: how often this callback failed, this time included.
        chance: the dice's word, 0 to 1: pauses are 50 to 100 % of what doubling gives, so that a crowd spreads.
    """
    told = answer.problem or f"the receiver answered {answer.status}"
    if answer.status == HTTPStatus.GONE:
        return Verdict(f"{told}: it is gone for ever", None)
    if failures >= target.attempts_max:
        return Verdict(told, None)
    doubled = target.backoff_seconds * 2.0 ** min(failures - 1, _DOUBLINGS_MAX)
    pause = min(target.backoff_seconds_max, doubled) * (0.5 + 0.5 * chance)
    asked = min(answer.retry_after_seconds or 0.0, RETRY_AFTER_SECONDS_MAX)
    # Too many requests is about all of them, unavailable perhaps only about this one.
    everybody = asked if answer.status == HTTPStatus.TOO_MANY_REQUESTS else 0.0
    return Verdict(told, max(pause, asked), everybody)


def pause_of_target(in_a_row: int, concurrency: int) -> float:
    """Say how long nothing is sent to a target that failed so often in a row; 0 while it may be chance."""
    rounds, rest = divmod(in_a_row, max(_FEW, 2 * concurrency))
    if not rounds or rest:
        return 0.0
    return min(_PAUSE_SECONDS_MAX, _PAUSE_SECONDS * 2.0 ** min(rounds - 1, _DOUBLINGS_MAX))


def retry_after_seconds(value: str | None, now: float) -> float | None:
    """Read a `Retry-After` header, seconds or a date; None for one that says nothing."""
    if value is None:
        return None
    text = value.strip()
    try:
        seconds = float(text) if text.replace(".", "", 1).isdigit() else parsedate_to_datetime(text).timestamp() - now
    except (ValueError, OverflowError, TypeError):
        return None
    return max(0.0, seconds) if math.isfinite(seconds) else None
