"""Commands on sessions: open one, close one. Not on the tasks in them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict, final

from vespera_agents.store.rows import SESSION_COLUMNS, Row, session_of
from vespera_agents.store.transaction import Transaction, fingerprint_of
from vespera_agents.work.errors import InvalidInput, NotFound
from vespera_agents.work.models import SessionStatus

__all__ = ["OpenSession", "OpenedSession", "SetSessionStatus", "close_session"]

NAME_MAX = 200


class OpenedSession(TypedDict):
    """The result of OpenSession."""

    session_id: str
    created: bool
    """False when an existing session was reopened or found open."""


@final
@dataclass(frozen=True, slots=True)
class OpenSession:
    """Create a session, or reopen the one that is named.

    Without an id, an open session of that name is used again; without a name too, the only open one is.
    """

    by: str
    directory: str
    name: str | None = None
    session_id: str | None = None
    fresh: bool = False
    """Create a new session even where one of that name is open."""

    def fingerprint(self) -> bytes:
        """Give what tells this command from another."""
        return fingerprint_of(self)

    def apply(self, transaction: Transaction) -> OpenedSession:
        """Create or reopen it.

        Raises:
            NotFound: the id names no session of this workspace.
            InvalidInput: the name is too long.
        """
        if self.name is not None and (not self.name.strip() or len(self.name) > NAME_MAX):
            raise InvalidInput(f"a session's name takes 1 to {NAME_MAX} characters", "Give a shorter name.")
        existing = self._existing(transaction)
        if existing is not None:
            session = session_of(existing)
            if session.status is not SessionStatus.OPEN:
                _set_status(transaction, session.id, SessionStatus.OPEN, session.status)
            return {"session_id": session.id, "created": False}
        identifier = f"session_{transaction.mint()}"
        transaction.execute(
            "INSERT INTO session(id, name, directory, status, created, updated) VALUES (?,?,?,?,?,?)",
            (
                identifier,
                self.name or f"work of {identifier[-6:]}",
                self.directory,
                SessionStatus.OPEN,
                transaction.now,
                transaction.now,
            ),
        )
        transaction.event("session_created", session_id=identifier, after=SessionStatus.OPEN)
        return {"session_id": identifier, "created": True}

    def _existing(self, transaction: Transaction) -> Row | None:
        select = f"SELECT {SESSION_COLUMNS} FROM session"
        if self.session_id is not None:
            row = transaction.execute(f"{select} WHERE id=?", (self.session_id,)).fetchone()
            if row is None:
                raise NotFound(
                    f"there is no session {self.session_id!r} in this workspace",
                    "List the sessions with orchestrator_list_sessions, or leave session_id out to create one.",
                )
            return row
        if self.fresh:
            return None
        rows = transaction.execute(
            f"{select} WHERE status='open' AND (? IS NULL OR name=?) ORDER BY created DESC LIMIT 2",
            (self.name, self.name),
        ).fetchall()
        return rows[0] if len(rows) == 1 or (rows and self.name is not None) else None


@final
@dataclass(frozen=True, slots=True)
class SetSessionStatus:
    """Open or close a session."""

    by: str
    session_id: str
    status: SessionStatus

    def fingerprint(self) -> bytes:
        """Give what tells this command from another."""
        return fingerprint_of(self)

    def apply(self, transaction: Transaction) -> dict[str, str]:
        """Set it.

        Raises:
            NotFound: there is no such session.
        """
        row = transaction.execute("SELECT status FROM session WHERE id=?", (self.session_id,)).fetchone()
        if row is None:
            raise NotFound(f"there is no session {self.session_id!r}", "List them with orchestrator_list_sessions.")
        if row[0] != self.status:
            _set_status(transaction, self.session_id, self.status, SessionStatus(row[0]))
        return {"session_id": self.session_id, "status": self.status}


def close_session(transaction: Transaction, session_id: str) -> None:
    """Close an open session as a part of another command."""
    _set_status(transaction, session_id, SessionStatus.CLOSED, SessionStatus.OPEN)


def _set_status(transaction: Transaction, session_id: str, status: SessionStatus, before: SessionStatus) -> None:
    transaction.execute(
        "UPDATE session SET status=?, updated=?, version=version+1 WHERE id=?", (status, transaction.now, session_id)
    )
    transaction.event("session_status", session_id=session_id, before=before, after=status)
