"""An asyncio program that holds an actor system: the system runs in a thread of its own, on trio.

Calls go over in batches and answers come back in batches: one wake-up for many, in both directions. A busy loop on one
side delays the other less than if both shared a thread. The thread itself is `trio_thread`; for sync code there is
`portal`; asyncio code *inside* a system is `asyncio_edge`'s business. This module imports asyncio, so import it when it
is needed.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from threading import get_ident
from typing import Any, TypeVar, TypeVarTuple, final

import outcome

from supervisors.specs import Restart
from vespera_agents.actors.actor import Actor
from vespera_agents.actors.asks import ANSWERED
from vespera_agents.actors.embedding.outside import ActorHandle, Call, ThreadStatistics, whereis
from vespera_agents.actors.embedding.trio_thread import (
    CALLS_MAX,
    CANCEL_SECONDS,
    OpenSystem,
    SetUp,
    TrioThread,
)
from vespera_agents.actors.endpoint import Endpoint
from vespera_agents.actors.errors import SystemUnresponsive, WrongThread
from vespera_agents.actors.mailbox import MailboxSpec
from vespera_agents.actors.messages import Request
from vespera_agents.actors.opening import open_system
from vespera_agents.actors.posting import put_if_room
from vespera_agents.actors.system import DEFAULT_MAILBOX, ActorSystem

ActorT = TypeVar("ActorT", bound=Actor)
Reply = TypeVar("Reply")
Result = TypeVar("Result")
Arguments = TypeVarTuple("Arguments")


@final
class AsyncioHost:
    """A system as the asyncio program sees it. Made by `open_system_from_asyncio`, used in its event loop only."""

    def __init__(self, open_it: OpenSystem, set_up: SetUp | None, *, name: str, calls_max: int) -> None:
        # Answers that lie ready; the system's thread puts them in.
        self._outbox: deque[tuple[asyncio.Future[Any], object]] = deque()
        self._loop = asyncio.get_running_loop()
        self._thread = TrioThread(
            open_it,
            set_up,
            name=name,
            calls_max=calls_max,
            deliver=self._outbox.append,
            after_batch=self._wake,
            before_batch=self._wake_there,
        )
        self._loop_thread = get_ident()
        self._is_woken = False
        self._asking = 0

    async def ask(self, actor: ActorHandle[Actor], request: Request[Reply], *, timeout_seconds: float = 5.0) -> Reply:
        """Send a request and wait for its answer, as `ActorRef.ask` does, with the same errors.

        Cancelled: the request is withdrawn if it was not begun, and its reply dropped otherwise.

        Raises:
            TooManyCalls: As many calls as are allowed are under way.
            SystemCrashed: The system broke.
        """
        ref = actor.ref
        if not isinstance(ref, Endpoint):
            return await self._call(ref.name, partial(ref.ask, request, timeout_seconds=timeout_seconds))
        # Not a call of its own: each is a fiftieth of an ask of many.
        if get_ident() != self._loop_thread:
            raise _wrong_thread()
        future: asyncio.Future[Reply] = self._loop.create_future()
        self._asking += 1
        try:
            ask = self._thread.ask(ref, request, timeout_seconds, future)
            reply = await future
        except asyncio.CancelledError:
            self._thread.withdraw(future)
            raise
        finally:
            self._asking -= 1
        if ask.state != ANSWERED:
            raise ask.take_failure()
        return reply

    async def send(self, actor: ActorHandle[Actor], message: object) -> None:
        """Leave a message, waiting until the mailbox has room. Cancelled: it was not left, unless it just was."""
        ref = actor.ref
        await self._call(ref.name, partial(ref.send, message), partial(put_if_room, ref, message))

    def tell(self, actor: ActorHandle[Actor], message: object) -> None:
        """Leave a message and go on. What a full mailbox refuses is counted in `statistics`; `send` would wait.

        Raises:
            ActorStopped: The system is closed.
            SystemCrashed: The system broke.
            TooManyCalls: As many as are allowed wait to be told: the system's thread is too busy to take them.
        """
        self._check_thread()
        self._thread.tell(actor.ref, message)

    async def start(
        self,
        actor: Callable[[*Arguments], ActorT],
        *args: *Arguments,
        name: str | None = None,
        mailbox: MailboxSpec = DEFAULT_MAILBOX,
        restart: Restart = Restart.TRANSIENT,
        shutdown_seconds: float = 5.0,
        start_timeout_seconds: float = 30.0,
    ) -> ActorHandle[ActorT]:
        """Start an actor and wait until its on_start is done; arguments and errors as of `ActorSystem.start`."""
        start = partial(
            self.system.start,
            actor,
            *args,
            name=name,
            mailbox=mailbox,
            restart=restart,
            shutdown_seconds=shutdown_seconds,
            start_timeout_seconds=start_timeout_seconds,
        )
        return ActorHandle(await self._call(name or "a new actor", start))

    async def stop(self, actor: ActorHandle[Actor], *, timeout_seconds: float = 5.0) -> None:
        """Stop an actor that was started with `start`, for good, as `ActorSystem.stop` does."""
        await self._call(actor.name, partial(self.system.stop, actor.ref, timeout_seconds=timeout_seconds))

    async def whereis(self, name: str) -> ActorHandle[Actor] | None:
        """Return the living actor of this name, or None: the way to what `set_up` has started."""
        ref = await self._call(name, partial(whereis, self.system, name))
        return None if ref is None else ActorHandle(ref)

    async def run(self, function: Callable[[*Arguments], Awaitable[Result]], *args: *Arguments) -> Result:
        """Await a trio function in the system's thread, with the caller's context variables. Cancelled: it is, too."""
        return await self._call(self._thread.name, partial(function, *args))

    @property
    def system(self) -> ActorSystem:
        """The system itself, to be used only by functions that are `run`."""
        return self._thread.system

    def statistics(self) -> ThreadStatistics:
        """Return a picture of the way into the system as it is now; `run` one for the system's own."""
        return self._thread.statistics()

    async def open(self, timeout_seconds: float) -> None:
        """Start the thread and wait until the system is set up; `open_system_from_asyncio` calls this, once."""
        self._thread.start()
        started = asyncio.wrap_future(self._thread.started)
        standing = None
        try:
            await asyncio.wait([started], timeout=timeout_seconds)
        finally:
            # Late, or cancelled: then nobody will use it.
            if not started.done():
                standing = self._thread.standing()
                await self.close(0)
        if standing is not None:
            raise SystemUnresponsive(self._thread.name, "open", timeout_seconds, standing)
        self._thread.check_start()

    async def close(self, timeout_seconds: float) -> None:
        """Close the system and wait for its thread; `open_system_from_asyncio` calls this at the end of its block.

        Cancelled, or late: what runs in the system is cancelled, and its actors are stopped by force.
        """
        ended = asyncio.wrap_future(self._thread.ended)
        self._thread.stop()
        try:
            if timeout_seconds > 0:
                await asyncio.wait([ended], timeout=timeout_seconds)
        finally:
            if not ended.done():
                self._thread.cancel()
                await asyncio.wait([ended], timeout=CANCEL_SECONDS)
            self._take_out()
            self._thread.join()

    def check_end(self, timeout_seconds: float) -> None:
        """Raise what the system ended with, if that was an error; after `close`, where the block itself did not."""
        self._thread.check_end(timeout_seconds)

    async def _call(
        self, whom: str, function: Callable[[], Awaitable[Result]], at_once: Callable[[], bool] | None = None
    ) -> Result:
        self._check_thread()
        future: asyncio.Future[outcome.Value[Result] | outcome.Error] = self._loop.create_future()
        self._thread.call(Call(whom, function, future, at_once))
        try:
            result = await future
        except asyncio.CancelledError:
            self._thread.withdraw(future)
            raise
        return result.unwrap()

    def _check_thread(self) -> None:
        if get_ident() != self._loop_thread:
            raise _wrong_thread()

    def _wake_there(self, wake: Callable[[], object]) -> None:
        """Wake the system's thread: where several ask at once, when all whose turn it is have asked.

        Waking it gives the interpreter away. It would take the one request that is there, and be woken for each.
        """
        if self._asking > 1:
            self._loop.call_soon(wake)
        else:
            wake()

    def _wake(self) -> None:
        """Let the loop take out what lies ready; the system's thread calls this."""
        if self._outbox and not self._is_woken:
            self._is_woken = True
            try:
                self._loop.call_soon_threadsafe(self._take_out)
            except RuntimeError:
                # The loop was closed without leaving our block: nobody is there to be answered, now or ever.
                self._thread.stop()

    def _take_out(self) -> None:
        # Put back before anything is taken out, so that what comes later wakes again.
        self._is_woken = False
        while self._outbox:
            future, answer = self._outbox.popleft()
            if not future.done():
                future.set_result(answer)


def _wrong_thread() -> WrongThread:
    return WrongThread(
        "An AsyncioHost belongs to the event loop that opened it. From another thread go through "
        "asyncio.run_coroutine_threadsafe; inside the system use the ActorRef itself."
    )


@asynccontextmanager
async def open_system_from_asyncio(
    set_up: SetUp | None = None,
    *,
    open_it: OpenSystem = open_system,
    name: str = "system",
    calls_max: int = CALLS_MAX,
    open_timeout_seconds: float = 30.0,
    close_timeout_seconds: float = 30.0,
) -> AsyncGenerator[AsyncioHost, None]:
    """Open an actor system in a thread for the length of an `async with` block of an asyncio program.

    At the end of the block calls under way fail with ActorStopped, the system is closed and its thread waited for. If
    the block is cancelled at its end, or that takes too long, the system is ended by force.

    Args:
        set_up: A trio function that is given the system before anybody else: here trees are built.
        open_it: What opens the system, for one with other arguments: `partial(open_system, intensity=10)`.
        name: What the thread and the system are called in errors.
        calls_max: How many calls may be under way, and how many messages may wait to be told.
        open_timeout_seconds: How long opening and set_up may take.
        close_timeout_seconds: How long the system may take to close in order.

    Raises:
        SystemUnresponsive: It did not open in time, or its thread does not end.
        supervisors.MaxRestartsExceeded: The root supervisor gave up. Callers have heard SystemCrashed.
    """
    host = AsyncioHost(open_it, set_up, name=name, calls_max=calls_max)
    await host.open(open_timeout_seconds)
    try:
        yield host
    finally:
        await host.close(close_timeout_seconds)
    # Not reached when the block raised: its own error, or its cancellation, is not replaced.
    host.check_end(close_timeout_seconds)
