"""One `send` of the event bus while it waits: at full actors one after the other, at full streams all at once.

The bus makes one for each `send`; subscribers that are full write themselves into it, instead of refusing the event.
"""

from __future__ import annotations

from typing import Protocol, final

from trio.lowlevel import Abort, RaiseCancelT, Task, current_task, reschedule, wait_task_rescheduled

from vespera_agents.actors.events.buffer import WaitingEvent


class FullActor(Protocol):
    """An actor's subscription whose mailbox had no room."""

    async def send(self, event: object) -> bool:
        """Tell it the event as soon as there is room; False if it waits, itself, for whoever sends."""
        ...

    def refuse(self) -> bool:
        """Count an event that it did not get."""
        ...


class FullStream(Protocol):
    """A stream whose buffer had no room."""

    def withdraw(self, waiting: WaitingEvent[object]) -> None:
        """Take an event out of the line: its publisher waits no longer."""
        ...


@final
class PendingSend:
    """One `send` of the bus: where its event waits for room, and the task that waits for that."""

    __slots__ = ("actors", "streams", "task")

    def __init__(self) -> None:
        self.actors: list[FullActor] = []
        """Actors whose mailboxes were full."""
        self.streams: dict[FullStream, WaitingEvent[object]] = {}
        """Streams that were full, under WAIT."""
        self.task: Task | None = None
        """Who is parked until no stream is left."""

    async def wait(self, event: object) -> int:
        """Wait until everybody has taken it; return how many could not, because they wait for the sender."""
        refused = 0
        while self.actors:
            refused += not await self.actors.pop(0).send(event)
        if self.streams:
            self.task = current_task()
            await wait_task_rescheduled(self._forget_task)
        return refused

    def settle(self, stream: FullStream) -> None:
        """Take note that the event need not wait any longer at this stream."""
        del self.streams[stream]
        if not self.streams and self.task is not None:
            task, self.task = self.task, None
            reschedule(task)

    def withdraw(self) -> None:
        """Give up wherever it still waits."""
        for actor in self.actors:
            actor.refuse()
        for stream, waiting in self.streams.items():
            stream.withdraw(waiting)

    def _forget_task(self, _raise_cancel: RaiseCancelT) -> Abort:
        self.task = None
        return Abort.SUCCEEDED
