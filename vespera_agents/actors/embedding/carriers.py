"""The trio tasks that carry calls from outside: whatever has to wait for something in the system's thread.

Starting and stopping actors, functions that are run, and messages for which there is no room. An ask, which is most of
what comes, is none of these: `trio_thread` puts it into its mailbox. Everything here happens inside the thread.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from typing import Any, Final, cast, final

import outcome
import trio
from trio.lowlevel import Abort, RaiseCancelT, current_task, reschedule, wait_task_rescheduled

from vespera_agents.actors.embedding.outside import Call

IDLE_MAX: Final = 128
"""How many carriers are kept for the next calls: 3 KB each, and it saves a new task for each call."""


@final
class Carrier:
    """A trio task that runs calls, one after the other."""

    __slots__ = ("call", "scope", "task")

    def __init__(self, call: Call[Any]) -> None:
        self.call: Call[Any] | None = call
        """What it runs; None while it is idle."""
        self.scope = trio.CancelScope()
        """Cancelled to withdraw the call; the carrier ends with it."""
        self.task: trio.lowlevel.Task | None = None
        """Its task, parked while it is idle."""


@final
class Carriers:
    """The carriers of one thread."""

    def __init__(self, name: str, ended: Callable[[object, Any], object]) -> None:
        """Have none yet.

        Args:
            name: What their tasks are called.
            ended: Called with the waiter and the outcome of each call that was not cut off.
        """
        self.nursery: trio.Nursery | None = None
        """Where they live; None before and after that."""
        self._name = name
        self._ended = ended
        self._idle: list[Carrier] = []
        self._running: dict[Call[Any], Carrier] = {}
        # An idle carrier must not keep the context of the last call.
        self._context = copy_context()

    @property
    def idle(self) -> int:
        """How many wait for a call."""
        return len(self._idle)

    def begin(self, call: Call[Any]) -> None:
        """Run a call in a task, in its caller's context."""
        nursery = self.nursery
        if nursery is None:
            return
        if self._idle:
            carrier = self._idle.pop()
            carrier.call = call
            assert carrier.task is not None, "an idle carrier is parked"
            # Trio runs each step of a task in this context, so the call and its messages have their caller's.
            carrier.task.context = call.context
            reschedule(carrier.task)
        else:
            carrier = Carrier(call)
            call.context.run(self._start, nursery, carrier)
        self._running[call] = carrier

    def cut_off(self, call: Call[Any]) -> None:
        """Cancel a call, if it runs."""
        carrier = self._running.get(call)
        if carrier is not None:
            carrier.scope.cancel(reason="the caller outside no longer waits")

    def _start(self, nursery: trio.Nursery, carrier: Carrier) -> None:
        nursery.start_soon(self._carry, carrier, name=self._name)

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
                del self._running[call]
                if isinstance(result, outcome.Error) and not isinstance(result.error, Exception):
                    # Cancelled, with the system or because the caller has gone. Or worse: then the system ends by it.
                    result.unwrap()
                self._ended(call.waiter, result)
                if carrier.scope.cancel_called or len(self._idle) >= IDLE_MAX:
                    return
                # Neither result, call nor context may live as long as an idle carrier does.
                del call, result
                task.context = self._context
                self._idle.append(carrier)
                await wait_task_rescheduled(abort)
