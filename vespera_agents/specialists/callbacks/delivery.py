"""Delivering to one target: take what is due, send some at once, write down what came of it, many at a time.

Only the first waiting callback of a task is ever due, so the order of a task is kept whatever is sent beside it. What
is taken is held in its row before it is sent; who dies leaves it held, and the successor sends it again. A target that
fails again and again gets a pause, in which nothing uses up its attempts. Neighbours: `posting` makes an attempt,
`retrying` judges it, `outbox` starts one of these for each target.
"""

from __future__ import annotations

import contextlib
import logging
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final, Protocol, final

import trio

from vespera_agents.specialists.callbacks.figures import CallbackFigures
from vespera_agents.specialists.callbacks.retrying import Answer, judge, pause_of_target
from vespera_agents.specialists.callbacks.settings import TargetSettings
from vespera_agents.store import CommandKey, Store, StoreError
from vespera_agents.store.callbacks import CallbackRow, due_callbacks, held_by_others, next_due
from vespera_agents.store.commands.callbacks import CallbackEnd, EndCallbacks, FreeCallbacks, TakeCallbacks
from vespera_agents.store.outbox import CallbackStatus

__all__ = ["Delivery", "Posts"]

HELD_PER_REQUEST: Final = 4
"""Callbacks that are held for each request at once: while some are sent, the next ones are there already."""
POLL_SECONDS: Final = 1.0
"""How often it is looked for what other processes have written."""
LINGER_SECONDS: Final = 0.01
"""How long an end waits for others: a commit for each would take longer than the request."""
_ENDS_MAX: Final = 400
_TROUBLE_SECONDS: Final = 1.0
_LAST_WORD_SECONDS: Final = 1.0
_BY: Final = "callbacks"

log = logging.getLogger(__name__)


class Posts(Protocol):
    """Whoever makes attempts: `posting.Poster`."""

    async def post(self, row: CallbackRow) -> Answer:
        """Send a callback once and say what came of it; never raises for what the other side does."""
        ...


@final
class Delivery:
    """Everything for one target."""

    def __init__(
        self,
        target: TargetSettings,
        store: Store,
        posts: Callable[[], Awaitable[Posts]],
        *,
        holder: str,
        key: Callable[[], CommandKey],
        figures: CallbackFigures,
        clock: Callable[[], float] = time.time,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """Say to whom, and who we are.

        Args:
            target: to whom.
            store: where the callbacks are.
            posts: makes who sends, when there is something to send.
            holder: who we are in the rows.
            key: mints command keys of our own, all of one origin.
            figures: what is counted.
            clock: wall-clock seconds since the epoch.
            chance: the dice.
        """
        self._target: Final = target
        self._store = store
        self._posts = posts
        self._holder = holder
        self._key = key
        self._figures = figures
        self._clock = clock
        self._chance = chance
        self._wake = trio.Event()
        self._ended = trio.Event()
        self._ends: list[CallbackEnd] = []
        self._held = 0
        self._held_max = HELD_PER_REQUEST * target.concurrency
        self._failures_in_a_row = 0
        self._resume_at = 0.0

    def wake(self) -> None:
        """Look again: something may be due."""
        self._wake.set()

    async def run(self) -> None:
        """Deliver until cancelled.

        Raises:
            WorkspaceError: its certificates cannot be read.
        """
        await self._free()
        while not await self._due(1):
            await self._rest()
        sending, waiting = trio.open_memory_channel[CallbackRow](self._held_max)
        posts = await self._posts()
        try:
            async with trio.open_nursery() as nursery:
                for _ in range(self._target.concurrency):
                    nursery.start_soon(self._send, posts, waiting)
                nursery.start_soon(self._write_ends)
                while True:
                    await self._take(sending)
        finally:
            await self._let_go(waiting)

    def tree_detail(self) -> dict[str, str | int | float]:
        """Say what the tree shows of it."""
        return {"held": self._held, "failures_in_a_row": self._failures_in_a_row}

    async def _free(self) -> None:
        """Free what somebody held who died, or we before a change of the configuration: it is sent once more."""
        while True:
            try:
                if await self._store.read(held_by_others, self._target.name, self._holder):
                    command = FreeCallbacks(_BY, self._key().origin, self._target.name, self._holder)
                    self._figures.repeated += await self._store.execute(command, self._key())
            except StoreError as problem:
                log.warning("callbacks that were held by the dead could not be freed: %s", problem)
                await trio.sleep(_TROUBLE_SECONDS)
            else:
                return

    async def _let_go(self, waiting: trio.MemoryReceiveChannel[CallbackRow]) -> None:
        """Write down, at an end in good order, what was sent, and that the rest was not."""
        ends = list(self._ends)
        with contextlib.suppress(trio.WouldBlock):
            while True:
                ends.append(CallbackEnd(waiting.receive_nowait().seq, CallbackStatus.PENDING, self._clock()))
        with trio.move_on_after(_LAST_WORD_SECONDS, shield=True), contextlib.suppress(StoreError):
            if ends:
                command = EndCallbacks(_BY, self._key().origin, self._holder, tuple(ends))
                await self._store.execute(command, self._key())

    async def _take(self, sending: trio.MemorySendChannel[CallbackRow]) -> None:
        """Hold what is due as far as there is room, and hand it out; wait where nothing is."""
        room = self._held_max - self._held
        if room < self._target.concurrency:
            self._wake = trio.Event()
            with trio.move_on_after(POLL_SECONDS):
                await self._wake.wait()
            return
        if not (rows := await self._due(room)):
            await self._rest()
            return
        command = TakeCallbacks(_BY, self._key().origin, self._holder, tuple(row.seq for row in rows))
        try:
            taken = set(await self._store.execute(command, self._key()))
        except StoreError as problem:
            log.warning("callbacks could not be taken out of the outbox: %s", problem)
            await trio.sleep(_TROUBLE_SECONDS)
            return
        for row in rows:
            if row.seq in taken:
                self._held += 1
                # It was read before this attempt was counted.
                sending.send_nowait(replace(row, attempts=row.attempts + 1))

    async def _due(self, limit: int) -> list[CallbackRow]:
        self._wake = trio.Event()
        try:
            return await self._store.read(due_callbacks, self._target.name, self._clock(), limit)
        except StoreError as problem:
            log.warning("the outbox could not be read: %s", problem)
            await trio.sleep(_TROUBLE_SECONDS)
            return []

    async def _rest(self) -> None:
        """Wait until something may be due: somebody says so, its time comes, or another process may have written it."""
        try:
            due = await self._store.read(next_due, self._target.name)
        except StoreError:
            due = None
        seconds = POLL_SECONDS if due is None else min(POLL_SECONDS, max(0.001, due - self._clock()))
        with trio.move_on_after(seconds):
            await self._wake.wait()

    async def _send(self, posts: Posts, waiting: trio.MemoryReceiveChannel[CallbackRow]) -> None:
        async for row in waiting:
            while trio.current_time() < self._resume_at:  # noqa: ASYNC110 - the pause may grow while it lasts
                await trio.sleep_until(self._resume_at)
            began = time.perf_counter()
            answer = await posts.post(row)
            self._figures.attempt_seconds.observe(time.perf_counter() - began)
            self._ends.append(self._end_of(row, answer))
            self._ended.set()

    def _end_of(self, row: CallbackRow, answer: Answer) -> CallbackEnd:
        if answer.delivered:
            self._failures_in_a_row = 0
            self._figures.delivered += 1
            return CallbackEnd(row.seq, CallbackStatus.DELIVERED)
        self._failures_in_a_row += 1
        verdict = judge(self._target, answer, row.failures + 1, self._chance())
        pause = max(verdict.target_pause_seconds, pause_of_target(self._failures_in_a_row, self._target.concurrency))
        if pause:
            self._resume_at = max(self._resume_at, trio.current_time() + pause)
        if verdict.pause_seconds is None:
            self._figures.given_up += 1
            log.warning("callback %s to %s is given up: %s", row.id, self._target.name, verdict.problem)
            return CallbackEnd(row.seq, CallbackStatus.DEAD, problem=verdict.problem, failed=True)
        self._figures.failed += 1
        due = self._clock() + verdict.pause_seconds
        return CallbackEnd(row.seq, CallbackStatus.PENDING, due, verdict.problem, failed=True)

    async def _write_ends(self) -> None:
        """Commit what came of attempts, in batches; an end that could not be written is written with the next ones."""
        while True:
            await self._ended.wait()
            await trio.sleep(LINGER_SECONDS)
            ends = tuple(self._ends[:_ENDS_MAX])
            try:
                await self._store.execute(EndCallbacks(_BY, self._key().origin, self._holder, ends), self._key())
            except StoreError as problem:
                log.warning("what became of callbacks could not be written down: %s", problem)
                await trio.sleep(_TROUBLE_SECONDS)
                continue
            del self._ends[: len(ends)]
            self._held -= len(ends)
            if not self._ends:
                self._ended = trio.Event()
            self.wake()
