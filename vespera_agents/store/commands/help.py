"""Commands on questions that specialists ask each other: ask, and say what came of it.

A question is a row before anybody is asked, and its answer a row before anybody hears it: whoever asks again after a
crash hears the answer that was given, or has it asked once more, which is counted. Neighbours: `specialists.help_desk`
carries it to somebody.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypedDict, final

from vespera_agents.store.outbox import CallbackEvent, tell
from vespera_agents.store.transaction import Transaction, fingerprint_of

__all__ = ["AskHelp", "EndHelp", "HelpState", "HelpStatus"]

KEPT_MAX: Final = 2_000
"""Questions that are kept, the newest."""


class HelpStatus(StrEnum):
    """What became of a question."""

    OPEN = "open"
    ANSWERED = "answered"
    FAILED = "failed"
    """Nobody could answer it."""
    EXPIRED = "expired"
    """Nobody did in time."""


class HelpState(TypedDict):
    """The result of both commands."""

    status: str
    answer: str | None
    """The answer, or why there is none."""
    asked: int
    """How often somebody was asked."""
    seconds_left: float
    """Until the deadline."""
    first: bool
    """Whether this command was the first to ask it."""


@final
@dataclass(frozen=True, slots=True)
class AskHelp:
    """Write down that somebody is about to be asked; what was answered before is answered again."""

    by: str
    id: str
    """Of the question: the same when it is asked again after a crash."""
    session_id: str
    task_id: str | None
    asker: str
    """The role that asks."""
    role: str
    """The role that is asked."""
    question: str
    deadline_seconds: float
    """From the first time on."""

    def fingerprint(self) -> bytes:
        """Give what tells this command from another."""
        return fingerprint_of(self)

    def apply(self, transaction: Transaction) -> HelpState:
        """Ask it, and tell whoever is registered when it is new.

        Raises:
            NotFound: there is no such task.
        """
        now = transaction.now
        row = transaction.execute("SELECT status, answer, asked, deadline FROM help WHERE id=?", (self.id,)).fetchone()
        if row is None:
            return self._first(transaction)
        status, answer, asked, deadline = row
        if status != HelpStatus.OPEN:
            return {"status": status, "answer": answer, "asked": asked, "seconds_left": 0.0, "first": False}
        if deadline <= now:
            return EndHelp(self.by, self.id, HelpStatus.EXPIRED, "nobody answered in time").apply(transaction)
        transaction.execute("UPDATE help SET asked=asked+1 WHERE id=?", (self.id,))
        transaction.event(
            "help_repeated", session_id=self.session_id, task_id=self.task_id, after=self.role, detail=self.id
        )
        return {"status": status, "answer": None, "asked": asked + 1, "seconds_left": deadline - now, "first": False}

    def _first(self, transaction: Transaction) -> HelpState:
        now, session_id = transaction.now, self.session_id
        transaction.execute(
            "INSERT INTO help(id, session_id, task_id, asker, role, question, deadline, status, asked, created)"
            " VALUES (?,?,?,?,?,?,?,?,?,?)",
            (
                self.id, session_id, self.task_id, self.asker, self.role, self.question, now + self.deadline_seconds,
                HelpStatus.OPEN, 1, now,
            ),
        )  # fmt: skip
        transaction.execute(
            "DELETE FROM help WHERE seq <= (SELECT max(seq) FROM help) - ? AND (status != 'open' OR deadline < ?)",
            (KEPT_MAX, now),
        )
        transaction.event(
            "help_asked",
            session_id=session_id,
            task_id=self.task_id,
            before=self.asker,
            after=self.role,
            detail=self.id,
        )
        if transaction.audience:
            task = None if self.task_id is None else transaction.task(self.task_id)
            facts = {"asker": self.asker, "role": self.role, "help": self.id, "deadline": now + self.deadline_seconds}
            tell(transaction, CallbackEvent.HELP_NEEDED, session_id=session_id, task=task, facts=facts)
        return {
            "status": HelpStatus.OPEN, "answer": None, "asked": 1, "seconds_left": self.deadline_seconds, "first": True
        }  # fmt: skip


@final
@dataclass(frozen=True, slots=True)
class EndHelp:
    """Write down what came of a question; what came first stands."""

    by: str
    id: str
    status: HelpStatus
    answer: str
    """Or why there is none."""

    def fingerprint(self) -> bytes:
        """Give what tells this command from another."""
        return fingerprint_of(self)

    def apply(self, transaction: Transaction) -> HelpState:
        """End it."""
        ended = transaction.execute(
            "UPDATE help SET status=?, answer=?, ended=? WHERE id=? AND status='open' RETURNING session_id, task_id",
            (self.status, self.answer, transaction.now, self.id),
        ).fetchone()
        if ended is not None:
            transaction.event(f"help_{self.status}", session_id=ended[0], task_id=ended[1], detail=self.id)
        status, answer, asked = transaction.execute(
            "SELECT status, answer, asked FROM help WHERE id=?", (self.id,)
        ).fetchone()
        return {"status": status, "answer": answer, "asked": asked, "seconds_left": 0.0, "first": False}
