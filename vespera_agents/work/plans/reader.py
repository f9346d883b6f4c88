"""The way in: a document's text or bytes become a Plan.

The order of the passes is the whole design: first what is surest (fences, sections, phases, YAML), then what is left
(headings, lists, labels), then the text that remains; each pass takes its lines off the ledger, so none is read twice
and none is lost. Nothing is executed and nothing is opened. Neighbours: all of this package; `drafting` goes on.
"""

from __future__ import annotations

from vespera_agents.work.errors import PlanError
from vespera_agents.work.plans.building import Reading
from vespera_agents.work.plans.bullets import find_list_items
from vespera_agents.work.plans.fences import find_fences
from vespera_agents.work.plans.finishing import finish_facts, finish_item, finish_phase
from vespera_agents.work.plans.graphs import read_graphs, read_sentences
from vespera_agents.work.plans.headers import front_matter, read_front_matter
from vespera_agents.work.plans.lines import Ledger, decode_plan, split_lines
from vespera_agents.work.plans.links import give_keys, link_edges, link_groups, link_waits
from vespera_agents.work.plans.model import LineCount, Plan, ProposedGate, UnplacedLine
from vespera_agents.work.plans.names import slug
from vespera_agents.work.plans.outline import read_outline
from vespera_agents.work.plans.phases import find_phases
from vespera_agents.work.plans.placing import merge_breakdowns, place_yaml
from vespera_agents.work.plans.structure import find_heading_items, read_item_texts
from vespera_agents.work.plans.tables import read_tool_tables
from vespera_agents.work.plans.texts import (
    keep_texts,
    read_gates,
    read_groups,
    read_header_lines,
    read_overview,
    read_phase_texts,
    read_points,
)

__all__ = ["read_plan", "read_plan_bytes"]


def read_plan_bytes(data: bytes, *, name: str) -> Plan:
    """Read a plan out of a file's bytes; see `read_plan`.

    Raises:
        PlanError: also when the bytes are no UTF-8 text.
    """
    return read_plan(decode_plan(data, name), name=name)


def read_plan(text: str, *, name: str) -> Plan:
    """Read a plan or PRP.

    Args:
        text: the whole document, Markdown of any quality.
        name: what to call it in messages, usually its file name.

    Raises:
        PlanError: empty, binary, too large, or no phase, item or task in it.
    """
    lines = split_lines(text, name)
    front, front_lines = front_matter(lines)
    unfenced = find_fences(lines, front_lines.stop)
    root = read_outline(unfenced, front_lines.stop)
    fenced = frozenset(line for fence in unfenced.fences for line in range(fence.first, fence.stop))
    reading = Reading(name, lines, Ledger(lines), root, list(root.walk()), fenced)
    reading.ledger.leave(unfenced.stray)
    if front_lines:
        reading.ledger.leave(read_front_matter(lines, front, reading.header, reading.budget))
        reading.ledger.understand(front_lines)
    for fence in unfenced.fences:
        if not fence.closed and not any(lines[line].strip() for line in fence.body):
            reading.ledger.leave([fence.first])
    _find_work(reading)
    if not reading.phases and not reading.items and reading.task is None:
        raise PlanError(
            f"{name} holds no plan: no phase, no task and no item was found in it. "
            "Give it headings such as `## Phase 1: ...` with a list of tasks below, or `### task-name` headings."
        )
    return _finish(reading, name)


def _find_work(reading: Reading) -> None:
    find_phases(reading)
    place_yaml(reading)
    find_heading_items(reading)
    merge_breakdowns(reading)
    find_list_items(reading)


def _finish(reading: Reading, name: str) -> Plan:
    """Read the rest of the document, and make the model."""
    read_header_lines(reading)
    read_groups(reading)
    read_graphs(reading)
    read_sentences(reading)
    read_item_texts(reading)
    read_phase_texts(reading)
    read_gates(reading)
    read_tool_tables(reading)
    read_points(reading)
    overview = read_overview(reading)
    give_keys(reading)
    link_waits(reading)
    link_edges(reading)
    groups = link_groups(reading)
    first = reading.root.children[0] if reading.root.children else reading.root
    titled = first not in reading.phase_of and first not in reading.item_of
    title = reading.header.said.get("title") or (first.title if titled else "") or name
    if first.title == title:
        reading.ledger.understand(range(first.first, first.body))
    header = reading.header.finish()
    if "concurrency" in reading.header.said and header.concurrency is None:
        reading.note(None, f"concurrency {reading.header.said['concurrency']!r} is no number from 1 to 64")
    sections = keep_texts(reading)
    keys: dict[str, list[str]] = {phase.key: [] for phase in reading.phases}
    for item in reading.items:
        if item.phase is not None:
            keys[item.phase.key].append(item.key)
    phases = tuple(
        finish_phase(reading, phase, before, keys[phase.key])
        for phase, before in zip(reading.phases, [None, *reading.phases], strict=False)
    )
    return Plan(
        name=name,
        id=header.id or slug(title) or "plan",
        title=title,
        header=header,
        overview=overview,
        concurrency=header.concurrency,
        task=finish_facts(reading, reading.task, title),
        phases=phases,
        items=tuple(finish_item(reading, item) for item in reading.items),
        groups=tuple(groups),
        graph=tuple(edge for edge, _ in reading.edges),
        workflow=tuple(reading.workflow),
        proposed_gates=tuple(_gates(reading)),
        checklists=tuple(reading.checklists),
        success_criteria=tuple(reading.criteria),
        validation_levels=tuple(reading.levels),
        notes=tuple(sorted(reading.notes, key=lambda note: note.line or 0)),
        sections=tuple(sections),
        unplaced=tuple(UnplacedLine(line=at + 1, text=reading.lines[at]) for at in reading.ledger.unplaced()),
        lines=_count(reading),
    )


def _gates(reading: Reading) -> list[ProposedGate]:
    """Give the proposed gates in the document's order, with the keys of the items they belong to."""
    keys = {str(id(item)): item.key for item in reading.items}
    gates = sorted(reading.commands, key=lambda gate: gate.line)
    return [gate.model_copy(update={"item": keys.get(gate.item or "")}) for gate in gates]


def _count(reading: Reading) -> LineCount:
    understood, kept = reading.ledger.counts()
    return LineCount(
        total=len(reading.lines),
        blank=sum(not line.strip() for line in reading.lines),
        understood=understood,
        kept=kept,
        unplaced=len(reading.ledger.unplaced()),
    )
