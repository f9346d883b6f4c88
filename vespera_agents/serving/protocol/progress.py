"""Progress of a call on its way to the client that asked for it.

Whoever works reports as often as it likes and never waits: only the newest report is kept, and sent as soon as the
client has taken the one before. Values that do not increase are dropped, as the protocol wants it.
Neighbours: `server` has a pump for each call whose client sent a progress token.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Final, final

import trio
from mcp.server.context import ServerRequestContext

__all__ = ["Report", "reporting"]

LAST_SECONDS: Final = 1.0
"""How long an answer waits for the last report before it, when the client does not read."""

Report = Callable[[float, float | None, str], None]
"""Says how much is done, of how much if that is known, and what is being done."""

Context = ServerRequestContext[dict[str, object]]


@asynccontextmanager
async def reporting(ctx: Context) -> AsyncGenerator[Report | None]:
    """Have reports sent while the block lasts; None when the client wants none. Nothing follows the block."""
    if ctx.meta is None or ctx.meta.get("progress_token") is None:
        yield None
        return
    pump = _Pump(ctx)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pump.run)
        yield pump.report
        with trio.move_on_after(LAST_SECONDS):
            await pump.emptied()
        nursery.cancel_scope.cancel()


@final
class _Pump:
    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._highest = -1.0
        self._next: tuple[float, float | None, str] | None = None
        self._sending = False
        self._changed = trio.Event()

    def report(self, done: float, total: float | None, doing: str) -> None:
        """Take a report; never waits."""
        if done > self._highest:
            self._highest = done
            self._next = (done, total, doing)
            self._wake()

    async def run(self) -> None:
        """Send what is reported, one after the other."""
        while True:
            if self._next is None:
                await self._changed.wait()
                continue
            report, self._next, self._sending = self._next, None, True
            await self._ctx.session.report_progress(*report)
            self._sending = False
            self._wake()

    async def emptied(self) -> None:
        """Wait until everything is sent."""
        while self._next is not None or self._sending:
            await self._changed.wait()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()
