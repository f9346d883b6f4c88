"""Where the tasks of YAML blocks belong: to the heading above them, to their phase, or to the plan as a whole.

Neighbours: `yaml_tasks` says what a block holds, `structure` finds the items that have no YAML.
"""

from __future__ import annotations

import re
from typing import Final

from vespera_agents.work.plans.building import OpenItem, OpenPhase, Reading
from vespera_agents.work.plans.fences import Fence
from vespera_agents.work.plans.model import ProposedGate
from vespera_agents.work.plans.names import canonical
from vespera_agents.work.plans.outline import Section
from vespera_agents.work.plans.titles import item_title
from vespera_agents.work.plans.yaml_nodes import read_yaml
from vespera_agents.work.plans.yaml_tasks import YamlFindings, interpret

__all__ = ["give_heading", "merge_breakdowns", "place_yaml"]

_LIKE_YAML: Final = re.compile(r"[A-Za-z_][\w .-]{0,60}:(?:\s|$)")


def place_yaml(reading: Reading) -> None:
    """Read every YAML block, and put what it says where it belongs."""
    for section in reading.sections:
        for block in section.blocks:
            if block.fence is not None and _may_be_yaml(reading.lines, block.fence):
                _place(reading, section, block.fence)


def _may_be_yaml(lines: list[str], fence: Fence) -> bool:
    if fence.language in {"yaml", "yml"}:
        return True
    told = [lines[line] for line in fence.body if lines[line].strip()][:1]
    return fence.language in {"", "text", "txt"} and bool(told) and _LIKE_YAML.match(told[0]) is not None


def _place(reading: Reading, section: Section, fence: Fence) -> None:
    root, left = read_yaml(reading.lines, fence.body, reading.budget)
    found = interpret(root)
    if not found:
        return
    if not fence.closed:
        reading.note(fence.first, "this block is never closed; it is read up to where the document goes on")
    phase = reading.enclosing_phase(section)
    for name, text in found.header:
        reading.header.put(name, text, fence.first)
    for name, text in found.fields:
        if phase is not None:
            phase.said.add_field(name, text)
        else:
            reading.header.put_field(name, text)
    (phase.workflow if phase else reading.workflow).extend(found.workflow)
    _place_containers(reading, phase, found)
    for item in found.own:
        _place_own(reading, section, phase, item)
    for item in found.listed:
        item.phase = None if found.breakdown and reading.task is not None else phase
        if found.breakdown:
            reading.breakdowns.append(item)
        else:
            reading.add(item)
    for command in found.commands:
        gate = ProposedGate(
            text=command.text, source="validation", section=section.title, item=None, line=command.line + 1
        )
        reading.commands.append(gate)
    _account(reading, fence, found, left)


def _account(reading: Reading, fence: Fence, found: YamlFindings, left: list[int]) -> None:
    """Tell the ledger about a block: comments are kept, keys that nobody knows are listed."""
    lines = reading.lines
    told = [line for line in fence.body if not lines[line].lstrip().startswith("#")]
    reading.ledger.understand(line for line in told if line in found.lines and line not in left)
    reading.ledger.leave(told)
    reading.ledger.understand([*range(fence.first, fence.body.start), *range(fence.body.stop, fence.stop)])


def _place_containers(reading: Reading, phase: OpenPhase | None, found: YamlFindings) -> None:
    """Place the tasks that stand for a phase or for the plan."""
    rest: list[OpenItem] = []
    if found.phase is not None:
        if phase is not None and phase.facts is None:
            phase.facts = found.phase
        else:
            rest.append(found.phase)
    if found.main is not None:
        rest.append(found.main)
    for item in rest:
        if reading.task is None:
            reading.task = item
        else:
            item.phase = phase
            reading.add(item)


def _place_own(reading: Reading, section: Section, phase: OpenPhase | None, item: OpenItem) -> None:
    """Place a task that its block describes without naming it."""
    item.phase = phase
    if section in reading.phase_of:
        if item.run is not None or item.title:
            item.title = item.title or reading.phase_of[section].title
            reading.add(item)
        else:
            _tell_phase(reading.phase_of[section], item)
        return
    if any(inner in reading.phase_of for inner in section.walk()):
        if reading.task is None and item.run is None:
            reading.task = item
        else:
            item.title = item.title or section.title
            reading.add(item)
        return
    standing = reading.item_of.get(section)
    if standing is not None and (not item.title or canonical(item.title) == canonical(standing.title)):
        standing.absorb(item)
    elif standing is not None or not section.level:
        item.title = item.title or f"Task of line {item.line + 1}"
        reading.add(item)
    else:
        give_heading(reading, section, item)


def _tell_phase(phase: OpenPhase, item: OpenItem) -> None:
    """Keys of a task without a title or a command, right below a phase heading, speak of the phase."""
    phase.said.waits.extend(item.waits)
    phase.said.waits_said = phase.said.waits_said or item.waits_said
    phase.status = phase.status or item.status
    for name, text in item.fields.items():
        phase.said.add_field(name, text)
    item.waits, item.fields = [], {}
    if isinstance(phase.facts, OpenItem):
        phase.facts.absorb(item)
    else:
        phase.facts = item


def give_heading(reading: Reading, section: Section, item: OpenItem) -> None:
    """Make a section an item, with the number, file, status and name that its heading says."""
    title = item_title(section.title)
    item.name = title.title or section.title
    item.number = item.number or title.number
    item.status = item.status or title.status
    item.estimated_effort = item.estimated_effort or title.effort or ""
    if title.file is not None:
        item.source = item.source or title.file.path
        item.name = title.file.stem
    if item.title and title.title and canonical(item.title) != canonical(title.title):
        item.add_field("heading", section.title)
    item.title = item.title or title.title or item.name
    item.line = section.first
    outer = section.parent
    if outer is not None and outer not in reading.phase_of and item.phase is not None:
        item.section = outer.title
    reading.item_of[section] = item
    reading.add(item)
    reading.ledger.understand(range(section.first, section.body))


def merge_breakdowns(reading: Reading) -> None:
    """Join the tasks that a breakdown names with the items that describe them, by name, else by place."""
    described = {canonical(name): item for item in reading.items for name in (item.title, item.name) if name}
    unmatched: list[OpenItem] = []
    merged: set[int] = set()
    for named in reading.breakdowns:
        item = described.get(canonical(named.wanted_key or named.title))
        if item is None or id(item) in merged:
            unmatched.append(named)
        else:
            _join(item, named, merged)
    # Plans often name a task shortly in the breakdown and at length in its heading; numbers tell which is which.
    rest = [item for item in reading.items if item.number and id(item) not in merged]
    if unmatched and len(rest) == len(unmatched) and len(merged) + len(rest) == len(reading.breakdowns):
        for item, named in zip(rest, unmatched, strict=True):
            _join(item, named, merged)
        unmatched = []
    for named in unmatched:
        reading.add(named)


def _join(item: OpenItem, named: OpenItem, merged: set[int]) -> None:
    # Its title is only its key, written as words.
    named.title = ""
    item.absorb(named)
    merged.add(id(item))
