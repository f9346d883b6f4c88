"""A ledger for tests on virtual time: the store's own commands on a database in memory, without its threads."""

from __future__ import annotations

import sqlite3
from itertools import count

import trio

from vespera_agents.providers.errors import SpendLimitReached
from vespera_agents.providers.spending import Charge, micro_usd
from vespera_agents.store.commands import ReleaseSpend, ReserveSpend, SettleSpend
from vespera_agents.store.schema import migrate
from vespera_agents.store.spending import Spent, day_of, spent
from vespera_agents.store.transaction import Transaction
from vespera_agents.work.errors import Conflict

DAY = 86_400.0


class Books:
    """The rules of the store, at a time that the test sets."""

    def __init__(self, *, session_usd: float | None = None, day_usd: float | None = None) -> None:
        self.connection = sqlite3.connect(":memory:", isolation_level=None)
        migrate(self.connection)
        self.now = 1_000 * DAY
        self.session_max = None if session_usd is None else micro_usd(session_usd)
        self.day_max = None if day_usd is None else micro_usd(day_usd)
        self._ids = count()

    def apply(self, command: ReserveSpend | SettleSpend | ReleaseSpend) -> object:
        """Apply a command as the writer does: all of it, or nothing."""
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            result = command.apply(Transaction(self.connection, self.now, lambda: f"{next(self._ids):012x}"))
        except Conflict:
            self.connection.execute("ROLLBACK")
            raise
        self.connection.execute("COMMIT")
        return result

    async def reserve(self, purpose: str, session_id: str | None, usd_max: float) -> None:
        await trio.lowlevel.checkpoint()
        try:
            self.apply(ReserveSpend("test", purpose, session_id, micro_usd(usd_max), self.session_max, self.day_max))
        except Conflict as refusal:
            raise SpendLimitReached("", refusal.what, refusal.next_action) from None

    async def settle(self, charge: Charge) -> None:
        await trio.lowlevel.checkpoint()
        cost, usage = charge.usd, charge.usage
        amount = None if cost is None else micro_usd(cost)
        self.apply(
            SettleSpend(
                "test",
                charge.purpose,
                charge.session_id,
                charge.provider,
                charge.model,
                usage.input_tokens,
                usage.output_tokens,
                amount,
            )
        )

    async def release(self, purpose: str) -> None:
        await trio.lowlevel.checkpoint()
        self.apply(ReleaseSpend("test", purpose))

    def of_session(self, session_id: str) -> Spent:
        return spent(self.connection, session_id=session_id)

    def of_day(self) -> Spent:
        return spent(self.connection, day=day_of(self.now))
