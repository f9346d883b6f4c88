"""Commands on the steps of a specialist that works by itself: begin one, end one, end the attempt.

A step is begun before anything outside is asked, and ended with what came back and what it cost. One that was begun
and not ended is begun once more after a crash, and that is counted. Neighbours: `store.steps` reads them,
`specialists.agent` decides what the next step is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypedDict, final

from vespera_agents.store.commands.claims import Finished, FinishTask
from vespera_agents.store.steps import StepKind
from vespera_agents.store.transaction import Transaction, fingerprint_of
from vespera_agents.work.errors import Conflict, NotFound
from vespera_agents.work.models import TaskStatus

__all__ = ["BeginStep", "BegunStep", "EndAttempt", "EndStep", "StepPlace"]


@final
@dataclass(frozen=True, slots=True)
class StepPlace:
    """Which step of which task."""

    task_id: str
    attempt: int
    number: int

    def __str__(self) -> str:
        return f"step {self.number} of attempt {self.attempt} at task {self.task_id}"


class BegunStep(TypedDict):
    """The result of BeginStep."""

    repeats: int
    """How often it was begun before."""


@final
@dataclass(frozen=True, slots=True)
class BeginStep:
    """Write down what is about to be done outside; again, if nothing was recorded of it."""

    by: str
    place: StepPlace
    holder: str
    """Who works on the task; refused when somebody else does by now."""
    kind: StepKind
    intent: Mapping[str, object]
    notes: tuple[tuple[str, str], ...] = ()
    """What else is told in the audit trail: names of events and their details."""

    def fingerprint(self) -> bytes:
        """Give what tells this command from another."""
        return fingerprint_of(self)

    def apply(self, transaction: Transaction) -> BegunStep:
        """Begin it.

        Raises:
            NotFound: there is no such task.
            Conflict: somebody else works on it, or nobody; or the step has ended.
        """
        place = self.place
        task = transaction.task(place.task_id)
        if task.status is not TaskStatus.IN_PROGRESS or task.claimed_by != self.holder:
            raise Conflict(
                f"task {task.id} ({task.title}) is {task.status} and not held by {self.holder}",
                "Leave it: somebody cancelled it or took it over.",
            )
        where = (place.task_id, place.attempt, place.number)
        row = transaction.execute(
            "SELECT repeats, ended FROM step WHERE task_id=? AND attempt=? AND number=?", where
        ).fetchone()
        for what, detail in self.notes:
            transaction.event(what, session_id=task.session_id, task_id=task.id, detail=detail)
        intent = json.dumps(dict(self.intent))
        if row is None:
            transaction.execute(
                "INSERT INTO step(task_id, attempt, number, session_id, kind, intent, begun) VALUES (?,?,?,?,?,?,?)",
                (*where, task.session_id, self.kind, intent, transaction.now),
            )
            return {"repeats": 0}
        if row[1] is not None:
            raise Conflict(f"{place} has ended already", "Read the steps of the task again and go on after it.")
        transaction.execute(
            "UPDATE step SET repeats=repeats+1, kind=?, intent=?, begun=? WHERE task_id=? AND attempt=? AND number=?",
            (self.kind, intent, transaction.now, *where),
        )
        transaction.event(
            "step_repeated", session_id=task.session_id, task_id=task.id, after=self.kind, detail=str(place)
        )
        return {"repeats": row[0] + 1}


@final
@dataclass(frozen=True, slots=True)
class EndStep:
    """Write down what came of a step, and what it cost; also when nobody wants the task any more."""

    by: str
    place: StepPlace
    result: Mapping[str, object] | None
    """As JSON can carry it; None where it lies in a file."""
    file: str | None = None
    """The content hash of the file with a large result; its bytes are durable."""
    provider: str | None = None
    model: str | None = None
    """Who answered, of a step that asks a model."""
    input_tokens: int = 0
    output_tokens: int = 0
    cost_micro_usd: int | None = None
    """Millionths of a dollar; None where the price is not known, or nothing was asked."""
    detail: str = ""
    """For the audit trail."""
    notes: tuple[tuple[str, str], ...] = ()
    """What else is told there: names of events and their details."""

    def fingerprint(self) -> bytes:
        """Give what tells this command from another."""
        return fingerprint_of(self)

    def apply(self, transaction: Transaction) -> None:
        """End it; the first end stands.

        Raises:
            NotFound: it was not begun, or its task was deleted.
        """
        place = self.place
        where = (place.task_id, place.attempt, place.number)
        row = transaction.execute(
            "SELECT session_id, kind, ended FROM step WHERE task_id=? AND attempt=? AND number=?", where
        ).fetchone()
        if row is None:
            raise NotFound(f"there is no {place}", "Its task was deleted: leave it.")
        if row[2] is not None:
            return
        transaction.execute(
            "UPDATE step SET result=?, file=?, provider=?, model=?, input_tokens=?, output_tokens=?, cost_micro_usd=?,"
            " ended=? WHERE task_id=? AND attempt=? AND number=?",
            (
                None if self.result is None else json.dumps(dict(self.result)),
                self.file,
                self.provider,
                self.model,
                self.input_tokens,
                self.output_tokens,
                self.cost_micro_usd,
                transaction.now,
                *where,
            ),
        )
        for what, detail in self.notes:
            transaction.event(what, session_id=row[0], task_id=place.task_id, detail=detail)
        transaction.event("step", session_id=row[0], task_id=place.task_id, after=row[1], detail=self.detail or None)


@final
@dataclass(frozen=True, slots=True)
class EndAttempt:
    """End the work on a task as `FinishTask` does, and with it the attempt: the next one begins at its first step."""

    by: str
    finish: FinishTask
    place: StepPlace
    """Of the step after the last."""

    def fingerprint(self) -> bytes:
        """Give what tells this command from another."""
        return fingerprint_of(self)

    def apply(self, transaction: Transaction) -> Finished:
        """End both.

        Raises:
            NotFound, Conflict, BadTransition: as `FinishTask`.
        """
        finished = self.finish.apply(transaction)
        place, now = self.place, transaction.now
        session_id = transaction.task(place.task_id).session_id
        told = json.dumps({"status": self.finish.status, "reason": self.finish.reason})
        transaction.execute(
            "INSERT INTO step(task_id, attempt, number, session_id, kind, intent, result, begun, ended)"
            " VALUES (?,?,?,?,?,'{}',?,?,?)",
            (place.task_id, place.attempt, place.number, session_id, StepKind.END, told, now, now),
        )
        return finished
