"""Evidence weighed: which role a task is for, how sure that is, why, and who else. Pure: no I/O, no clock.

The evidence is a sum for each role, in nats: the words of its title, description and container by the lexicon, the
role's own expertise, the first word, type and complexity, what corrections taught, how the role's tasks ended before,
and how much it has in hand. The chances are a softmax of the sums times BELIEF, so that of the choices that are
called 80 % sure, some 80 % are right. Neighbours: `lexicon`, `learning`; `choosing` gathers what this is given.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Final, final

from vespera_agents.specialists.roles import Role
from vespera_agents.specialists.routing.learning import Lessons
from vespera_agents.specialists.routing.lexicon import (
    BY_COMPLEXITY,
    BY_TYPE,
    COMMONPLACE,
    CONTAINER_WORDS,
    OPENINGS,
    STOP_WORDS,
    WORDS,
)
from vespera_agents.specialists.routing.words import stem, words_of

__all__ = ["BELIEF", "GENERIC", "Alternative", "History", "Knowledge", "Outcomes", "Suggestion", "TaskFacts", "chances"]

GENERIC: Final = "generic"
"""The role for what fits nobody."""
BELIEF: Final = 1.74
"""How far a sum of evidence is believed: what makes the right roles of benchmarks/routing_calibration.yaml most likely
where the lexicon knows no word that this set alone has. `python -m benchmarks routing` fits it anew beside this."""
GENERIC_NATS: Final = 1.0
"""What speaks for nobody in particular: less than one clear word speaks for somebody."""
_DESCRIPTION_SHARE: Final = 0.5
_INSTRUCTIONS_SHARE: Final = 0.15
_DESCRIPTION_WORDS: Final = 12
"""Words of a description that count in full; of a longer one each counts less."""
_COMMON_SHARE: Final = 0.3
"""What is left of a commonplace where it does not stand in the title."""
_CONTEXT_SHARE: Final = 0.4
"""What a word of the container's title counts beside one of the task's own."""
_CONTEXT_MAX: Final = 1.5
"""Nats that the containers may speak for one role: all tasks of a plan have the plan around them."""
_PART_MAX: Final = 3.5
"""Nats that the description may speak for one role, whatever is in it."""
_LEARNED_MAX: Final = 6.0
"""Nats that corrections may speak for or against one role: more than any lexicon does."""
_EXPERTISE, _EXPERTISE_PHRASE, _NAMED, _DEFINITION = 1.2, 2.2, 2.5, 0.4
"""Nats of a word of a role's expertise, of several together, of its name, of a word of its definition."""
_OUTCOMES_MIN: Final = 5
"""Tasks that must have ended before their outcome says anything."""
_TIPPING_MAX: Final = 0.5
"""Nats that success, and work in hand, may speak: enough to tip a choice that is open, never to make one."""
SYMPTOM: Final = "debugger"
"""The role for what is told as a symptom."""
_SYMPTOM: Final = re.compile(
    r"(?i)^(?!(?:what|which|who|whom|why|how|when|where|is|are|do|does|did|can|could|should|would|will)\b)\S.*?\s"
    r"(?:(?:is|are|was|were|gets?|has|have|does|do|did|can|could|will)\s+(?:not|no|never|only|still|always|shown|lost"
    r"|sent|ignored|missing|gone|empty|too)|\w+n['\u2019]t|cannot|never|hangs?|crash(?:es)?|fails?|freezes?|stops?|skips?"
    r"|prints?|shows?|returns?|loses?|drops?|ignores?|throws?|breaks?|disappears?|appears?|grows?|leaks?|forgets?"
    r"|overwrites?|misses|jumps?|flickers?|arrives?|comes?|goes|takes)\b"
)
"""A title that says what something does, with the thing before the verb."""
_SYMPTOM_NATS: Final = 1.8
_SHOWN: Final = 3
"""Reasons and alternatives that are given."""
_ENTRY: Final = re.compile(r"'[^']*'|[^\s']+")
_Entries = Mapping[str, Sequence[tuple[tuple[str, ...], float]]]
"""By role: words as stems, several for a phrase, and their weight."""


@final
@dataclass(frozen=True, slots=True)
class TaskFacts:
    """What of a task a choice is made by."""

    title: str
    description: str = ""
    task_type: str = "standard"
    complexity: str = "moderate"
    context: str = ""
    """The titles of the containers it is in."""


@final
@dataclass(frozen=True, slots=True)
class Outcomes:
    """How tasks of a role ended."""

    completed: int
    failed: int


@final
@dataclass(frozen=True, slots=True)
class History:
    """What happened before in a workspace."""

    lessons: Lessons = field(default_factory=Lessons)
    outcomes: Mapping[str, Outcomes] = field(default_factory=dict[str, Outcomes])
    """By role."""
    in_hand: Mapping[str, int] = field(default_factory=dict[str, int])
    """Tasks in progress, by role."""


@final
@dataclass(frozen=True, slots=True)
class Alternative:
    """Another role that it could be for."""

    role: str
    confidence: float


@final
@dataclass(frozen=True, slots=True)
class Suggestion:
    """Who a task is for."""

    role: str
    confidence: float
    """The chance that it is the right one, 0 to 1."""
    reasons: tuple[str, ...]
    """What speaks for it, the strongest first."""
    alternatives: tuple[Alternative, ...]
    """The next best, with their chances."""


@final
@dataclass(slots=True)
class _Sum:
    """What speaks for one role."""

    nats: float = 0.0
    reasons: dict[str, tuple[float, list[str]]] = field(default_factory=dict[str, tuple[float, list[str]]])
    """By what is said of it: nats, and the words that it names."""

    def add(self, nats: float, why: str, word: str | None = None) -> None:
        self.nats += nats
        before, named = self.reasons.get(why, (0.0, []))
        self.reasons[why] = before + nats, named if word is None or word in named else [*named, word]

    def told(self) -> tuple[str, ...]:
        """Give the reasons that speak for it, the strongest first."""
        strongest = sorted(self.reasons.items(), key=lambda item: -item[1][0])
        return tuple(
            f"{why} {', '.join(named[:_SHOWN])}" if named else why for why, (nats, named) in strongest if nats > 0
        )[:_SHOWN]


@final
class Knowledge:
    """What is known of the roles of a workspace: which words speak for whom, whatever the task."""

    def __init__(self, roles: Mapping[str, Role], unknown: Callable[[tuple[str, ...]], bool] = lambda _: False) -> None:
        """Learn what the lexicon and the roles themselves say.

        Args:
            roles: whom to choose of.
            unknown: says of an entry, as stems, that it is not to be learned: so a lexicon is judged on strange words.
        """
        self.roles: Final = tuple(roles)
        self._unknown = unknown
        self._single: dict[str, list[tuple[str, float]]] = {}
        """By stem: roles and nats."""
        self._phrases: dict[str, list[tuple[tuple[str, ...], str, float]]] = {}
        """By first stem: all stems, role and nats."""
        self._openings: dict[str, list[tuple[str, float]]] = {}
        words, openings = _lexicon()
        for name, entries in words.items():
            self._learn(name, entries)
        for name, entries in openings.items():
            for stems, nats in entries:
                if name in roles and not unknown(stems):
                    self._openings.setdefault(stems[0], []).append((name, nats))
        for name, entries in _self_descriptions(roles.values()).items():
            self._learn(name, entries)

    def _learn(self, role: str, entries: Iterable[tuple[tuple[str, ...], float]]) -> None:
        if role not in self.roles:
            return
        for stems, nats in entries:
            # Of signs alone, such as `42`, there is no word.
            if not stems or self._unknown(stems):
                continue
            first, *more = stems
            if more:
                self._phrases.setdefault(first, []).append((stems, role, nats))
                continue
            known = dict(self._single.get(first, ()))
            # Said twice, by the lexicon and by the role itself, it is no more true.
            known[role] = max(known.get(role, 0.0), nats)
            self._single[first] = list(known.items())

    def suggest(self, facts: TaskFacts, history: History | None = None) -> Suggestion:
        """Say who a task is for."""
        sums = self.weigh(facts, history or History())
        likely = chances({role: one.nats for role, one in sums.items()})
        best, *others = sorted(likely, key=lambda role: -likely[role])
        return Suggestion(
            best,
            likely[best],
            sums[best].told() or ("nothing speaks for anybody else",),
            tuple(Alternative(role, likely[role]) for role in others[:_SHOWN]),
        )

    def weigh(self, facts: TaskFacts, history: History) -> dict[str, _Sum]:
        """Sum up what speaks for each role."""
        sums = {role: _Sum() for role in self.roles}
        if GENERIC in sums:
            sums[GENERIC].add(GENERIC_NATS, "nothing speaks clearly for another")
        title = words_of(facts.title)
        seen: set[str] = set()
        self._read(sums, title, 1.0, "the title says", seen)
        if title:
            for role, nats in self._openings.get(title[0][0], ()):
                sums[role].add(nats, "it begins with", title[0][1])
        if SYMPTOM in sums and title and title[0][0] not in self._openings and _SYMPTOM.search(facts.title):
            sums[SYMPTOM].add(_SYMPTOM_NATS, "the title tells what happens, not what to do")
        # What a task is about stands before the first blank line; then come instructions, and everybody's are alike.
        about, _, more = facts.description.partition("\n\n")
        words, rest = words_of(about), words_of(more)
        self._read(sums, words, _share_of(_DESCRIPTION_SHARE, words), "the description says", seen, _PART_MAX)
        self._read(sums, rest, _share_of(_INSTRUCTIONS_SHARE, rest), "the instructions say", seen, _PART_MAX)
        # What a task says itself says the more about it where its container says so, too.
        self._read(
            sums, words_of(facts.context), _CONTEXT_SHARE, "it is a part of", set(_container_words()), _CONTEXT_MAX
        )
        for role, nats in BY_TYPE.get(facts.task_type, {}).items():
            if role in sums:
                sums[role].add(nats, f"its type is {facts.task_type}")
        for role, nats in BY_COMPLEXITY.get(facts.complexity, {}).items():
            if role in sums:
                sums[role].add(nats, f"it is {facts.complexity.replace('_', ' ')}")
        self._recall(sums, [*title, *words, *rest], history.lessons)
        _tip(sums, history)
        return sums

    def _read(
        self,
        sums: Mapping[str, _Sum],
        words: Sequence[tuple[str, str]],
        share: float,
        why: str,
        seen: set[str],
        most: float = math.inf,
    ) -> None:
        """Add what the words of a text say; what was said before says nothing more."""
        room = dict.fromkeys(sums, most)
        stems = tuple(one for one, _ in words)
        spoken: set[tuple[int, str]] = set()
        """Words of phrases, by role: within a phrase they say nothing of their own."""
        found: list[tuple[str, float, str]] = []
        for at, first in enumerate(stems):
            for phrase, role, nats in self._phrases.get(first, ()):
                end = at + len(phrase)
                if stems[at:end] == phrase and (whole := f"{role}: {' '.join(phrase)}") not in seen:
                    # It says no less than the strongest of its words does alone.
                    alone = [n for one in phrase for known, n in self._single.get(one, ()) if known == role]
                    found.append((role, max(nats, *alone, 0.0), " ".join(word for _, word in words[at:end])))
                    spoken |= {(place, role) for place in range(at, end)}
                    seen.add(whole)
        for at, (one, word) in enumerate(words):
            if one not in seen:
                found.extend((role, n, word) for role, n in self._single.get(one, ()) if (at, role) not in spoken)
                seen.add(one)
        for role, nats, word in found:
            taken = min(nats * share * (_COMMON_SHARE if share < 1.0 and stem(word) in _common() else 1.0), room[role])
            room[role] -= taken
            if taken > 0:
                sums[role].add(taken, why, f"'{word}'")

    def _recall(self, sums: Mapping[str, _Sum], words: Sequence[tuple[str, str]], lessons: Lessons) -> None:
        if not lessons.cases:
            return
        known = {one: word for one, word in words if one in lessons.seen}
        for role, total in sums.items():
            weights = {word: lessons.weight(one, role, len(sums)) for one, word in known.items()}
            whole = sum(weights.values())
            fitted = max(-_LEARNED_MAX, min(_LEARNED_MAX, whole))
            for word, nats in sorted(weights.items(), key=lambda item: -item[1]):
                total.add(nats * fitted / whole if whole else 0.0, "you gave it tasks with", f"'{word}'")


def chances(nats: Mapping[str, float], belief: float = BELIEF) -> dict[str, float]:
    """Turn sums of evidence into chances that add up to 1."""
    most = max(nats.values())
    weights = {role: math.exp(belief * (one - most)) for role, one in nats.items()}
    whole = sum(weights.values())
    return {role: weight / whole for role, weight in weights.items()}


def _tip(sums: Mapping[str, _Sum], history: History) -> None:
    """Let how its tasks ended, and what it has in hand, tip what is open."""
    ended = {role: one for role, one in history.outcomes.items() if role in sums}
    completed, failed = sum(one.completed for one in ended.values()), sum(one.failed for one in ended.values())
    usual = (completed + 1) / (completed + failed + 2)
    for role, one in ended.items():
        total = one.completed + one.failed
        if total >= _OUTCOMES_MIN:
            nats = math.log((one.completed + 2 * usual) / ((total + 2) * usual))
            said = f"it completed {one.completed} of {total} tasks"
            sums[role].add(max(-_TIPPING_MAX, min(_TIPPING_MAX, nats)), said)
    usually = sum(history.in_hand.values()) / max(1, len(sums))
    for role, count in history.in_hand.items():
        if role in sums and count > usually:
            sums[role].add(-min(_TIPPING_MAX, 0.15 * math.log2((1 + count) / (1 + usually))), "it has much in hand")


def _share_of(share: float, words: Sequence[tuple[str, str]]) -> float:
    """Say what each word of a text counts: of a long one less."""
    return share * min(1.0, math.sqrt(_DESCRIPTION_WORDS / max(1, len(words))))


@cache
def _common() -> frozenset[str]:
    return frozenset(map(stem, COMMONPLACE.split()))


@cache
def _container_words() -> frozenset[str]:
    return frozenset(map(stem, CONTAINER_WORDS.split()))


@cache
def _stopped() -> frozenset[str]:
    return frozenset(map(stem, STOP_WORDS.split()))


@cache
def _lexicon() -> tuple[_Entries, _Entries]:
    """Read the lexicon, once for a process: its words, and its openings."""
    return _entries(WORDS), _entries(OPENINGS)


def _entries(table: Mapping[str, Mapping[float, str]]) -> _Entries:
    """Read a table of the lexicon."""
    return {
        role: [
            (tuple(one for one, _ in words_of(entry)), nats)
            for nats, text in weights.items()
            for entry in _ENTRY.findall(text)
        ]
        for role, weights in table.items()
    }


def _self_descriptions(roles: Iterable[Role]) -> _Entries:
    """Read what roles say of themselves; what several say is no mark of any."""
    entries: dict[str, dict[tuple[str, ...], float]] = {}
    shared: dict[tuple[str, ...], int] = {}
    for role in roles:
        own = entries.setdefault(role.name, {})
        if role.name == GENERIC:
            continue
        for one, _ in words_of(role.role_definition):
            if one not in _stopped():
                own[(one,)] = _DEFINITION
        for text in role.expertise:
            stems = tuple(one for one, _ in words_of(text))
            own |= {(one,): _EXPERTISE / len(stems) for one in stems if one not in _stopped()}
            if len(stems) > 1:
                own[stems] = _EXPERTISE_PHRASE
        own[tuple(one for one, _ in words_of(role.name))] = _NAMED
        for stems in own:
            shared[stems] = shared.get(stems, 0) + 1
    return {name: [(stems, nats / shared[stems]) for stems, nats in own.items()] for name, own in entries.items()}
