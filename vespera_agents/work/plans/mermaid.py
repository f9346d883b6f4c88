"""Edges of a mermaid `graph` or `flowchart`: chains, `A & B --> C`, labels on nodes and on arrows, subgraphs.

A scanner that goes over each line once. What is not an edge, a node, or one of mermaid's drawing statements is given
back. Which phases or items the labels mean is decided in `links`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final, final

__all__ = ["Drawing", "DrawnEdge", "is_graph", "read_graph"]

_HEADER: Final = re.compile(r"(?:graph|flowchart)\b[ \t]*(?:TD|TB|BT|LR|RL)?[ \t]*;?", re.IGNORECASE)
_STATEMENT: Final = re.compile(r"(?:style|classDef|class|linkStyle|click|direction|end|accTitle|accDescr)\b")
_SUBGRAPH: Final = re.compile(r"subgraph\b[ \t]*(.*)$")
_ID: Final = re.compile(r"[ \t]*([A-Za-z0-9_.]+(?:-[A-Za-z0-9_][A-Za-z0-9_.]*)*)")
_ARROW: Final = re.compile(
    r"[ \t]*(?:(?P<left><)?(?:-{2,}|={2,}|-\.+-?)"
    r"(?:(?P<plain>[>ox])?[ \t]*\|(?P<piped>[^|]*)\||(?P<head>>|[ox](?=[ \t]))"
    r"|[ \t]+(?P<inner>[^-=.|>\n][^-=|>\n]*?)(?:-{2,}|={2,}|\.+-)(?P<innerhead>>|[ox](?=[ \t]))?)?"
    r"|~{3,}(?P<hidden>))"
)
_SHAPES: Final = (
    ("(((", ")))"),
    ("([", "])"),
    ("[[", "]]"),
    ("[(", ")]"),
    ("((", "))"),
    ("{{", "}}"),
    ("[/", "]"),
    ("[\\", "]"),
    ("[", "]"),
    ("(", ")"),
    ("{", "}"),
    (">", "]"),
)
_CLASS: Final = re.compile(r":::[\w-]+")
_AND: Final = re.compile(r"[ \t]*&")
_EDGES_MAX: Final = 5_000


@final
@dataclass(frozen=True, slots=True)
class DrawnEdge:
    """`after` waits for `before`, both by node id."""

    before: str
    after: str
    text: str | None
    line: int


@final
@dataclass(slots=True)
class Drawing:
    """A graph as it was drawn."""

    edges: list[DrawnEdge] = field(default_factory=list[DrawnEdge])
    labels: dict[str, str] = field(default_factory=dict[str, str])
    """Node id to what is written in the node; ids without a label stand for themselves."""
    groups: list[str] = field(default_factory=list[str])
    """Titles of subgraphs."""
    undirected: list[int] = field(default_factory=list[int])
    """Lines with a link that has no direction."""
    left: list[int] = field(default_factory=list[int])
    """Lines that are no part of a graph."""

    def label(self, node: str) -> str:
        """Give what is written in a node."""
        return self.labels.get(node, node)


def is_graph(text: str) -> bool:
    """Whether a diagram's first line starts a graph."""
    return _HEADER.match(text.strip()) is not None


def read_graph(lines: list[str], body: range) -> Drawing:
    """Read a graph out of some lines of a document."""
    drawing = Drawing()
    for number in body:
        for statement in _without_comment(lines[number]).split(";"):
            text = statement.strip()
            header = _HEADER.match(text)
            if header is not None and not drawing.labels:
                text = text[header.end() :].strip()
            subgraph = _SUBGRAPH.match(text)
            if subgraph is not None:
                drawing.groups.append(subgraph[1])
            elif text and not _STATEMENT.match(text) and not _Line(text, number, drawing).read():
                drawing.left.append(number)
    return drawing


def _without_comment(line: str) -> str:
    at = line.find("%%")
    return line if at < 0 else line[:at]


@final
class _Line:
    """One statement: nodes, arrows between them, and so on."""

    def __init__(self, text: str, number: int, drawing: Drawing) -> None:
        self._text = text
        self._number = number
        self._drawing = drawing
        self._at = 0

    def read(self) -> bool:
        """Take the statement's nodes and edges; give whether all of it was understood."""
        before = self._nodes()
        while before and self._at < len(self._text):
            arrow = _ARROW.match(self._text, self._at)
            if arrow is None or arrow.end() == self._at:
                return False
            self._at = arrow.end()
            after = self._nodes()
            if not after:
                return False
            self._link(before, after, arrow)
            before = after
        return bool(before)

    def _link(self, before: list[str], after: list[str], arrow: re.Match[str]) -> None:
        forward = bool(arrow["plain"] or arrow["head"] or arrow["innerhead"])
        if arrow["hidden"] is not None or forward == bool(arrow["left"]):
            self._drawing.undirected.append(self._number)
            return
        if arrow["left"]:
            before, after = after, before
        text = arrow["piped"] or arrow["inner"]
        for first in before:
            for second in after:
                if len(self._drawing.edges) < _EDGES_MAX:
                    self._drawing.edges.append(DrawnEdge(first, second, text.strip() if text else None, self._number))

    def _nodes(self) -> list[str]:
        """Read `A[label] & B & C`."""
        found: list[str] = []
        while True:
            node = self._node()
            if node is None:
                return []
            found.append(node)
            more = _AND.match(self._text, self._at)
            if more is None:
                return found
            self._at = more.end()

    def _node(self) -> str | None:
        name = _ID.match(self._text, self._at)
        if name is None:
            return None
        self._at = name.end()
        for opening, closing in _SHAPES:
            if self._text.startswith(opening, self._at):
                end = self._end_of_label(self._at + len(opening), closing)
                if end < 0:
                    return None
                label = self._text[self._at + len(opening) : end].strip().strip('"').strip("/\\ ")
                self._drawing.labels[name[1]] = label.replace("<br/>", " ").replace("<br>", " ")
                self._at = end + len(closing)
                break
        else:
            self._drawing.labels.setdefault(name[1], name[1])
        mark = _CLASS.match(self._text, self._at)
        if mark is not None:
            self._at = mark.end()
        while self._at < len(self._text) and self._text[self._at] in " \t":
            self._at += 1
        return name[1]

    def _end_of_label(self, start: int, closing: str) -> int:
        if self._text.startswith('"', start) and (quote := self._text.find('"', start + 1)) >= 0:
            start = quote
        return self._text.find(closing, start)
