"""The callbacks of one open workspace: functions of an embedder, targets over HTTP, and the way to tell of the rest.

What changes a task is told of by itself. What does not (a budget that is low, a question to somebody) is told of with
`tell`. It is the last child of the workspace's tree: its crash restarts nobody else. Neighbours: `outbox` delivers,
`hearing` is one function.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from collections.abc import Callable, Mapping
from typing import Final, final

import trio

from supervisors import Backoff, ChildSpec, Supervisor, SupervisorError
from vespera_agents.specialists.callbacks.figures import CallbackFigures, CallbackStatistics
from vespera_agents.specialists.callbacks.hearing import Happening, Hearing, Hears
from vespera_agents.specialists.callbacks.outbox import Outbox, Place
from vespera_agents.specialists.callbacks.settings import secret_variables
from vespera_agents.store import CommandKey, StatusChange, StoreError
from vespera_agents.store.callbacks import callback_backlog
from vespera_agents.store.commands.callbacks import TellTargets
from vespera_agents.store.outbox import CallbackEvent, event_of

__all__ = ["Callbacks"]

_RESTARTS_MAX: Final = 1_000
"""Restarts of all functions and of the outbox within the period: each waits longer before the next one anyway."""
_BACKOFF: Final = Backoff(0.1, 30.0)
_LOOK_SECONDS: Final = 0.05


@final
class Callbacks:
    """Who is told of what happens in a workspace. Made by `OpenWorkspace`."""

    def __init__(
        self, place: Place, *, environ: Mapping[str, str] = os.environ, clock: Callable[[], float] = time.time
    ) -> None:
        """Say whose they are.

        Args:
            place: the workspace.
            environ: the owner's environment.
            clock: wall-clock seconds since the epoch.
        """
        self.figures: Final = CallbackFigures()
        """What is counted."""
        self._place = place
        self._environ = environ
        self._clock = clock
        self._numbers = itertools.count(1)
        self._hearings: list[Hearing] = []
        self._outbox: Outbox | None = None
        self._supervisor: Supervisor | None = None
        self._stop_listening: Callable[[], None] | None = None

    def supervisor(self) -> Supervisor:
        """Make the supervisor of what delivers: the last child of the workspace's own."""
        self._outbox = outbox = Outbox(
            self._place, self.figures, self.heard, self._is_heard, environ=self._environ, clock=self._clock
        )
        if self._stop_listening is None:
            self._stop_listening = self._place.store.subscribe(self._changed)
        self._supervisor = Supervisor(
            [ChildSpec("outbox", outbox.run, backoff=_BACKOFF), *(one.spec for one in self._hearings)],
            name=f"callbacks of {self._place.workspace.directory}",
            intensity=_RESTARTS_MAX,
        )
        return self._supervisor

    async def on_task_start(self, hears: Hears) -> None:
        """Have a function hear of tasks that somebody begins to work on."""
        await self.on(CallbackEvent.TASK_START, hears)

    async def on_task_complete(self, hears: Hears) -> None:
        """Have a function hear of tasks that are completed."""
        await self.on(CallbackEvent.TASK_COMPLETE, hears)

    async def on_error(self, hears: Hears) -> None:
        """Have a function hear of tasks that fail."""
        await self.on(CallbackEvent.ERROR, hears)

    async def on_help_needed(self, hears: Hears) -> None:
        """Have a function hear of tasks that are blocked, and of specialists that ask others."""
        await self.on(CallbackEvent.HELP_NEEDED, hears)

    async def on_budget_low(self, hears: Hears) -> None:
        """Have a function hear when little is left of what may be spent."""
        await self.on(CallbackEvent.BUDGET_LOW, hears)

    async def on_deadline_near(self, hears: Hears) -> None:
        """Have a function hear of tasks that are due soon and not finished; only while this process leads."""
        await self.on(CallbackEvent.DEADLINE_NEAR, hears)

    async def on(self, event: CallbackEvent, hears: Hears) -> None:
        """Have a function hear of one kind of happening in this process, for as long as the workspace is open."""
        hearing = Hearing(f"{event}-{next(self._numbers)}", event, hears, self.figures)
        self._hearings.append(hearing)
        if self._supervisor is not None:
            try:
                await self._supervisor.start_child(hearing.spec)
            except SupervisorError:
                # It is not running just now; when it is, the function is among its first children.
                return

    async def tell(
        self,
        event: CallbackEvent,
        *,
        key: CommandKey | None = None,
        session_id: str | None = None,
        task_id: str | None = None,
        facts: Mapping[str, object] | None = None,
        once: str | None = None,
    ) -> bool:
        """Tell whoever is registered of something that is no change of a task; says whether it was news.

        Args:
            event: what it is.
            key: names the wish; one of our own unless given.
            session_id: whose it is.
            task_id: what it is about.
            facts: numbers and names, as JSON can carry them; no secret and no text of somebody else's.
            once: tell it only once under this name, whoever finds it again.

        Raises:
            NotFound: there is no such task.
            StoreError: it could not be written.
        """
        command = TellTargets("supervision", event, session_id, task_id, dict(facts or {}), once)
        told = (await self._place.store.execute(command, key or self._place.key()))["told"]
        if told:
            self.heard(Happening(event, session_id, task_id, dict(facts or {})))
            self.wake()
        return told

    async def budget_low(self, session_id: str | None, once: str, facts: Mapping[str, object]) -> None:
        """Tell that little is left of what may be spent, once under a name.

        Raises:
            StoreError: it could not be written.
        """
        await self.tell(CallbackEvent.BUDGET_LOW, session_id=session_id, facts=facts, once=once)

    def wake(self) -> None:
        """Look for what is due: something was written into the outbox."""
        if self._outbox is not None:
            self._outbox.wake()

    def heard(self, happening: Happening) -> None:
        """Let functions in this process hear of something whose row is written already."""
        for hearing in self._hearings:
            if hearing.event is happening.event:
                hearing.tell(happening)

    async def drain(self, seconds: float) -> None:
        """If we lead, wait until everything is delivered or given up; for a process that is about to end.

        What is left is delivered by the next process that leads this workspace.
        """
        if self._outbox is None or not self._outbox.targets or not self._place.leads():
            return
        with trio.move_on_after(seconds), contextlib.suppress(StoreError):
            while (await self._place.store.read(callback_backlog))[0]:
                self.wake()
                await trio.sleep(_LOOK_SECONDS)

    def secret_variables(self) -> frozenset[str]:
        """Give the variables of the environment that hold secrets of targets: no command gets them."""
        return secret_variables({} if self._outbox is None else self._outbox.targets)

    def statistics(self) -> CallbackStatistics:
        """Count what was done so far in this process."""
        return self.figures.statistics()

    def _is_heard(self, event: CallbackEvent) -> bool:
        return any(hearing.event is event for hearing in self._hearings)

    def _changed(self, changes: list[StatusChange]) -> None:
        """Hear of changes that this process committed."""
        self.wake()
        if not self._hearings:
            return
        for change in changes:
            event = event_of(change.after)
            if event is not None and self._is_heard(event):
                facts = {"status": change.after, "before": change.before, "specialist": change.specialist}
                self.heard(Happening(event, change.session_id, change.task_id, facts))
