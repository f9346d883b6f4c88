"""What the user is asked before a tool is called, where somebody can be asked.

Neighbours: the tools name their questions, `specialists.doubts` says when there is one; how it travels is no business
of this package.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, final

from vespera_agents.serving.tools.texts import one_line
from vespera_agents.specialists.answers import SessionLine

__all__ = ["NEW_SESSION", "Question", "choice_of_session", "confirmation"]

NEW_SESSION: Final = "new"
"""The choice of none of the sessions that are there."""


@final
@dataclass(frozen=True, slots=True)
class Question:
    """One question: to be confirmed, or with a choice."""

    text: str
    parameter: str | None = None
    """The argument that the choice becomes; None for a question to be confirmed."""
    choices: tuple[str, ...] = ()
    unchanged: str | None = None
    """The choice that leaves the arguments as they are."""


def confirmation(text: str | None) -> Question | None:
    """Ask for a yes."""
    return None if text is None else Question(text)


def choice_of_session(sessions: Sequence[SessionLine], parameter: str, *, new: bool) -> Question | None:
    """Ask which of several sessions is meant."""
    if not sessions:
        return None
    lines = [f"{one.id}: {one_line(one.name)}, {sum(one.counts.values())} tasks" for one in sessions]
    text = "\n".join([f"{len(sessions)} sessions are open in {sessions[0].working_directory}. Which one?", *lines])
    choices = tuple(one.id for one in sessions)
    if new:
        return Question(f"{text}\n{NEW_SESSION}: begin another", parameter, (*choices, NEW_SESSION), NEW_SESSION)
    return Question(text, parameter, choices)
