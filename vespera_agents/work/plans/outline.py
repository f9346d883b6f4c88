"""The document as a tree of sections with their paragraphs, lists and fences, each with its lines.

markdown-it-py finds the structure; only its block rules run, because the words are read elsewhere. Indented code and
link definitions are switched off: in a plan, four spaces mean a list that was indented too far.
Neighbours: `fences` took the code out first, `structure` and `texts` read the tree.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, final

from markdown_it import MarkdownIt

from vespera_agents.work.plans.fences import Fence, Unfenced
from vespera_agents.work.plans.names import plain

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from markdown_it.token import Token

__all__ = ["Block", "Entry", "Section", "read_outline"]

_NESTING_MAX: Final = 40
_GAP_MAX: Final = 2
"""Lines from the hashes of a broken heading to its text."""
_LABEL = re.compile(r"\*\*[^*]{1,80}(?::\*\*|\*\*[ \t]{0,3}:)")
_BULLET = re.compile(r"[ \t]{0,80}(?:[-*+]|\d{1,9}[.)])[ \t]")
_CHECKBOX = re.compile(r"\[([ xX~\-/]?)\][ \t]+(?=\S)")


@final
@dataclass(slots=True)
class Entry:
    """One bullet or numbered line of a list."""

    first: int
    stop: int
    text: str = ""
    """Its first paragraph on one line, without the box."""
    number: str | None = None
    checked: bool | None = None
    more: list[str] = field(default_factory=list[str])
    """Its further paragraphs."""
    children: list[Entry] = field(default_factory=list["Entry"])


@final
@dataclass(slots=True)
class Block:
    """A piece of a section's own text."""

    kind: Literal["paragraph", "list", "table", "rule", "fence", "other"]
    first: int
    stop: int
    entries: list[Entry] = field(default_factory=list[Entry])
    fence: Fence | None = None


@final
@dataclass(slots=True, eq=False)
class Section:
    """A heading, what stands below it, and the sections inside it."""

    title: str
    level: int
    first: int
    """The line of its heading (the first line of the text before any heading)."""
    body: int
    """The first line below the heading."""
    stop: int = 0
    """One past its own text, where the next heading starts."""
    parent: Section | None = None
    blocks: list[Block] = field(default_factory=list[Block])
    children: list[Section] = field(default_factory=list["Section"])

    def walk(self) -> Iterator[Section]:
        """Yield this section and all inside it, in the document's order."""
        yield self
        for child in self.children:
            yield from child.walk()

    def ancestors(self) -> Iterator[Section]:
        """Yield the sections around this one, inmost first."""
        outer = self.parent
        while outer is not None:
            yield outer
            outer = outer.parent

    def path(self) -> tuple[str, ...]:
        """Give the headings down to this one."""
        titles = [section.title for section in (self, *self.ancestors()) if section.level]
        return tuple(reversed(titles))


def read_outline(source: Unfenced, start: int) -> Section:
    """Read the sections of a document.

    Args:
        source: the document without its fences.
        start: its first line below the front matter.
    """
    parser = MarkdownIt("commonmark", {"maxNesting": _NESTING_MAX}).enable("table")
    parser.disable(["code", "reference", "fence"]).core.ruler.enableOnly(["normalize", "block"])
    lines, origin = _spaced(source.lines)
    tokens = parser.parse("\n".join(lines))
    for token in tokens:
        if token.map is not None:
            first, stop = token.map
            # A list's lines end with the empty ones below it, where fences were.
            while stop > first + 1 and not lines[stop - 1].strip():
                stop -= 1
            token.map = [origin[first], origin[stop - 1] + 1]
    root = Section("", 0, start, start)
    current = root
    at = 0
    while at < len(tokens):
        end = _end_of(tokens, at)
        token = tokens[at]
        # A paragraph underlined with dashes is a heading to Markdown; header lines before a rule are not one.
        if token.type == "heading_open" and (token.markup.startswith("#") or _is_title(tokens[at + 1].content)):
            current = _open_section(current, token, tokens[at + 1].content, source)
        elif token.map is not None:
            current.blocks.append(_block(tokens[at:end]))
        at = end
    _close(root, source)
    return root


def _spaced(lines: Sequence[str]) -> tuple[list[str], list[int]]:
    """Put an empty line around labels that stand right below a list; give also where each line comes from.

    Markdown takes such a label for the rest of the last bullet, and a list below it for the same list going on.
    """
    spaced: list[str] = []
    origin: list[int] = []
    listed = False
    for at, line in enumerate(lines):
        label = line.startswith("**") and _LABEL.match(line) is not None
        if label and listed:
            spaced.append("")
            origin.append(max(0, at - 1))
        spaced.append(line)
        origin.append(at)
        if label and line.rstrip().rstrip("*").endswith(":"):
            spaced.append("")
            origin.append(at)
        listed = not label and bool(line.strip()) and (listed or _BULLET.match(line) is not None)
    return spaced, origin


def _is_title(text: str) -> bool:
    return "\n" not in text and not text.startswith("**")


def _end_of(tokens: list[Token], at: int) -> int:
    """Give the index past the token that closes the one at `at`."""
    depth = 0
    for index in range(at, len(tokens)):
        depth += tokens[index].nesting
        if depth == 0:
            return index + 1
    return len(tokens)


def _open_section(current: Section, token: Token, text: str, source: Unfenced) -> Section:
    level = int(token.tag[1:])
    first, stop = token.map or [0, 0]
    above = first - 1
    while above >= 0 and above not in source.joined and not source.lines[above].strip() and first - above <= _GAP_MAX:
        above -= 1
    parent = current
    while parent.level >= level and parent.parent is not None:
        parent = parent.parent
    section = Section(plain(text), level, above if above in source.joined else first, stop, parent=parent)
    parent.children.append(section)
    return section


def _close(root: Section, source: Unfenced) -> None:
    """Say where each section's own text ends, and give the fences to their sections."""
    sections = list(root.walk())
    fences = iter(source.fences)
    fence = next(fences, None)
    for section, following in zip(sections, [*sections[1:], None], strict=True):
        section.stop = following.first if following is not None else len(source.lines)
        while fence is not None and fence.first < section.stop:
            section.blocks.append(Block("fence", fence.first, fence.stop, fence=fence))
            fence = next(fences, None)
        section.blocks.sort(key=lambda block: block.first)


def _block(tokens: list[Token]) -> Block:
    token = tokens[0]
    first, stop = token.map or [0, 0]
    match token.type:
        case "paragraph_open" | "heading_open":
            return Block("paragraph", first, stop)
        case "bullet_list_open" | "ordered_list_open":
            return Block("list", first, stop, entries=_entries(tokens))
        case "table_open":
            return Block("table", first, stop)
        case "hr":
            return Block("rule", first, stop)
        case _:
            return Block("other", first, stop)


def _entries(tokens: list[Token]) -> list[Entry]:
    """Read a list with the lists inside it."""
    top: list[Entry] = []
    opened: list[Entry] = []
    for token in tokens:
        if token.type == "list_item_open":
            first, stop = token.map or [0, 0]
            entry = Entry(first, stop, number=token.info or None)
            (opened[-1].children if opened else top).append(entry)
            opened.append(entry)
        elif token.type == "list_item_close":
            opened.pop()
        elif token.type == "inline" and opened:
            _add_text(opened[-1], " ".join(token.content.split()))
    return top


def _add_text(entry: Entry, text: str) -> None:
    if entry.text:
        entry.more.append(text)
        return
    box = _CHECKBOX.match(text)
    if box is not None:
        entry.checked = box[1] in {"x", "X"}
        text = text[box.end() :]
    entry.text = text
