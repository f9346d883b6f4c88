"""A portal: plain sync code, from any number of threads, that holds an actor system and asks it with blocking calls.

The system runs in a thread of its own on trio (`trio_thread`). Every wait has a bound and can be interrupted: Ctrl-C
in the main thread withdraws the call and closes the system. For asyncio programs there is `asyncio_host`, whose calls
do not block a loop.
"""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from functools import partial
from threading import TIMEOUT_MAX
from typing import Any, Final, Generic, TypeVar, TypeVarTuple, final

import outcome
import trio

from supervisors.specs import Restart
from vespera_agents.actors.actor import Actor
from vespera_agents.actors.asks import ANSWERED
from vespera_agents.actors.embedding.outside import ActorHandle, Call, ThreadStatistics, wait_until_done, whereis
from vespera_agents.actors.embedding.trio_thread import (
    CALLS_MAX,
    CANCEL_SECONDS,
    OpenSystem,
    SetUp,
    TrioThread,
)
from vespera_agents.actors.endpoint import Endpoint
from vespera_agents.actors.errors import MailboxFull, SystemUnresponsive, WrongThread
from vespera_agents.actors.mailbox import MailboxSpec
from vespera_agents.actors.messages import Request
from vespera_agents.actors.opening import open_system
from vespera_agents.actors.posting import put_if_room
from vespera_agents.actors.refs import ActorRef
from vespera_agents.actors.system import DEFAULT_MAILBOX, ActorSystem

ActorT = TypeVar("ActorT", bound=Actor)
Reply = TypeVar("Reply")
Result = TypeVar("Result")
Answer = TypeVar("Answer")
Arguments = TypeVarTuple("Arguments")

PATIENCE_SECONDS: Final = 10.0
"""How much longer than its own timeout a call is waited for, before its thread is called unresponsive."""


@final
class Portal:
    """A system as sync code sees it. Made by `open_system_portal`; usable from several threads at once."""

    def __init__(self, thread: TrioThread, *, patience_seconds: float) -> None:
        self._thread = thread
        self._patience_seconds = patience_seconds

    def ask(self, actor: ActorHandle[Actor], request: Request[Reply], *, timeout_seconds: float = 5.0) -> Reply:
        """Send a request and wait for its answer, as `ActorRef.ask` does, with the same errors.

        Interrupted: the request is withdrawn if it was not begun, and its reply dropped otherwise.

        Raises:
            SystemUnresponsive: Not even a timeout came back: the system's thread is held up.
            SystemCrashed: The system broke.
            TooManyCalls: As many calls as are allowed are under way.
            WrongThread: This is the system's own thread, which would wait for itself.
        """
        ref = actor.ref
        if not isinstance(ref, Endpoint):
            return self._call(ref.name, partial(ref.ask, request, timeout_seconds=timeout_seconds), timeout_seconds)
        self._check_thread()
        waiter: _Waiter[Reply] = _Waiter()
        ask = self._thread.ask(ref, request, timeout_seconds, waiter)
        reply = self._answer_for(waiter, ref.name, timeout_seconds)
        if ask.state != ANSWERED:
            raise ask.take_failure()
        return reply

    def send(self, actor: ActorHandle[Actor], message: object, *, timeout_seconds: float = 5.0) -> None:
        """Leave a message, waiting until the mailbox has room.

        Raises:
            MailboxFull: There was no room for that long; the message was not left.
            ActorStopped: The actor has ended, or ended while this waited.
        """
        ref = actor.ref
        send = partial(_send, ref, message, timeout_seconds)
        self._call(ref.name, send, timeout_seconds, partial(put_if_room, ref, message))

    def tell(self, actor: ActorHandle[Actor], message: object) -> None:
        """Leave a message and go on. What a full mailbox refuses is counted in `statistics`; `send` would wait.

        Raises:
            ActorStopped: The system is closed.
            SystemCrashed: The system broke.
            TooManyCalls: As many as are allowed wait to be told: the system's thread is too busy to take them.
            WrongThread: This is the system's own thread.
        """
        self._check_thread()
        self._thread.tell(actor.ref, message)

    def start(
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
        return ActorHandle(self._call(name or "a new actor", start, start_timeout_seconds))

    def stop(self, actor: ActorHandle[Actor], *, timeout_seconds: float = 5.0) -> None:
        """Stop an actor that was started with `start`, for good, as `ActorSystem.stop` does."""
        stop = partial(self.system.stop, actor.ref, timeout_seconds=timeout_seconds)
        self._call(actor.name, stop, 2 * timeout_seconds)

    def whereis(self, name: str) -> ActorHandle[Actor] | None:
        """Return the living actor of this name, or None: the way to what `set_up` has started."""
        ref = self._call(name, partial(whereis, self.system, name), 0.0)
        return None if ref is None else ActorHandle(ref)

    def run(
        self,
        function: Callable[[*Arguments], Awaitable[Result]],
        *args: *Arguments,
        timeout_seconds: float = 5.0,
    ) -> Result:
        """Await a trio function in the system's thread, with the caller's context variables.

        Args:
            function: A trio async function; it may use `system`.
            args: What it is called with.
            timeout_seconds: How long it may take; then it is cancelled.

        Raises:
            trio.TooSlowError: It took longer.
        """
        return self._call(self._thread.name, partial(_run, function, args, timeout_seconds), timeout_seconds)

    @property
    def system(self) -> ActorSystem:
        """The system itself, to be used only by functions that are `run`."""
        return self._thread.system

    def statistics(self) -> ThreadStatistics:
        """Return a picture of the way into the system as it is now; `run` a function for the system's own."""
        return self._thread.statistics()

    def open(self, timeout_seconds: float) -> None:
        """Start the thread and wait until the system is set up; `open_system_portal` calls this, once."""
        thread = self._thread
        thread.start()
        standing = None
        try:
            wait_until_done(thread.started, timeout_seconds)
        finally:
            # Late, or interrupted: then nobody will use it.
            if not thread.started.done():
                standing = thread.standing()
                self.close(0.0)
        if standing is not None:
            raise SystemUnresponsive(thread.name, "open", timeout_seconds, standing)
        thread.check_start()

    def close(self, timeout_seconds: float) -> None:
        """Close the system and wait for its thread; `open_system_portal` calls this at the end of its block.

        Interrupted, or late: what runs in the system is cancelled, and its actors are stopped by force.
        """
        thread = self._thread
        thread.stop()
        try:
            wait_until_done(thread.ended, timeout_seconds)
        finally:
            if not thread.ended.done():
                thread.cancel()
                wait_until_done(thread.ended, CANCEL_SECONDS)
            thread.join()

    def check_end(self, timeout_seconds: float) -> None:
        """Raise what the system ended with, if that was an error; after `close`, where the block itself did not."""
        self._thread.check_end(timeout_seconds)

    def _call(
        self,
        whom: str,
        function: Callable[[], Awaitable[Result]],
        timeout_seconds: float,
        at_once: Callable[[], bool] | None = None,
    ) -> Result:
        self._check_thread()
        waiter: _Waiter[outcome.Value[Result] | outcome.Error] = _Waiter()
        self._thread.call(Call(whom, function, waiter, at_once))
        return self._answer_for(waiter, whom, timeout_seconds).unwrap()

    def _answer_for(self, waiter: _Waiter[Answer], whom: str, timeout_seconds: float) -> Answer:
        limit_seconds = timeout_seconds + self._patience_seconds
        try:
            waiter.lock.acquire(timeout=min(limit_seconds, TIMEOUT_MAX))
        finally:
            # Late, or interrupted. What has been answered is not withdrawn by this.
            self._thread.withdraw(waiter)
        if not waiter.answers:
            raise SystemUnresponsive(self._thread.name, f"answer for {whom!r}", limit_seconds, self._thread.standing())
        return waiter.answers.pop()

    def _check_thread(self) -> None:
        if self._thread.is_current():
            raise WrongThread(
                "A portal is for other threads: inside its own system a blocking call would wait for itself. Use "
                "`await ref.ask(...)` of the ActorRef there; `handle.ref` is it."
            )


@final
class _Waiter(Generic[Answer]):
    """A thread that waits for one answer."""

    __slots__ = ("answers", "lock")

    def __init__(self) -> None:
        self.lock = threading.Lock()
        """Released with the answer."""
        self.lock.acquire()
        self.answers: list[Answer] = []
        """The answer, once it is there."""


def _deliver(answered: tuple[_Waiter[Answer], Answer]) -> None:
    waiter, answer = answered
    waiter.answers.append(answer)
    waiter.lock.release()


@contextmanager
def open_system_portal(
    set_up: SetUp | None = None,
    *,
    open_it: OpenSystem = open_system,
    name: str = "system",
    calls_max: int = CALLS_MAX,
    patience_seconds: float = PATIENCE_SECONDS,
    open_timeout_seconds: float = 30.0,
    close_timeout_seconds: float = 30.0,
) -> Generator[Portal, None, None]:
    """Open an actor system in a thread for the length of a `with` block of sync code.

    At the end of the block calls under way in other threads fail with ActorStopped, the system is closed and its
    thread waited for. If that is interrupted or takes too long, the system is ended by force.

    Args:
        set_up: A trio function that is given the system before anybody else: here trees are built.
        open_it: What opens the system, for one with other arguments: `partial(open_system, intensity=10)`.
        name: What the thread and the system are called in errors.
        calls_max: How many calls may be under way, and how many messages may wait to be told.
        patience_seconds: How much longer than its own timeout a call waits for a thread that is held up.
        open_timeout_seconds: How long opening and set_up may take.
        close_timeout_seconds: How long the system may take to close in order.

    Raises:
        SystemUnresponsive: It did not open in time, or its thread does not end.
        supervisors.MaxRestartsExceeded: The root supervisor gave up. Callers have heard SystemCrashed.
    """
    thread = TrioThread(open_it, set_up, name=name, calls_max=calls_max, deliver=_deliver)
    portal = Portal(thread, patience_seconds=patience_seconds)
    portal.open(open_timeout_seconds)
    try:
        yield portal
    finally:
        portal.close(close_timeout_seconds)
    # Not reached when the block raised: its own error, or a Ctrl-C, is not replaced.
    portal.check_end(close_timeout_seconds)


async def _send(ref: ActorRef[Any], message: object, timeout_seconds: float) -> None:
    with trio.move_on_after(timeout_seconds) as scope:
        await ref.send(message)
    if scope.cancelled_caught:
        raise MailboxFull(ref.name, ref.statistics().mailbox.capacity)


async def _run(function: Callable[..., Awaitable[Result]], args: tuple[object, ...], timeout_seconds: float) -> Result:
    with trio.fail_after(timeout_seconds):
        return await function(*args)
