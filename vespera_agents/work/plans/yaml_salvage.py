"""Read by indentation what is meant as YAML and is none: a colon in a value, a number as a bullet, a tab, a quote.

Much less than YAML and much more forgiving: keys, lists, block texts, inline lists. A line that fits nowhere is given
back. Linear in the number of lines. `yaml_nodes` comes here when the real parser gave up.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, final

from vespera_agents.work.plans.yaml_tree import YamlList, YamlMap, YamlNode, YamlText

__all__ = ["salvage"]

_DEPTH_MAX: Final = 40
_TAB: Final = 4
_TEXT_MAX: Final = 8_000
"""Characters in a text that goes on over lines; without a limit, joining them would be quadratic."""
_KEY = re.compile(r"([\"']?)([A-Za-z_][\w ./-]{0,80})\1[ \t]{0,3}:(?:[ \t]+(.*))?$", re.DOTALL)
_BULLET = re.compile(r"(?:[-*+]|\d{1,4}[.)])(?:[ \t]+|$)")
_BLOCK_TEXT = re.compile(r"[|>][+-]?\d?[+-]?$")


@final
@dataclass(slots=True)
class _Frame:
    indent: int
    node: YamlMap | YamlList
    key: YamlText | None = None
    """A key whose value has not come yet."""


def salvage(lines: list[str], body: range) -> tuple[YamlNode | None, list[int]]:
    """Read some lines of a document; give the tree, and the lines that fit nowhere."""
    return _Salvage(lines, body).read()


@final
class _Salvage:
    def __init__(self, lines: list[str], body: range) -> None:
        self._lines = lines
        self._body = body
        self._frames: list[_Frame] = []
        self._root: YamlNode | None = None
        self._left: list[int] = []
        self._last: tuple[int, YamlText] | None = None

    def read(self) -> tuple[YamlNode | None, list[int]]:
        at = self._body.start
        while at < self._body.stop:
            line = self._lines[at].expandtabs(_TAB)
            content = line.strip()
            if content and not content.startswith("#"):
                at = self._line(at, len(line) - len(line.lstrip()), content)
            else:
                at += 1
        for frame in reversed(self._frames):
            self._give_up_key(frame)
        return self._root, self._left

    def _line(self, at: int, indent: int, content: str) -> int:
        """Read one line that says something; give the next one to read."""
        bullets = 0
        while bullets < _DEPTH_MAX and (bullet := _BULLET.match(content)) is not None:
            if not self._open_list(at, indent):
                self._left.append(at)
                return at + 1
            indent += bullet.end()
            content = content[bullet.end() :]
            bullets += 1
        pair = _KEY.match(content)
        if pair is not None:
            return self._pair(at, indent, pair, inside_list=bullets > 0)
        if bullets:
            self._append(at, indent, content)
        elif self._last is not None and indent > self._last[0] and len(self._last[1].text) < _TEXT_MAX:
            self._last[1].text = f"{self._last[1].text} {_unquote(content)}".strip()
            self._last[1].stop = at + 1
        elif self._frames and self._frames[-1].key is not None and indent > self._frames[-1].indent:
            self._value(self._frames[-1], _scalar(content, at), self._frames[-1].indent)
        else:
            self._left.append(at)
        return at + 1

    def _open_list(self, at: int, indent: int) -> bool:
        """Make the list at this indentation the current one."""
        while self._frames and self._frames[-1].indent > indent:
            outer = self._frames[-2].indent if len(self._frames) > 1 else -1
            if self._frames[-1].key is not None and outer < indent:
                # The list stands further left than its key; there is no other key that it could belong to.
                break
            self._give_up_key(self._frames.pop())
        top = self._frames[-1] if self._frames else None
        if top is not None and isinstance(top.node, YamlMap) and top.key is None and top.indent == indent:
            self._frames.pop()
            top = self._frames[-1] if self._frames else None
        if top is not None and isinstance(top.node, YamlList) and top.indent == indent:
            return True
        return self._open(_Frame(indent, YamlList(at, at + 1)))

    def _pair(self, at: int, indent: int, pair: re.Match[str], *, inside_list: bool) -> int:
        while self._frames and (
            self._frames[-1].indent > indent
            or (self._frames[-1].indent == indent and isinstance(self._frames[-1].node, YamlList) and not inside_list)
        ):
            self._give_up_key(self._frames.pop())
        top = self._frames[-1] if self._frames else None
        fits = top is not None and isinstance(top.node, YamlMap) and (top.indent == indent or top.key is None)
        if not fits and not self._open(_Frame(indent, YamlMap(at, at + 1))):
            self._left.append(at)
            return at + 1
        frame = self._frames[-1]
        self._give_up_key(frame)
        frame.key = YamlText(pair[2].strip(), at, at + 1)
        self._last = None
        value = _without_comment((pair[3] or "").strip())
        if _BLOCK_TEXT.match(value):
            return self._block_text(at, indent, frame)
        if value:
            self._value(frame, _scalar(value, at), indent)
        return at + 1

    def _block_text(self, at: int, indent: int, frame: _Frame) -> int:
        taken: list[str] = []
        below = at + 1
        while below < self._body.stop:
            line = self._lines[below].expandtabs(_TAB)
            if line.strip() and len(line) - len(line.lstrip()) <= indent:
                break
            taken.append(line.strip())
            below += 1
        self._value(frame, YamlText("\n".join(taken).strip(), at, below), indent)
        self._last = None
        return below

    def _append(self, at: int, indent: int, content: str) -> None:
        top = self._frames[-1].node
        if isinstance(top, YamlList):
            node = _scalar(_without_comment(content), at)
            top.entries.append(node)
            self._last = (indent - 1, node) if isinstance(node, YamlText) else None

    def _value(self, frame: _Frame, node: YamlNode, indent: int) -> None:
        if isinstance(frame.node, YamlMap) and frame.key is not None:
            frame.node.pairs.append((frame.key, node))
            frame.key = None
            self._last = (indent, node) if isinstance(node, YamlText) else None

    def _open(self, frame: _Frame) -> bool:
        """Put a new map or list where it belongs: into the list or under the key above it, or at the top."""
        if len(self._frames) >= _DEPTH_MAX:
            return False
        top = self._frames[-1] if self._frames else None
        if top is None:
            if self._root is None:
                self._root = frame.node
            elif isinstance(self._root, YamlMap | YamlList) and type(self._root) is type(frame.node):
                # The first line was indented further than the rest; they belong together all the same.
                frame.node = self._root
            else:
                return False
        elif isinstance(top.node, YamlList):
            top.node.entries.append(frame.node)
        elif top.key is not None:
            top.node.pairs.append((top.key, frame.node))
            top.key = None
        else:
            return False
        self._frames.append(frame)
        self._last = None
        return True

    def _give_up_key(self, frame: _Frame) -> None:
        """A key that got no value has an empty one."""
        if isinstance(frame.node, YamlMap) and frame.key is not None:
            frame.node.pairs.append((frame.key, YamlText("", frame.key.line, frame.key.stop)))
            frame.key = None


def _scalar(text: str, line: int) -> YamlNode:
    if text.startswith("["):
        entries = [_unquote(part.strip()) for part in text.strip("[]").split(",")]
        return YamlList(line, line + 1, [YamlText(entry, line, line + 1) for entry in entries if entry])
    return YamlText(_unquote(text), line, line + 1)


def _unquote(text: str) -> str:
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        return text[1:-1]
    return text


def _without_comment(text: str) -> str:
    if text.startswith(("'", '"')):
        return text
    at = text.find(" #")
    return text if at < 0 else text[:at].rstrip()
