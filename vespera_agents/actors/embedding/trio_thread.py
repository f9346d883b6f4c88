"""A thread that runs trio with an actor system in it, for programs whose own thread is not trio's.

It takes work from other threads in batches: many messages, one wake-up. Asks go straight into their mailboxes, and
whoever answers one hands the reply over; what has to wait for something itself is given to `carriers`. What a caller
waits with is the caller's business: `asyncio_host` waits with a future of its loop, `portal` with a lock. Everybody who
waits is answered once: with a result, or with why there is none. It is not a pool, and runs no blocking code.
"""

from __future__ import annotations

import sys
import threading
import traceback
from collections import deque
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, suppress
from contextvars import copy_context
from types import FrameType
from typing import Any, Final, cast, final

import outcome
import trio

from vespera_agents.actors.asks import Letter, PendingAsk, unusable
from vespera_agents.actors.embedding.carriers import Carriers
from vespera_agents.actors.embedding.flusher import Flusher
from vespera_agents.actors.embedding.outside import Call, Posted, ThreadStatistics
from vespera_agents.actors.endpoint import Endpoint
from vespera_agents.actors.errors import ActorError, ActorStopped, SystemCrashed, SystemUnresponsive, TooManyCalls
from vespera_agents.actors.messages import REQUESTS, Request
from vespera_agents.actors.posting import observe, post_ask, turn_away
from vespera_agents.actors.refs import ActorRef
from vespera_agents.actors.system import ActorSystem

OpenSystem = Callable[[], AbstractAsyncContextManager[ActorSystem]]
"""What opens the system: `open_system`, with the arguments it should get."""
SetUp = Callable[[ActorSystem], Awaitable[object]]
"""What is run in the thread before anybody else may use the system."""

CALLS_MAX: Final = 10_000
"""How many calls from outside may be under way unless said otherwise."""
CANCEL_SECONDS: Final = 10.0
"""How long the thread may take to end once everything in it has been cancelled."""
JOIN_SECONDS: Final = 5.0
"""How long the thread itself may take after it has said that it has ended: a few instructions."""
SAMPLED: Final = 7
"""Of so many answers one is timed, as inside the system."""


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
        deliver: Callable[[tuple[Any, Any]], object],
        after_batch: Callable[[], object] | None = None,
        before_batch: Callable[[Callable[[], object]], object] | None = None,
    ) -> None:
        """Prepare it.

        Args:
            open_it: What opens the system.
            set_up: What is run in it first.
            name: The system's name; also the thread's.
            calls_max: How many may wait for answers, and how many messages may wait to be told.
            deliver: Called in this thread with each waiter and its answer, a pair: the reply of an ask, which says
                itself whether it has failed, or the Outcome of a call.
            after_batch: Called in this thread when answers have been delivered, once for several.
            before_batch: Called by the first caller of a batch, with what wakes this thread: at once, or when others
                have called, too.
        """
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
        self._deliver = deliver
        self._after_batch = after_batch
        self._before_batch = before_batch
        self._flusher = None if after_batch is None else Flusher(after_batch)
        # A daemon, so that a handler that blocks for ever cannot keep the interpreter from ending. Whoever opened the
        # thread waits for its end, with a bound.
        self._thread = threading.Thread(target=self._live, name=name, daemon=True)
        self._inbox: deque[Call[Any] | Posted] = deque()
        # By who waits. Whoever takes something out of it answers it, or need not: that happens once.
        self._pending: dict[object, Call[Any] | Posted] = {}
        self._carriers = Carriers(f"{name}/calls from outside", self._answered)
        self._is_woken = False
        self._is_stopping = False
        self._is_refusing = False
        self._crash: BaseException | None = None
        self._token: trio.lowlevel.TrioToken | None = None
        self._system: ActorSystem | None = None
        self._scope = trio.CancelScope()
        self._closing = trio.Event()
        self._calls = self._answers = self._withdrawn = self._tells = self._tells_refused = self._batches = 0
        self._last_refusal = ""

    # Its life -------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the thread, once; `started` tells what came of it."""
        self._thread.start()

    def stop(self) -> None:
        """Let it end in order: calls under way fail with ActorStopped, then the system is closed. Idempotent."""
        self._is_stopping = True
        self._wake()
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

    def ask(self, endpoint: Endpoint, request: Request[Any], timeout_seconds: float, waiter: object) -> PendingAsk:
        """Have a request put into a mailbox. Once the waiter is answered, the ask says whether it has failed.

        Raises:
            TooManyCalls: As many as are allowed wait for answers.
            ActorStopped: It is closed, or closing.
            SystemCrashed: The system broke.
        """
        if not isinstance(request, REQUESTS) or not timeout_seconds > 0.0:
            raise unusable(request, timeout_seconds)
        ask = PendingAsk(endpoint, waiter, self._answered)
        ask.timeout_seconds = timeout_seconds
        self._submit(waiter, (endpoint, (request, copy_context(), ask)), endpoint.name)
        return ask

    def call(self, call: Call[Any]) -> None:
        """Have a call run; its waiter is answered with an Outcome.

        Raises:
            TooManyCalls: As many as are allowed wait for answers.
            ActorStopped: It is closed, or closing.
            SystemCrashed: The system broke.
        """
        self._submit(call.waiter, call, call.whom)

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
        self._inbox.append((ref, (message, copy_context(), None)))
        # Looked at after the append: the thread puts it back before it takes things out.
        if not self._is_woken:
            self._is_woken = True
            self._wake()

    def withdraw(self, waiter: object) -> None:
        """Have an ask withdrawn or a call cancelled, because nobody waits any more; nothing is delivered after this."""
        item = self._pending.pop(waiter, None)
        if item is not None:
            self._withdrawn += 1
            self._soon(self._cut_off, item)

    def statistics(self) -> ThreadStatistics:
        """Return a picture of it as it is now."""
        return ThreadStatistics(
            name=self.name,
            is_open=self._carriers.nursery is not None and not self._is_refusing,
            pending=len(self._pending),
            carriers_idle=self._carriers.idle,
            calls=self._calls,
            withdrawn=self._withdrawn,
            tells=self._tells,
            tells_refused=self._tells_refused,
            last_refusal=self._last_refusal,
            batches=self._batches,
        )

    def _submit(self, waiter: object, item: Call[Any] | Posted, whom: str) -> None:
        if len(self._pending) >= self._calls_max:
            raise TooManyCalls(self.name, self._calls_max)
        self._pending[waiter] = item
        # Looked at after it was put in: whoever ends the thread sets it first and then looks who waits.
        if self._is_refusing and self._pending.pop(waiter, None) is not None:
            raise self._refused(whom)
        self._calls += 1
        self._inbox.append(item)
        if not self._is_woken:
            self._is_woken = True
            if self._before_batch is None:
                self._wake()
            else:
                self._before_batch(self._wake)

    def _wake(self) -> None:
        self._soon(self._take_in)

    def _soon(self, function: Callable[..., object], *args: object) -> None:
        token = self._token
        if token is not None:
            # The run has ended: then `ended` has answered everything that is pending.
            with suppress(trio.RunFinishedError):
                token.run_sync_soon(function, *args)

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
        if self._is_stopping:
            return
        with self._scope:
            async with self._open_it() as system:
                if self._set_up is not None:
                    await self._set_up(system)
                async with trio.open_nursery() as nursery:
                    self._carriers.nursery = nursery
                    if self._flusher is not None:
                        nursery.start_soon(self._flusher.run, name=f"{self.name}/answers")
                    self._system = system
                    self.started.set_result(None)
                    try:
                        await self._closing.wait()
                        self._refuse()
                    finally:
                        # Nothing begins any more. What broke the system is known at the end, and pending calls hear it.
                        self._carriers.nursery = None
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
            for waiter in list(self._pending):
                item = self._pending.pop(waiter, None)
                if item is not None:
                    self._turn_away(waiter, item)
        if self._after_batch is not None:
            self._after_batch()

    def _turn_away(self, waiter: object, item: Call[Any] | Posted) -> None:
        if isinstance(item, Call):
            self._deliver((waiter, outcome.Error(self._refused(item.whom))))
            return
        endpoint, (_, _, ask) = item
        assert ask is not None, "only asks are waited for"
        turn_away(ask, self._refused(endpoint.name))
        self._deliver((waiter, None))

    def _take_in(self) -> None:
        """Put messages where they belong, and begin calls."""
        self._batches += 1
        self._is_woken = False
        pending, inbox, now = self._pending, self._inbox, trio.current_time()
        for _ in range(len(inbox)):
            item = inbox.popleft()
            if isinstance(item, Call):
                if item.waiter in pending:
                    self._begin(item)
                continue
            ref, letter = item
            ask = letter[2]
            if ask is None:
                self._tell(ref, letter)
            elif ask.caller in pending and self._carriers.nursery is not None:
                assert isinstance(ref, Endpoint), "asks of others are calls"
                post_ask(ref, letter, ask, now)

    def _tell(self, ref: ActorRef[Any], letter: Letter) -> None:
        message, context, _ = letter
        told = outcome.capture(ref.deliver, letter) if isinstance(ref, Endpoint) else context.run(_told, ref, message)
        if isinstance(told, outcome.Error):
            self._tells_refused += 1
            self._last_refusal = f"{type(told.error).__name__}: {told.error}"

    def _begin(self, call: Call[Any]) -> None:
        if call.at_once is not None:
            done = outcome.capture(call.context.run, call.at_once)
            if isinstance(done, outcome.Error):
                self._answered(call.waiter, done)
                return
            if done.value:
                self._answered(call.waiter, outcome.Value(None))
                return
        self._carriers.begin(call)

    def _cut_off(self, item: Call[Any] | Posted) -> None:
        if isinstance(item, Call):
            self._carriers.cut_off(item)
            return
        ask = item[1][2]
        if ask is not None:
            ask.withdraw()

    def _answered(self, waiter: object, answer: object) -> None:
        """Hand an answer over, unless nobody waits for it any more. The handler that has returned it calls this."""
        item = self._pending.pop(waiter, None)
        if item is None:
            return
        self._deliver((waiter, answer))
        self._answers += 1
        if self._answers % SAMPLED == 1 and not isinstance(item, Call):
            observe(*item)
        if self._after_batch is not None and self._flusher is not None:
            # With nobody left no other answer can come in this turn. So a lone caller does not wait for the next one.
            if self._pending:
                self._flusher.soon()
            else:
                self._after_batch()


def _told(ref: ActorRef[Any], message: object) -> outcome.Value[None] | outcome.Error:
    return outcome.capture(ref.tell, message)
