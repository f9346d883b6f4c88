"""A context budget: sections of text, a limit in tokens that no text of it ever exceeds, and what had to be left out.

What is pinned stays; of the rest whole sections go in a stated order (`sections.DROP_ORDER`) until everything fits, and
a note in the text says so: a reader must know that something is missing. Where the pinned sections alone have too much,
the longest lose their ends, all down to the same length. Pure: no I/O, no clock. Neighbours: `compaction` makes a
budget smaller with less loss, `specialists.briefing` fills one, `counting` counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import final

from vespera_agents.context.counting import shared_counter
from vespera_agents.context.cutting import beginning_within, level_of
from vespera_agents.context.sections import (
    SEPARATOR,
    Dropped,
    Section,
    SectionKind,
    dropping_order,
    note_of,
    section_of,
    written,
)
from vespera_agents.context.sources import Source
from vespera_agents.context.tokens import bound_tokens, estimate_tokens

__all__ = ["Assembly", "ContextBudget"]


@final
@dataclass(frozen=True, slots=True)
class Assembly:
    """A context as it is sent."""

    text: str
    context_tokens: int
    """Of the text and of what was reserved beside it."""
    context_tokens_max: int
    dropped: tuple[Dropped, ...]
    """What is not in the text, in the order in which it went."""
    kept: tuple[Section, ...]
    """What is, cut where it was cut."""
    exact: bool
    """Whether the tokens are counted; else they are estimated, and the bytes of the text prove that they fit."""

    @property
    def fill_ratio(self) -> float:
        """How full the context is, 0 to 1."""
        return self.context_tokens / self.context_tokens_max


@final
class ContextBudget:
    """Collects sections and puts together those that fit."""

    def __init__(
        self,
        context_tokens_max: int,
        *,
        count: Callable[[str], int] | None = None,
        compact_at: float = 0.75,
        respawn_at: float = 0.9,
        reserved_tokens: int = 0,
    ) -> None:
        """Begin an empty context.

        Args:
            context_tokens_max: the limit, more than what is reserved.
            count: tokens of a text, never more than its bytes; the process's own exact counter unless given.
            compact_at: the share of the limit from which on it wants compaction, 0 to 1.
            respawn_at: the share of the limit from which on a specialist should begin afresh, 0 to 1.
            reserved_tokens: what is sent beside the text and counts, too: rules, descriptions of tools.
        """
        assert context_tokens_max > reserved_tokens >= 0, "a context needs room for at least one token"
        assert 0 < compact_at <= 1, "compaction begins at a share of the limit"
        assert 0 < respawn_at <= 1, "a new beginning is due at a share of the limit"
        self.context_tokens_max = context_tokens_max
        self.compact_at = compact_at
        self.respawn_at = respawn_at
        self.reserved_tokens = reserved_tokens
        self.count = shared_counter().count if count is None else count
        self._sections: list[Section] = []
        self._gone: list[Dropped] = []

    @property
    def sections(self) -> tuple[Section, ...]:
        """What was added, in the order of adding."""
        return tuple(self._sections)

    @property
    def gone(self) -> tuple[Dropped, ...]:
        """What a compaction took out; the note names it."""
        return tuple(self._gone)

    @property
    def needs_no_count(self) -> bool:
        """Whether the bytes alone prove that nothing goes and no threshold is reached: no vocabulary is read then."""
        size = sum(map(bound_tokens, map(written, self._sections))) + bound_tokens(self._note(self._gone))
        return size + self.reserved_tokens <= min(self.compact_at, self.respawn_at) * self.context_tokens_max

    def add(
        self,
        name: str,
        text: str,
        kind: SectionKind = SectionKind.TASK,
        *,
        priority: int = 0,
        sources: Sequence[Source] = (),
    ) -> None:
        """Add a section at the end; an empty text adds nothing."""
        section = section_of(name, text, kind, priority, sources)
        if section is not None:
            self._sections.append(section)

    def replace(self, sections: Iterable[Section], gone: Iterable[Dropped]) -> None:
        """Hold other sections than before, and name what went with that."""
        self._sections = list(sections)
        self._gone.extend(gone)

    def context_tokens(self) -> int:
        """Count what all sections would take, with what is reserved; may be more than the limit."""
        weights = [self.count(written(section)) for section in self._sections]
        return self.reserved_tokens + self._total(self._sections, weights, self._note(self._gone))

    def wants_compaction(self) -> bool:
        """Say whether it is fuller than it should be before a model is asked."""
        return not self.needs_no_count and self.context_tokens() >= self.compact_at * self.context_tokens_max

    def must_respawn(self, assembly: Assembly) -> bool:
        """Say whether whoever works with this context should begin afresh from a hand-over note."""
        return assembly.fill_ratio >= self.respawn_at

    def assemble(self) -> Assembly:
        """Give the text that fits, in the order of adding.

        The text and what is reserved never have more than `context_tokens_max` tokens. Sections go whole, in the order
        that `sections` states and no further than needed. Where even the pinned ones have more, the longest are cut to
        the same length. Where their beginnings do not fit either, those added last go. Whatever is missing is listed,
        and the text says so.
        """
        uncounted = self.assemble_uncounted()
        if uncounted is not None:
            return uncounted
        room = self.context_tokens_max - self.reserved_tokens
        sections, dropped = list(self._sections), list(self._gone)
        weights = [self.count(written(section)) for section in sections]
        note = self._note(dropped)
        if self._total(sections, weights, note) > room:
            self._drop(sections, weights, dropped, room)
            note = self._note(dropped)
            if self._total(sections, weights, note) > room:
                note = self._cut(sections, weights, dropped, room)
        text = _joined(sections, note)
        return self._assembly(text, self._total(sections, weights, note), dropped, sections, exact=True)

    def assemble_uncounted(self) -> Assembly | None:
        """Give the text as `assemble` does, where `needs_no_count`; else None, for counting may take a thread."""
        if not self.needs_no_count:
            return None
        text = _joined(self._sections, self._note(self._gone))
        return self._assembly(text, estimate_tokens(text), self._gone, self._sections, exact=False)

    def _drop(self, sections: list[Section], weights: list[int], dropped: list[Dropped], room: int) -> None:
        """Take out sections in their order until the rest and the note fit, or nothing is left that may go."""
        total = sum(weights)
        going: set[int] = set()
        for place in dropping_order(sections):
            total -= weights[place]
            going.add(place)
            dropped.append(Dropped(sections[place].name, weights[place], sections[place].kind))
            if total < room and total + self.count(note_of(dropped)) <= room:
                break
        weights[:] = [weight for place, weight in enumerate(weights) if place not in going]
        sections[:] = [section for place, section in enumerate(sections) if place not in going]

    def _cut(self, sections: list[Section], weights: list[int], dropped: list[Dropped], room: int) -> str:
        """Cut the longest sections to one length, so that all fit; where that is too short, drop the last one first."""
        while sections:
            ends: dict[int, Dropped] = {}
            level, note = room, self._note(dropped)
            # The note names what is cut, which takes room, so more may have to be cut.
            while True:
                level = min(level, level_of(weights, room - self.count(note)))
                longer = [place for place, weight in enumerate(weights) if weight > level and place not in ends]
                if not longer:
                    break
                ends.update({at: _end_of(sections[at], weights[at] - level) for at in longer})
                note = note_of([*dropped, *ends.values()])
            cut = {at: beginning_within(sections[at], weights[at], level, self.count) for at in ends}
            if all(cut.values()) and (note or self._total(sections, weights, note) <= room):
                for place, section in cut.items():
                    assert section is not None
                    sections[place] = section
                    weights[place] = self.count(written(section))
                dropped.extend(ends.values())
                return note
            dropped.append(Dropped(sections[-1].name, weights[-1], sections[-1].kind))
            del sections[-1], weights[-1]
        return ""

    def _total(self, sections: Sequence[Section], weights: Sequence[int], note: str) -> int:
        """Count a whole text from the counts of its parts; the last part has no separator behind it."""
        if note:
            return sum(weights) + self.count(note)
        return sum(weights[:-1]) + (self.count(written(sections[-1]).removesuffix(SEPARATOR)) if sections else 0)

    def _assembly(
        self, text: str, context_tokens: int, dropped: Iterable[Dropped], kept: Iterable[Section], *, exact: bool
    ) -> Assembly:
        tokens = context_tokens + self.reserved_tokens
        return Assembly(text, tokens, self.context_tokens_max, tuple(dropped), tuple(kept), exact)

    @staticmethod
    def _note(dropped: Sequence[Dropped]) -> str:
        return note_of(dropped) if dropped else ""


def _joined(sections: Iterable[Section], note: str) -> str:
    text = "".join(map(written, sections))
    return text + note if note else text.removesuffix(SEPARATOR)


def _end_of(section: Section, context_tokens: int) -> Dropped:
    return Dropped(f"the end of {section.name}", context_tokens, section.kind, "cut")
