"""When the watchdog barks: `WatchdogSettings`. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

__all__ = ["WatchdogSettings"]


@final
@dataclass(frozen=True, slots=True)
class WatchdogSettings:
    """What a loop and its actors are allowed, and how often actors are looked at."""

    stall_seconds: float = 0.25
    """A tick of the loop that takes longer is a stall."""
    busy_seconds: float = 300.0
    """How long a handler may take whose actor says neither `busy_limit_seconds` nor `handler_timeout_seconds`."""
    mailbox_seconds: float = 60.0
    """How long mail may wait while its actor handles nothing; longer where the actor says that its handlers may be."""
    scan_seconds: float = 5.0
    """How often all actors are looked through."""
    stalls_max: int = 100
    """Stalls that are kept, the newest."""
    wedged_max: int = 100
    """Wedged actors that are told with their stacks; of more of them, the longest."""

    def __post_init__(self) -> None:
        """Refuse what would bark always."""
        for name in ("stall_seconds", "busy_seconds", "mailbox_seconds", "scan_seconds"):
            if not getattr(self, name) > 0.0:
                raise ValueError(f"{name} is a number of seconds > 0, not {getattr(self, name)}.")
