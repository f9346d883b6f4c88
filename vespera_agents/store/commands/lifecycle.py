"""Commands on the lives of workers: one begins, one died, a restart is asked for and ends, a shutdown is prepared.

A restart is written down before the front is asked for it, so that the worker which finds the request again knows that
it was carried out already. Neighbours: `store.lifecycle` reads these rows, `serving.lifecycle` writes them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypedDict, final

from vespera_agents.store.lifecycle import RestartStatus
from vespera_agents.store.transaction import Transaction, fingerprint_of

__all__ = [
    "AskRestart",
    "AskedRestart",
    "BeginGeneration",
    "BegunGeneration",
    "Death",
    "NoteDeaths",
    "NoteRestart",
    "NoteSpecialist",
    "PrepareShutdown",
    "Prepared",
    "TouchStore",
]

KEPT_MAX: Final = 1_000
"""Rows of generations and of restarts that are kept, the newest ones."""
PREPARED_KEPT_SECONDS: Final = 7 * 86_400.0
"""How long it is remembered that a shutdown was prepared of a server that never said otherwise."""


@final
@dataclass(frozen=True, slots=True)
class Death:
    """A worker that ended without being asked to."""

    generation: int
    at: float
    """Seconds since the epoch."""
    pid: int | None
    what: str
    """What it died of, in words."""


class BegunGeneration(TypedDict):
    """The result of BeginGeneration."""

    before: int | None
    """The last generation of this front that worked; None for the first."""
    surface: Mapping[str, str]
    """What that one's lists held."""
    restart: int | None
    """The restart that this generation is the outcome of."""


@final
@dataclass(frozen=True, slots=True)
class BeginGeneration:
    """Write down that a worker works now, and what it is the outcome of."""

    by: str
    front: str
    number: int
    reason: str
    pid: int
    version: str
    surface: Mapping[str, str]
    deaths: tuple[Death, ...] = ()
    """What the front tells of those before it."""
    under_way: bool = False
    """Whether the front is still at work on a restart: this worker is not what comes of it."""
    failure: str | None = None
    """Why this worker is not the one that a restart was asked for."""

    def fingerprint(self) -> bytes:
        """Give what tells this command from another: not what is told beside it, which a second try may know better."""
        return repr(("BeginGeneration", self.front, self.number)).encode()

    def apply(self, transaction: Transaction) -> BegunGeneration:
        """Insert it; unless one is under way, a restart that was asked of an earlier generation ends with it."""
        before = transaction.execute(
            "SELECT number, surface FROM generation WHERE front=? AND number<? AND started IS NOT NULL"
            " ORDER BY number DESC LIMIT 1",
            (self.front, self.number),
        ).fetchone()
        _note_deaths(transaction, self.front, self.deaths)
        transaction.execute(
            "INSERT INTO generation(front, number, reason, pid, version, surface, started) VALUES (?,?,?,?,?,?,?)"
            " ON CONFLICT(front, number) DO UPDATE SET reason=excluded.reason, pid=excluded.pid,"
            " version=excluded.version, surface=excluded.surface, started=excluded.started",
            (
                self.front,
                self.number,
                self.reason,
                self.pid,
                self.version,
                json.dumps(dict(self.surface), sort_keys=True),
                transaction.now,
            ),
        )
        asked = transaction.execute(
            "SELECT seq FROM restart WHERE front=? AND status=? AND generation<? ORDER BY seq DESC",
            (self.front, RestartStatus.ASKED, self.number),
        ).fetchall()
        if self.under_way:
            asked = []
        for (seq,) in asked:
            status = RestartStatus.DONE if self.failure is None else RestartStatus.FAILED
            transaction.execute(
                "UPDATE restart SET status=?, following=?, ended=?, error=? WHERE seq=?",
                (status, self.number, transaction.now, self.failure, seq),
            )
        if asked and self.failure is not None:
            transaction.event("restart_failed", detail=self.failure)
        elif asked:
            # Whoever asks for a new worker wants it to work; one that took over from a crash is as the old one was.
            transaction.execute("DELETE FROM shutdown WHERE server=?", (self.front,))
        for table in ("generation", "restart"):
            # Both names are this module's own.
            transaction.execute(f"DELETE FROM {table} WHERE seq <= (SELECT max(seq) FROM {table}) - ?", (KEPT_MAX,))
        if before is not None:
            transaction.event("worker_replaced", before=str(before[0]), after=str(self.number), detail=self.reason)
        return {
            "before": None if before is None else before[0],
            "surface": {} if before is None or before[1] is None else json.loads(before[1]),
            "restart": asked[0][0] if asked else None,
        }


@final
@dataclass(frozen=True, slots=True)
class NoteDeaths:
    """Write down which workers died."""

    by: str
    front: str
    deaths: tuple[Death, ...]

    def fingerprint(self) -> bytes:
        """Give what tells this command from another."""
        return fingerprint_of(self)

    def apply(self, transaction: Transaction) -> None:
        """Write it, once for each."""
        _note_deaths(transaction, self.front, self.deaths)


class AskedRestart(TypedDict):
    """The result of AskRestart."""

    restart: int
    """The row's number."""
    generation: int
    """The one that was asked."""


@final
@dataclass(frozen=True, slots=True)
class AskRestart:
    """Write down that a worker is to be replaced, before it is."""

    by: str
    front: str
    generation: int
    reason: str
    mode: str
    preserve_state: bool
    timeout_seconds: float

    def fingerprint(self) -> bytes:
        """Give what tells this command from another: not the generation, because the next one finds the same wish."""
        wish = (self.reason, self.mode, self.preserve_state, self.timeout_seconds)
        return repr(("AskRestart", wish)).encode()

    def apply(self, transaction: Transaction) -> AskedRestart:
        """Insert it."""
        cursor = transaction.execute(
            "INSERT INTO restart(front, generation, actor, reason, mode, preserve_state, asked, status)"
            " VALUES (?,?,?,?,?,?,?,?)",
            (
                self.front,
                self.generation,
                self.by,
                self.reason,
                self.mode,
                self.preserve_state,
                transaction.now,
                RestartStatus.ASKED,
            ),
        )
        transaction.event("restart_asked", before=str(self.generation), after=self.mode, detail=self.reason)
        assert cursor.lastrowid is not None, "an insert gives a number"
        return {"restart": cursor.lastrowid, "generation": self.generation}


@final
@dataclass(frozen=True, slots=True)
class NoteRestart:
    """Write down what is known of a restart by now; what is None stays as it is."""

    by: str
    restart: int
    phases: tuple[tuple[str, float], ...] | None = None
    left_behind: Mapping[str, Any] | None = None
    handed_over: Mapping[str, Any] | None = None
    error: str | None = None
    """Why it failed: it has ended with that, unless a new worker works already."""

    def fingerprint(self) -> bytes:
        """Give what tells this command from another."""
        return fingerprint_of(self)

    def apply(self, transaction: Transaction) -> None:
        """Update the row."""
        columns: dict[str, object] = {
            name: json.dumps(value)
            for name in ("phases", "left_behind", "handed_over")
            if (value := getattr(self, name)) is not None
        }
        if columns:
            assignments = ", ".join(f"{name}=?" for name in columns)
            transaction.execute(f"UPDATE restart SET {assignments} WHERE seq=?", (*columns.values(), self.restart))
        if self.error is not None:
            ended = transaction.execute(
                "UPDATE restart SET status=?, ended=?, error=? WHERE seq=? AND status=?",
                (RestartStatus.FAILED, transaction.now, self.error, self.restart, RestartStatus.ASKED),
            )
            if ended.rowcount:
                transaction.event("restart_failed", detail=self.error)


class Prepared(TypedDict):
    """The result of PrepareShutdown."""

    since: float | None
    """Seconds since the epoch; None when it is not prepared any more."""


@final
@dataclass(frozen=True, slots=True)
class PrepareShutdown:
    """Remember that the shutdown of a server is prepared, or that it is not any more."""

    by: str
    server: str
    undo: bool = False

    def fingerprint(self) -> bytes:
        """Give what tells this command from another."""
        return fingerprint_of(self)

    def apply(self, transaction: Transaction) -> Prepared:
        """Write it down; preparing again changes nothing."""
        row = transaction.execute("SELECT at FROM shutdown WHERE server=?", (self.server,)).fetchone()
        if self.undo:
            if row is not None:
                transaction.execute("DELETE FROM shutdown WHERE server=?", (self.server,))
                transaction.event("shutdown_undone", before=self.server)
            return {"since": None}
        if row is not None:
            return {"since": row[0]}
        transaction.execute("DELETE FROM shutdown WHERE at < ?", (transaction.now - PREPARED_KEPT_SECONDS,))
        transaction.execute(
            "INSERT INTO shutdown(server, actor, at) VALUES (?,?,?)", (self.server, self.by, transaction.now)
        )
        transaction.event("shutdown_prepared", after=self.server)
        return {"since": transaction.now}


@final
@dataclass(frozen=True, slots=True)
class NoteSpecialist:
    """Say in the audit trail what became of what a specialist had built up before its worker was replaced."""

    by: str
    session_id: str | None
    task_id: str | None
    what: str
    """`context_taken_over` or `context_rebuilt`."""
    detail: str

    def fingerprint(self) -> bytes:
        """Give what tells this command from another."""
        return fingerprint_of(self)

    def apply(self, transaction: Transaction) -> None:
        """Append it."""
        transaction.event(self.what, session_id=self.session_id, task_id=self.task_id, detail=self.detail)


@final
@dataclass(frozen=True, slots=True)
class TouchStore:
    """Commit something that changes nothing but the record of this command, to see that commits work."""

    by: str
    text: str

    def fingerprint(self) -> bytes:
        """Give what tells this command from another."""
        return fingerprint_of(self)

    def apply(self, transaction: Transaction) -> str:  # noqa: ARG002 - nothing but its record is written
        """Give the text back."""
        return self.text


def _note_deaths(transaction: Transaction, front: str, deaths: tuple[Death, ...]) -> None:
    for death in deaths:
        row = transaction.execute(
            "SELECT ending FROM generation WHERE front=? AND number=?", (front, death.generation)
        ).fetchone()
        # How it ended is known a moment after that it did.
        transaction.execute(
            "INSERT INTO generation(front, number, pid, ended, ending) VALUES (?,?,?,?,?) ON CONFLICT(front, number)"
            " DO UPDATE SET ended=excluded.ended, ending=excluded.ending",
            (front, death.generation, death.pid, death.at, death.what),
        )
        if row is None or row[0] is None:
            transaction.event("worker_died", before=str(death.generation), detail=death.what)
