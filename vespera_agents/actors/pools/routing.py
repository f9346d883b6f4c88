"""Which member of a pool gets a message: the choice alone. No I/O, no clock, no actors.

A routing is a frozen description, `among` makes a chooser of it for one set of members; `pool` makes a new one
whenever its members change. Members are known by their numbers, so the same choices are made in every process. Source
of the strategies: Akka, `akka.routing`; of the ring: Karger et al., "Consistent Hashing and Random Trees" (1997); of
two choices: Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing" (1996).
"""

from __future__ import annotations

import random
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import cycle
from struct import unpack
from typing import Any, Final, Protocol, TypeAlias, final

from supervisors.partition import partition_of

RouteKey: TypeAlias = str | bytes | int
"""What is routed by: equal keys lead to one member, in every process and every run."""
Load: TypeAlias = Callable[[int], int]
"""How much a member has to do, by its place among the members: messages in its mailbox, and the one in hand."""
Chooser: TypeAlias = Callable[[object, Load], int]
"""Returns the place of the member that gets a message."""

SCANNED_MAX: Final = 8
"""Up to so many members, LeastBusy looks at all of them: 8 looks cost 2 us."""
POINTS: Final = 128
"""Points on the ring for each member: shares then differ by about 9 % (1/sqrt(128))."""
POINTS_MAX: Final = 1024
_PLACE_BITS: Final = 20
_PLACE_MASK: Final = (1 << _PLACE_BITS) - 1
_POINTS_A_DIGEST: Final = 8


class Routing(Protocol):
    """A way to choose. Write your own: two members, and no state outside of choosers."""

    @property
    def is_sticky(self) -> bool:
        """Whether only the chosen member will do; otherwise, when it is full, one with room gets the message."""
        ...

    def among(self, numbers: Sequence[int]) -> Chooser:
        """Make a chooser for the members with these numbers, at least one; it returns places in `numbers`."""
        ...


@final
@dataclass(frozen=True, slots=True)
class RoundRobin:
    """One after the other."""

    is_sticky = False

    def among(self, numbers: Sequence[int]) -> Chooser:
        """Make a chooser that begins with the first."""
        places = cycle(range(len(numbers)))
        return lambda _message, _load: next(places)


@final
@dataclass(frozen=True, slots=True)
class LeastBusy:
    """Whoever has the least to do: of all in a small pool, of two taken at random in one above SCANNED_MAX.

    Two looks cost the same in a pool of any size, and keep the longest queue nearly as short as looking at all
    would. The price: a message may wait although some member is idle.
    """

    seed: int = 0
    """Where chance begins, so that a run can be repeated."""

    is_sticky = False

    def among(self, numbers: Sequence[int]) -> Chooser:
        """Make a chooser."""
        size = len(numbers)
        if size <= SCANNED_MAX:
            return _Least(size)
        chance = random.Random(self.seed).random  # noqa: S311 - it spreads load and protects no secret.

        def choose(_message: object, load: Load) -> int:
            one, other = int(chance() * size), int(chance() * (size - 1))
            other += other >= one
            return one if load(one) <= load(other) else other

        return choose


@final
class _Least:
    """The least busy of all, beginning behind the last chosen, so that equals take turns."""

    __slots__ = ("_next", "_size")

    def __init__(self, size: int) -> None:
        self._size = size
        self._next = 0

    def __call__(self, _message: object, load: Load) -> int:
        """Choose; the first that has nothing to do ends the search."""
        best, least = self._next, load(self._next)
        for step in range(1, self._size):
            if not least:
                break
            place = (self._next + step) % self._size
            found = load(place)
            if found < least:
                best, least = place, found
        self._next = (best + 1) % self._size
        return best


@final
@dataclass(frozen=True, slots=True)
class ConsistentHash:
    """Whoever the message's key leads to. Of n members, one that comes or goes moves about 1/n of the keys."""

    key: Callable[[Any], RouteKey]
    """Returns a message's key. What it raises, the sender gets."""
    points: int = POINTS
    """Points on the ring for each member, 1..1024: more are fairer, and slower to lay out (128 take 70 us)."""

    is_sticky = True

    def __post_init__(self) -> None:
        if not 1 <= self.points <= POINTS_MAX:
            raise ValueError(f"A member has from 1 to {POINTS_MAX} points on the ring, not {self.points!r}.")

    def among(self, numbers: Sequence[int]) -> Chooser:
        """Lay out the ring."""
        ring = sorted(
            point << _PLACE_BITS | place
            for place, number in enumerate(numbers)
            for point in _points_of(number, self.points)
        )
        key_of = self.key

        def choose(message: object, _load: Load) -> int:
            at = bisect_left(ring, stable_hash(key_of(message)) << _PLACE_BITS)
            return ring[at if at < len(ring) else 0] & _PLACE_MASK

        return choose


@final
@dataclass(frozen=True, slots=True)
class ByPartition:
    """Whoever has the key's partition: cheaper than the ring, for members whose number never changes."""

    key: Callable[[Any], RouteKey]
    """Returns a message's key. What it raises, the sender gets."""

    is_sticky = True

    def among(self, numbers: Sequence[int]) -> Chooser:
        """Make a chooser: the place is the same as in a PartitionSupervisor of this size."""
        key_of, size = self.key, len(numbers)
        return lambda message, _load: partition_of(_checked(key_of(message)), size)


def stable_hash(key: RouteKey) -> int:
    """Return 64 bits that are the same in every process, which `hash` of a str is not.

    Raises:
        TypeError: The key is not a str, bytes or int.
    """
    match _checked(key):
        case str() as text:
            data = text.encode("utf-8", "surrogatepass")
        case bytes() as data:
            pass
        case number:
            data = b"%d" % number
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "big")


def _checked(key: object) -> RouteKey:
    """Refuse what has no stable hash: an unstable one would not fail, it would mix up the order of messages."""
    if not isinstance(key, str | bytes | int):
        raise TypeError(f"A key function returns a str, bytes or int, not {key!r}: make one of them of it.")
    return key


def _points_of(number: int, points: int) -> list[int]:
    """Return the places of a member on the ring; eight come out of each digest."""
    found: list[int] = []
    for block in range(-(-points // _POINTS_A_DIGEST)):
        found.extend(unpack(">8Q", blake2b(b"%d/%d" % (number, block)).digest()))
    return found[:points]
