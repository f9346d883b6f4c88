"""N copies of one child, each with its share of the keys: what would be a bottleneck as a single child.

`PartitionSupervisor` is a supervisor like any other (one_for_one, children "0", "1", ...); what it adds is `route`: one
key always leads to one partition, in every process. Source: Elixir `partition_supervisor.ex`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Hashable
from typing import Final, final
from zlib import crc32

from supervisors.any_supervisor import AnySupervisor
from supervisors.errors import SpecError
from supervisors.flags import Flags
from supervisors.listeners import Listener
from supervisors.specs import ChildSpec

PARTITIONS_MAX: Final = 10_000
"""More copies than this are a mistake."""

Key = str | bytes | int | Hashable
"""What is routed by: equal keys lead to one partition. Other types than str, bytes and int must have a stable hash."""


@final
class PartitionSupervisor(AnySupervisor):
    """Runs `partitions` copies of a child and routes keys to them.

    Args:
        make: makes the spec of one partition from its number; the id in it is replaced by that number.
        partitions: how many copies, 1..PARTITIONS_MAX.
        name: what it is called in reports, errors and task names.
        intensity: restarts allowed in `period_seconds`, for all partitions together; 0 allows none.
        period_seconds: length of the sliding window, > 0.
        listener: who is told of every event; a nested supervisor without one uses its root's.
        rng: where the jitter of backoffs comes from.

    Raises:
        SpecError: a flag or a spec makes no sense.
    """

    def __init__(
        self,
        make: Callable[[int], ChildSpec],
        *,
        partitions: int,
        name: str,
        intensity: int = 3,
        period_seconds: float = 5.0,
        listener: Listener | None = None,
        rng: random.Random | None = None,
    ) -> None:
        if not 1 <= partitions <= PARTITIONS_MAX:
            raise SpecError(
                f"supervisor {name!r}: partitions is a number from 1 to {PARTITIONS_MAX}, not {partitions!r}"
            )
        flags = Flags(name, intensity=intensity, period_seconds=period_seconds)
        super().__init__(flags, listener=listener, rng=rng)
        self.partitions = partitions
        """How many there are."""
        for number in range(partitions):
            spec = make(number)
            flags.check_child(spec)
            self._life.roster.add(str(number), spec)

    def partition_of(self, key: Key) -> int:
        """Return the number of the partition that has `key`: the same in every process and every run."""
        return partition_of(key, self.partitions)

    def route(self, key: Key) -> object:
        """Return the value of the partition that has `key`: what it gave to `started()`.

        Raises:
            ChildNotRunning: it is down or restarting now; ask again later.
            ChildNotFound: it was temporary, and has ended.
        """
        return self.child_value(str(self.partition_of(key)))


def partition_of(key: Key, partitions: int) -> int:
    """Return which of so many partitions has `key`: the same in every process and every run."""
    match key:
        case str():
            number = crc32(key.encode())
        case bytes():
            number = crc32(key)
        case int():
            number = abs(key)
        case _:
            number = hash(key)
    return number % partitions
