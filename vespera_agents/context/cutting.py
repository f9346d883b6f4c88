"""How a section that is too long becomes shorter, and to which length, so that all of several fit. Pure.

Neighbours: `budget` cuts pinned sections with it, `compaction` shortens the others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from vespera_agents.context.sections import Section, written

__all__ = ["beginning_within", "level_of"]


def level_of(weights: Sequence[int], room: int) -> int:
    """Find the length to which the longest must come down, so that all of them have room: the largest that does it.

    Args:
        weights: tokens of each.
        room: for all of them.
    """
    left = room
    for number, weight in enumerate(sorted(weights)):
        share = left // (len(weights) - number)
        if weight > share:
            return max(0, share)
        left -= weight
    return max(0, room)


def beginning_within(
    section: Section, context_tokens: int, context_tokens_max: int, count: Callable[[str], int], mark: str = ""
) -> Section | None:
    """Cut the end off a section, so that what is written of it has at most so many tokens; None if nothing is left.

    Args:
        section: the section.
        context_tokens: what is written of it has now.
        context_tokens_max: what it may have.
        count: tokens of a text.
        mark: what the text says in place of its end; unless given, that about so many tokens did not fit.
    """
    said = mark or f"[About {context_tokens - context_tokens_max} more tokens of this part did not fit.]"

    def shortened(length: int) -> Section:
        return replace(section, text=f"{section.text[:length].rstrip()}\n\n{said}")

    def has_room(length: int) -> bool:
        return count(written(shortened(length))) <= context_tokens_max

    # Up from what has room almost always: a megabyte is not counted to keep a few lines of it.
    length, fits = len(section.text), 0
    over = min(length, max(1, context_tokens_max))
    while over <= length and has_room(over):
        fits, over = over, length if over < length < 2 * over else 2 * over
    over = min(over, length + 1)
    while over - fits > 1:
        middle = (fits + over) // 2
        fits, over = (middle, over) if has_room(middle) else (fits, middle)
    return shortened(fits) if section.text[:fits].strip() else None
