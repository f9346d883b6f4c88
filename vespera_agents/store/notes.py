"""What the specialists of a session share: named entries, and who may see them; read by functions of a connection.

The one channel between the contexts of specialists. A short text stands in its row; of a long one its beginning does,
and the whole is a file by content hash. Neighbours: `commands.notes` changes them, `specialists.sharing` gives them to
specialists, `strays` spares their files.
"""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from typing import Final, final
from urllib.parse import quote

from vespera_agents.store.rows import Row

__all__ = [
    "INLINE_BYTES_MAX",
    "NOTES_BYTES_MAX",
    "NOTES_MAX",
    "NOTE_BYTES_MAX",
    "NOTE_NAME_MAX",
    "NOTE_ROLES_MAX",
    "USER",
    "Note",
    "begun_text",
    "may_see",
    "note",
    "note_of",
    "note_title",
    "note_uri",
    "notes_of",
]

NOTES_MAX: Final = 200
"""Entries of one session."""
NOTE_BYTES_MAX: Final = 1_000_000
"""Bytes of one entry."""
NOTES_BYTES_MAX: Final = 16_000_000
"""Bytes of all entries of one session."""
INLINE_BYTES_MAX: Final = 4_000
"""Bytes of a text that stand in its row: all of a short one, the beginning of one that is a file."""
NOTE_NAME_MAX: Final = 100
"""Characters in a name."""
NOTE_ROLES_MAX: Final = 32
"""Roles that one entry is shown to by name."""
USER: Final = ""
"""The reader and writer who is no role: the user, or a client of theirs. Nothing is hidden from them."""

_COLUMNS: Final = "session_id, name, owner, version, size, visible_to, text, sha256, created, updated"


@final
@dataclass(frozen=True, slots=True)
class Note:
    """One entry of a session's shared context."""

    session_id: str
    name: str
    owner: str
    """The role that shared it; USER for the user."""
    version: int
    size: int
    """Bytes of its text."""
    visible_to: tuple[str, ...]
    """Roles; empty: all."""
    text: str
    """All of it, or the beginning where it is a file."""
    sha256: str | None
    """The file that holds all of it; None where `text` does."""
    created: float
    """Seconds since the epoch."""
    updated: float


def note_of(row: Row) -> Note:
    """Read a row of the note table, in the order of its fields."""
    session_id, name, owner, version, size, visible_to, text, sha256, created, updated = row
    return Note(session_id, name, owner, version, size, tuple(json.loads(visible_to)), text, sha256, created, updated)


def note_title(note: Note) -> str:
    """Name an entry, whose it is, and which version."""
    return f"{note.name} (of the {note.owner or 'user'}, version {note.version}, {note.size} bytes)"


def note_uri(note: Note) -> str:
    """Give the address at which all of an entry is read."""
    return f"vespera://session/{note.session_id}/notes/{quote(note.name, safe='')}"


def begun_text(note: Note) -> str:
    """Give the text of an entry as far as it stands in its row; where that is not all, with the address of all."""
    return note.text if note.sha256 is None else f"{note.text}\n[The beginning. All of it: {note_uri(note)}]"


def may_see(note: Note, role: str) -> bool:
    """Say whether a role sees an entry: its owner and the user always do."""
    return role in {USER, note.owner} or not note.visible_to or role in note.visible_to


def notes_of(connection: sqlite3.Connection, session_id: str, role: str) -> list[Note]:
    """Read the entries of a session that a role may see, those that were changed last first."""
    rows: list[Row] = connection.execute(
        f"SELECT {_COLUMNS} FROM note WHERE session_id=? ORDER BY updated DESC, name LIMIT ?", (session_id, NOTES_MAX)
    ).fetchall()
    return [one for one in map(note_of, rows) if may_see(one, role)]


def note(connection: sqlite3.Connection, session_id: str, name: str, role: str) -> Note | None:
    """Read one entry, None where there is none that the role may see."""
    row: Row | None = connection.execute(
        f"SELECT {_COLUMNS} FROM note WHERE session_id=? AND name=?", (session_id, name)
    ).fetchone()
    found = None if row is None else note_of(row)
    return found if found is not None and may_see(found, role) else None
