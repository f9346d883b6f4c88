"""The parts of a context: what each is, how it is written, in which order they go, and how it is said that one went.

Each part ends with a blank line and the next begins with `##`: no token reaches across, so the tokens of a text are
exactly the sum of its parts'. Pure. Neighbours: `budget` puts them together, `compaction` makes them shorter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal, final

from vespera_agents.context.sources import Source

__all__ = ["DROP_ORDER", "Dropped", "Section", "SectionKind", "dropping_order", "note_of", "section_of", "written"]

NAME_BYTES_MAX: Final = 80
"""Of a section's name; the rest is cut off."""
_NOTE_BYTES_MAX: Final = 480
"""Of the names that the note names; the others are counted."""
SEPARATOR: Final = "\n\n"
_Kept = Literal["dropped", "cut"]


class SectionKind(StrEnum):
    """What a part of a context is; it decides whether and when it goes."""

    ROLE = "role"
    """Who is asked, and the rules that hold."""
    TASK = "task"
    GATES = "gates"
    NOTE = "note"
    """What the incarnation before left for this one."""
    DEPENDENCIES = "dependencies"
    """Summaries of what the task builds on."""
    SHARED = "shared"
    """Notes that the specialists of a session share."""
    HISTORY = "history"
    """What was done so far."""
    TOOL_RESULTS = "tool_results"

    @property
    def pinned(self) -> bool:
        """Whether it stays while anything else is there."""
        return self not in DROP_ORDER


DROP_ORDER: Final = (
    SectionKind.TOOL_RESULTS,
    SectionKind.HISTORY,
    SectionKind.SHARED,
    SectionKind.DEPENDENCIES,
)
"""Which kinds go, the first first. Of one kind the lowest priority goes first, and of one priority the oldest."""


@final
@dataclass(frozen=True, slots=True)
class Section:
    """One part of a context."""

    name: str
    text: str
    kind: SectionKind = SectionKind.TASK
    priority: int = 0
    """Of several of one kind, the lower goes earlier."""
    sources: tuple[Source, ...] = ()
    """What it was made of."""


@final
@dataclass(frozen=True, slots=True)
class Dropped:
    """A section, or the end of one, that is not in the text."""

    name: str
    context_tokens: int
    kind: SectionKind = SectionKind.TASK
    how: _Kept = "dropped"
    """dropped: all of it; cut: its end."""


def section_of(name: str, text: str, kind: SectionKind, priority: int, sources: Sequence[Source]) -> Section | None:
    """Make a section of whatever was given: a name of one short line, a text that is Unicode; None without any text."""
    body = _valid(text).rstrip().lstrip("\r\n") if text else ""
    if not body:
        return None
    short = " ".join(_valid(name[:NAME_BYTES_MAX]).split()).encode()[:NAME_BYTES_MAX].decode(errors="ignore")
    return Section(short or kind.value, body, kind, priority, tuple(sources))


def written(section: Section) -> str:
    """Write a section as it stands in a context, with what separates it from the next."""
    return f"## {section.name}\n\n{section.text}{SEPARATOR}"


def dropping_order(sections: Sequence[Section]) -> list[int]:
    """Give the places of the sections that may go, the first to go first."""
    places = [place for place, section in enumerate(sections) if not section.kind.pinned]
    return sorted(places, key=lambda at: (DROP_ORDER.index(sections[at].kind), sections[at].priority, at))


def note_of(dropped: Sequence[Dropped]) -> str:
    """Write the last part of a context: what is missing from it."""
    names: list[str] = []
    room = _NOTE_BYTES_MAX
    for entry in dropped:
        room -= len(entry.name.encode()) + 2
        if room < 0:
            break
        names.append(entry.name)
    more = len(dropped) - len(names)
    others = f"{' and ' if names else ''}{more} {'others' if names else 'parts'}" if more else ""
    return f"## Left out\n\nThese parts did not fit into the context: {', '.join(names)}{others}."


def _valid(text: str) -> str:
    """Replace halves of characters, which nothing can send: whole ones are put together."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
