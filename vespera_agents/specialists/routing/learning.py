"""What was learned from choices that somebody corrected: which words of a task spoke for whom. Pure.

Counts and nothing else: how often a word stood in a task that was given to a role, held against chance and against how
little one case says. So every lesson can be said in words, and it grows no larger than what it was read from.
Neighbours: `store.corrections` keeps the cases, `suggesting` weighs the lessons beside the lexicon.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, final

from vespera_agents.specialists.routing.lexicon import STOP_WORDS
from vespera_agents.specialists.routing.words import stem, words_of
from vespera_agents.store.corrections import Correction

__all__ = ["Lessons", "lessons_of"]

_DESCRIPTION_WORDS: Final = 60
"""Words of a description that something is learned from."""
_DESCRIPTION_SHARE: Final = 0.5
"""What a word of the description counts beside one of the title."""
_DOUBT: Final = 2.0
"""Cases by chance that are set against the real ones: one case alone moves 1.5 nats, ten move 2.1."""
_LETTERS_MIN: Final = 3
_STOPPED: Final = frozenset(map(stem, STOP_WORDS.split()))


@final
@dataclass(frozen=True, slots=True)
class Lessons:
    """How often each word stood in tasks that were given to each role by a correction."""

    cases: int = 0
    """Corrections that were read."""
    seen: Mapping[str, Mapping[str, float]] = field(default_factory=dict[str, Mapping[str, float]])
    """By stem, then by role."""

    def weight(self, word: str, role: str, roles: int) -> float:
        """Say how much a word speaks for a role, in nats; 0 for a word that was never seen.

        Args:
            word: a stem.
            role: for whom.
            roles: how many there are to choose of.
        """
        counts = self.seen.get(word)
        if counts is None:
            return 0.0
        by_chance = 1.0 / max(2, roles)
        share = (counts.get(role, 0.0) + _DOUBT * by_chance) / (sum(counts.values()) + _DOUBT)
        return math.log(share / by_chance)


def lessons_of(corrections: Iterable[Correction]) -> Lessons:
    """Count the words of corrected tasks."""
    cases = 0
    seen: dict[str, dict[str, float]] = {}
    for case in corrections:
        cases += 1
        for word, share in _features(case.title, case.description).items():
            counts = seen.setdefault(word, {})
            counts[case.chosen] = counts.get(case.chosen, 0.0) + share
    return Lessons(cases, seen)


def _features(title: str, description: str) -> dict[str, float]:
    found = {found: _DESCRIPTION_SHARE for found, _ in words_of(description)[:_DESCRIPTION_WORDS]}
    found |= {found: 1.0 for found, _ in words_of(title)}
    return {word: share for word, share in found.items() if len(word) >= _LETTERS_MIN and word not in _STOPPED}
