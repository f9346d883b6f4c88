"""Leases: the claims of somebody who outlives every server, such as a person who calls tools from a shell.

A server's claims end with the server, which the kernel tells. Nobody tells of such a holder, so it is taken for gone
when it was not heard of for the length of its lease. The row is durable because no process keeps it. Its times are
those of the machine since it started, under the name of that start: a clock that is set ends no lease, and after
another start nothing of the holder lives. Neighbours: `claims` ends the claims, `workspace.clocks` gives the times.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from vespera_agents.store.commands.claims import Released, release
from vespera_agents.store.transaction import Transaction, fingerprint_of

__all__ = ["ReleaseLapsed", "RenewLease"]


@final
@dataclass(frozen=True, slots=True)
class RenewLease:
    """Note that a holder was heard of, so that it keeps what it has claimed."""

    by: str
    holder: str
    boot: str
    """The name of this start of the machine."""
    now: float
    """Seconds since that start."""
    seconds: float
    """For how long from now."""

    def fingerprint(self) -> bytes:
        """Give what tells this command from another."""
        return fingerprint_of(self)

    def apply(self, transaction: Transaction) -> None:
        """Write it down; a lease is never shortened by a call that comes late."""
        transaction.execute(
            "INSERT INTO lease(holder, boot, renewed, expires) VALUES (?,?,?,?) ON CONFLICT(holder) DO UPDATE SET"
            " renewed=excluded.renewed, boot=excluded.boot,"
            " expires=CASE WHEN boot=excluded.boot THEN max(expires, excluded.expires) ELSE excluded.expires END",
            (self.holder, self.boot, self.now, self.now + self.seconds),
        )


@final
@dataclass(frozen=True, slots=True)
class ReleaseLapsed:
    """Give back what holders had claimed whose leases have ended; judged and released in one transaction."""

    by: str
    boot: str
    now: float

    def fingerprint(self) -> bytes:
        """Give what tells this command from another."""
        return fingerprint_of(self)

    def apply(self, transaction: Transaction) -> Released:
        """Release the claims and forget the leases."""
        lapsed = transaction.execute(
            "SELECT holder, boot, renewed FROM lease WHERE boot != ? OR expires <= ? ORDER BY holder",
            (self.boot, self.now),
        ).fetchall()
        released: list[str] = []
        for holder, boot, renewed in lapsed:
            why = (
                f"not heard of for {(self.now - renewed) / 60:.0f} minutes"
                if boot == self.boot
                else "the machine was started anew since it was heard of"
            )
            released += release(transaction, holder, why)
            transaction.execute("DELETE FROM lease WHERE holder=?", (holder,))
        return {"task_ids": released}
