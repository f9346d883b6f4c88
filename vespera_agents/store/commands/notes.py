"""Commands on what the specialists of a session share: put an entry there or change it, and take it away.

An entry is changed by naming the version that one has read, so that nobody writes over what nobody has seen. Who may
change one: whoever may see it; who may hide it or take it away: its owner, and the user. Neighbours: `store.notes`
reads them and holds their bounds, `specialists.sharing` keeps long texts as files first.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TypedDict, final

from vespera_agents.store.notes import (
    NOTE_BYTES_MAX,
    NOTE_NAME_MAX,
    NOTE_ROLES_MAX,
    NOTES_BYTES_MAX,
    NOTES_MAX,
    USER,
    Note,
    may_see,
    note,
)
from vespera_agents.store.rows import Row
from vespera_agents.store.transaction import Transaction, fingerprint_of
from vespera_agents.work.errors import Conflict, InvalidInput, NotFound, StaleVersion
from vespera_agents.work.models import SessionStatus

__all__ = ["ShareNote", "Shared", "WithdrawNote", "Withdrawn"]


class Shared(TypedDict):
    """The result of ShareNote."""

    session_id: str
    name: str
    owner: str
    version: int
    size: int
    """Bytes of its text."""
    visible_to: list[str]
    """Roles; empty: all."""


class Withdrawn(TypedDict):
    """The result of WithdrawNote."""

    session_id: str
    name: str
    version: int
    """The last one it had."""


@final
@dataclass(frozen=True, slots=True)
class ShareNote:
    """Put an entry into the shared context of a session, or give one there another text or visibility."""

    by: str
    session_id: str
    name: str
    writer: str
    """The role that writes; USER for who may see everything."""
    text: str
    """All of it, or the beginning where it is the file `sha256`."""
    size: int
    """Bytes of all of it."""
    sha256: str | None = None
    visible_to: tuple[str, ...] | None = None
    """Roles, empty for all; None: as it was, all if it is new."""
    expected_version: int | None = None
    """The version that the writer has read; None: there is none of that name."""

    def fingerprint(self) -> bytes:
        """Give what tells this command from another."""
        return fingerprint_of(self)

    def apply(self, transaction: Transaction) -> Shared:
        """Write it.

        Raises:
            InvalidInput: a bound is broken.
            NotFound: there is no such session, or no such entry that the writer may see.
            StaleVersion: somebody changed it first.
            Conflict: the name is taken, the session is closed or full, or only its owner may hide it.
        """
        self._check()
        self._check_session(transaction)
        before = _found(transaction, self.session_id, self.name)
        if before is None:
            return self._put(transaction, None, self.visible_to or ())
        if self.expected_version is None or not may_see(before, self.writer):
            raise _taken(before, self.writer)
        _check_version(before, self.expected_version)
        visible_to = before.visible_to if self.visible_to is None else self.visible_to
        if visible_to != before.visible_to:
            _check_owner(before, self.writer, "say who sees it")
        return self._put(transaction, before, visible_to)

    def _check(self) -> None:
        if not 1 <= len(self.name) <= NOTE_NAME_MAX or not self.name.isprintable() or "/" in self.name:
            raise InvalidInput(
                f"{self.name[:120]!r} is no name of a shared note",
                f"Use 1 to {NOTE_NAME_MAX} printable characters without a slash.",
            )
        if self.size > NOTE_BYTES_MAX:
            raise InvalidInput(
                f"{self.size} bytes are more than a shared note may hold ({NOTE_BYTES_MAX})",
                "Share what the others need of it, and name the artifact that holds the rest.",
            )
        if len(self.visible_to or ()) > NOTE_ROLES_MAX:
            raise InvalidInput(
                f"a note is shown to at most {NOTE_ROLES_MAX} roles", "Leave `visible_to` out to show it to all."
            )

    def _check_session(self, transaction: Transaction) -> None:
        row: Row | None = transaction.execute("SELECT status FROM session WHERE id=?", (self.session_id,)).fetchone()
        if row is None:
            raise NotFound(
                f"there is no session {self.session_id!r} in this workspace",
                "List them with orchestrator_list_sessions.",
            )
        if row[0] != SessionStatus.OPEN:
            raise Conflict(
                f"the session {self.session_id} is {row[0]}",
                "Reopen it with orchestrator_initialize_session(session_id=...).",
            )

    def _put(self, transaction: Transaction, before: Note | None, visible_to: tuple[str, ...]) -> Shared:
        if before is None and self.expected_version is not None:
            raise NotFound(f"there is no shared note {self.name!r}", "Leave expected_version out to make a new one.")
        self._check_room(transaction, before)
        owner = self.writer if before is None else before.owner
        version = 1 if before is None else before.version + 1
        created = transaction.now if before is None else before.created
        transaction.execute(
            "INSERT OR REPLACE INTO note(session_id, name, owner, version, size, visible_to, text, sha256, created,"
            " updated) VALUES (?,?,?,?,?,?,?,?,?,?)",
            (
                self.session_id, self.name, owner, version, self.size, json.dumps(visible_to), self.text, self.sha256,
                created, transaction.now,
            ),
        )  # fmt: skip
        detail = {"name": self.name, "owner": owner, "size": self.size, "visible_to": visible_to}
        transaction.event(
            "note",
            session_id=self.session_id,
            before=None if before is None else str(before.version),
            after=str(version),
            detail=json.dumps(detail),
        )
        return {
            "session_id": self.session_id,
            "name": self.name,
            "owner": owner,
            "version": version,
            "size": self.size,
            "visible_to": list(visible_to),
        }

    def _check_room(self, transaction: Transaction, before: Note | None) -> None:
        count, size = transaction.execute(
            "SELECT count(*), coalesce(sum(size), 0) FROM note WHERE session_id=?", (self.session_id,)
        ).fetchone()
        if before is None and int(count) >= NOTES_MAX:
            raise Conflict(
                f"the session {self.session_id} has {count} shared notes already",
                "Write into one of them, or withdraw one that nobody needs any more.",
            )
        if int(size) - (0 if before is None else before.size) + self.size > NOTES_BYTES_MAX:
            raise Conflict(
                f"the shared notes of the session {self.session_id} would hold more than {NOTES_BYTES_MAX} bytes",
                "Shorten one of them, or withdraw one that nobody needs any more.",
            )


@final
@dataclass(frozen=True, slots=True)
class WithdrawNote:
    """Take an entry out of the shared context of a session."""

    by: str
    session_id: str
    name: str
    writer: str
    expected_version: int | None = None

    def fingerprint(self) -> bytes:
        """Give what tells this command from another."""
        return fingerprint_of(self)

    def apply(self, transaction: Transaction) -> Withdrawn:
        """Take it away; its file is a stray from then on.

        Raises:
            NotFound: there is no such entry that the writer may see.
            StaleVersion: somebody changed it first.
            Conflict: it is somebody else's.
        """
        before = _found(transaction, self.session_id, self.name)
        if before is None or not may_see(before, self.writer):
            raise NotFound(f"there is no shared note {self.name!r}", "List them with read_notes.")
        _check_version(before, self.expected_version)
        _check_owner(before, self.writer, "withdraw it")
        transaction.execute("DELETE FROM note WHERE session_id=? AND name=?", (self.session_id, self.name))
        detail = json.dumps({"name": self.name, "owner": before.owner, "size": 0, "visible_to": before.visible_to})
        transaction.event("note", session_id=self.session_id, before=str(before.version), detail=detail)
        return {"session_id": self.session_id, "name": self.name, "version": before.version}


def _found(transaction: Transaction, session_id: str, name: str) -> Note | None:
    return note(transaction.connection, session_id, name, USER)


def _check_version(found: Note, expected: int | None) -> None:
    if expected is not None and expected != found.version:
        raise StaleVersion(f"the shared note {found.name!r}", expected, found.version)


def _check_owner(found: Note, writer: str, what: str) -> None:
    if writer not in {found.owner, USER}:
        raise Conflict(
            f"the shared note {found.name!r} is of the {found.owner or 'user'}, who alone may {what}",
            "Ask its owner for it, or share a note of your own.",
        )


def _taken(found: Note, writer: str) -> Conflict:
    if not may_see(found, writer):
        return Conflict(f"a shared note cannot be called {found.name!r}: the name is taken", "Choose another name.")
    return Conflict(
        f"there is a shared note {found.name!r} already, at version {found.version}",
        f"Read it with read_notes, and give expected_version={found.version} to write over it.",
    )
