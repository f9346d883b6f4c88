"""Money: set aside what a call to a model can cost before it is made, settle it after, or give it back.

    reserve ── settle: what it cost ──> spent
       │  └─── release: it cost nothing
       └────── reserve again, or a day later: nobody knows whether it was paid ──> doubtful, counted in full

A limit holds for what is spent, doubtful and set aside together, judged in the transaction of the reservation, so all
workers and servers of a workspace share it and nobody passes it by dying. A reservation has no owner: who made it may
be gone, and it counts all the same. It belongs to the day of UTC on which it was made, and so does what becomes of it.
Amounts are millionths of a US dollar. Neighbours: `store.spending` reads them, whoever calls a model decides.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypedDict, final

from vespera_agents.store.spending import day_of, total_micro_usd, usd_text
from vespera_agents.store.transaction import Transaction, fingerprint_of
from vespera_agents.work.errors import Conflict

__all__ = ["LOST_SECONDS", "ReleaseSpend", "ReserveSpend", "Reserved", "SettleSpend"]

LOST_SECONDS: Final = 86_400.0
"""A reservation that is older is of a call that nobody waits for any more."""


class Reserved(TypedDict):
    """The result of ReserveSpend: what is spent, doubtful and set aside, this reservation among it."""

    session_micro_usd: int
    day_micro_usd: int


@final
@dataclass(frozen=True, slots=True)
class ReserveSpend:
    """Set aside what a call can cost at most. One purpose has one reservation."""

    by: str
    purpose: str
    session_id: str | None
    micro_usd: int
    session_micro_usd_max: int | None = None
    """None: no limit."""
    day_micro_usd_max: int | None = None

    def fingerprint(self) -> bytes:
        """Give what tells this command from another."""
        return fingerprint_of(self)

    def apply(self, transaction: Transaction) -> Reserved:
        """Set it aside.

        Raises:
            Conflict: that would be more than may be spent.
        """
        session, day = self.session_id or "", day_of(transaction.now)
        _give_up(transaction, "at < ?", transaction.now - LOST_SECONDS)
        # A call was begun under it before, and its end is not written down.
        _give_up(transaction, "purpose = ?", self.purpose)
        of_session = total_micro_usd(transaction.connection, session_id=session) + self.micro_usd
        of_day = total_micro_usd(transaction.connection, day=day) + self.micro_usd
        for what, total, limit in (
            (f"session {session}", of_session, self.session_micro_usd_max if session else None),
            (f"the day {day} (UTC)", of_day, self.day_micro_usd_max),
        ):
            if limit is not None and total > limit:
                raise Conflict(
                    f"the limit of {usd_text(limit)} for {what} would be passed: {usd_text(total - self.micro_usd)} is "
                    f"spent or set aside, and the next call can cost {usd_text(self.micro_usd)}",
                    "Raise spend_usd_per_session or spend_usd_per_day under [providers], or use a local model",
                )
        transaction.execute(
            "INSERT INTO reservation(purpose, session_id, day, micro_usd, at) VALUES (?,?,?,?,?)",
            (self.purpose, session, day, self.micro_usd, transaction.now),
        )
        return {"session_micro_usd": of_session, "day_micro_usd": of_day}


@final
@dataclass(frozen=True, slots=True)
class SettleSpend:
    """Write down what a call cost, in the place of its reservation if there is one."""

    by: str
    purpose: str
    session_id: str | None
    provider: str
    model: str
    input_tokens: int
    output_tokens: int
    micro_usd: int | None
    """None: nobody knows; it counts as nothing, and is counted as such."""

    def fingerprint(self) -> bytes:
        """Give what tells this command from another."""
        return fingerprint_of(self)

    def apply(self, transaction: Transaction) -> None:
        """Write it down, for the day on which it was set aside."""
        row = transaction.execute(
            "DELETE FROM reservation WHERE purpose = ? RETURNING session_id, day", (self.purpose,)
        ).fetchone()
        session, day = row or (self.session_id or "", day_of(transaction.now))
        transaction.execute(
            "INSERT INTO spending(session_id, day, provider, model, calls, unpriced, input_tokens, output_tokens,"
            " micro_usd) VALUES (?,?,?,?,1,?,?,?,?) ON CONFLICT(session_id, day, provider, model) DO UPDATE SET"
            " calls = calls + 1, unpriced = unpriced + excluded.unpriced,"
            " input_tokens = input_tokens + excluded.input_tokens,"
            " output_tokens = output_tokens + excluded.output_tokens, micro_usd = micro_usd + excluded.micro_usd",
            (
                session,
                day,
                self.provider,
                self.model,
                self.micro_usd is None,
                self.input_tokens,
                self.output_tokens,
                self.micro_usd or 0,
            ),
        )


@final
@dataclass(frozen=True, slots=True)
class ReleaseSpend:
    """Give back what was set aside for a call that cost nothing for certain."""

    by: str
    purpose: str

    def fingerprint(self) -> bytes:
        """Give what tells this command from another."""
        return fingerprint_of(self)

    def apply(self, transaction: Transaction) -> None:
        """Give it back, if it is there."""
        transaction.execute("DELETE FROM reservation WHERE purpose = ?", (self.purpose,))


def _give_up(transaction: Transaction, where: str, value: str | float) -> None:
    """Count reservations for good whose calls may have been paid without anybody having written it down."""
    lost = transaction.execute(
        f"DELETE FROM reservation WHERE {where} RETURNING session_id, day, micro_usd", (value,)
    ).fetchall()
    for session, day, micro_usd in lost:
        transaction.execute(
            "INSERT INTO spending(session_id, day, provider, model, calls, doubtful_micro_usd) VALUES (?,?,'','',1,?)"
            " ON CONFLICT(session_id, day, provider, model) DO UPDATE SET calls = calls + 1,"
            " doubtful_micro_usd = doubtful_micro_usd + excluded.doubtful_micro_usd",
            (session, day, micro_usd),
        )
