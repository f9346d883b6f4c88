"""Commands on callbacks: register targets, take some to send, say what became of them, replay, prune; tell of the rest.

What is taken is held by whoever sends it, so that nobody else does; a successor frees what the dead held, and sends it
once more. Many ends go into one command. Neighbours: `store.outbox` writes the rows, `specialists.callbacks` delivers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, TypedDict, final

from vespera_agents.store.callbacks import deadlines_near
from vespera_agents.store.outbox import CallbackEvent, CallbackStatus, read_audience, tell
from vespera_agents.store.transaction import Transaction, fingerprint_of

__all__ = [
    "CallbackEnd",
    "EndCallbacks",
    "FreeCallbacks",
    "NearDeadlines",
    "PruneCallbacks",
    "RegisterTargets",
    "ReplayCallbacks",
    "TakeCallbacks",
    "TellDeadlines",
    "TellTargets",
    "Told",
]

DELIVERED_KEPT_MAX: Final = 10_000
"""Delivered callbacks that are kept to look at, the newest."""
DEAD_KEPT_MAX: Final = 100_000
KEPT_SECONDS: Final = 30 * 86_400.0
"""How long anything that has ended is kept at most; and what nobody could send is given up."""
PRUNED_MAX: Final = 500
"""Rows that one command removes."""
DEADLINES_MAX: Final = 100
"""Deadlines that one command tells of."""
_PROBLEM_MAX: Final = 300


@final
@dataclass(frozen=True, slots=True)
class RegisterTargets:
    """Say who is told of what from now on; whoever is not named is told of nothing new."""

    by: str
    events: tuple[tuple[str, tuple[str, ...]], ...]
    """Names of targets, and their events. No addresses: these may hold secrets, and are the sender's to know."""

    def fingerprint(self) -> bytes:
        """Give what tells this command from another."""
        return fingerprint_of(self)

    def apply(self, transaction: Transaction) -> None:
        """Write it, for this writer and all others."""
        transaction.execute("DELETE FROM callback_target")
        transaction.connection.executemany(
            "INSERT INTO callback_target(name, events) VALUES (?,?)",
            [(name, " ".join(events)) for name, events in self.events],
        )
        told = "; ".join(f"{name}: {', '.join(events)}" for name, events in self.events)
        transaction.event("callback_targets", detail=told or "nobody")
        read_audience(transaction.connection, transaction.audience)


@final
@dataclass(frozen=True, slots=True)
class TakeCallbacks:
    """Hold callbacks that are about to be sent: the intent, committed before the outside is asked."""

    by: str
    origin: str
    """Of its key: none of these commands is repeated once another has followed, so their records go with the next."""
    holder: str
    seqs: tuple[int, ...]

    def fingerprint(self) -> bytes:
        """Give what tells this command from another."""
        return fingerprint_of(self)

    def apply(self, transaction: Transaction) -> list[int]:
        """Take those that are still to be had, and give their numbers."""
        transaction.execute("DELETE FROM command WHERE origin=?", (self.origin,))
        taken: list[int] = []
        for seq in self.seqs:
            row = transaction.execute(
                "UPDATE callback SET holder=?, attempts=attempts+1"
                " WHERE seq=? AND status='pending' AND due <= ? AND holder IS NULL RETURNING seq",
                (self.holder, seq, transaction.now),
            ).fetchone()
            if row is not None:
                taken.append(seq)
        return taken


@final
@dataclass(frozen=True, slots=True)
class CallbackEnd:
    """What became of one attempt."""

    seq: int
    status: CallbackStatus
    """pending: it is tried again."""
    due: float | None = None
    """When, in seconds since the epoch."""
    problem: str | None = None
    failed: bool = False
    """Whether it counts as a failure. One that is pending again without a failure was not sent at all."""


@final
@dataclass(frozen=True, slots=True)
class EndCallbacks:
    """Write down what became of attempts, many at once; behind what has ended the next one of its task is due."""

    by: str
    origin: str
    holder: str
    ends: tuple[CallbackEnd, ...]

    def fingerprint(self) -> bytes:
        """Give what tells this command from another."""
        return fingerprint_of(self)

    def apply(self, transaction: Transaction) -> None:
        """Write them; what this holder holds no more is somebody else's to end."""
        transaction.execute("DELETE FROM command WHERE origin=?", (self.origin,))
        for end in self.ends:
            over = end.status is not CallbackStatus.PENDING
            row = transaction.execute(
                "UPDATE callback SET holder=NULL, status=?, due=?, attempts=attempts-?, failures=failures+?,"
                " problem=coalesce(?, problem), ended=?"
                " WHERE seq=? AND holder=? RETURNING target, lane, session_id, task_id, id",
                (
                    end.status,
                    None if over else end.due,
                    not over and not end.failed,
                    end.failed,
                    None if end.problem is None else end.problem[:_PROBLEM_MAX],
                    transaction.now if over else None,
                    end.seq,
                    self.holder,
                ),
            ).fetchone()
            if row is None or not over:
                continue
            target, lane, session_id, task_id, identifier = row
            _let_next(transaction, target, lane)
            if end.status is CallbackStatus.DEAD:
                transaction.event(
                    "callback_dead", session_id=session_id, task_id=task_id, before=target, detail=identifier
                )


@final
@dataclass(frozen=True, slots=True)
class FreeCallbacks:
    """Let go what others held when they died: it may have been sent, and is sent once more."""

    by: str
    origin: str
    target: str
    holder: str
    """Who frees them, and keeps what it holds itself."""

    def fingerprint(self) -> bytes:
        """Give what tells this command from another."""
        return fingerprint_of(self)

    def apply(self, transaction: Transaction) -> int:
        """Free them and count them."""
        transaction.execute("DELETE FROM command WHERE origin=?", (self.origin,))
        return transaction.execute(
            "UPDATE callback SET holder=NULL WHERE target=? AND holder IS NOT NULL AND holder != ?",
            (self.target, self.holder),
        ).rowcount


@final
@dataclass(frozen=True, slots=True)
class ReplayCallbacks:
    """Send again: these, or all dead ones."""

    by: str
    ids: tuple[str, ...] = ()
    """Dead or delivered ones; empty: every dead one."""
    target: str | None = None
    """Only of this target."""

    def fingerprint(self) -> bytes:
        """Give what tells this command from another."""
        return fingerprint_of(self)

    def apply(self, transaction: Transaction) -> int:
        """Let them wait at the end of their lane, under their old ids, with all attempts before them; count them."""
        if self.ids:
            marks = ",".join("?" * len(self.ids))
            where, parameters = f"id IN ({marks}) AND status != 'pending'", [*self.ids]
        else:
            where, parameters = "status='dead'", []
        if self.target is not None:
            where, parameters = f"{where} AND target=?", [*parameters, self.target]
        rows = transaction.execute(
            f"SELECT seq, target, lane FROM callback WHERE {where} ORDER BY seq", parameters
        ).fetchall()
        for seq, target, lane in rows:
            waits = transaction.execute(
                "SELECT 1 FROM callback WHERE target=? AND lane=? AND status='pending' LIMIT 1", (target, lane)
            ).fetchone()
            transaction.execute(
                "UPDATE callback SET status='pending', failures=0, problem=NULL, ended=NULL, due=? WHERE seq=?",
                (None if waits else transaction.now, seq),
            )
        if rows:
            transaction.event("callbacks_replayed", after=self.target, detail=f"{len(rows)} of them")
        return len(rows)


@final
@dataclass(frozen=True, slots=True)
class PruneCallbacks:
    """Remove callbacks that ended long ago, or that are too many; give up what nobody could send for as long."""

    by: str
    origin: str

    def fingerprint(self) -> bytes:
        """Give what tells this command from another."""
        return fingerprint_of(self)

    def apply(self, transaction: Transaction) -> int:
        """Remove some, and count them: as long as there are any, call again."""
        transaction.execute("DELETE FROM command WHERE origin=?", (self.origin,))
        before, removed = transaction.now - KEPT_SECONDS, 0
        transaction.execute("DELETE FROM callback_once WHERE at < ?", (before,))
        transaction.execute(
            "UPDATE callback SET status='dead', due=NULL, holder=NULL, ended=?,"
            " problem='nobody could send it for 30 days' WHERE created < ? AND seq IN"
            " (SELECT seq FROM callback WHERE status='pending' ORDER BY seq LIMIT ?)",
            (transaction.now, before, PRUNED_MAX),
        )
        for status, most in ((CallbackStatus.DELIVERED, DELIVERED_KEPT_MAX), (CallbackStatus.DEAD, DEAD_KEPT_MAX)):
            first = transaction.execute(
                "SELECT seq FROM callback WHERE status=? ORDER BY seq DESC LIMIT 1 OFFSET ?", (status, most - 1)
            ).fetchone()
            removed += transaction.execute(
                "DELETE FROM callback WHERE (seq < ?1 OR ended < ?2) AND seq IN"
                " (SELECT seq FROM callback WHERE status=?3 ORDER BY seq LIMIT ?4)",
                (0 if first is None else first[0], before, status, PRUNED_MAX),
            ).rowcount
        return removed


class Told(TypedDict):
    """The result of TellTargets."""

    told: bool
    """False when it was told before."""


@final
@dataclass(frozen=True, slots=True)
class TellTargets:
    """Tell whoever is registered that something happened which is no change of a task: a budget that is low."""

    by: str
    event: CallbackEvent
    session_id: str | None = None
    task_id: str | None = None
    facts: Mapping[str, object] = field(default_factory=dict[str, object])
    """What is told, as JSON can carry it: numbers and names, no secret and no text of somebody else's."""
    once: str | None = None
    """Tell it once under this name, whoever finds it again: `spend/session_1/80`."""

    def fingerprint(self) -> bytes:
        """Give what tells this command from another."""
        return fingerprint_of(self)

    def apply(self, transaction: Transaction) -> Told:
        """Write it into the audit trail and the outbox.

        Raises:
            NotFound: there is no such task.
        """
        if self.once is not None and not _first_time(transaction, self.event, self.once):
            return {"told": False}
        task = None if self.task_id is None else transaction.task(self.task_id)
        session_id = self.session_id if task is None else task.session_id
        detail = ", ".join(f"{name} {value}" for name, value in self.facts.items())
        transaction.event(
            self.event.removeprefix("on_"), session_id=session_id, task_id=self.task_id, detail=detail or None
        )
        tell(transaction, self.event, session_id=session_id, task=task, facts=self.facts)
        return {"told": True}


class NearDeadlines(TypedDict):
    """The result of TellDeadlines."""

    tasks: list[tuple[str, str]]
    """Of those that were told of: session and task."""


@final
@dataclass(frozen=True, slots=True)
class TellDeadlines:
    """Tell of tasks that are due soon and whose work is not over, each once for each time that it is due at."""

    by: str
    origin: str
    within_seconds: float

    def fingerprint(self) -> bytes:
        """Give what tells this command from another."""
        return fingerprint_of(self)

    def apply(self, transaction: Transaction) -> NearDeadlines:
        """Tell of the first hundred."""
        transaction.execute("DELETE FROM command WHERE origin=?", (self.origin,))
        told: list[tuple[str, str]] = []
        for task_id in deadlines_near(transaction.connection, transaction.now + self.within_seconds, DEADLINES_MAX):
            task = transaction.task(task_id)
            assert task.due is not None, "only what is due is near"
            transaction.execute(
                "INSERT OR IGNORE INTO callback_once(what, subject, at)"
                " SELECT ?, id || '@' || due, ? FROM task WHERE id=?",
                (CallbackEvent.DEADLINE_NEAR, transaction.now, task_id),
            )
            transaction.event("deadline_near", session_id=task.session_id, task_id=task_id)
            facts = {"status": task.status, "due": task.due, "seconds_left": round(task.due - transaction.now, 3)}
            tell(transaction, CallbackEvent.DEADLINE_NEAR, session_id=task.session_id, task=task, facts=facts)
            told.append((task.session_id, task_id))
        return {"tasks": told}


def _first_time(transaction: Transaction, what: str, subject: str) -> bool:
    """Note that something was told; says whether it was not yet."""
    inserted = transaction.execute(
        "INSERT OR IGNORE INTO callback_once(what, subject, at) VALUES (?,?,?)", (what, subject, transaction.now)
    )
    return bool(inserted.rowcount)


def _let_next(transaction: Transaction, target: str, lane: str) -> None:
    """Let the next one of a lane be due, where one waits."""
    transaction.execute(
        "UPDATE callback SET due=? WHERE due IS NULL AND seq ="
        " (SELECT min(seq) FROM callback WHERE target=? AND lane=? AND status='pending')",
        (transaction.now, target, lane),
    )
