"""The shared context of a session: what its specialists tell each other, and what each of them may see of it.

There is no other channel between the contexts of specialists. `NoteTools` offers it to a model beside its tools;
`notes_for` is what goes into a context. A long text becomes a file before its row names it. Neighbours:
`store.commands.notes` decides who may change what, `store.notes` holds the bounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final, cast, final

import trio
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vespera_agents.providers.exchange import ToolCall, ToolResult, ToolSpec
from vespera_agents.specialists.sessions import OpenWorkspace
from vespera_agents.store import CommandKey
from vespera_agents.store.commands import Shared, ShareNote, Withdrawn, WithdrawNote
from vespera_agents.store.notes import INLINE_BYTES_MAX, NOTE_BYTES_MAX, Note, note, note_title, notes_of
from vespera_agents.work.errors import InvalidInput, NotFound, Refusal
from vespera_agents.work.models import role_name

__all__ = [
    "READ_NOTES",
    "SHARE_NOTE",
    "NoteTools",
    "NoteToolsStatistics",
    "notes_for",
    "read_note",
    "share",
    "withdraw",
]

SHARE_NOTE: Final = "share_note"
READ_NOTES: Final = "read_notes"
PAGE_CHARACTERS_MAX: Final = 16_000
"""Characters of a note that a model reads at once: some 4,000 tokens."""
_LISTED_CHARACTERS_MAX: Final = 120
"""Characters of a note's first line in the list."""


async def share(
    opened: OpenWorkspace,
    key: CommandKey,
    session_id: str,
    name: str,
    text: str,
    *,
    by: str,
    role: str,
    visible_to: Sequence[str] | None = None,
    expected_version: int | None = None,
) -> Shared:
    """Put an entry into the shared context, or write over the version of it that the writer has read.

    Args:
        opened: the workspace of the session.
        key: the same for a repeated wish.
        session_id: whose context.
        name: of the entry.
        text: at most NOTE_BYTES_MAX bytes.
        by: who writes, for the audit trail.
        role: the role that writes; `store.notes.USER` for the user.
        visible_to: roles, empty for all; as it was unless given.
        expected_version: of the entry that is written over; None where there is none.

    Raises:
        Refusal: a bound, a version or an owner does not allow it; nothing was kept.
        StoreError: it could not be written.
    """
    # A lone surrogate is no text: neither a file nor SQLite takes it.
    data = text.encode("utf-8", "replace")
    if len(data) > NOTE_BYTES_MAX:
        raise InvalidInput(
            f"{len(data)} bytes are more than a shared note may hold ({NOTE_BYTES_MAX})",
            "Share what the others need of it, and name the artifact that holds the rest.",
        )
    shown = None if visible_to is None else await _known(opened, visible_to)
    sha256 = await opened.store.artifacts.save(data) if len(data) > INLINE_BYTES_MAX else None
    beginning = data[:INLINE_BYTES_MAX].decode("utf-8", "ignore")
    command = ShareNote(by, session_id, name, role, beginning, len(data), sha256, shown, expected_version)
    return await opened.store.execute(command, key)


async def withdraw(
    opened: OpenWorkspace,
    key: CommandKey,
    session_id: str,
    name: str,
    *,
    by: str,
    role: str,
    expected_version: int | None = None,
) -> Withdrawn:
    """Take an entry out of the shared context; its owner and the user may.

    Raises:
        Refusal: there is none of that name that the role may see, it is another's, or it was changed.
        StoreError: it could not be written.
    """
    return await opened.store.execute(WithdrawNote(by, session_id, name, role, expected_version), key)


async def notes_for(opened: OpenWorkspace, session_id: str, role: str) -> list[Note]:
    """Read what a role may see of a session's shared context, what was changed last first; long texts begun only.

    Raises:
        StoreError: it could not be read.
    """
    return await opened.store.read(notes_of, session_id, role)


async def read_note(opened: OpenWorkspace, session_id: str, name: str, role: str) -> tuple[Note, str]:
    """Read one entry and all of its text.

    Raises:
        NotFound: there is none of that name that the role may see.
        StoreError: it could not be read.
    """
    found = await opened.store.read(note, session_id, name, role)
    if found is None:
        raise NotFound(f"there is no shared note {name[:100]!r}", f"List them: {READ_NOTES} without a name.")
    if found.sha256 is None:
        return found, found.text
    return found, (await opened.store.artifacts.read(found.sha256)).decode("utf-8", "replace")


async def _known(opened: OpenWorkspace, names: Sequence[str]) -> tuple[str, ...]:
    """Give roles in their canonical spelling, in order and once each.

    Raises:
        InvalidInput: one of them does not exist, so that nobody would see what was meant for it.
    """
    roles = await trio.to_thread.run_sync(opened.roles)
    wanted = sorted({role_name(name) for name in names})
    if unknown := [name for name in wanted if name not in roles]:
        raise InvalidInput(f"there is no role {unknown[0][:80]!r}", f"Choose of: {', '.join(roles)}.")
    return tuple(wanted)


class _ShareArguments(BaseModel):
    """What `share_note` takes."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(description="Name of the note.")
    text: str = Field(description="What the others need to know.")
    visible_to: list[str] | None = Field(None, description="Roles that may see it; all unless given.")
    expected_version: int | None = Field(None, description="The version you have read, to write over a note.")


class _ReadArguments(BaseModel):
    """What `read_notes` takes."""

    model_config = ConfigDict(extra="forbid")

    name: str | None = Field(None, description="Which one; the list of all unless given.")
    offset: int = Field(0, ge=0, description="Where to go on in a long one, in characters.")


@cache
def _specs() -> tuple[ToolSpec, ...]:
    """Describe both tools, when a model is first told of them: no server needs schemas for its first client."""
    return (
        ToolSpec(
            SHARE_NOTE,
            "Tell the specialists of this session something, under a name. Writing over a note needs its version.",
            cast("dict[str, object]", _ShareArguments.model_json_schema()),
        ),
        ToolSpec(
            READ_NOTES,
            "Read what the specialists of this session told each other.",
            cast("dict[str, object]", _ReadArguments.model_json_schema()),
        ),
    )


@final
@dataclass(frozen=True, slots=True)
class NoteToolsStatistics:
    """What one specialist did with the shared context."""

    shared: int
    read: int
    refused: int


@final
class NoteTools:
    """The shared context of a session as tools for a model that works in the name of a role."""

    def __init__(self, opened: OpenWorkspace, session_id: str, role: str, by: str) -> None:
        self._opened = opened
        self._session_id = session_id
        self._role = role
        self._by = by
        self._shared = 0
        self._read = 0
        self._refused = 0

    def specs(self) -> tuple[ToolSpec, ...]:
        """Say which tools there are."""
        return _specs()

    async def call(self, call: ToolCall, key: CommandKey) -> ToolResult:
        """Carry out one call; what is refused is an answer, too.

        Args:
            call: of one of `specs`.
            key: the same when a step is done once more.

        Raises:
            StoreError: the shared context could not be read or written; the call can be made once more.
        """
        try:
            text = await (self._share(call, key) if call.name == SHARE_NOTE else self._show(call))
        except (Refusal, ValidationError) as error:
            self._refused += 1
            return ToolResult(call.id, call.name, _said(error), is_error=True)
        return ToolResult(call.id, call.name, text)

    def statistics(self) -> NoteToolsStatistics:
        """Count what was done so far."""
        return NoteToolsStatistics(self._shared, self._read, self._refused)

    async def _share(self, call: ToolCall, key: CommandKey) -> str:
        asked = _ShareArguments.model_validate(call.arguments)
        done = await share(
            self._opened, key, self._session_id, asked.name, asked.text, by=self._by, role=self._role,
            visible_to=asked.visible_to, expected_version=asked.expected_version,
        )  # fmt: skip
        self._shared += 1
        shown = ", ".join(done["visible_to"]) or "all roles"
        return f"Shared as {done['name']!r}, version {done['version']}, {done['size']} bytes, visible to {shown}."

    async def _show(self, call: ToolCall) -> str:
        asked = _ReadArguments.model_validate(call.arguments)
        if asked.name is None:
            self._read += 1
            return _listed(await notes_for(self._opened, self._session_id, self._role))
        found, text = await read_note(self._opened, self._session_id, asked.name, self._role)
        self._read += 1
        end = asked.offset + PAGE_CHARACTERS_MAX
        more = f"\n[{len(text) - end} characters more: go on with offset={end}]" if end < len(text) else ""
        return f"{note_title(found)}\n\n{text[asked.offset : end]}{more}"


def _listed(found: Sequence[Note]) -> str:
    if not found:
        return "Nobody has shared anything yet that you may see."
    lines = (f"- {note_title(one)}: {one.text.strip().partition(chr(10))[0][:_LISTED_CHARACTERS_MAX]}" for one in found)
    return "\n".join(lines)


def _said(error: Refusal | ValidationError) -> str:
    """Say to a model why its call was refused."""
    if isinstance(error, Refusal):
        return str(error)
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"The arguments are not right: {where}: {first['msg']}. Correct them and call again."
