"""What a specialist gives back to whoever asked it to work: values, not yet committed.

Neighbours: `specialist` and `agent` make them, `conductor` and `gating` commit them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from vespera_agents.store.commands import NewArtifact, StepPlace
from vespera_agents.work.models import TaskStatus

__all__ = ["GateReport", "WorkOutcome"]


@final
@dataclass(frozen=True, slots=True)
class WorkOutcome:
    """What came of a task, not yet committed."""

    status: TaskStatus
    """completed, review, blocked, failed, cancelled (waived), or pending: it goes back, or on in a new incarnation."""
    reason: str | None = None
    summary: str | None = None
    waived: bool = False
    artifacts: tuple[NewArtifact, ...] = ()
    closes: StepPlace | None = None
    """Where the attempt of a specialist that works by itself ends; None: the next one goes on after its last step."""
    respawn: bool = False
    """Its context is full: a fresh incarnation goes on from the hand-over note."""


@final
@dataclass(frozen=True, slots=True)
class GateReport:
    """What came of a task's gates."""

    failure: str | None = None
    """What is wrong with the first gate that did not succeed."""
    artifacts: tuple[NewArtifact, ...] = ()
    called_off: bool = False
    """They were killed before they had ended."""
