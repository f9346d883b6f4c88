"""Lists as items: plan files, the bullets of a phase, a task list, phases that are themselves lines of a list.

A plan that describes its tasks in YAML or headings uses lists for other things, so the lists of such a plan count only
where they name plan files. Neighbours: `structure` found the headings before, `texts` keeps what is left over.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from vespera_agents.work.plans.building import OpenItem, OpenPhase, Reading, Wait, fact_name
from vespera_agents.work.plans.headers import label_of
from vespera_agents.work.plans.names import canonical, plain
from vespera_agents.work.plans.outline import Block, Entry, Section
from vespera_agents.work.plans.phases import PHASE_WORDS, is_about_work, open_phase
from vespera_agents.work.plans.structure import TASK_SECTION, say
from vespera_agents.work.plans.titles import file_name, is_status, parse_phase, split_tags

__all__ = ["find_list_items"]

_INLINE: Final = re.compile(r"\(([^()]{1,300})\)")
_PHRASE: Final = re.compile(r"(depends(?: on)?|after|requires|needs|blocked by)[: ]\s*(.+)$", re.IGNORECASE | re.DOTALL)
_PAIR: Final = re.compile(r"([A-Za-z][\w -]{0,30}):\s*(.+)$", re.DOTALL)
_TITLE_MAX: Final = 255
_WORDS: Final = frozenset(PHASE_WORDS)


def find_list_items(reading: Reading) -> None:
    """Find the items that are lines of lists, from the surest form to the weakest."""
    for phase in reading.phases:
        if not phase.has_items:
            _take_files(reading, phase)
    if not any(item.phase is None for item in reading.items):
        for phase in reading.phases:
            if not phase.has_items:
                _take_phase_lists(reading, phase)
    if not reading.phases:
        _take_listed_phases(reading)
    if not reading.items:
        _take_task_lists(reading)
    if not reading.items and not reading.phases:
        _take_checklists(reading)


def _sections(reading: Reading, phase: OpenPhase) -> list[Section]:
    """Give a phase's sections, without those of a phase that stands too deep and so inside it."""
    inner = phase.section.walk() if phase.section is not None else ()
    return [section for section in inner if reading.enclosing_phase(section) is phase]


def _entries(block: Block) -> Iterator[Entry]:
    """Yield the lines of a list, inner ones too."""
    pending = list(reversed(block.entries))
    while pending:
        entry = pending.pop()
        yield entry
        pending.extend(reversed(entry.children))


def _take_files(reading: Reading, phase: OpenPhase) -> None:
    """Take the plan files that a phase lists: in its own text, or anywhere in it when they are numbered."""
    for section in _sections(reading, phase):
        for block in section.blocks:
            for entry in _entries(block):
                file = file_name(entry.text)
                if file is not None and (file.number is not None or section is phase.section):
                    item = _item(reading, entry, phase, section)
                    item.structured = True


def _take_phase_lists(reading: Reading, phase: OpenPhase) -> None:
    """Take the lists of a phase's own text; without any, those under its headings that are about work."""
    sections = _sections(reading, phase)
    for section in sections[:1]:
        _take_blocks(reading, phase, section)
    if phase.has_items:
        return
    for section in sections[1:]:
        if is_about_work(section.title):
            _take_blocks(reading, phase, section)


def _take_blocks(reading: Reading, phase: OpenPhase | None, section: Section) -> None:
    lead = ""
    for block in section.blocks:
        if block.kind == "paragraph":
            lead = reading.lines[block.stop - 1].strip()
        elif block.kind == "list":
            label = lead.rstrip("*").endswith(":") or (lead.startswith("**") and lead.endswith("**"))
            if not label or is_about_work(lead):
                _take_entries(reading, phase, section, block.entries)
            lead = ""


def _take_entries(reading: Reading, phase: OpenPhase | None, section: Section, entries: list[Entry]) -> None:
    for entry in entries:
        label = label_of(entry.text) or label_of(entry.text, bare=True)
        fact = fact_name(label[0]) if label else None
        known = fact is not None or (
            label is not None and canonical(label[0]) in {"owner", "priority", "timeline", "type"}
        )
        if label is None or not known or entry.checked is not None or entry.number:
            _item(reading, entry, phase, section)
        elif phase is not None and label[1]:
            lines = reading.own(entry.first, entry.stop)
            known = fact if fact in {"waits", "strategy"} else ""
            phase.said.put(known, label[0], [label[1], *entry.more], entry.first)
            for child in entry.children:
                phase.said.add_field(label[0], plain(child.text))
            if not any(child.children for child in entry.children):
                reading.ledger.understand(lines)


def _take_listed_phases(reading: Reading) -> None:
    """Take phases that are lines of a list or bold lines, with the bullets below them as their items."""
    for section in reading.sections:
        if not is_about_work(section.title):
            continue
        phase: OpenPhase | None = None
        for block in section.blocks:
            if block.kind == "paragraph":
                phase = _phase_of(reading, reading.lines[block.first].strip(), block.first, block.stop)
            elif block.kind == "list":
                for entry in block.entries:
                    phase = _take_listed(reading, entry, phase, section)


def _take_listed(reading: Reading, entry: Entry, phase: OpenPhase | None, section: Section) -> OpenPhase | None:
    """Take one line of a list: a phase with the items in it, or an item of the phase above."""
    own = _phase_of(reading, entry.text, entry.first, entry.first + 1)
    if own is not None:
        for child in entry.children:
            _item(reading, child, own, section)
        return own
    if phase is not None:
        _item(reading, entry, phase, section)
    return phase


def _phase_of(reading: Reading, text: str, first: int, stop: int) -> OpenPhase | None:
    title = parse_phase(text, _WORDS)
    if title is None or not title.separated or stop - first > 1 or len(text) > _TITLE_MAX:
        return None
    if any(phase.number == title.number for phase in reading.phases):
        return None
    phase = open_phase(title, first, None)
    reading.phases.append(phase)
    reading.ledger.understand([first])
    return phase


def _take_task_lists(reading: Reading) -> None:
    """Take the lists of task sections."""
    for section in reading.sections:
        if TASK_SECTION.search(canonical(section.title)) and reading.enclosing_item(section) is None:
            for inner in section.walk():
                if inner is section or is_about_work(inner.title):
                    _take_blocks(reading, reading.enclosing_phase(section), inner)


def _take_checklists(reading: Reading) -> None:
    """Take boxes as tasks, in a document that has nothing else to do."""
    for section in reading.sections:
        if is_about_work(" ".join(section.path()[1:] or ("",))):
            for block in section.blocks:
                for entry in block.entries:
                    if entry.checked is not None:
                        _item(reading, entry, None, section)


def _item(reading: Reading, entry: Entry, phase: OpenPhase | None, section: Section) -> OpenItem:
    """Make an item of one line of a list."""
    lines = reading.own(entry.first, entry.stop)
    item = OpenItem(entry.first, phase=phase, structured=False, done=entry.checked is True, number=entry.number)
    if section not in reading.phase_of and section.level and phase is not None:
        item.section = section.title
    text = _take_remarks(item, entry.text)
    text, schedule, status = split_tags(text)
    item.estimated_effort = item.estimated_effort or schedule or ""
    item.status = item.status or status
    file = file_name(text)
    if file is not None:
        item.source, item.name = file.path, file.stem
        item.number = file.number or item.number
        item.title = file.rest or file.stem
    else:
        _split_title(item, text)
    if entry.more:
        item.description.append("\n".join(entry.more))
    for child in entry.children:
        say(item, child, child.first)
    reading.add(item)
    reading.ledger.understand(lines)
    return item


def _take_remarks(item: OpenItem, text: str) -> str:
    """Take `(specialist: tester)`, `(depends on: a, b)` and the like out of a bullet."""
    for remark in list(_INLINE.finditer(text)):
        said = _PHRASE.match(remark[1].strip())
        pair = _PAIR.match(remark[1].strip())
        fact = fact_name(pair[1]) if pair is not None else None
        if said is not None:
            item.waits_said = True
            item.waits.append(Wait(said[2], item.line))
        elif pair is not None and fact in {"specialist", "complexity", "estimated_effort", "task_type", "tools", "key"}:
            item.put(fact, pair[1], [pair[2].strip().strip("\"'")], item.line)
        elif not is_status(remark[1]):
            continue
        else:
            item.status = item.status or remark[1]
        text = text.replace(remark[0], "", 1)
    return text.strip().rstrip(":").strip()


def _split_title(item: OpenItem, text: str) -> None:
    """Split `**Title**: text` into title and description; other bullets are titles as a whole."""
    if text.startswith("**") and (end := text.find("**", 2)) > 0:
        title, rest = plain(text[2:end]).rstrip(":"), plain(text[end + 2 :]).lstrip(":-\u2013\u2014 ")
        title, schedule, status = split_tags(title)
        item.title = title or plain(text)
        item.estimated_effort = item.estimated_effort or schedule or ""
        item.status = item.status or status
        if rest:
            item.description.append(rest)
        return
    item.title = plain(text)
