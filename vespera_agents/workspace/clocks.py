"""The machine's own time, for what outlives a process: seconds since the machine started, and a name for that start.

No process's clock (trio's has another offset in each), no wall clock (it is set). Sleep counts as time.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

__all__ = ["MachineTime", "machine_time"]

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_GRAIN_SECONDS: Final = 600
"""How coarsely a start is named where the system has no name for it; the clock drifts against the wall clock."""


@final
@dataclass(frozen=True, slots=True)
class MachineTime:
    """A moment that every process of the machine tells alike."""

    boot: str
    """The name of this start of the machine."""
    seconds: float
    """Since then."""


def machine_time() -> MachineTime:
    """Tell the moment."""
    clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    seconds = time.clock_gettime(clock)
    try:
        return MachineTime(_BOOT_ID.read_text().strip(), seconds)
    except OSError:
        started = int((time.time() - seconds) / _GRAIN_SECONDS)
        return MachineTime(f"{os.uname().nodename}/{started}", seconds)
