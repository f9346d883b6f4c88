"""Everything in a plan that is no task: header lines, overview, groups, checklists, criteria, levels, proposed gates.

Each function takes what it understands out of the sections; `keep_texts` keeps the rest under its headings, word for
word. Neighbours: `structure` and `bullets` took the tasks before, `graphs` the diagrams.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from vespera_agents.work.plans.building import OpenGroup, OpenPhase, Reading, fact_name
from vespera_agents.work.plans.fences import Fence
from vespera_agents.work.plans.groups import group_title
from vespera_agents.work.plans.headers import label_of
from vespera_agents.work.plans.model import ChecklistEntry, ProposedGate, TextSection, ValidationLevel
from vespera_agents.work.plans.names import canonical, plain
from vespera_agents.work.plans.outline import Block, Entry, Section
from vespera_agents.work.plans.shell import SHELLS, commands_of

__all__ = [
    "keep_texts",
    "read_gates",
    "read_groups",
    "read_header_lines",
    "read_overview",
    "read_phase_texts",
    "read_points",
]

_CRITERIA: Final = re.compile(
    r"\b(?:success (?:criteria|metrics)|acceptance criteria|definition of done|exit criteria|release criteria|"
    r"done when|completion criteria)\b"
)
_GROUPS_MAX: Final = 200
_OVERVIEW: Final = frozenset(
    {"overview", "summary", "executive summary", "goal", "introduction", "objective", "purpose"}
)
_LEVEL: Final = re.compile(r"level\s+(\d{1,2})\s*[:.)\-\u2013\u2014]?\s*(.*)$", re.IGNORECASE)
_KEYWORD: Final = re.compile(
    r"[ \t>]*(?:(?:[-*+]|\d{1,3}[.)])[ \t]+)?(?:\[[ xX]\][ \t]+)?"
    r"(?:\*\*)?(VALIDATE|RUN|REQUIRE|VERIFY)(?:\*\*)?[ \t]{0,3}:(?:\*\*)?"
    r"[ \t]*(\S.*)$"
)


def read_header_lines(reading: Reading) -> None:
    """Read the lines before the first heading below the title: `**Name**: text`, also as bullets or without stars."""
    sections = [reading.root]
    title = next((section for section in reading.root.children), None)
    if title is not None and title not in reading.phase_of and title not in reading.item_of:
        sections.append(title)
    for section in sections:
        for block in section.blocks:
            if block.kind not in {"paragraph", "list"} or (block.kind == "list" and not _all_labels(block)):
                continue
            lines = reading.own(block.first, block.stop)
            bare = all(label_of(reading.lines[line], bare=True) for line in lines)
            for line in lines:
                label = label_of(reading.lines[line], bare=bare)
                if label is not None:
                    reading.header.put(label[0], label[1], line)
                    reading.ledger.understand([line])


def _all_labels(block: Block) -> bool:
    return all(label_of(entry.text, bare=True) and not entry.children for entry in block.entries)


def read_overview(reading: Reading) -> str:
    """Give the text of the overview section; without one, the text below the title."""
    sections = [section for section in reading.sections if canonical(section.title) in _OVERVIEW]
    for section in [*sections[:1], *reading.root.children[:1], reading.root]:
        paragraphs = [block for block in section.blocks if block.kind == "paragraph"]
        lines = [reading.own(block.first, block.stop) for block in paragraphs]
        text = "\n\n".join("\n".join(reading.lines[line].strip() for line in part) for part in lines if part)
        if text and section not in reading.item_of and section not in reading.phase_of:
            reading.ledger.understand(line for part in lines for line in part)
            if section in sections:
                reading.ledger.understand(range(section.first, section.body))
            return text
    return ""


def read_groups(reading: Reading) -> None:
    """Read execution groups: their titles as headings, lines or bullets, and the shell block below each."""
    for section in reading.sections:
        if section in reading.item_of:
            continue
        words = " ".join(outer.title for outer in (section, *section.ancestors()) if outer.level > 1)
        current: OpenGroup | None = None
        heading = (
            group_title(section.title, section.first) if section.level and section not in reading.phase_of else None
        )
        if heading is not None and _tells_members(section, heading):
            current = _start(reading, heading, words, range(section.first, section.body))
        for block in section.blocks:
            for line, text in _lines_of(reading, block):
                found = group_title(text, line) if len(reading.groups) < _GROUPS_MAX else None
                if found is not None:
                    current = _start(reading, found, words, [line])
            if block.fence is not None and current is not None and block.fence.language in SHELLS:
                _take_shell(reading, current, block)
                current = None


def _tells_members(section: Section, heading: OpenGroup) -> bool:
    """Whether a heading called Group names its members, or shows commands: otherwise it is only a heading."""
    numbers = any(word.isdigit() for word in re.split(r"\W+", heading.members_text))
    return numbers or any(block.fence is not None and block.fence.language in SHELLS for block in section.blocks)


def _lines_of(reading: Reading, block: Block) -> Iterator[tuple[int, str]]:
    if block.kind in {"paragraph", "list"}:
        for line in reading.own(block.first, block.stop):
            yield (
                line,
                reading.lines[line].strip().lstrip("-*+ ") if block.kind == "list" else reading.lines[line].strip(),
            )


def _start(reading: Reading, group: OpenGroup, words: str, lines: range | list[int]) -> OpenGroup:
    group.parallel_words = f"{group.parallel_words} {words}"
    reading.groups.append(group)
    reading.ledger.understand(lines)
    return group


def _take_shell(reading: Reading, group: OpenGroup, block: Block) -> None:
    if block.fence is None:
        return
    commands, comments = commands_of((line, reading.lines[line]) for line in block.fence.body)
    group.commands.extend(text for _, text in commands)
    group.comments.extend(text for _, text in comments)
    group.parallel_words = f"{' '.join(group.comments)} {group.parallel_words}"
    reading.ledger.understand(range(block.first, block.stop))


def read_phase_texts(reading: Reading) -> None:
    """Read the paragraphs right below a phase heading: labels, and what the phase is about."""
    for section, phase in reading.phase_of.items():
        for block in section.blocks:
            if block.kind == "paragraph":
                _read_phase_paragraph(reading, phase, block)


def _read_phase_paragraph(reading: Reading, phase: OpenPhase, block: Block) -> None:
    told: list[str] = []
    lines = reading.own(block.first, block.stop)
    for line in lines:
        text = reading.lines[line].strip()
        label = label_of(text, bare=True)
        fact = fact_name(label[0]) if label is not None else None
        if label is not None and label[1] and (fact is not None or label_of(text)):
            phase.said.put(fact if fact in {"waits", "strategy"} else "", label[0], [label[1]], line)
            if fact == "status":
                phase.status = phase.status or plain(label[1]).strip("[]")
        elif label is not None and label_of(text):
            told.append(label[0])
        else:
            told.append(plain(text))
    if told:
        phase.description.append(" ".join(told))
    reading.ledger.understand(lines)


def read_points(reading: Reading) -> None:
    """Read checklists, and the lists under success criteria."""
    for section in reading.sections:
        path = " > ".join(section.path()[-2:])
        criteria = any(_CRITERIA.search(canonical(outer.title)) for outer in (section, *section.ancestors()))
        for block in section.blocks:
            for entry in block.entries:
                _read_point(reading, entry, path, criteria=criteria)


def _read_point(reading: Reading, entry: Entry, path: str, *, criteria: bool) -> None:
    lines = reading.own(entry.first, entry.stop)
    if not lines or lines[0] != entry.first:
        return
    if entry.checked is None and not criteria:
        for child in entry.children:
            _read_point(reading, child, path, criteria=False)
        return
    text = plain(" ".join([entry.text, *entry.more]))
    point = ChecklistEntry(text=text, done=entry.checked, section=path, line=entry.first + 1)
    if entry.checked is not None:
        reading.checklists.append(point)
    if criteria:
        reading.criteria.append(point)
    inner = {line for child in entry.children for line in range(child.first, child.stop)}
    reading.ledger.understand(line for line in lines if line not in inner)
    for child in entry.children:
        _read_point(reading, child, path, criteria=criteria)


def read_gates(reading: Reading) -> None:
    """Read fenced shell and VALIDATE / RUN / REQUIRE lines as proposed gates, and the levels of a validation loop."""
    for section in reading.sections:
        item = reading.enclosing_item(section)
        level = _LEVEL.match(section.title)
        before = len(reading.commands)
        for block in section.blocks:
            for gate in _proposals(reading, block):
                key = str(id(item)) if item is not None else None
                reading.commands.append(gate.model_copy(update={"section": section.title, "item": key}))
        if level is not None and section not in reading.item_of and section not in reading.phase_of:
            commands = tuple(gate.text for gate in reading.commands[before:])
            title = level[2] or section.title
            reading.levels.append(
                ValidationLevel(number=int(level[1]), title=title, commands=commands, line=section.first + 1)
            )
            reading.ledger.understand(range(section.first, section.body))


def _proposals(reading: Reading, block: Block) -> Iterator[ProposedGate]:
    """Yield each command that a block mentions; section and item are filled in by the caller."""
    fence = block.fence
    if fence is not None and fence.language in SHELLS and reading.ledger.is_free(fence.first):
        yield from _shell_proposals(reading, fence)
        return
    lines = list(fence.body) if fence is not None else reading.own(block.first, block.stop)
    for line in lines:
        match = _KEYWORD.match(reading.lines[line])
        if match is not None and reading.ledger.is_free(line):
            yield ProposedGate(text=plain(match[2]), source=match[1], section="", item=None, line=line + 1)
            reading.ledger.understand([line])


def _shell_proposals(reading: Reading, fence: Fence) -> Iterator[ProposedGate]:
    """Yield the commands of a shell block, each with the comments above it; comments below the last one stay text."""
    commands, comments = commands_of((line, reading.lines[line]) for line in fence.body)
    waiting = list(reversed(comments))
    for line, text in commands:
        about: list[str] = []
        while waiting and waiting[-1][0] < line:
            about.append(waiting.pop()[1])
        yield ProposedGate(
            text=text, about=" ".join(about) or None, source="shell", section="", item=None, line=line + 1
        )
    if commands:
        left = {line for line, _ in waiting}
        reading.ledger.understand(line for line in range(fence.first, fence.stop) if line not in left)


def keep_texts(reading: Reading) -> list[TextSection]:
    """Keep what nobody took, under its headings; a section that holds nothing any more is kept for its heading."""
    kept: list[TextSection] = []
    for section in reading.sections:
        lines = reading.ledger.free(range(section.body, section.stop))
        heading = reading.ledger.free(range(section.first, section.body))
        if lines or heading:
            text = _text(reading.lines, lines)
            kept.append(TextSection(path=section.path(), line=section.first + 1, text=text))
            reading.ledger.keep([*heading, *lines])
    return kept


def _text(lines: list[str], wanted: list[int]) -> str:
    """Put lines together, with one empty line where others stood between them."""
    parts: list[str] = []
    before = wanted[0] - 1 if wanted else 0
    for line in wanted:
        if line > before + 1:
            parts.append("")
        parts.append(lines[line].rstrip())
        before = line
    return "\n".join(parts)
