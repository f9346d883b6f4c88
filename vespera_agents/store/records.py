"""The records of commands: what a command gave, kept under its key in the transaction of its effect.

A repeated command finds its record and gives the same result again. A large result lies in an artifact file, so that
the table stays one of small rows. A record goes when the front has seen its answer written, or after a day: then
nobody repeats the command any more. Neighbours: `writer` applies commands, `strays` keeps the files of records.
"""

from __future__ import annotations

import json
import sqlite3
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final, cast, final

from pydantic import TypeAdapter

from vespera_agents.store.artifacts import ArtifactFiles
from vespera_agents.store.errors import ArtifactMissing, KeyConflict
from vespera_agents.store.transaction import Command, CommandKey, Transaction

__all__ = ["RECORD_BYTES_MAX", "Forgettable", "apply_once", "recorded_result", "was_begun"]

RECORD_BYTES_MAX: Final = 16 * 1024
"""A result of more bytes lies in a file."""
FORGOTTEN_MAX: Final = 1_000
"""Calls whose records are removed in one transaction."""
_RESULT: Final = TypeAdapter[object](object).serializer
"""Writes the result of any command as JSON, in a quarter of the time of json.dumps."""
_AFTER_SLASH: Final = "0"
"""The character behind `/`: the keys of a call's steps lie between the two."""


def apply_once(transaction: Transaction, command: Command[object], key: CommandKey, files: ArtifactFiles) -> object:
    """Apply one command, unless its key says that this was done before; then give the recorded result.

    Raises:
        Refusal: the rows do not allow it.
        KeyConflict: the key was used for another command.
        StoreUnavailable: a large result could not be written.
        ArtifactMissing: it was done before, and the file of its result is gone.
    """
    fingerprint = command.fingerprint()
    row = transaction.execute(
        "SELECT fingerprint, result, file FROM command WHERE origin=? AND key=?", (key.origin, key.key)
    ).fetchone()
    if row is not None:
        if row[0] != fingerprint:
            raise KeyConflict(
                f"the command key {key.key!r} was used for another command before. Use a new key for a new command."
            )
        return _result_of(row[1], row[2], files)
    transaction.by = command.by
    result = command.apply(transaction)
    data = _RESULT.to_json(result)
    file = None
    if len(data) > RECORD_BYTES_MAX:
        data, file = b"", files.keep(data)
    transaction.execute(
        "INSERT INTO command(origin, key, fingerprint, result, at, file) VALUES (?,?,?,?,?,?)",
        (key.origin, key.key, fingerprint, data.decode(), transaction.now, file),
    )
    return result


def recorded_result(connection: sqlite3.Connection, key: CommandKey, files: ArtifactFiles) -> object:
    """Give the recorded result of a command by its key, None if there is none: whether a call was made before.

    Raises:
        ArtifactMissing: the file of the result is gone.
    """
    row = connection.execute(
        "SELECT result, file FROM command WHERE origin=? AND key=?", (key.origin, key.key)
    ).fetchone()
    return None if row is None else _result_of(row[0], row[1], files)


def was_begun(connection: sqlite3.Connection, key: CommandKey) -> bool:
    """Say whether a call of that key has changed anything, in one step or the first of several."""
    found = connection.execute(
        "SELECT 1 FROM command WHERE origin=? AND (key=? OR (key > ? AND key < ?)) LIMIT 1",
        (key.origin, key.key, f"{key.key}/", f"{key.key}{_AFTER_SLASH}"),
    )
    return found.fetchone() is not None


def _result_of(text: str, file: str | None, files: ArtifactFiles) -> object:
    if file is None:
        return json.loads(text)
    try:
        return cast("object", json.loads(files.load(file)))
    except ArtifactMissing as error:
        raise ArtifactMissing(
            f"the change was made before, but its result cannot be told again: {error} Look at what is there now."
        ) from error


@final
class Forgettable:
    """Which calls of a front have records, and which of these are of no use any more.

    Its calls are noted and forgotten in the trio thread, and removed in the writing one.
    """

    __slots__ = ("_forgotten", "_noted", "front")

    def __init__(self, front: str) -> None:
        """Say whose calls they are."""
        self.front = front
        self._noted: set[str] = set()
        self._forgotten: deque[str] = deque()

    def note(self, key: CommandKey) -> None:
        """Note that a command may have a record now."""
        if key.origin == self.front:
            self._noted.add(key.key.partition("/")[0])

    def forget(self, calls: Iterable[str]) -> None:
        """Want the records of these calls removed; what was not noted, such as a call that only read, has none."""
        known = self._noted.intersection(calls)
        self._noted -= known
        self._forgotten.extend(known)

    @property
    def waiting(self) -> bool:
        """Whether there is something to remove."""
        return bool(self._forgotten)

    def remove(self, connection: sqlite3.Connection, check: Callable[[sqlite3.Connection], object]) -> None:
        """Remove records in a transaction of its own that `check` may refuse; what fails stays for a day."""
        if not self._forgotten:
            return
        calls = [self._forgotten.popleft() for _ in range(min(len(self._forgotten), FORGOTTEN_MAX))]
        connection.execute("BEGIN IMMEDIATE")
        check(connection)
        connection.executemany(
            "DELETE FROM command WHERE origin=? AND (key=? OR (key > ? AND key < ?))",
            [(self.front, call, f"{call}/", f"{call}{_AFTER_SLASH}") for call in calls],
        )
        connection.execute("COMMIT")
