"""Commands on jobs: begin one, say how far it is, ask, answer, wish it stopped, end it.

The intent is committed before the work begins, and an outcome stands: whoever comes second changes nothing.
Not the work itself (`specialists.jobs`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypedDict, final

from vespera_agents.store.jobs import JobStatus, job
from vespera_agents.store.transaction import Transaction, fingerprint_of
from vespera_agents.work.errors import Conflict

__all__ = ["AdoptJob", "AnswerJob", "AskJob", "EndJob", "JobState", "NoteJob", "StartJob", "StopJob", "kept_id"]

TTL_SECONDS: Final = 86_400.0
"""How long an ended job is kept."""
POLL_SECONDS: Final = 1.0
KEPT: Final = "kept-"
"""How the ids of questions begin that are put again under the same id: what was answered counts, whoever asks."""
_FORGOTTEN_AT_ONCE_MAX: Final = 100
"""Ended jobs that one new job clears away at most."""


def kept_id(thread: str, name: str = "") -> str:
    """Give the id of a question that is kept, or how all of a thread's begin."""
    parts = (hashlib.sha256(part.encode()).hexdigest()[:16] for part in (thread, name) if part)
    return f"{KEPT}{'-'.join(parts)}"


class JobState(TypedDict):
    """The result of each of these commands."""

    job_id: str
    status: str
    """Where it stands now."""


@final
@dataclass(frozen=True, slots=True)
class StartJob:
    """Write down that long work begins, and forget what ended long ago."""

    by: str
    server: str
    kind: str
    session_id: str | None = None
    task_id: str | None = None
    total: float | None = None
    message: str | None = None
    ttl_seconds: float = TTL_SECONDS
    poll_seconds: float = POLL_SECONDS
    intent: Mapping[str, object] | None = None
    """What another process needs to begin the work anew."""

    def fingerprint(self) -> bytes:
        """Give what tells this command from another."""
        return fingerprint_of(self)

    def apply(self, transaction: Transaction) -> JobState:
        """Insert it."""
        transaction.execute(
            "DELETE FROM job WHERE seq IN (SELECT seq FROM job WHERE status NOT IN ('working', 'input_required')"
            " AND updated + ttl_seconds < ? ORDER BY updated LIMIT ?)",
            (transaction.now, _FORGOTTEN_AT_ONCE_MAX),
        )
        identifier = f"job_{transaction.mint()}{transaction.mint()}{transaction.mint()}"
        transaction.execute(
            "INSERT INTO job(id, kind, principal, server, session_id, task_id, status, total, message, intent,"
            " ttl_seconds, poll_seconds, created, updated) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
            (
                identifier,
                self.kind,
                self.by,
                self.server,
                self.session_id,
                self.task_id,
                JobStatus.WORKING,
                self.total,
                self.message,
                None if self.intent is None else json.dumps(dict(self.intent)),
                self.ttl_seconds,
                self.poll_seconds,
                transaction.now,
                transaction.now,
            ),
        )
        transaction.event(
            "job_started", session_id=self.session_id, task_id=self.task_id, after=identifier, detail=self.kind
        )
        return {"job_id": identifier, "status": JobStatus.WORKING}


@final
@dataclass(frozen=True, slots=True)
class AdoptJob:
    """Begin a job anew whose process has ended, with the name of its server or of another one."""

    by: str
    job_id: str
    server: str
    attempts_max: int
    """How often it may be begun without getting on."""

    def fingerprint(self) -> bytes:
        """Give what tells this command from another."""
        return fingerprint_of(self)

    def apply(self, transaction: Transaction) -> JobState:
        """Count the attempt; questions and answers that are not kept are forgotten, and asked anew.

        Raises:
            NotFound: there is no such job.
            Conflict: it was begun too often.
        """
        found = job(transaction.connection, self.job_id)
        in_vain = found.attempts - found.got_on
        if not found.ended and in_vain >= self.attempts_max:
            raise Conflict(
                f"job {found.id} was begun {in_vain} times, and its process ended each time",
                "Look into the log of the server (`vespera logs`) before you ask for it again.",
            )
        asked = {key: question for key, question in found.asked.items() if key.startswith(KEPT)}
        answers = {key: answer for key, answer in found.answers.items() if key.startswith(KEPT)}
        return _change(
            transaction,
            self.job_id,
            server=self.server,
            status=JobStatus.INPUT_REQUIRED if asked else JobStatus.WORKING,
            asked=json.dumps(asked),
            answers=json.dumps(answers),
            attempts=found.attempts + 1,
        )


@final
@dataclass(frozen=True, slots=True)
class NoteJob:
    """Say how far a job is."""

    by: str
    job_id: str
    done: float
    total: float | None
    message: str | None

    def fingerprint(self) -> bytes:
        """Give what tells this command from another."""
        return fingerprint_of(self)

    def apply(self, transaction: Transaction) -> JobState:
        """Write it down, unless the job has ended; one that gets on is not what ends its processes.

        Raises:
            NotFound: there is no such job.
        """
        columns: dict[str, object] = {"done": self.done, "total": self.total, "message": self.message}
        found = job(transaction.connection, self.job_id)
        if self.done > found.done:
            columns["got_on"] = found.attempts - 1
        return _change(transaction, self.job_id, **columns)


@final
@dataclass(frozen=True, slots=True)
class AskJob:
    """Put questions to whoever asked for a job, beside those that are open; one that was answered is not put again."""

    by: str
    job_id: str
    questions: Mapping[str, object]
    """By ids that are used once, or begin with `KEPT`."""
    forgotten: tuple[str, ...] = ()
    """How the ids of earlier questions begin that nobody waits for any more; these questions are not meant."""

    def fingerprint(self) -> bytes:
        """Give what tells this command from another."""
        return fingerprint_of(self)

    def apply(self, transaction: Transaction) -> JobState:
        """Ask.

        Raises:
            NotFound: there is no such job.
        """
        found = job(transaction.connection, self.job_id)
        asked = {key: one for key, one in found.asked.items() if not self._is_over(key)} | dict(self.questions)
        answers = {key: one for key, one in found.answers.items() if not self._is_over(key)}
        asked = {key: one for key, one in asked.items() if key not in answers}
        return _change(
            transaction,
            self.job_id,
            status=JobStatus.INPUT_REQUIRED if asked else JobStatus.WORKING,
            asked=json.dumps(asked),
            answers=json.dumps(answers),
        )

    def _is_over(self, key: str) -> bool:
        return key not in self.questions and key.startswith(self.forgotten)


@final
@dataclass(frozen=True, slots=True)
class AnswerJob:
    """Answer some of a job's questions; with the last answer it goes on."""

    by: str
    job_id: str
    answers: Mapping[str, object]
    """By the ids of the questions; others are passed over."""

    def fingerprint(self) -> bytes:
        """Give what tells this command from another."""
        return fingerprint_of(self)

    def apply(self, transaction: Transaction) -> JobState:
        """Keep the answers.

        Raises:
            NotFound: there is no such job.
        """
        found = job(transaction.connection, self.job_id)
        given = {key: value for key, value in self.answers.items() if key in found.asked}
        open_ones = {key: value for key, value in found.asked.items() if key not in given}
        if not given:
            return {"job_id": found.id, "status": found.status}
        return _change(
            transaction,
            self.job_id,
            status=JobStatus.INPUT_REQUIRED if open_ones else JobStatus.WORKING,
            asked=json.dumps(open_ones),
            answers=json.dumps({**found.answers, **given}),
        )


@final
@dataclass(frozen=True, slots=True)
class StopJob:
    """Wish a job cancelled; whoever works on it sees this and ends it."""

    by: str
    job_id: str
    reason: str

    def fingerprint(self) -> bytes:
        """Give what tells this command from another."""
        return fingerprint_of(self)

    def apply(self, transaction: Transaction) -> JobState:
        """Write the wish down, unless the job has ended.

        Raises:
            NotFound: there is no such job.
        """
        return _change(transaction, self.job_id, stop=self.reason)


@final
@dataclass(frozen=True, slots=True)
class EndJob:
    """Write down what came of a job; the first outcome stands."""

    by: str
    job_id: str
    status: JobStatus
    message: str | None = None
    result: Mapping[str, object] | None = None
    error: Mapping[str, object] | None = None

    def fingerprint(self) -> bytes:
        """Give what tells this command from another."""
        return fingerprint_of(self)

    def apply(self, transaction: Transaction) -> JobState:
        """End it.

        Raises:
            NotFound: there is no such job.
        """
        found = job(transaction.connection, self.job_id)
        if not found.ended:
            transaction.event(
                "job_ended",
                session_id=found.session_id,
                task_id=found.task_id,
                before=found.status,
                after=self.status,
                detail=f"{found.id}: {self.message}" if self.message else found.id,
            )
        columns: dict[str, object] = {"status": self.status, "asked": None, "answers": None}
        if self.message is not None:
            columns["message"] = self.message
        if self.result is not None:
            columns["result"] = json.dumps(self.result)
        if self.error is not None:
            columns["error"] = json.dumps(self.error)
        return _change(transaction, self.job_id, **columns)


def _change(transaction: Transaction, job_id: str, **columns: object) -> JobState:
    """Set columns of a live job; one that has ended stays as it is."""
    found = job(transaction.connection, job_id)
    if found.ended:
        return {"job_id": found.id, "status": found.status}
    # The names are those of this module's own calls.
    assignments = ", ".join(f"{name}=?" for name in columns)
    transaction.execute(
        f"UPDATE job SET {assignments}, updated=? WHERE id=?", (*columns.values(), transaction.now, job_id)
    )
    return {"job_id": found.id, "status": str(columns.get("status", found.status))}
