"""The client's own book of what it was told, and the comparison of that book with the rows of the store.

Pure but for reading the database: no server, no client. Every effect that was acknowledged must be there exactly once,
and nothing else may be: what a client never asked for is a doubled effect under another name. Commands of gates may run
again after a crash, their outcome is recorded once. Neighbours: `load` writes into the book.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, final

__all__ = ["ARTIFACTS_OF_WORK", "Record", "Verdict", "doubled_titles"]

ARTIFACTS_OF_WORK: Final = 2
"""What a task leaves that was handed in with its work and had a gate: the work, and what the gate said."""
_SHOWN: Final = 5
_UNFINISHED: Final = "SELECT kind, task_id FROM job WHERE status IN ('working', 'input_required')"


@final
@dataclass(frozen=True, slots=True)
class Verdict:
    """What the rows say about the book."""

    lost: tuple[str, ...]
    """Acknowledged effects that are not there."""
    doubled: tuple[str, ...]
    """Effects that are there more often than they were asked for."""
    damaged: tuple[str, ...]
    """What SQLite itself finds wrong, and rows that do not fit together."""
    unfinished: tuple[str, ...] = ()
    """Jobs that are said to be at work although their tasks are completed and nobody is there any more."""

    @property
    def sound(self) -> bool:
        """Whether nothing at all was found."""
        return not (self.lost or self.doubled or self.damaged or self.unfinished)

    def __str__(self) -> str:
        """Name what was found, the first few of each kind."""
        names = ("lost", "doubled", "damaged", "unfinished")
        parts = zip(names, (self.lost, self.doubled, self.damaged, self.unfinished), strict=True)
        told = [f"{len(found)} {name}: {'; '.join(found[:_SHOWN])}" for name, found in parts if found]
        return ". ".join(told) or "nothing lost, nothing doubled"


@final
@dataclass(slots=True)
class Record:
    """What a client was told."""

    planned: dict[str, str] = field(default_factory=dict[str, str])
    """Id by title; a title is used once."""
    claimed: set[str] = field(default_factory=set[str])
    """Ids of tasks that were claimed once."""
    completed: set[str] = field(default_factory=set[str])
    """Ids of tasks whose work was handed in, with a gate."""
    uncertain: set[str] = field(default_factory=set[str])
    """Ids of tasks of which it was not told what became of them: nothing is expected of these."""
    finished: set[str] = field(default_factory=set[str])
    """Ids of tasks whose work was handed in, without a gate."""
    updated: Counter[str] = field(default_factory=Counter[str])
    """How often each task was changed."""
    gathered: Counter[str] = field(default_factory=Counter[str])
    """How often the results below each task were gathered."""

    @property
    def effects(self) -> int:
        """How many effects were acknowledged."""
        worked = len(self.claimed) + len(self.completed) + len(self.finished)
        return len(self.planned) + worked + self.updated.total() + self.gathered.total()

    def judge(self, database: Path) -> Verdict:
        """Compare the book with a store that nobody writes to any more; all calls must have been answered."""
        try:
            return self._judge(database)
        except sqlite3.DatabaseError as error:
            return Verdict((), (), (f"{database.name} cannot be read: {error}",))

    def _judge(self, database: Path) -> Verdict:
        with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
            rows = _Rows(connection)
            lost: list[str] = []
            doubled: list[str] = []
            damaged = [text for (text,) in connection.execute("PRAGMA integrity_check") if text != "ok"]
            damaged += [
                f"a row of {row[0]} without its parent" for row in connection.execute("PRAGMA foreign_key_check")
            ]
            for what, expected, found in self._comparisons(rows):
                for name in sorted({*expected, *found} - self.uncertain):
                    wanted, there = expected.get(name, 0), found.get(name, 0)
                    if there < wanted:
                        lost.append(f"{what} {name}: {there} of {wanted}")
                    elif there > wanted:
                        doubled.append(f"{what} {name}: {there} instead of {wanted}")
            damaged += rows.contradictions(self.planned)
            unfinished = [f"{kind} of {task}" for kind, task in connection.execute(_UNFINISHED)]
        return Verdict(tuple(lost), tuple(doubled), tuple(damaged), tuple(unfinished))

    def _comparisons(self, rows: _Rows) -> Iterator[tuple[str, Mapping[str, int], Mapping[str, int]]]:
        ids = dict.fromkeys(self.planned.values(), 1)
        yield "task", dict.fromkeys(self.planned, 1), rows.counted("SELECT title FROM task")
        yield "creation of", ids, rows.events("created")
        leaves = rows.leaves(ids)
        claims = rows.counted("SELECT task_id FROM event WHERE what='status' AND after='in_progress'")
        yield "claim of", dict.fromkeys(self.claimed, 1), _only(claims, leaves)
        completions = rows.counted("SELECT task_id FROM event WHERE what='status' AND after='completed'")
        done = dict.fromkeys(self.completed | self.finished, 1)
        yield "completion of", done, _only(completions, leaves)
        statuses = rows.counted("SELECT id FROM task WHERE status='completed'")
        yield "completed task", done, _only(statuses, leaves)
        yield "change of", self.updated, rows.events("updated")
        artifacts = dict(self.gathered) | dict.fromkeys(self.finished, 1)
        artifacts |= dict.fromkeys(self.completed, ARTIFACTS_OF_WORK)
        yield "artifacts of", artifacts, rows.counted("SELECT task_id FROM artifact")
        yield "events of artifacts of", artifacts, rows.events("artifact")
        ended = "SELECT task_id FROM job WHERE status='completed' AND kind='orchestrator_complete_task'"
        # The end of a task and that of the job of its gates are two transactions: between them the second may be lost.
        gates = rows.counted(ended)
        yield "gates of", {task: min(gates[task], task in self.completed) for task in gates}, gates


@final
class _Rows:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def counted(self, sql: str, *parameters: object) -> Counter[str]:
        return Counter(str(name) for (name,) in self._connection.execute(sql, parameters))

    def events(self, what: str) -> Counter[str]:
        return self.counted("SELECT task_id FROM event WHERE what=? AND task_id IS NOT NULL", what)

    def leaves(self, ids: Iterable[str]) -> set[str]:
        containers = self.counted("SELECT DISTINCT parent_id FROM task WHERE parent_id IS NOT NULL")
        return {one for one in ids if one not in containers} | self._unknown(set(ids))

    def _unknown(self, known: set[str]) -> set[str]:
        everybody: Iterable[tuple[Any, ...]] = self._connection.execute("SELECT id FROM task")
        return {one for (one,) in everybody if one not in known}

    def contradictions(self, planned: Mapping[str, str]) -> Iterator[str]:
        """Find tasks that the client knows by another id than the store."""
        for title, one in self._connection.execute("SELECT title, id FROM task ORDER BY seq"):
            if planned.get(title, one) != one:
                yield f"{title!r} is {one}, the client was told {planned[title]}"


def doubled_titles(database: Path) -> int:
    """Count titles that are there more than once."""
    with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        return len(connection.execute("SELECT title FROM task GROUP BY title HAVING count(*) > 1").fetchall())


def _only(counts: Mapping[str, int], these: set[str]) -> dict[str, int]:
    return {name: number for name, number in counts.items() if name in these}
