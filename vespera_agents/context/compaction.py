"""Compaction: a context is made smaller, with as little loss as can be, before anything has to be dropped from it.

In this order, and no further than needed: older copies of the same text go; long tool results become their beginnings,
with a link to where the whole is kept, the oldest first; the history becomes a summary, or else beginnings, too; then
shared notes and dependency summaries become beginnings. What is still too much after that is dropped in the stated
order. Where texts are kept and who summarizes is passed in. Neighbours: `budget` holds the sections, `cutting` cuts.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, final

from vespera_agents.context.budget import ContextBudget
from vespera_agents.context.cutting import beginning_within
from vespera_agents.context.sections import Dropped, Section, SectionKind, dropping_order, section_of, written

__all__ = ["Compacted", "Compaction", "Offload", "Summarize", "compact"]

GOAL: Final = 0.5
"""The share of the limit that a compaction aims at: below the threshold by enough that the next one is not near."""
BEGINNING_TOKENS: Final = 256
"""What stays of a section that is shortened."""
SUMMARY_TOKENS_MAX: Final = 1_000
"""Of the summary of a history."""
_NEWEST_KEPT: Final = 2
"""Parts of the history that are not summarized: what happens now is told in full."""
SUMMARY_NAME: Final = "Summary of what was done so far"

Offload = Callable[[Section], Awaitable[str | None]]
"""Keeps the whole text of a section, and gives the link that leads to it; None where it could not."""
Summarize = Callable[[Sequence[Section], int], Awaitable[str | None]]
"""Writes what sections say in at most so many tokens; None where it could not."""


@final
@dataclass(frozen=True, slots=True)
class Compacted:
    """What a compaction did to one section."""

    name: str
    kind: SectionKind
    how: Literal["dropped", "shortened", "offloaded", "summarized"]
    tokens_before: int
    tokens_after: int
    link: str | None = None
    """Where the whole of it is kept."""


@final
@dataclass(frozen=True, slots=True)
class Compaction:
    """What a compaction did."""

    tokens_before: int
    tokens_after: int
    done: tuple[Compacted, ...] = ()
    """In the order in which it was done; empty where nothing was needed or possible."""

    @property
    def reclaimed_tokens(self) -> int:
        """What it freed."""
        return max(0, self.tokens_before - self.tokens_after)


async def compact(
    budget: ContextBudget,
    *,
    offload: Offload | None = None,
    summarize: Summarize | None = None,
    goal: float = GOAL,
    at_once: bool = False,
) -> Compaction:
    """Make a budget's sections smaller if it is fuller than its threshold.

    Args:
        budget: its sections are replaced.
        offload: without it, what is cut off is lost, and the text says so.
        summarize: without it, the history is shortened.
        goal: the share of the limit to come down to, 0 to 1.
        at_once: whether it is done below the threshold, too.

    Cancelled: the budget is as it was. What the two callables raise comes out, and leaves it as it was, too.
    """
    if not at_once and not budget.wants_compaction():
        tokens = 0 if budget.needs_no_count else budget.context_tokens()
        return Compaction(tokens, tokens)
    work = _Work(budget, goal)
    work.drop_copies()
    await work.shorten(SectionKind.TOOL_RESULTS, offload)
    if summarize is not None:
        await work.summarize(summarize)
    for kind in (SectionKind.HISTORY, SectionKind.SHARED, SectionKind.DEPENDENCIES):
        await work.shorten(kind, offload)
    work.drop_rest()
    return work.finish()


@final
class _Work:
    """One compaction under way: the sections as they become, and what was done."""

    def __init__(self, budget: ContextBudget, goal: float) -> None:
        self._budget = budget
        self._before = budget.context_tokens()
        self._goal = goal * budget.context_tokens_max
        self._threshold = budget.compact_at * budget.context_tokens_max
        self._sections: list[Section | None] = list(budget.sections)
        self._weights = [budget.count(written(section)) for section in budget.sections]
        self._total = self._before
        self._done: list[Compacted] = []
        self._gone: list[Dropped] = []

    def drop_copies(self) -> None:
        """Leave of equal texts of one kind only the newest; nothing is lost by that."""
        newest = {(one.kind, one.text): place for place, one in enumerate(self._budget.sections)}
        for place, section in self._in_order():
            if self._total <= self._goal:
                return
            if newest[section.kind, section.text] != place:
                self._drop(place, section)

    async def shorten(self, kind: SectionKind, offload: Offload | None) -> None:
        """Leave of long sections their beginnings, and a link to the whole; in the order in which they would go."""
        for place, section in self._in_order():
            if self._total <= self._goal:
                return
            if section.kind is not kind or self._weights[place] < 2 * BEGINNING_TOKENS:
                continue
            link = None if offload is None else await offload(section)
            more = self._weights[place] - BEGINNING_TOKENS
            where = f"are kept as {link}" if link else "were left out to save room"
            mark = f"[Shortened: about {more} more tokens of this part {where}.]"
            shorter = beginning_within(section, self._weights[place], BEGINNING_TOKENS, self._budget.count, mark)
            if shorter is not None:
                self._change(place, section, shorter, "offloaded" if link else "shortened", link)

    async def summarize(self, summarize: Summarize) -> None:
        """Put one summary in place of the history, but for its newest parts."""
        history = [(place, one) for place, one in self._in_order() if one.kind is SectionKind.HISTORY]
        older = sorted(history, key=lambda entry: entry[0])[:-_NEWEST_KEPT]
        weight = sum(self._weights[place] for place, _ in older)
        if self._total <= self._goal or weight < 2 * SUMMARY_TOKENS_MAX:
            return
        text = await summarize([section for _, section in older], SUMMARY_TOKENS_MAX)
        sources = tuple(dict.fromkeys(source for _, section in older for source in section.sources))
        priority = max(section.priority for _, section in older)
        made = section_of(SUMMARY_NAME, text or "", SectionKind.HISTORY, priority, sources)
        if made is None:
            return
        tokens = self._budget.count(written(made))
        if tokens > 2 * SUMMARY_TOKENS_MAX:
            # Whoever summarizes was asked for less; the limit is ours to keep.
            made = beginning_within(made, tokens, 2 * SUMMARY_TOKENS_MAX, self._budget.count)
        if made is None or self._budget.count(written(made)) >= weight:
            return
        (first, oldest), *others = older
        for place, section in others:
            self._change(place, section, None, "summarized")
        self._change(first, oldest, made, "summarized")

    def drop_rest(self) -> None:
        """Drop sections in their order until the threshold is kept."""
        for place, section in self._in_order():
            if self._total < self._threshold:
                return
            self._drop(place, section)

    def finish(self) -> Compaction:
        """Give the budget its new sections, and say what was done."""
        self._budget.replace([section for section in self._sections if section is not None], self._gone)
        return Compaction(self._before, self._budget.context_tokens(), tuple(self._done))

    def _in_order(self) -> list[tuple[int, Section]]:
        """Give what may go, by its place, in the order in which it would."""
        there = [(place, section) for place, section in enumerate(self._sections) if section is not None]
        return [there[at] for at in dropping_order([section for _, section in there])]

    def _drop(self, place: int, section: Section) -> None:
        self._gone.append(Dropped(section.name, self._weights[place], section.kind))
        self._change(place, section, None, "dropped")

    def _change(
        self,
        place: int,
        section: Section,
        becomes: Section | None,
        how: Literal["dropped", "shortened", "offloaded", "summarized"],
        link: str | None = None,
    ) -> None:
        before = self._weights[place]
        after = 0 if becomes is None else self._budget.count(written(becomes))
        self._sections[place] = becomes
        self._weights[place] = after
        self._total += after - before
        self._done.append(Compacted(section.name, section.kind, how, before, after, link))
