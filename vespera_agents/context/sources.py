"""Where a part of a context comes from: the row, file or event, and which version of it was read.

Whoever keeps a context for later compares these with what is there then. Pure. Neighbours: `budget` keeps them with
each section, `packing` writes and reads them.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

__all__ = ["Source", "SourceKind"]

SourceKind = Literal["role", "task", "artifact", "note", "event"]


class Source(NamedTuple):
    """One thing that a text was made of."""

    kind: SourceKind
    id: str
    """Of the role its name, of a shared note `<session id>/<name>`."""
    version: str
    """A task's or note's version, an artifact's content hash, a role's digest, an event's number."""
