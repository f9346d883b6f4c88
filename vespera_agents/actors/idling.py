"""An actor that nothing happens to: `on_idle` is called when no message came for as long as its class says.

The wait costs one alarm per actor that wants it, moved each time the actor waits for mail; others pay nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import final

from supervisors.timekeeper import Alarm
from vespera_agents.actors.actor import Actor
from vespera_agents.actors.endpoint import Endpoint


@final
class IdleWatch:
    """The idle time of one incarnation."""

    __slots__ = ("_alarm", "_endpoint", "_seconds")

    def __init__(self, endpoint: Endpoint, idle_timeout_seconds: float) -> None:
        self._endpoint = endpoint
        self._seconds = idle_timeout_seconds
        self._alarm = Alarm(endpoint.switchboard.timekeeper, self._ring)
        endpoint.own(self)

    def wait(self) -> None:
        """Begin to count, because the actor waits for mail from now on."""
        self._alarm.set(self._endpoint.clock() + self._seconds)

    def cancel(self) -> None:
        """Count no more."""
        self._alarm.discard()

    def _ring(self) -> None:
        if self._endpoint.reader is not None:
            self._endpoint.order(self._go_idle)

    def _go_idle(self, actor: Actor) -> Awaitable[None] | None:
        # Mail may have come in the same instant; an actor that stops when it is idle would let it fail.
        return None if self._endpoint.depth else actor.on_idle()
