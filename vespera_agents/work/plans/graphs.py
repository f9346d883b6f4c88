"""Diagrams and sentences that say what waits for what: mermaid graphs, `A -> B`, `B depends on A`.

Edges are gathered as they were drawn; `links` finds out which phases and items they mean. A diagram that means none of
them is how its author walks through a phase: it becomes the phase's workflow.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Final

from vespera_agents.work.plans.building import Reading
from vespera_agents.work.plans.mermaid import Drawing, is_graph, read_graph
from vespera_agents.work.plans.model import GraphEdge
from vespera_agents.work.plans.names import canonical, plain
from vespera_agents.work.plans.outline import Block, Section

__all__ = ["read_graphs", "read_sentences"]

_SENTENCE: Final = re.compile(
    r"(?P<after>[^:]{1,200}?) (?:depends? on|requires?|waits? for|needs?|is blocked by|comes? after|runs? after) "
    r"(?P<before>.{1,400})$"
)
_ARROW: Final = re.compile(r" ?(?:→|->|-->|=>|➡️?) ?")
_ARROWS_MAX: Final = 200


def read_graphs(reading: Reading) -> None:
    """Read every mermaid graph of a document."""
    for section in reading.sections:
        for block in section.blocks:
            if block.fence is not None and block.fence.language == "mermaid":
                _read_graph(reading, section, block)


def _read_graph(reading: Reading, section: Section, block: Block) -> None:
    fence = block.fence
    told = [line for line in fence.body if reading.lines[line].strip()] if fence is not None else []
    if fence is None or not told or not is_graph(reading.lines[told[0]]):
        return
    drawing = read_graph(reading.lines, fence.body)
    for edge in drawing.edges:
        before, after = drawing.label(edge.before), drawing.label(edge.after)
        # Ids keep two nodes with one label apart; an id that says as much as its label is left out.
        drawn = GraphEdge(
            before=_end(edge.before, before), after=_end(edge.after, after), label=edge.text, line=edge.line + 1
        )
        reading.edges.append((drawn, section))
    for line in drawing.undirected:
        reading.note(line, "this link has no direction, so nothing waits for anything because of it")
    _keep_lone_nodes(reading, drawing, section)
    reading.ledger.leave(drawing.left)
    reading.ledger.understand(range(fence.first, fence.stop))


def _end(node: str, label: str) -> str:
    return label if canonical(label) else node


def _keep_lone_nodes(reading: Reading, drawing: Drawing, section: Section) -> None:
    """Labels that no edge mentions, and titles of subgraphs, are steps of the workflow."""
    linked = {node for edge in drawing.edges for node in (edge.before, edge.after)}
    lone = [label for node, label in drawing.labels.items() if node not in linked]
    phase = reading.enclosing_phase(section)
    (phase.workflow if phase else reading.workflow).extend([*drawing.groups, *lone])


def read_sentences(reading: Reading) -> None:
    """Read the lines of sections called Dependencies: `B depends on A`, `A -> B -> C`."""
    for section in reading.sections:
        if "dependenc" not in canonical(section.title) and "critical path" not in canonical(section.title):
            continue
        for block in section.blocks:
            for line, text in _lines(reading, block):
                edges = _edges(text, line)
                if edges:
                    reading.edges.extend((edge, section) for edge in edges)
                    reading.ledger.understand([line])


def _lines(reading: Reading, block: Block) -> list[tuple[int, str]]:
    if block.kind not in {"paragraph", "list"}:
        return []
    lines = reading.own(block.first, block.stop)
    return [(line, plain(reading.lines[line].strip().lstrip("-*+0123456789.) ")).rstrip(".")) for line in lines]


def _edges(text: str, line: int) -> list[GraphEdge]:
    steps = [step for step in _ARROW.split(text, maxsplit=_ARROWS_MAX) if step]
    if len(steps) > 1:
        return [GraphEdge(before=before, after=after, label=None, line=line + 1) for before, after in pairwise(steps)]
    sentence = _SENTENCE.match(text)
    if sentence is None:
        return []
    befores = [part.strip() for part in re.split(r",| and | & ", sentence["before"])]
    return [
        GraphEdge(before=before, after=sentence["after"], label=None, line=line + 1) for before in befores if before
    ]
