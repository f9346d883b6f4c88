"""A context on its way from one process to the next: whole sections with their sources, under a checksum.

A pack is a cache: whoever cannot read it makes the context anew from what it was made of. Pure: no file, no clock.
Neighbours: `sections` says what one is, `specialists.handing_over` keeps packs and compares the sources.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Final, cast, final

from vespera_agents.context.sections import Section, SectionKind
from vespera_agents.context.sources import Source, SourceKind

__all__ = ["DamagedPack", "HeldContext", "pack", "unpack"]

_KINDS: Final[Mapping[str, SourceKind]] = {
    "role": "role",
    "task": "task",
    "artifact": "artifact",
    "note": "note",
    "event": "event",
}


@final
class DamagedPack(ValueError):
    """What was packed is not what is there now."""


@final
@dataclass(frozen=True, slots=True)
class HeldContext:
    """What one specialist has built up for one task."""

    session_id: str
    task_id: str
    role: str
    context_tokens: int
    """As its specialist counts them."""
    sections: tuple[Section, ...]

    @property
    def sources(self) -> tuple[Source, ...]:
        """Everything that it was made of, each once."""
        return tuple(dict.fromkeys(source for section in self.sections for source in section.sources))


def pack(held: HeldContext) -> bytes:
    """Write a context as one line, without the newline: a checksum and the content that it is of."""
    content = json.dumps(asdict(held), ensure_ascii=True, separators=(",", ":")).encode()
    return hashlib.sha256(content).hexdigest().encode() + b" " + content


def unpack(line: bytes) -> HeldContext:
    """Read what `pack` wrote.

    Raises:
        DamagedPack: it is not what was written, or was written by another version.
    """
    checksum, _, content = line.partition(b" ")
    if hashlib.sha256(content).hexdigest().encode() != checksum:
        raise DamagedPack("its checksum does not fit its content")
    try:
        told = cast("Mapping[str, object]", json.loads(content))
        return HeldContext(
            str(told["session_id"]),
            str(told["task_id"]),
            str(told["role"]),
            int(str(told["context_tokens"])),
            tuple(_section(one) for one in cast("Sequence[Mapping[str, object]]", told["sections"])),
        )
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise DamagedPack(f"it was written by another version ({type(error).__name__}: {error})") from error


def _section(told: Mapping[str, object]) -> Section:
    sources = cast("Sequence[Sequence[str]]", told["sources"])
    return Section(
        str(told["name"]),
        str(told["text"]),
        SectionKind(str(told["kind"])),
        int(str(told["priority"])),
        tuple(Source(_KINDS[kind], identifier, version) for kind, identifier, version in sources),
    )
