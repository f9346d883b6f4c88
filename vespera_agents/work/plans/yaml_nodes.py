"""YAML with line numbers, safe against hostile documents.

The tree is built from parser events without recursion: composing `[[[[...` crashes the C loader, and its scanner is
quadratic in open brackets, so a document has a budget of them. Scalars stay text: `01` is a number to YAML, and a name
to a plan. Aliases are refused. What cannot be parsed is read by `yaml_salvage`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Protocol, final

import yaml

from vespera_agents.work.plans.yaml_salvage import salvage
from vespera_agents.work.plans.yaml_tree import YamlList, YamlMap, YamlNode, YamlText

__all__ = ["BracketBudget", "read_yaml"]

_DEPTH_MAX: Final = 40
_LOADER: Final = yaml.CBaseLoader if yaml.__with_libyaml__ else yaml.BaseLoader


@final
@dataclass(slots=True)
class BracketBudget:
    """What one document may spend on brackets: each block costs the square of its opening ones."""

    left: int = 100_000_000

    def spend(self, text: str) -> bool:
        """Pay for a block, if there is enough left."""
        opened = text.count("[") + text.count("{")
        if opened * opened > self.left:
            return False
        self.left -= opened * opened
        return True


class _Mark(Protocol):
    """A place in a block, the same for both of pyyaml's parsers."""

    line: int
    column: int


class _TooDeepError(Exception):
    """The block nests deeper than a plan would, or uses aliases."""


@final
@dataclass(slots=True)
class _Frame:
    node: YamlList | YamlMap
    key: YamlText | None = None


@final
@dataclass(slots=True)
class _Tree:
    first: int
    root: YamlNode | None = None
    frames: list[_Frame] = field(default_factory=list[_Frame])

    def add(self, node: YamlNode) -> None:
        """Put a node where the parser is."""
        if not self.frames:
            self.root = self.root or node
            return
        frame = self.frames[-1]
        if isinstance(frame.node, YamlList):
            frame.node.entries.append(node)
        elif frame.key is None:
            frame.key = node if isinstance(node, YamlText) else YamlText("?", node.line, node.stop)
        else:
            frame.node.pairs.append((frame.key, node))
            frame.key = None

    def line(self, mark: _Mark | None) -> int:
        """Give the line of the document at which a mark stands."""
        return self.first + (mark.line if mark is not None else 0)

    def stop(self, mark: _Mark | None) -> int:
        """Give one past the last line before a mark."""
        return self.line(mark) + (mark is not None and mark.column > 0)


def read_yaml(lines: list[str], body: range, budget: BracketBudget) -> tuple[YamlNode | None, list[int]]:
    """Read the YAML of some lines; give its tree, and the lines that are none.

    Args:
        lines: the whole document.
        body: the lines to read.
        budget: what is left for this document.
    """
    text = "\n".join(lines[line].rstrip() for line in body)
    if budget.spend(text):
        try:
            return _parse(text, body.start), []
        except (yaml.YAMLError, _TooDeepError):
            pass
    return salvage(lines, body)


def _parse(text: str, first: int) -> YamlNode | None:
    tree = _Tree(first)
    for event in yaml.parse(text, Loader=_LOADER):
        at = tree.line(event.start_mark)
        if isinstance(event, yaml.ScalarEvent):
            tree.add(YamlText(str(event.value).strip(), at, max(at + 1, tree.stop(event.end_mark))))
        elif isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            node = YamlMap(at, at + 1) if isinstance(event, yaml.MappingStartEvent) else YamlList(at, at + 1)
            tree.add(node)
            tree.frames.append(_Frame(node))
            if len(tree.frames) > _DEPTH_MAX:
                raise _TooDeepError
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            frame = tree.frames.pop()
            frame.node.stop = max(frame.node.line + 1, tree.stop(event.end_mark))
        elif isinstance(event, yaml.AliasEvent):
            raise _TooDeepError
    return tree.root
