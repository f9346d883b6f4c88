"""Cut the context that a new client resumes with down to its budget of tokens. Pure.

Whatever has no room is named, by how many of which list. Neighbours: `session_tools` gathers the answer.
"""

from __future__ import annotations

from collections.abc import Callable

from vespera_agents.context.tokens import estimate_tokens
from vespera_agents.specialists.answers import ResumeAnswer
from vespera_agents.work.errors import InvalidInput

__all__ = ["within"]


def within(answer: ResumeAnswer, context_tokens_max: int, measure: Callable[[ResumeAnswer], str]) -> ResumeAnswer:
    """Leave out the least needed parts until the answer fits the budget.

    Args:
        answer: is cut, and told how large it is.
        context_tokens_max: the budget.
        measure: writes an answer as its reader will get it.

    Raises:
        InvalidInput: not even an answer without them does.
    """

    def fits() -> bool:
        # The number of its own tokens is a part of the answer.
        answer.context_tokens = context_tokens_max
        return estimate_tokens(measure(answer)) <= context_tokens_max

    # The last to be named is the last to go.
    for name in (
        "recently_completed",
        "recent_artifacts",
        "shared_notes",
        "blocked",
        "ready",
        "in_review",
        "in_progress",
    ):
        if fits():
            break
        rows: list[object] = getattr(answer, name)
        whole, before = list(rows), list(answer.left_out)
        room, over = 0, len(whole)
        while over - room > 1:
            middle = (room + over) // 2
            rows[:] = whole[:middle]
            answer.left_out = [*before, f"{len(whole) - middle} of {name}"]
            room, over = (middle, over) if fits() else (room, middle)
        rows[:] = whole[:room]
        if whole:
            answer.left_out = [*before, f"{len(whole) - room} of {name}"]
    if not fits():
        # The number itself may take a few digits more than the one that was refused.
        needed = estimate_tokens(measure(answer)) + 2
        raise InvalidInput(
            f"{context_tokens_max} tokens are too few for this session: its name, directory and counts take {needed}",
            f"Give context_tokens_max={needed} or more.",
        )
    answer.context_tokens = estimate_tokens(measure(answer))
    return answer
