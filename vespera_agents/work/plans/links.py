"""Names turned into dependencies: which item or phase a plan means, and what waits for what because of it.

An item is known by its key, title, file, number and heading, a phase by its number and title. A name that fits nothing
is noted, not refused. Edges over nodes that fit nothing are joined, so `A --> review --> B` still makes B wait for A.
"""

from __future__ import annotations

import re
from collections import defaultdict
from itertools import pairwise
from typing import Final, Literal, final

from vespera_agents.work.plans.building import OpenFacts, OpenItem, OpenPhase, Reading
from vespera_agents.work.plans.groups import member_names
from vespera_agents.work.plans.headers import split_names
from vespera_agents.work.plans.model import ExecutionGroup, GraphEdge
from vespera_agents.work.plans.names import canonical, slug, unique_key
from vespera_agents.work.plans.shell import mode_of
from vespera_agents.work.plans.titles import PHASE_REFERENCE, phase_numbers

__all__ = ["give_keys", "link_edges", "link_groups", "link_waits"]

_NUMBER: Final = re.compile(
    r"(?P<word>task|step|item|subtask)?\s{0,3}#?(?P<number>\d{1,3}(?:\.\d{1,3})*)(?![\w.]\w)(?!\w)(?P<rest>.*)$",
    re.IGNORECASE | re.DOTALL,
)
_PATTERNS_MAX: Final = 100
_WAITS_MAX: Final = 200
"""Dependencies that one task or phase may name."""


def give_keys(reading: Reading) -> None:
    """Give every phase and item its key, and order the items as the document does."""
    taken: set[str] = set()
    reading.items.sort(key=lambda item: item.line)
    # Keys that the plan wrote itself come first: other parts of the plan speak of them.
    for item in sorted(reading.items, key=lambda item: not item.wanted_key):
        wanted = slug(item.wanted_key) or slug(item.name) or slug(item.title) or "item"
        item.key = unique_key(wanted, taken)
        taken.add(item.key)
        if item.wanted_key and item.key != wanted:
            reading.note(item.line, f"the key {wanted!r} is taken twice; this item is called {item.key!r}")
    for phase in reading.phases:
        number = f"phase-{phase.number}" if phase.number is not None else slug(phase.title)
        phase.key = unique_key(number or "phase", taken)
        taken.add(phase.key)


@final
class _Names:
    """What the names of a plan mean."""

    def __init__(self, reading: Reading) -> None:
        self._items: dict[str, str] = {}
        self._numbers: dict[str, list[OpenItem]] = defaultdict(list)
        self._phases: dict[str, str] = {}
        self._by_number: dict[int, str] = {}
        self._patterns = 0
        self._keys = [(canonical(item.key), item.key) for item in reading.items]
        for item in reading.items:
            for name in (item.key, item.wanted_key, item.source or "", item.name, item.title):
                if canonical(name):
                    self._items.setdefault(canonical(name), item.key)
            if item.number:
                self._numbers[_bare(item.number)].append(item)
        for phase in reading.phases:
            self._phases.setdefault(canonical(phase.title), phase.key)
            self._phases.setdefault(canonical(phase.key), phase.key)
            if phase.number is not None:
                self._by_number.setdefault(phase.number, phase.key)

    def find(self, name: str) -> list[str]:
        """Give the keys that a name means; none when it fits nothing."""
        words = canonical(name)
        if not words:
            return []
        if words in self._items:
            return [self._items[words]]
        phases = [self._by_number[number] for number in phase_numbers(name) if number in self._by_number]
        if phases:
            return phases
        if words in self._phases:
            return [self._phases[words]]
        return self._by_pattern(name) or self._by_number_of(name)

    def split(self, text: str) -> list[str]:
        """Split what a plan writes behind `depends` into names; a title with a comma in it stays whole."""
        if canonical(text) in self._items or canonical(text) in self._phases:
            return [text]
        rest = PHASE_REFERENCE.sub("", text)
        return [f"phase {number}" for number in phase_numbers(text)] + split_names(rest)

    def _by_number_of(self, name: str) -> list[str]:
        """Find `3`, `task 1.2`, `03 database pooling`; a number that several items have means none of them."""
        match = _NUMBER.match(name.strip())
        found = self._numbers.get(_bare(match["number"]), []) if match is not None else []
        if match is None or len(found) != 1:
            return []
        # `2 weeks of analysis` is not item 2: words behind the number must be words of the item.
        item, rest = found[0], canonical(match["rest"]).split()
        known = set(canonical(f"{item.title} {item.name}").split())
        return [item.key] if match["word"] or not rest or known.intersection(rest) else []

    def _by_pattern(self, name: str) -> list[str]:
        if "*" not in name or self._patterns >= _PATTERNS_MAX:
            return []
        self._patterns += 1
        head, _, tail = name.strip().partition("*")
        first, last = canonical(head), canonical(tail)
        return [key for words, key in self._keys if words.startswith(first) and words.endswith(last)]


def _bare(number: str) -> str:
    return ".".join(part.lstrip("0") or "0" for part in number.split("."))


def link_waits(reading: Reading) -> None:
    """Resolve the dependencies that items and phases name."""
    names = _Names(reading)
    for item in reading.items:
        _resolve(reading, names, item, item, item.title)
    for phase in reading.phases:
        _resolve(reading, names, phase, phase.said, phase.title)
    for text, line in reading.header.dependencies:
        reading.note(line, f"the plan depends on {text!r}, which names nothing in this plan")


def _resolve(reading: Reading, names: _Names, owner: OpenItem | OpenPhase, facts: OpenFacts, title: str) -> None:
    unknown = 0
    named = [
        (name, wait.line) for wait in facts.waits[: _WAITS_MAX + 1] for name in names.split(wait.text)[: _WAITS_MAX + 1]
    ]
    for at, (name, line) in enumerate(named):
        if max(at, len(owner.depends)) >= _WAITS_MAX:
            reading.note(line, f"{title!r} names more than {_WAITS_MAX} dependencies; the rest is not read")
            break
        # A pattern may fit its owner too; anything else that names its owner is a cycle, and `drafting` says so.
        found = [key for key in names.find(name) if "*" not in name or key != owner.key]
        if not found:
            unknown += 1
            reading.note(line, f"{title!r} depends on {name!r}, which names nothing in this plan")
        owner.depends.update(dict.fromkeys(found))
    # Named, but nothing of it is known: then the order of the phases is all there is to go by.
    owner.explicit = facts.waits_said and not (unknown and not owner.depends)


def link_edges(reading: Reading) -> None:
    """Resolve the edges of diagrams and sentences."""
    names = _Names(reading)
    after: dict[str, list[GraphEdge]] = defaultdict(list)
    meaning: dict[str, list[str]] = {}
    for edge, _ in reading.edges:
        after[edge.before].append(edge)
        for end in (edge.before, edge.after):
            if end not in meaning:
                meaning[end] = names.find(end)
    _note_or_tell(reading, meaning)
    owners = {owner.key: owner for owner in [*reading.items, *reading.phases]}
    mentioned = {key for keys in meaning.values() for key in keys}
    for phase in reading.phases:
        # A drawn graph says all that a phase waits for, also when that is nothing.
        phase.explicit = phase.explicit or phase.key in mentioned
    for end, keys in meaning.items():
        for target in _reachable(end, after, meaning) if keys else ():
            for key in meaning[target]:
                owner = owners[key]
                owner.explicit = True
                owner.depends.update(dict.fromkeys(before for before in keys if before != key or target == end))


def _reachable(start: str, after: dict[str, list[GraphEdge]], meaning: dict[str, list[str]]) -> list[str]:
    """Give the nodes with a meaning that follow a node, through nodes without one."""
    seen = {start}
    pending = [start]
    found: list[str] = []
    while pending:
        for edge in after[pending.pop()]:
            if edge.after in seen:
                if edge.after == start and start not in found:
                    found.append(start)
                continue
            seen.add(edge.after)
            if meaning[edge.after]:
                found.append(edge.after)
            else:
                pending.append(edge.after)
    return found


def _note_or_tell(reading: Reading, meaning: dict[str, list[str]]) -> None:
    """A diagram's edge that means nothing is a note; a whole section of such edges is how to walk through it."""
    known = {section for edge, section in reading.edges if meaning[edge.before] or meaning[edge.after]}
    for edge, section in reading.edges:
        unknown = [end for end in (edge.before, edge.after) if not meaning[end]]
        if section not in known:
            phase = reading.enclosing_phase(section)
            label = f" ({edge.label})" if edge.label else ""
            (phase.workflow if phase else reading.workflow).append(f"{edge.before} -> {edge.after}{label}")
        elif unknown:
            reading.note(edge.line - 1, f"{' and '.join(map(repr, unknown))} names nothing in this plan")


def link_groups(reading: Reading) -> list[ExecutionGroup]:
    """Resolve the members of groups; the members of a sequential one wait for each other in turn."""
    names = _Names(reading)
    items = {item.key: item for item in reading.items}
    groups: list[ExecutionGroup] = []
    for group in reading.groups:
        members: list[str] = []
        for name in member_names(group):
            found = [key for key in names.find(name) if key in items]
            if not found:
                reading.note(group.line, f"{group.name} names {name!r}, which is no item of this plan")
            members.extend(key for key in found if key not in members)
        mode: Literal["parallel", "sequential"] = mode_of(group.commands, group.parallel_words)
        for before, key in pairwise(members):
            if mode == "sequential":
                items[key].depends[before] = None
        for key in members:
            items[key].group = items[key].group or group.name
        groups.append(
            ExecutionGroup(
                name=group.name,
                title=group.title,
                schedule=group.schedule,
                mode=mode,
                members=tuple(members),
                commands=(*(f"# {comment}" for comment in group.comments), *group.commands),
                line=group.line + 1,
            )
        )
    return groups
