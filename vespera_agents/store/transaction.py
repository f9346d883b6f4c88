"""What a command sees while it is applied: the rows, the time, new ids, and a list of what it changed.

A command is an object with a `by` (who), a `fingerprint()` (what) and an `apply(transaction)` that reads rows, asks the
rules of `work/`, writes, and returns a JSON value; or raises a Refusal, and then nothing of it is kept. It runs in the
writer's thread inside a transaction that the writer owns: a command never commits. Neighbours: `writer` runs
commands, `changes` holds the steps that several of them share, `commands/` are the commands themselves.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable
from dataclasses import Field, dataclass, fields
from functools import cache
from typing import Any, ClassVar, Final, NamedTuple, Protocol, TypeVar, final

from vespera_agents.store.rows import TASK_COLUMNS, task_of
from vespera_agents.work.errors import Conflict, NotFound
from vespera_agents.work.models import SessionStatus, Task, TaskStatus

__all__ = [
    "Command",
    "CommandKey",
    "StatusChange",
    "Transaction",
    "fingerprint_of",
    "only_open_session",
    "resolve_task_id",
]

R_co = TypeVar("R_co", covariant=True)

_OPEN_SESSIONS: Final = (
    # The status is written out, because only then SQLite uses the index of the open ones.
    f"SELECT id, name FROM session WHERE status='{SessionStatus.OPEN}' ORDER BY created DESC, id LIMIT ?"
)
_NEAR_MATCHES: Final = 3
_SESSIONS_SHOWN: Final = 10
_NEAR_PREFIX: Final = len("task_") + 3
_WHO: Final = frozenset({"by", "holder", "certain"})
"""Fields that say who sends a command. A command that is sent again after a restart comes from another server."""


@final
@dataclass(frozen=True, slots=True)
class CommandKey:
    """The name of one wish to change something, so that repeating the wish does not repeat the effect.

    Source: DESIGN "Front and worker", rules 1 and 2. Never the JSON-RPC id, which clients reuse.
    """

    origin: str
    """Who names it: a server's random id, or a client's principal."""
    key: str
    """Unique within its origin."""

    def step(self, number: int) -> CommandKey:
        """Name one command of a tool that needs several."""
        return CommandKey(self.origin, f"{self.key}/{number}")


class Command(Protocol[R_co]):
    """A change of the durable state."""

    @property
    def by(self) -> str:
        """Who wants it: written into every event."""
        ...

    def fingerprint(self) -> bytes:
        """Give bytes that differ when the command's arguments differ."""
        ...

    def apply(self, transaction: Transaction) -> R_co:
        """Make the change and give its result, which JSON must be able to carry.

        Raises:
            Refusal: the rows as they are do not allow it; nothing is kept.
        """
        ...


class StatusChange(NamedTuple):
    """A task that got another status: what subscribers and statistics hear of after the commit.

    A tuple, because every created task makes one and a frozen dataclass takes three times as long to make.
    """

    session_id: str
    task_id: str
    specialist: str
    before: TaskStatus | None
    """None for a task that was just created."""
    after: TaskStatus
    waived: bool
    queued_seconds: float | None = None
    """From creation to this claim."""
    worked_seconds: float | None = None
    """From its claim to this end."""


class _Dataclass(Protocol):
    """What `dataclasses.fields` takes."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]


def fingerprint_of(command: _Dataclass, *aside: str) -> bytes:
    """Give 16 bytes that tell a command's wish from another.

    Args:
        command: whose.
        aside: the names of fields that are no part of the wish; who sends it never is.
    """
    kind = type(command)
    wish = [getattr(command, name) for name in _names_of(kind, aside)]
    return hashlib.blake2b(f"{kind.__name__}{wish!r}".encode(), digest_size=16).digest()


@cache
def _names_of(kind: type[_Dataclass], aside: tuple[str, ...]) -> tuple[str, ...]:
    """Name the fields of a kind of command that are part of its wish; its name is in what is hashed."""
    return tuple(field.name for field in fields(kind) if field.name not in _WHO and field.name not in aside)


@final
class Transaction:
    """One command's view of the database."""

    __slots__ = ("audience", "by", "changed", "connection", "execute", "mint", "now", "released")

    def __init__(
        self,
        connection: sqlite3.Connection,
        now: float,
        mint: Callable[[], str],
        audience: dict[str, tuple[str, ...]] | None = None,
    ) -> None:
        self.connection = connection
        self.execute = connection.execute
        self.now = now
        """Seconds since the epoch, one value for the whole batch."""
        self.mint = mint
        """Give 12 new hex digits."""
        self.by = ""
        self.changed: list[StatusChange] = []
        self.released: list[str] = []
        """Tasks and containers that lost something that held them."""
        self.audience = {} if audience is None else audience
        """Who is told of what, as `outbox.read_audience` gives it: known without asking, because most tell nobody."""

    def event(
        self,
        what: str,
        *,
        session_id: str | None = None,
        task_id: str | None = None,
        before: str | None = None,
        after: str | None = None,
        detail: str | None = None,
    ) -> None:
        """Append to the audit trail."""
        self.execute(
            "INSERT INTO event(at, session_id, task_id, actor, what, before, after, detail) VALUES (?,?,?,?,?,?,?,?)",
            (self.now, session_id, task_id, self.by, what, before, after, detail),
        )

    def task(self, reference: str, session_id: str | None = None) -> Task:
        """Read a task by id or unique prefix.

        Raises:
            NotFound: nothing, or more than one task, has that prefix.
        """
        row = self.execute(f"SELECT {TASK_COLUMNS} FROM task WHERE id = ?", (reference,)).fetchone()
        if row is None:
            row = self.execute(
                f"SELECT {TASK_COLUMNS} FROM task WHERE id = ?",
                (resolve_task_id(self.connection, reference, session_id),),
            ).fetchone()
        task = task_of(row)
        if session_id is not None and task.session_id != session_id:
            raise NotFound(
                f"the task {reference!r} belongs to another session ({task.session_id})",
                "Name a task of this session, or pass that session.",
            )
        return task


def only_open_session(connection: sqlite3.Connection) -> str:
    """Find the session that is meant where none is named.

    Raises:
        NotFound: none is open.
        Conflict: several are.
    """
    rows: list[tuple[str, str]] = connection.execute(
        _OPEN_SESSIONS,
        (_SESSIONS_SHOWN + 1,),
    ).fetchall()
    if not rows:
        raise NotFound("no session is open in this workspace", "Call orchestrator_initialize_session first.")
    if len(rows) > 1:
        shown = "; ".join(f"{identifier} ({name})" for identifier, name in rows[:_SESSIONS_SHOWN])
        more = "; ..." if len(rows) > _SESSIONS_SHOWN else ""
        raise Conflict(f"several sessions are open: {shown}{more}", "Say which one in `session`.")
    return rows[0][0]


def resolve_task_id(connection: sqlite3.Connection, reference: str, session_id: str | None = None) -> str:
    """Find the one task whose id begins with `reference`.

    Raises:
        NotFound: with near matches when there are any.
    """
    prefix = reference if reference.startswith("task_") else f"task_{reference}"
    where, parameters = "", []
    if session_id is not None:
        where, parameters = " AND session_id = ?", [session_id]
    found: list[str] = [
        row[0]
        for row in connection.execute(
            f"SELECT id FROM task WHERE id >= ? AND id < ?{where} ORDER BY id LIMIT {_NEAR_MATCHES}",
            (prefix, f"{prefix}g", *parameters),
        )
    ]
    if len(found) == 1 and len(prefix) > len("task_"):
        return found[0]
    if len(found) > 1 and len(prefix) > len("task_"):
        raise NotFound(
            f"{reference!r} is the beginning of several task ids ({', '.join(found)})", "Give more of the id."
        )
    near = connection.execute(
        "SELECT id, title FROM task WHERE ((id >= ? AND id < ?) OR title LIKE ?)"
        f"{where} ORDER BY id LIMIT {_NEAR_MATCHES}",
        (prefix[:_NEAR_PREFIX], f"{prefix[:_NEAR_PREFIX]}g", f"%{reference}%", *parameters),
    ).fetchall()
    hint = "; ".join(f"{row[0]} {row[1]!r}" for row in near)
    raise NotFound(
        f"there is no task {reference!r}",
        f"Near it: {hint}. Find it with orchestrator_query_tasks."
        if hint
        else "List them with orchestrator_query_tasks.",
    )
