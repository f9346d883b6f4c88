"""Removing records of commands that are old, and the owners that are gone. Neighbours: `store.records` writes them.

Finding them reads the whole table, so it is a query for a reader; the writer removes a few hundred at a time by name.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final, final

from vespera_agents.store.transaction import Transaction, fingerprint_of

__all__ = ["PruneRecords", "fronts_known", "records_before"]

PRUNED_MAX: Final = 500
"""Records that are removed in one command."""
_READ_MAX: Final = 20_000
"""Records that are looked at in one query."""


@final
@dataclass(frozen=True, slots=True)
class PruneRecords:
    """Remove records, and what is known of fronts that are gone."""

    by: str
    records: tuple[tuple[str, str], ...]
    """Rows of an origin and a key."""
    fronts: tuple[str, ...] = ()

    def fingerprint(self) -> bytes:
        """Give what tells this command from another."""
        return fingerprint_of(self)

    def apply(self, transaction: Transaction) -> None:
        """Remove them."""
        transaction.connection.executemany("DELETE FROM command WHERE origin=? AND key=?", self.records)
        transaction.connection.executemany("DELETE FROM owner WHERE front=?", [(front,) for front in self.fronts])


def fronts_known(connection: sqlite3.Connection) -> list[str]:
    """List the fronts whose workers have written here."""
    return [row[0] for row in connection.execute("SELECT front FROM owner ORDER BY front")]


def records_before(
    connection: sqlite3.Connection,
    before: float,
    of_the_living: float | None,
    living: Collection[str],
    after: tuple[str, str],
) -> tuple[list[tuple[str, str]], tuple[str, str] | None]:
    """Find records that may go, at most PRUNED_MAX; gives them, and where to go on, None at the end.

    Args:
        connection: where to read.
        before: what was written earlier may go.
        of_the_living: the same for records of servers that live; None keeps them all.
        living: the ids of these.
        after: where to go on.
    """
    found: list[tuple[str, str]] = []
    rows = connection.execute(
        "SELECT origin, key, at FROM command WHERE (origin, key) > (?, ?) ORDER BY origin, key LIMIT ?",
        (*after, _READ_MAX),
    )
    looked = 0
    for looked, (origin, key, at) in enumerate(rows, 1):  # noqa: B007 - how far we came counts behind the loop, too
        after = (origin, key)
        limit = of_the_living if origin in living else before
        if limit is not None and at < limit:
            found.append(after)
            if len(found) == PRUNED_MAX:
                return found, after
    return found, after if looked == _READ_MAX else None
