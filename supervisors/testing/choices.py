"""What a simulated run decides by chance, written down: one stream of small numbers for each of its actors.

One seed determines all of them. Written down, they can be replayed, and made simpler: 0 always stands for the dullest
choice (no fault, the shortest time), so a schedule shrinks by turning numbers into 0. Each actor has a stream of its
own, so that changing what one does leaves the others' choices where they were.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import final

Schedule = Mapping[str, Sequence[int]]
"""The choices of a run, by actor."""


@final
class Stream:
    """The choices of one actor."""

    __slots__ = ("_given", "_next", "taken")

    def __init__(self, seed: str, given: Sequence[int] | None) -> None:
        self._next = random.Random(seed).random  # noqa: S311 - repeatable on purpose
        self._given = given
        self.taken: list[int] = []
        """What it has chosen so far."""

    def below(self, limit: int) -> int:
        """Choose a number from 0 to `limit` - 1."""
        if self._given is None:
            value = int(self._next() * limit)
        else:
            position = len(self.taken)
            value = min(self._given[position], limit - 1) if position < len(self._given) else 0
        self.taken.append(value)
        return value

    def chance(self, permille: int) -> bool:
        """Say yes in `permille` of a thousand cases."""
        return self.below(1000) >= 1000 - permille


@final
class Choices:
    """All choices of one run: drawn from a seed, or given."""

    __slots__ = ("_given", "_streams", "seed")

    def __init__(self, seed: int, given: Schedule | None = None) -> None:
        self.seed = seed
        """What determines them, where they are not given."""
        self._given = given
        self._streams: dict[str, Stream] = {}

    def stream(self, actor: str) -> Stream:
        """Return the stream of an actor, the same one each time."""
        stream = self._streams.get(actor)
        if stream is None:
            given = None if self._given is None else self._given.get(actor, ())
            stream = self._streams[actor] = Stream(f"{self.seed}/{actor}", given)
        return stream

    def schedule(self) -> dict[str, tuple[int, ...]]:
        """Return what was chosen so far, by actor."""
        return {actor: tuple(stream.taken) for actor, stream in self._streams.items()}


@final
class Dice(random.Random):
    """Random numbers of which the last is known: where a supervisor's jitter comes from."""

    last = 0.0
    """The last number that was given."""

    def random(self) -> float:
        """Give the next number."""
        self.last = super().random()
        return self.last
