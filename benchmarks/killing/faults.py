"""Arms the fault points of a server whose workers are `faulty_worker`, and notes each death as it comes.

One point is armed at a time, and only while no call in flight has met two deaths: see `calls`. Neighbours: `killer`
kills from outside, `faulty_front` starts the front with these workers.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

import trio

from benchmarks.killing.calls import Calls, Kill
from benchmarks.killing.faulty_worker import (
    DATABASE_VARIABLE,
    FOLDER_VARIABLE,
    FORGETFUL_VARIABLE,
    RESTARTS_VARIABLE,
)
from benchmarks.killing.killer import rested_spare
from benchmarks.killing.places import Place
from benchmarks.killing.waiting import until

__all__ = ["Faults"]

FIRE_SECONDS: float = 20.0
"""How long a server under load may take to come to a point."""


@final
@dataclass(frozen=True, slots=True)
class Faults:
    """The fault points of one place."""

    place: Place
    forgetful: bool = False
    """Whether the store shall forget the keys of commands."""
    pong_seconds: float | None = None
    """How long a worker may leave a ping unanswered; None for what the product waits."""
    restarts: bool = False
    """Whether there are points around what a worker leaves to the next one."""

    @property
    def folder(self) -> Path:
        """Where a file arms a point."""
        return self.place.root / "faults"

    @property
    def command(self) -> Sequence[str]:
        """Start a front whose workers have the points."""
        waits = [] if self.pong_seconds is None else ["--pong-seconds", str(self.pong_seconds)]
        return [sys.executable, "-m", "benchmarks.killing.faulty_front", *waits, "--", *self.place.command[4:]]

    @property
    def environment(self) -> Mapping[str, str]:
        """What the workers must know."""
        self.folder.mkdir(exist_ok=True)
        told = {FOLDER_VARIABLE: str(self.folder), DATABASE_VARIABLE: str(self.place.database)}
        wishes = {FORGETFUL_VARIABLE: self.forgetful, RESTARTS_VARIABLE: self.restarts}
        return told | {name: "1" for name, wished in wishes.items() if wished}

    def arm(self, point: str) -> Path:
        """Arm a point; gives the file that is there once somebody came to it."""
        (self.folder / point).touch()
        return self.folder / f"{point}.fired"

    async def force(self, point: str, calls: Calls) -> Kill:
        """Have the next worker that comes to a point fall there, and note it.

        Raises:
            RuntimeError: no worker came there.
        """
        spare = await rested_spare(self.place.family())
        await calls.fit()
        fired = self.arm(point)
        with trio.move_on_after(FIRE_SECONDS):
            await until(fired.exists, 0.001)
            # The file was renamed when it happened, and we look only now and then.
            late = time.time() - fired.stat().st_ctime
            fired.unlink()
            return calls.killed(point, spare=spare, at=time.perf_counter() - late)
        (self.folder / point).unlink(missing_ok=True)
        raise RuntimeError(f"no worker came to {point} within {FIRE_SECONDS:g} s")
