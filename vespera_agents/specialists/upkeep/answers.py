"""The answers of the upkeep tools: flat, because most of what they tell is sentences. Neighbour: `answers`."""

from __future__ import annotations

from typing import Literal

from vespera_agents.specialists.answers import Answer

__all__ = ["Action", "CleanupAnswer", "MaintenanceAnswer"]

Action = Literal["scan_cleanup", "validate_structure", "update_documentation", "prepare_handover"]


class CleanupAnswer(Answer):
    """What was put away, or with dry_run would be."""

    dry_run: bool
    sessions: int
    """Closed."""
    tasks: int
    """Archived."""
    artifacts: int
    """Rows without an owner that were removed."""
    changes: list[str]
    """One sentence for each session, the first of many."""
    skipped: list[str]
    """What was left alone although it was asked for, and workspaces that could not be read."""
    next_action: str


class MaintenanceAnswer(Answer):
    """What was found, and what was done about it."""

    action: str
    dry_run: bool
    findings: list[str]
    """The first of many."""
    changes: list[str]
    """What was changed, or with dry_run would be."""
    uris: list[str]
    """Artifacts that were made."""
    next_action: str
