"""A thread that runs trio with an actor system in it, for programs whose own thread is not trio's.

It takes work from other threads in batches: many calls, one wake-up. What a caller waits with is the caller's business:
`asyncio_host` waits with a future of its loop, `portal` with a lock; both are handed results by `Call.deliver`. Every
call is answered once: with its result, or with why it has none. It is not a pool, and runs no blocking code.
"""

from __future__ import annotations

import sys
import threading
import traceback
from collections import deque
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, wait
from contextlib import AbstractAsyncContextManager, suppress
from contextvars import Context, copy_context
from types import FrameType
from typing import Any, Final, cast, final

import outcome
import trio
from trio.lowlevel import Abort, RaiseCancelT, current_task, reschedule, wait_task_rescheduled

from vespera_agents.actors.actor import Actor
from vespera_agents.actors.embedding.outside import Call, Carrier, ThreadStatistics
from vespera_agents.actors.errors import ActorError, ActorStopped, SystemCrashed, SystemUnresponsive, TooManyCalls
from vespera_agents.actors.refs import ActorRef
from vespera_agents.actors.system import ActorSystem

OpenSystem = Callable[[], AbstractAsyncContextManager[ActorSystem]]
"""What opens the system: `open_system`, with the arguments it should get."""
SetUp = Callable[[ActorSystem], Awaitable[object]]
"""What is run in the thread before anybody else may use the system."""

CALLS_MAX: Final = 10_000
"""How many calls from outside may be under way unless said otherwise; each that has begun has a trio task."""
CANCEL_SECONDS: Final = 10.0
"""How long the thread may take to end once everything in it has been cancelled."""
JOIN_SECONDS: Final = 5.0
"""How long the thread itself may take after it has said that it has ended: a few instructions."""
IDLE_MAX: Final = 128
"""How many carriers are kept for the next calls: 3 KB each, and it saves a new task for each call."""


@final
class TrioThread:
    """The thread, from its start to its end. Methods may be called from any thread unless they say otherwise."""

    def __init__(
        self,
        open_it: OpenSystem,
        set_up: SetUp | None,
        *,
        name: str,
        calls_max: int,
        after_batch: Callable[[], object] | None = None,
    ) -> None:
        self.name = name
        """The system's name; also the thread's."""
        self.started: Future[BaseException | None] = Future()
        """Has None once the system is set up, or the error that kept it from that."""
        self.ended: Future[BaseException | None] = Future()
        """Has the error that ended the system, or None, once the thread has nothing more to do."""
        # Nobody may cancel what the thread is going to set.
        self.started.set_running_or_notify_cancel()
        self.ended.set_running_or_notify_cancel()
        self._open_it = open_it
        self._set_up = set_up
        self._calls_max = calls_max
        self._after_batch = after_batch
        self._flusher: trio.lowlevel.Task | None = None
        # A daemon, so that a handler that blocks for ever cannot keep the interpreter from ending. Whoever opened the
        # thread waits for its end, with a bound.
        self._thread = threading.Thread(target=self._live, name=name, daemon=True)
        self._inbox: deque[Call[Any] | tuple[Context, ActorRef[Any], object]] = deque()
        self._pending: set[Call[Any]] = set()
        self._idle: list[Carrier] = []
        self._is_woken = False
        self._is_stopping = False
        self._is_refusing = False
        self._crash: BaseException | None = None
        self._token: trio.lowlevel.TrioToken | None = None
        self._task: trio.lowlevel.Task | None = None
        self._system: ActorSystem | None = None
        self._nursery: trio.Nursery | None = None
        self._context = copy_context()
        self._scope = trio.CancelScope()
        self._closing = trio.Event()
        self._calls = self._withdrawn = self._tells = self._tells_refused = self._batches = 0
        self._last_refusal = ""

    # Its life -------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the thread, once; `started` tells what came of it."""
        self._thread.start()

    def stop(self) -> None:
        """Let it end in order: calls under way fail with ActorStopped, then the system is closed. Idempotent."""
        self._is_stopping = True
        self._soon(self._closing.set)

    def cancel(self) -> None:
        """Let it end at once: what runs is cancelled, and actors are stopped by force. Idempotent."""
        self._is_stopping = True
        self._soon(self._cut_short)

    def check_start(self) -> None:
        """Raise what kept the system from starting, if `started` says so."""
        error = self.started.result(timeout=0)
        if error is not None:
            self.join()
            raise error

    def join(self) -> None:
        """Wait for the thread itself, if it has said that it has ended: it has a few instructions left."""
        if self.ended.done():
            self._thread.join(JOIN_SECONDS)

    def check_end(self, waited_seconds: float) -> None:
        """Raise the error that the system ended with, if it was one.

        Raises:
            SystemUnresponsive: The thread still runs, because something in it can neither be waited for nor be ended.
        """
        if not self.ended.done():
            raise SystemUnresponsive(self.name, "close", waited_seconds, self.standing())
        error = self.ended.result()
        if error is not None:
            raise error

    @property
    def system(self) -> ActorSystem:
        """The system, once it has started."""
        assert self._system is not None, "a host or portal is not handed out before its system has started"
        return self._system

    def is_current(self) -> bool:
        """Whether the caller runs in this thread."""
        return threading.get_ident() == self._thread.ident

    def standing(self) -> str:
        """Return the line that the thread is at, for an error about a thread that is stuck."""
        # Documented, despite its name.
        frames = cast("Callable[[], dict[int, FrameType]]", vars(sys)["_current_frames"])
        frame = frames().get(self._thread.ident or 0)
        if frame is None:
            return "its end"
        place = traceback.extract_stack(frame, limit=1)[0]
        return f"{place.filename}:{place.lineno} in {place.name}"

    # Work from outside ----------------------------------------------------------------------------------------------

    def submit(self, call: Call[Any]) -> None:
        """Have a call run.

        Raises:
            TooManyCalls: As many as are allowed are under way.
            ActorStopped: It is closed, or closing.
            SystemCrashed: The system broke.
        """
        if len(self._pending) >= self._calls_max:
            raise TooManyCalls(self.name, self._calls_max)
        self._pending.add(call)
        # Looked at after the call was added: whoever ends the thread sets it first and then looks for calls.
        if self._is_refusing and self._claim(call):
            raise self._refused(call.whom)
        self._calls += 1
        self._put(call)

    def tell(self, ref: ActorRef[Any], message: object) -> None:
        """Have a message told, in the order of calls and tells. What its receiver refuses is counted.

        Raises:
            TooManyCalls: As many as are allowed wait to be told.
            ActorStopped: It is closed, or closing.
            SystemCrashed: The system broke.
        """
        if self._is_refusing:
            raise self._refused(ref.name)
        if len(self._inbox) >= self._calls_max:
            raise TooManyCalls(self.name, self._calls_max)
        self._tells += 1
        self._put((copy_context(), ref, message))

    def withdraw(self, call: Call[Any]) -> None:
        """Have a call cancelled, because nobody waits for it any more; nothing is delivered after this."""
        if self._claim(call):
            self._withdrawn += 1
            self._soon(self._cut_off, call)

    def statistics(self) -> ThreadStatistics:
        """Return a picture of it as it is now."""
        return ThreadStatistics(
            name=self.name,
            is_open=self._nursery is not None and not self._is_refusing,
            pending=len(self._pending),
            carriers_idle=len(self._idle),
            calls=self._calls,
            withdrawn=self._withdrawn,
            tells=self._tells,
            tells_refused=self._tells_refused,
            last_refusal=self._last_refusal,
            batches=self._batches,
        )

    def _put(self, item: Call[Any] | tuple[Context, ActorRef[Any], object]) -> None:
        self._inbox.append(item)
        # Looked at after the append: the thread puts it back before it takes things out.
        if not self._is_woken:
            self._is_woken = True
            self._soon(self._take_in)

    def _soon(self, function: Callable[..., object], *args: object) -> None:
        token = self._token
        if token is not None:
            # The run has ended: then `ended` has answered everything that is pending.
            with suppress(trio.RunFinishedError):
                token.run_sync_soon(function, *args)

    def _claim(self, call: Call[Any]) -> bool:
        """Return True to one of all those who want to finish a call: taking it out of a set happens once."""
        try:
            self._pending.remove(call)
        except KeyError:
            return False
        return True

    def _refused(self, whom: str) -> ActorError:
        """Return an error of its own for each caller: one that all share would gather all their tracebacks."""
        if self._crash is not None:
            return SystemCrashed(self.name, self._crash)
        return ActorStopped(whom, f"its system {self.name!r} was closed")

    # Inside the thread ----------------------------------------------------------------------------------------------

    def _live(self) -> None:
        result = outcome.capture(trio.run, self._main)
        error = result.error if isinstance(result, outcome.Error) else None
        self._crash = error
        self._refuse()
        self._tells_refused += sum(not isinstance(item, Call) for item in self._inbox)
        self._inbox.clear()
        self.ended.set_result(error)
        if not self.started.done():
            early = ActorStopped(self.name, "it was closed while it was being opened")
            self.started.set_result(error or early)

    async def _main(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        self._task = current_task()
        if self._is_stopping:
            return
        with self._scope:
            async with self._open_it() as system:
                if self._set_up is not None:
                    await self._set_up(system)
                async with trio.open_nursery() as nursery:
                    self._nursery = nursery
                    if self._after_batch is not None:
                        nursery.start_soon(self._flush, self._after_batch, name=f"{self.name}/answers")
                    self._system = system
                    self.started.set_result(None)
                    try:
                        await self._closing.wait()
                        self._refuse()
                    finally:
                        # Nothing begins any more. What broke the system is known at the end, and pending calls hear it.
                        self._nursery = None
                    nursery.cancel_scope.cancel(reason="the system is closed from outside")

    def _cut_short(self) -> None:
        """Cancel everything, and stop by force what a supervisor would wait for in order, as long as its spec says."""
        self._scope.cancel(reason="the system is to end at once")
        if self._system is not None:
            self._system.supervisor.kill()

    def _refuse(self) -> None:
        """Accept no more calls, and answer those that are under way."""
        self._is_refusing = True
        while self._pending:
            call = self._pending.pop()
            call.deliver(outcome.Error(self._refused(call.whom)))
        if self._after_batch is not None:
            self._after_batch()

    def _take_in(self) -> None:
        """Begin everything that has come in."""
        self._batches += 1
        self._is_woken = False
        for _ in range(len(self._inbox)):
            item = self._inbox.popleft()
            if isinstance(item, Call):
                self._begin(item)
            else:
                self._tell(*item)

    def _tell(self, context: Context, ref: ActorRef[Any], message: object) -> None:
        told = context.run(_told, ref, message)
        if isinstance(told, outcome.Error):
            self._tells_refused += 1
            self._last_refusal = f"{type(told.error).__name__}: {told.error}"

    def _begin(self, call: Call[Any]) -> None:
        if call not in self._pending or self._nursery is None:
            return
        if self._idle:
            carrier = self._idle.pop()
            carrier.call = call
            call.carrier = carrier
            assert carrier.task is not None, "an idle carrier is parked"
            # Trio runs each step of a task in this context, so the call and its messages have their caller's.
            carrier.task.context = call.context
            reschedule(carrier.task)
        else:
            call.carrier = carrier = Carrier(call)
            call.context.run(self._start_carrier, self._nursery, carrier)

    def _start_carrier(self, nursery: trio.Nursery, carrier: Carrier) -> None:
        nursery.start_soon(self._carry, carrier, name=f"{self.name}/calls from outside")

    def _cut_off(self, call: Call[Any]) -> None:
        carrier = call.carrier
        if carrier is not None and carrier.call is call:
            carrier.scope.cancel(reason="the caller outside no longer waits")

    async def _carry(self, carrier: Carrier) -> None:
        task = carrier.task = current_task()

        def abort(_raise_cancel: RaiseCancelT) -> Abort:
            with suppress(ValueError):
                self._idle.remove(carrier)
            return Abort.SUCCEEDED

        with carrier.scope:
            while True:
                call = carrier.call
                assert call is not None, "a carrier is woken with a call"
                result = cast("outcome.Value[Any] | outcome.Error", await outcome.acapture(call.function))
                carrier.call = None
                if isinstance(result, outcome.Error) and not isinstance(result.error, Exception):
                    # Cancelled, with the system or because the caller has gone. Or worse: then the system ends by it.
                    result.unwrap()
                if self._claim(call):
                    call.deliver(result)
                    if self._flusher is not None:
                        flusher, self._flusher = self._flusher, None
                        reschedule(flusher)
                if carrier.scope.cancel_called or len(self._idle) >= IDLE_MAX:
                    return
                # Neither result, call nor context may live as long as an idle carrier does.
                del call, result
                task.context = self._context
                self._idle.append(carrier)
                await wait_task_rescheduled(abort)

    async def _flush(self, after_batch: Callable[[], object]) -> None:
        """Say that answers lie ready, one turn of the loop after the first: by then those of the same turn do, too.

        Waking the other thread at the first answer let it run at once, take that one, and wait again: 19,000 wake-ups
        for 30,000 answers to 100 callers.
        """

        def abort(_raise_cancel: RaiseCancelT) -> Abort:
            self._flusher = None
            return Abort.SUCCEEDED

        while True:
            self._flusher = current_task()
            await wait_task_rescheduled(abort)
            after_batch()


def _told(ref: ActorRef[Any], message: object) -> outcome.Value[None] | outcome.Error:
    return outcome.capture(ref.tell, message)


async def whereis(system: ActorSystem, name: str) -> ActorRef[Actor] | None:
    """Find a living actor; a call, so that it happens inside the thread."""
    return system.whereis(name)


def wait_until_done(future: Future[Any], timeout_seconds: float) -> None:
    """Wait in a thread without a loop; an interruption goes on up, and leaves the future as it is."""
    wait([future], timeout=timeout_seconds)
