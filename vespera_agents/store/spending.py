"""What calls to models cost, as rows, and how it is read: by session, day, provider and model.

A call whose end nobody wrote down has no provider and model there, and its amount is doubtful: it may have been paid,
so it counts. Read by whoever shows money; written by `commands.spending` alone.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, final

__all__ = ["SpendingRow", "Spent", "day_of", "spending_rows", "spent", "total_micro_usd", "usd_text"]

_ROWS_MAX: Final = 1_000
_MILLION: Final = 1_000_000


@final
@dataclass(frozen=True, slots=True)
class SpendingRow:
    """What one model was paid."""

    provider: str
    """Empty: calls whose end nobody wrote down."""
    model: str
    calls: int
    unpriced: int
    """Calls whose price nobody knows."""
    input_tokens: int
    output_tokens: int
    micro_usd: int
    doubtful_micro_usd: int
    """What may have been paid for calls whose end nobody wrote down."""


@final
@dataclass(frozen=True, slots=True)
class Spent:
    """How much of a limit is used, in millionths of a US dollar."""

    spent: int
    doubtful: int
    reserved: int
    """For calls that go on, or whose worker died within the last day."""

    @property
    def total(self) -> int:
        """What counts against a limit."""
        return self.spent + self.doubtful + self.reserved


def day_of(now: float) -> str:
    """Name the day of UTC of a moment, in seconds since the epoch."""
    return datetime.fromtimestamp(now, UTC).date().isoformat()


def usd_text(micro_usd: int) -> str:
    """Write an amount for people."""
    return f"${micro_usd / _MILLION:.4f}"


def total_micro_usd(connection: sqlite3.Connection, *, session_id: str | None = None, day: str | None = None) -> int:
    """Sum up what counts against a limit: spent, doubtful and set aside."""
    return spent(connection, session_id=session_id, day=day).total


def spent(connection: sqlite3.Connection, *, session_id: str | None = None, day: str | None = None) -> Spent:
    """Sum up what was spent and what is set aside, of a session or of a day."""
    where, value = _where(session_id, day)
    spent, doubtful = connection.execute(
        f"SELECT coalesce(sum(micro_usd), 0), coalesce(sum(doubtful_micro_usd), 0) FROM spending WHERE {where}", value
    ).fetchone()
    (reserved,) = connection.execute(
        f"SELECT coalesce(sum(micro_usd), 0) FROM reservation WHERE {where}", value
    ).fetchone()
    return Spent(int(spent), int(doubtful), int(reserved))


def spending_rows(
    connection: sqlite3.Connection, *, session_id: str | None = None, day: str | None = None
) -> list[SpendingRow]:
    """List what each model was paid, the dearest first; of a session, of a day, or of both."""
    where, value = _where(session_id, day)
    return [
        SpendingRow(*row)
        for row in connection.execute(
            "SELECT provider, model, sum(calls), sum(unpriced), sum(input_tokens), sum(output_tokens), sum(micro_usd),"
            f" sum(doubtful_micro_usd) FROM spending WHERE {where} GROUP BY provider, model"
            f" ORDER BY sum(micro_usd) DESC, provider, model LIMIT {_ROWS_MAX}",
            value,
        )
    ]


def _where(session_id: str | None, day: str | None) -> tuple[str, tuple[str, ...]]:
    pairs = [(name, value) for name, value in (("session_id", session_id), ("day", day)) if value is not None]
    return " AND ".join(f"{name} = ?" for name, _ in pairs) or "1", tuple(value for _, value in pairs)
