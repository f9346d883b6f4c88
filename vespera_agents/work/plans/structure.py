"""Which headings are items, and what stands below such a heading.

A heading is an item when a YAML block below it says so (`placing` found those), when it names a plan file, when it says
`Task 3:`, when it is numbered inside a phase or a task section, or when it stands beside items in an executable plan.
Neighbours: `bullets` reads lists as items where there are no such headings.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, final

from vespera_agents.work.plans.building import OpenItem, Reading, fact_name
from vespera_agents.work.plans.headers import label_of
from vespera_agents.work.plans.model import ChecklistEntry
from vespera_agents.work.plans.names import canonical, plain
from vespera_agents.work.plans.outline import Block, Entry, Section
from vespera_agents.work.plans.phases import is_about_work
from vespera_agents.work.plans.placing import give_heading
from vespera_agents.work.plans.titles import item_title

__all__ = ["TASK_SECTION", "entry_texts", "find_heading_items", "read_item_texts", "say"]

TASK_SECTION: Final = re.compile(
    r"\b(?:tasks|subtasks|sub tasks|task (?:list|breakdown)|work items|action items|to ?dos?|backlog|"
    r"implementation (?:steps|order|plan|sequence))\b"
)
"""Headings (in canonical spelling) below which a list names tasks."""
_TASK_WORDS: Final = frozenset({"task", "subtask", "sub-task", "work item"})
_LISTS: Final = frozenset({"instructions", "artifacts", "criteria", "tools", "waits"})


@final
@dataclass(frozen=True, slots=True)
class _Told:
    """What a heading or label says of the text below it."""

    fact: str
    """Empty when it is no known fact."""
    name: str
    line: int | None = None
    """The label's own line, to be accounted for together with the list below it."""


def find_heading_items(reading: Reading) -> None:
    """Find the headings that are items without a YAML block of their own."""
    siblings = {
        section.parent for section, item in reading.item_of.items() if item.flat and section.parent in reading.phase_of
    }
    executable = bool(siblings)
    for section in reading.sections:
        if not section.level or section in reading.phase_of or reading.enclosing_item(section) is not None:
            continue
        if any(inner in reading.phase_of or inner in reading.item_of for inner in section.walk()):
            continue
        if _is_item(reading, section, executable=executable):
            give_heading(reading, section, OpenItem(section.first, phase=reading.enclosing_phase(section)))


def _is_item(reading: Reading, section: Section, *, executable: bool) -> bool:
    title = item_title(section.title)
    phase = reading.enclosing_phase(section)
    if executable and section.parent in reading.phase_of:
        return fact_name(section.title) is None
    around = " ".join(canonical(outer.title) for outer in section.ancestors())
    tasks = TASK_SECTION.search(around) is not None
    if title.file is not None:
        return title.number is not None or phase is not None
    if title.word in _TASK_WORDS:
        return is_about_work(around) or tasks or phase is not None
    if title.number is None or not is_about_work(title.title):
        return False
    return phase is not None or tasks


def read_item_texts(reading: Reading) -> None:
    """Read the text below each heading item into it."""
    for section, item in list(reading.item_of.items()):
        _read_blocks(reading, section, item, None)
        for inner in section.children:
            fact = fact_name(inner.title)
            if fact is not None and inner not in reading.item_of:
                reading.ledger.understand(range(inner.first, inner.body))
                _read_blocks(reading, inner, item, _Told(fact, inner.title))


def _read_blocks(reading: Reading, section: Section, item: OpenItem, told: _Told | None) -> None:
    """Read the blocks of one section; `told` is what its heading says they are, for a list also the label above it."""
    above = told
    for block in section.blocks:
        if block.kind == "list":
            _read_list(reading, section, item, block, above or _Told("instructions", "instructions"))
            above = told
        elif block.kind == "paragraph":
            above = _read_paragraph(reading, item, block, told) or told


def _read_paragraph(reading: Reading, item: OpenItem, block: Block, told: _Told | None) -> _Told | None:
    """Read a paragraph; give what it says of the list below it, if it ends with a label."""
    above: _Told | None = None
    kept: list[str] = []
    lines = reading.own(block.first, block.stop)
    for line in lines:
        text = reading.lines[line].strip()
        label = label_of(text)
        above = None
        if label is not None and label[1]:
            item.put(fact_name(label[0]) or "", label[0], [label[1]], line)
        elif label is not None or (text.endswith(":") and fact_name(text) is not None):
            name = label[0] if label else text.rstrip(":")
            above = _Told(fact_name(name) or "", name, line)
            continue
        elif told is not None:
            item.put(told.fact, told.name, [text], line)
        else:
            kept.append(text)
        reading.ledger.understand([line])
    if kept:
        item.description.append("\n".join(kept))
    return above


def _read_list(reading: Reading, section: Section, item: OpenItem, block: Block, above: _Told) -> None:
    """Read a list below an item into what the label above it says; without a known one, it tells what to do."""
    fact = above.fact if above.fact in _LISTS else "instructions"
    if above.line is not None:
        if fact != above.fact:
            item.instructions.append(f"{above.name}:")
        reading.ledger.understand([above.line])
    for entry in block.entries:
        lines = reading.own(entry.first, entry.stop)
        if not lines:
            continue
        if entry.checked is not None:
            reading.checklists.append(
                ChecklistEntry(text=plain(entry.text), done=entry.checked, section=section.title, line=entry.first + 1)
            )
        if fact == "instructions":
            say(item, entry, lines[0])
        else:
            item.put(fact, above.name, entry_texts(entry), lines[0])
        reading.ledger.understand(lines)


def say(item: OpenItem, entry: Entry, line: int) -> None:
    """Read a bullet below an item: a labelled fact, or an instruction."""
    label = label_of(entry.text) or label_of(entry.text, bare=True)
    fact = fact_name(label[0]) if label else None
    if label is None or (fact is None and not label_of(entry.text)):
        item.put("instructions", "", entry_texts(entry), line)
        return
    inner = [text for child in entry.children for text in entry_texts(child)]
    values = [text for text in (label[1], *entry.more, *inner) if text]
    if fact is None or fact in {"run", "gates", "when", "timeout", "shell"}:
        # Commands count only in YAML, where their author meant them to be run.
        item.put("instructions", "", entry_texts(entry), line)
    else:
        item.put(fact, label[0], values, line)


def entry_texts(entry: Entry, indent: str = "") -> list[str]:
    """Give everything that a bullet says, one text per bullet, inner ones indented."""
    found = [indent + plain(" ".join([entry.text, *entry.more]))] if entry.text else []
    for child in entry.children:
        found.extend(entry_texts(child, indent + "  "))
    return found
