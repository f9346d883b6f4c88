"""Which headings are phases.

One word counts per document, the first of a fixed order that any heading uses with a number: a plan in phases may have
milestones in its text, but they are not phases then. A number that comes back is a new phase only when there is work
below it; otherwise the plan is telling the same phase again, and the text is kept.
"""

from __future__ import annotations

import re
from typing import Final

from vespera_agents.work.plans.building import OpenPhase, Reading
from vespera_agents.work.plans.names import canonical
from vespera_agents.work.plans.outline import Block, Section
from vespera_agents.work.plans.titles import PhaseTitle, parse_phase

__all__ = ["PHASE_WORDS", "find_phases", "is_about_work", "open_phase"]

PHASE_WORDS: Final = ("phase", "stage", "sprint", "iteration", "wave", "milestone")
_WEAK_WORDS: Final = ("week", "day", "part", "priority", "epic")
"""Taken for phases only when no heading uses a better word."""
_NOT_WORK: Final = re.compile(
    r"\b(?:success|criteria|criterion|metrics?|kpis?|quality|risks?|mitigations?|notes?|gates?|deliverables?|validation|"
    r"acceptance|references?|blockers?|issues|handoffs?|benefits?|conclusion|next steps|next actions|factors|overview|"
    r"summary|background|context|progress|status|activity|gotchas|considerations|priority|outcomes?|results?|why|"
    r"checklist|requirements|prerequisites|dependencies|definition of done|exit|goals?|objectives?|tools)\b"
)

_JUDGING: Final = re.compile(
    r"\b(?:success|criteria|criterion|metrics?|kpis?|risks?|handoffs?|next (?:steps|actions)|conclusion|progress|"
    r"references?|timeline|notes?)\b"
)
"""Headings under which a plan speaks of its phases again."""


def is_about_work(title: str) -> bool:
    """Whether a list under this heading may name things to do, rather than judge or explain them."""
    return _NOT_WORK.search(canonical(title)) is None


def find_phases(reading: Reading) -> None:
    """Find the phase headings of a document."""
    sections = [section for section in reading.sections if section.level]
    for word in PHASE_WORDS + _WEAK_WORDS:
        strict = word in _WEAK_WORDS
        titles = [(section, parse_phase(section.title, frozenset({word}))) for section in sections]
        known: dict[int, OpenPhase] = {}
        for nested in (False, True):
            for section, title in titles:
                if title is None or section in reading.phase_of or _is_nested(reading, section) is not nested:
                    continue
                if (
                    _is_deeper_phase(title, known)
                    if nested
                    else _is_phase(reading, section, title, known, strict=strict)
                ):
                    phase = open_phase(title, section.first, section)
                    reading.phases.append(phase)
                    known.setdefault(title.number, phase)
                    reading.phase_of[section] = phase
                    reading.ledger.understand(range(section.first, section.body))
        if reading.phases:
            reading.phases.sort(key=lambda phase: phase.line)
            return


def open_phase(title: PhaseTitle, line: int, section: Section | None) -> OpenPhase:
    """Start a phase from its title."""
    name = title.title or f"{title.word.capitalize()} {title.number}"
    return OpenPhase(line, title.number, name, section, schedule=title.schedule, status=title.status)


def _is_phase(
    reading: Reading, section: Section, title: PhaseTitle, known: dict[int, OpenPhase], *, strict: bool
) -> bool:
    around = " ".join(outer.title for outer in section.ancestors() if outer.level > 1)
    if _JUDGING.search(canonical(around)) and (strict or not _has_work(section)):
        return False
    same = known.get(title.number)
    if not title.separated and (strict or same is not None):
        return False
    if same is not None and (canonical(same.title) == canonical(title.title) or not _has_work(section)):
        reading.note(
            section.first,
            f"{section.title!r} repeats the number of the phase in line {same.line + 1}; its text is kept as text",
        )
        return False
    return True


def _is_nested(reading: Reading, section: Section) -> bool:
    return any(outer in reading.phase_of for outer in section.ancestors())


def _is_deeper_phase(title: PhaseTitle, known: dict[int, OpenPhase]) -> bool:
    """Whether a phase heading inside a phase is the next phase at a wrong level: no other heading has its number."""
    return title.separated and title.number not in known


def _has_work(section: Section) -> bool:
    """Whether there is a list or a YAML block below a heading."""
    return any(_is_work(block) for inner in section.walk() for block in inner.blocks)


def _is_work(block: Block) -> bool:
    boxes = any(entry.checked is not None for entry in block.entries)
    return (block.kind == "list" and not boxes) or (block.fence is not None and block.fence.language in {"yaml", "yml"})
