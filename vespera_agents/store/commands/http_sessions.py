"""The command on sessions of HTTP clients: keep what changed of them, and let go those that have ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from vespera_agents.store.http_sessions import HttpSessionRow
from vespera_agents.store.transaction import Transaction, fingerprint_of

__all__ = ["KeepHttpSessions"]


@final
@dataclass(frozen=True, slots=True)
class KeepHttpSessions:
    """Keep sessions of a server; those that nobody used for long go, whosever they are."""

    by: str
    origin: str
    """Of its key, as in `KeepStreamEvents`: none of these commands is repeated once another has followed."""
    server: str
    """Whose workers know them."""
    put: tuple[HttpSessionRow, ...]
    """New, or changed."""
    used: tuple[str, ...]
    """Names of those that were used since this was written last."""
    ended: tuple[str, ...]
    """Names of those that have ended."""
    kept_seconds: float
    """How long one is kept that nobody uses."""

    def fingerprint(self) -> bytes:
        """Give what tells this command from another."""
        return fingerprint_of(self)

    def apply(self, transaction: Transaction) -> None:
        """Write them."""
        transaction.execute("DELETE FROM command WHERE origin = ?", (self.origin,))
        for row in self.put:
            transaction.execute(
                "INSERT INTO http_session(server, name, principal, state, used) VALUES (?,?,?,?,?) "
                "ON CONFLICT DO UPDATE SET state=excluded.state, used=excluded.used",
                (self.server, row.name, row.principal, row.state, transaction.now),
            )
        for name in self.used:
            transaction.execute(
                "UPDATE http_session SET used=? WHERE server=? AND name=?", (transaction.now, self.server, name)
            )
        for name in self.ended:
            transaction.execute("DELETE FROM http_session WHERE server=? AND name=?", (self.server, name))
        transaction.execute("DELETE FROM http_session WHERE used < ?", (transaction.now - self.kept_seconds,))
