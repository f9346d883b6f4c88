"""The kill ladder: its rungs, and how far up it the stopping of one life is; `supervisors.incarnation` climbs it."""

from __future__ import annotations

import enum
import math
from typing import Final, final

import trio

from supervisors.exits import ExitKind, StopCause


class Rung(enum.IntEnum):
    """How far stopping it has come: the kill ladder."""

    NONE = 0
    """It is not being stopped."""
    ASKED = 1
    """It may end by itself."""
    CANCELLED = 2
    """Its scope is cancelled."""
    FORCED = 3
    """Killed was thrown into its tasks."""
    FORCED_AGAIN = 4
    """Once more: cleanup can hide again."""
    FENCED = 5
    """Nothing helped: it is cut off."""


@final
class Stopping:
    """How one life is being stopped; made when that begins, because most lives are stopped at the very end or never."""

    __slots__ = ("amid", "cause", "due", "forced", "requested_at", "rung", "scope")

    def __init__(self) -> None:
        self.rung = Rung.NONE
        """How far it has come."""
        self.cause: StopCause | None = None
        """Why."""
        self.requested_at = 0.0
        """When it began, on trio's clock."""
        self.due = math.inf
        """When the next rung is due."""
        self.forced: ExitKind | None = None
        """How the end is named if force was used: KILLED or STOP_TIMEOUT."""
        self.scope: trio.CancelScope | None = None
        """The scope of its task, once that is cancelled."""
        self.amid: BaseException | None = None
        """What was handled where it was cancelled: trio's Cancelled has it as context, though it is not its own."""


NOT_STOPPING: Final = Stopping()
"""That of all lives which nobody stops; never changed."""
