"""The hot loop: take mail, call handlers, answer asks, until told to stop.

One incarnation of one actor runs it. It drains the mailbox in turns with a budget of messages and of time, then gives
way to other tasks once: a drained message costs 0.3 us, a checkpoint 3 us. Each handler runs in the context variables
of whoever sent the message, and what it changes in them ends with the message: only its next try sees it.
"""

from __future__ import annotations

import math
import types
from collections.abc import Awaitable, Callable, Generator
from contextvars import Context
from types import CoroutineType, FrameType, GeneratorType
from typing import Any, Final, Self, cast, final

from trio.lowlevel import checkpoint, current_task

from supervisors.incarnation import ChildStatus
from vespera_agents.actors.actor import Actor, PutAside
from vespera_agents.actors.asks import ANSWERED, QUEUED, STARTED, Letter
from vespera_agents.actors.dispatch import Unmatched
from vespera_agents.actors.endpoint import Endpoint
from vespera_agents.actors.idling import IdleWatch
from vespera_agents.actors.parking import SHARED_TRAP, check, park, wake_with
from vespera_agents.actors.settling import Fenced, interrupted, put_aside, turn_over, unhandled

DRAIN_MESSAGES_MAX: Final = 128
"""Messages per turn; a multiple of 16, because in the end only every sixteenth looks at the budget."""
DRAIN_SECONDS_MAX: Final = 0.004
"""Seconds per turn, on trio's clock, which is looked at after 2, 4, 8, 16, and then each further 16 messages."""


_COROUTINE: Final[type] = CoroutineType


@final
class Done:
    """What the runner yields when a handler has returned: no other yield of it comes from itself."""

    __slots__ = ("result",)

    def __init__(self) -> None:
        self.result: Any = None
        """What the handler returned."""


async def serve(actor: Actor, endpoint: Endpoint, status: ChildStatus) -> None:  # noqa: C901, PLR0912, PLR0915
    """Handle mail until told to stop. Cancelled: the message in hand is cut off, the rest stays.

    One flat loop: a call per message would cost a tenth of the speed.

    Raises:
        Stop: An errand asked for the end.
        Fenced: This incarnation was replaced while its handler was running.
        Exception: Whatever a handler raised.
    """
    task, clock, counts = current_task(), endpoint.clock, endpoint.counts
    idle = None if actor.idle_timeout_seconds == math.inf else IdleWatch(endpoint, actor.idle_timeout_seconds)
    done: Done | None = None
    runner: GeneratorType[Any, Any, None] = _NO_RUNNER
    step = _NO_STEP
    while True:
        # Nothing of the last message is kept while the actor waits for the next.
        letter: Letter | None = None
        message = context = ask = result = None
        if not endpoint.user and not endpoint.alert:
            endpoint.busy_since = None
            if idle is not None:
                idle.wait()
            endpoint.reader = task
            task.custom_sleep_data = endpoint
            try:
                woken_with = await park(SHARED_TRAP)
            finally:
                if endpoint.reader is task:
                    endpoint.reader = None
            if woken_with is not None:
                check(woken_with)
        began = endpoint.busy_since = clock()
        lane, table = endpoint.user, actor.table
        until = began + DRAIN_SECONDS_MAX
        taken = handled = 0
        mask = 1
        waited = False
        try:
            while True:
                if endpoint.alert:
                    letter = None
                    letter = await _attend(actor, endpoint)
                    # An errand may have changed both: what the actor has become, and which lane its mail lies in.
                    table, lane = actor.table, endpoint.user
                    if letter is None:
                        if endpoint.alert:
                            break  # Further errands have come meanwhile: others have their turn first.
                        continue
                elif lane:
                    letter = lane.popleft()
                else:
                    break
                taken += 1
                if endpoint.waiting:
                    endpoint.admit()
                message, context, ask = letter
                if ask is not None:
                    if ask.state != QUEUED:
                        if not ask.begin():
                            continue
                    else:
                        ask.state = STARTED
                try:
                    result = context.run(table[type(message)], actor, message)
                    if result is not None and type(result) is _COROUTINE:
                        if done is None:
                            done = Done()
                            runner = _RUNNER(done)
                            runner.send(None)
                            step = runner.send
                        yielded = context.run(step, result)
                        if yielded is not done:
                            waited = True
                            await _wait_for(actor, endpoint, status, letter, Suspended(context, runner, yielded, done))
                            until = clock() + DRAIN_SECONDS_MAX  # Others have had their turn meanwhile.
                        result, done.result = done.result, None
                except PutAside:
                    done = None
                    put_aside(endpoint, letter, task)
                    if taken < DRAIN_MESSAGES_MAX:
                        continue
                    break
                except Unmatched:
                    unhandled(endpoint, letter)
                    if taken < DRAIN_MESSAGES_MAX:
                        continue
                    break
                handled += 1
                if ask is not None:
                    if ask.state == STARTED:
                        ask.state = ANSWERED
                        wake_with(ask.caller, result)
                    elif not ask.answer(result):
                        counts.late_replies += 1
                if not taken & mask:
                    if taken >= DRAIN_MESSAGES_MAX or clock() > until:
                        break
                    mask = mask << 1 & 15 | 1
        except BaseException as error:
            if letter is not None and endpoint.task is task:
                interrupted(actor, endpoint, letter, error, status)
            raise
        finally:
            endpoint.handled += handled
            counts.handled += handled
        if lane or not endpoint.turns & 7:
            turn_over(endpoint, began, taken, 0 if waited else handled)
        endpoint.turns += 1
        if lane or endpoint.alert:
            await checkpoint()


async def _attend(actor: Actor, endpoint: Endpoint) -> Letter | None:
    """Do what the system lane asks for; then take urgent mail, if there is some.

    Raises:
        Fenced: This incarnation was replaced while an errand was running.
    """
    task, system = endpoint.task, endpoint.system
    # Those that are there, and not those that they bring about: an errand may bring about another one for ever.
    for _ in range(len(system or ())):
        if not system:
            break
        try:
            done = system.popleft()(actor)
            if done is not None:
                await done
        except PutAside:
            put_aside(endpoint, None, task)
        if endpoint.task is not task:
            raise Fenced
    return endpoint.next_urgent()


async def _wait_for(
    actor: Actor, endpoint: Endpoint, status: ChildStatus, letter: Letter, handler: Awaitable[None]
) -> None:
    """Go on with a handler that had to wait; it hangs if it takes longer than its class allows."""
    task = endpoint.task
    endpoint.current = letter
    began = endpoint.busy_since = endpoint.clock()
    limited = actor.handler_timeout_seconds < math.inf
    if limited:
        status.beat(actor.handler_timeout_seconds)
    try:
        await handler
    finally:
        if limited and not status.fenced:
            status.rest()
    if endpoint.task is not task:
        raise Fenced
    endpoint.current = None
    endpoint.counts.message_duration.observe(endpoint.clock() - began)


def _runner(done: Done) -> Generator[Any, Any, None]:
    """Run the coroutines that are sent in, one after the other, and yield `done` after each.

    A generator that yields costs a third of the StopIteration by which each coroutine would say that it has returned.
    Whatever else comes out is what a handler yields to trio.
    """
    coroutine = yield done
    while True:
        done.result = yield from coroutine
        coroutine = yield done


_RUNNER: Final = cast("Callable[[Done], GeneratorType[Any, Any, None]]", types.coroutine(_runner))
"""Marked, so that it may wait for coroutines; its type says that it is stepped by hand, and never awaited."""


_NO_RUNNER: Final = _RUNNER(Done())
"""Stands where a runner will be, until a handler wants one."""
_NO_STEP: Final[Callable[[Any], Any]] = _NO_RUNNER.send


@final
class Suspended:
    """A handler that was suspended in its first step, to be awaited: every further step runs in its context, too.

    It looks like a generator, so that whoever walks the stack of an actor's task finds the handler below it.
    """

    __slots__ = ("_runner", "close", "send", "throw")

    def __init__(self, context: Context, runner: GeneratorType[Any, Any, None], yielded: object, done: Done) -> None:
        steps = _steps(context, runner, yielded, done)
        self._runner = runner
        self.send = steps.send
        """Go on with what it waited for."""
        self.throw = steps.throw
        """Go on with an error: that is how a task is stopped by force."""
        self.close = steps.close
        """End it."""

    def __await__(self) -> Generator[Any, Any, None]:
        """Be what is awaited."""
        return cast("Generator[Any, Any, None]", self)

    def __iter__(self) -> Self:
        """Be an iterator."""
        return self

    def __next__(self) -> object:
        """Go on."""
        return self.send(None)

    @property
    def gi_frame(self) -> FrameType | None:
        """The frame of what runs the handler."""
        return self._runner.gi_frame

    @property
    def gi_yieldfrom(self) -> object:
        """The handler's coroutine."""
        return self._runner.gi_yieldfrom


def _steps(
    context: Context, runner: GeneratorType[Any, Any, None], yielded: object, done: Done
) -> Generator[Any, Any, None]:
    run, step = context.run, runner.send
    while yielded is not done:
        try:
            sent = yield yielded
        except BaseException as error:  # noqa: BLE001 - thrown on into the handler.
            # It is the handler's to deal with: lost here, the handler's nurseries would be left without their parent.
            yielded = run(runner.throw, error)
        else:
            yielded = run(step, sent)
