"""The books of a workspace: what models may be paid, kept in its store.

Whoever asks a model goes through here before and after each call, so that all workers and servers of the workspace keep
one limit. Neighbours: `providers.spending` says what a ledger is, `store.commands.spending` has the rules.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, final

from vespera_agents.logs import log_event
from vespera_agents.providers.errors import SpendLimitReached
from vespera_agents.providers.spending import Charge, micro_usd
from vespera_agents.store import CommandKey, Store, StoreError
from vespera_agents.store.commands import ReleaseSpend, ReserveSpend, SettleSpend
from vespera_agents.store.spending import day_of
from vespera_agents.work.errors import Conflict

__all__ = ["StoreLedger", "TellsOfBudgets"]

log = logging.getLogger("vespera_agents.models")
_BY = "models"
LOW_SHARE: Final = 0.8
"""Of a limit: from then on little is left."""
_TOLD_MAX: Final = 1_000
_MILLION: Final = 1_000_000

TellsOfBudgets = Callable[[str | None, str, Mapping[str, object]], Awaitable[object]]
"""Takes the session, a name under which it is told once, and the numbers."""


@final
class StoreLedger:
    """A ledger whose books are rows of a workspace's store."""

    __slots__ = ("_day_max", "_key", "_low", "_session_max", "_store", "_told", "unsettled")

    def __init__(
        self,
        store: Store,
        key: Callable[[], CommandKey],
        *,
        usd_per_session: float | None = None,
        usd_per_day: float | None = None,
        low: TellsOfBudgets | None = None,
    ) -> None:
        """Keep books in a store.

        Args:
            store: where.
            key: names a command.
            usd_per_session: what may be spent in a session; None: no limit.
            usd_per_day: in a day of UTC, by everybody in this workspace; None: no limit.
            low: tells whoever wants to know that a limit is near.
        """
        self._store = store
        self._key = key
        self._session_max = None if usd_per_session is None else int(usd_per_session * 1_000_000)
        self._day_max = None if usd_per_day is None else int(usd_per_day * 1_000_000)
        self._low = low
        self._told: set[str] = set()
        """Which limits were told of: a limit is told of once, and asking the store each time would cost a commit."""
        self.unsettled = 0
        """Calls whose end could not be written down: their reservations stay."""

    async def reserve(self, purpose: str, session_id: str | None, usd_max: float) -> None:
        """Set aside what a call can cost at most, durably.

        Raises:
            SpendLimitReached: that would be more than may be spent.
            StoreError: the books cannot be kept; nothing is to be asked then.
        """
        command = ReserveSpend(_BY, purpose, session_id, micro_usd(usd_max), self._session_max, self._day_max)
        try:
            reserved = await self._store.execute(command, self._key())
        except Conflict as refusal:
            log_event(log, logging.WARNING, "spend limit reached", session=session_id, why=refusal.what)
            await self._tell(f"refused/{session_id}/{day_of(time.time())}", session_id, {"refused": True})
            raise SpendLimitReached("", refusal.what, refusal.next_action) from None
        day = f"day/{day_of(time.time())}"
        await self._look(day, None, reserved["day_micro_usd"], self._day_max)
        if session_id is not None:
            await self._look(f"session/{session_id}", session_id, reserved["session_micro_usd"], self._session_max)

    async def _look(self, subject: str, session_id: str | None, used: int, limit: int | None) -> None:
        if limit is not None and used >= LOW_SHARE * limit:
            kind = subject.partition("/")[0]
            facts = {"limit": kind, "used_usd": used / _MILLION, "limit_usd": limit / _MILLION}
            await self._tell(subject, session_id, facts)

    async def settle(self, charge: Charge) -> None:
        """Put what a call cost in the place of its reservation; where that cannot be written, the reservation stays."""
        cost, usage = charge.usd, charge.usage
        command = SettleSpend(
            _BY,
            charge.purpose,
            charge.session_id,
            charge.provider,
            charge.model,
            usage.input_tokens,
            usage.output_tokens,
            None if cost is None else micro_usd(cost),
        )
        await self._write(command)

    async def release(self, purpose: str) -> None:
        """Give a reservation back; where that cannot be written, it stays."""
        await self._write(ReleaseSpend(_BY, purpose))

    async def _tell(self, subject: str, session_id: str | None, facts: Mapping[str, object]) -> None:
        """Tell of a limit that is near or reached; a call does not fail because that cannot be written down."""
        if self._low is None or subject in self._told:
            return
        if len(self._told) >= _TOLD_MAX:
            self._told.clear()
        self._told.add(subject)
        try:
            await self._low(session_id, f"spend/{subject}", facts)
        except StoreError as error:
            log_event(log, logging.WARNING, "a limit that is near was not told of", subject=subject, why=str(error))

    async def _write(self, command: SettleSpend | ReleaseSpend) -> None:
        try:
            await self._store.execute(command, self._key())
        except StoreError as error:
            # The answer is there and paid; to lose it as well would help nobody.
            self.unsettled += 1
            log_event(log, logging.WARNING, "cost not written down", purpose=command.purpose, why=str(error))
