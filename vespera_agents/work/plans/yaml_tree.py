"""The nodes of a YAML tree, each with its lines, and how they are read as plain texts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import final

__all__ = ["YamlList", "YamlMap", "YamlNode", "YamlText", "texts"]


@final
@dataclass(slots=True)
class YamlText:
    """A scalar. Lines count from 0 and over the whole document; `stop` is one past the last."""

    text: str
    line: int
    stop: int


@final
@dataclass(slots=True)
class YamlList:
    """A sequence."""

    line: int
    stop: int
    entries: list[YamlNode] = field(default_factory=list["YamlNode"])


@final
@dataclass(slots=True)
class YamlMap:
    """A mapping, in its order, repeated keys included."""

    line: int
    stop: int
    pairs: list[tuple[YamlText, YamlNode]] = field(default_factory=list["tuple[YamlText, YamlNode]"])

    def get(self, *names: str) -> YamlNode | None:
        """Give the value of the first of these keys that is there."""
        return next((value for key, value in self.pairs if key.text.lower() in names), None)


YamlNode = YamlText | YamlList | YamlMap


def texts(node: YamlNode) -> list[str]:
    """Give everything that a node says, one text per entry."""
    if isinstance(node, YamlText):
        return [node.text] if node.text and node.text not in {"~", "null"} else []
    if isinstance(node, YamlList):
        return [text for entry in node.entries for text in texts(entry)]
    found: list[str] = []
    for key, value in node.pairs:
        said = texts(value)
        found.extend([f"{key.text}: {'; '.join(said)}"] if said else [key.text])
    return found
