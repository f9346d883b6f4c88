"""The child of a workspace that delivers its callbacks while this server leads, and looks for deadlines that are near.

It knows the targets by the owner's configuration, looked at again when that changes, and registers them in the store,
so that every process writes for them. Where nobody is configured it looks at a file's age once a second and does
nothing else. Neighbours: `delivery` is one target, `callbacks` starts this and wakes it.
"""

from __future__ import annotations

import itertools
import logging
import os
import time
from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Final, Protocol, cast, final

import trio

from vespera_agents.specialists.callbacks.delivery import Delivery, Posts
from vespera_agents.specialists.callbacks.figures import CallbackFigures
from vespera_agents.specialists.callbacks.hearing import Happening
from vespera_agents.specialists.callbacks.settings import TargetSettings, read_targets
from vespera_agents.store import CommandKey, Store, StoreError
from vespera_agents.store.callbacks import deadlines_near, registered_targets
from vespera_agents.store.commands.callbacks import PruneCallbacks, RegisterTargets, TellDeadlines
from vespera_agents.store.outbox import CallbackEvent
from vespera_agents.workspace import Registry, Workspace, WorkspaceError, load_settings

if TYPE_CHECKING:
    from vespera_agents.specialists.callbacks.posting import Poster

__all__ = ["DEADLINE_LOOK_SECONDS", "Outbox", "Place", "configured_targets"]

LOOK_SECONDS: Final = 1.0
_READ_SECONDS: Final = 5.0
"""How often the configuration is read although its file is as old as before: the owner's trust lies elsewhere."""
DEADLINE_LOOK_SECONDS: Final = 30.0
PRUNE_SECONDS: Final = 60.0
_BY: Final = "callbacks"

log = logging.getLogger(__name__)


class Place(Protocol):
    """What delivering needs of the workspace that it is in."""

    workspace: Workspace

    @property
    def store(self) -> Store:
        """Its store."""
        ...

    @property
    def registry(self) -> Registry:
        """Where the owner's trust is written."""
        ...

    @property
    def generation(self) -> int:
        """Which worker of its front this process is; 1 without one."""
        ...

    @property
    def server(self) -> str:
        """Our id among the servers."""
        ...

    def key(self) -> CommandKey:
        """Name a command of our own."""
        ...

    def leads(self) -> bool:
        """Say whether we lead among the servers."""
        ...


def configured_targets(
    workspace: Workspace, registry: Registry, environ: Mapping[str, str]
) -> dict[str, TargetSettings]:
    """Read whom the owner of a workspace wants told.

    Raises:
        WorkspaceError: the configuration is not valid.
    """
    settings = load_settings(workspace, registry)
    return read_targets(settings.section("callbacks"), workspace.directory, environ, trusted=settings.trusted)


@final
class Outbox:
    """The callbacks of one open workspace, on their way out."""

    def __init__(
        self,
        place: Place,
        figures: CallbackFigures,
        told: Callable[[Happening], None],
        wanted: Callable[[CallbackEvent], bool],
        *,
        environ: Mapping[str, str] = os.environ,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Say whose they are.

        Args:
            place: the workspace.
            figures: what is counted.
            told: hears of what this process finds out.
            wanted: says whether somebody in this process wants to hear of an event.
            environ: the owner's environment.
            clock: wall-clock seconds since the epoch.
        """
        self._place = place
        self._figures = figures
        self._told = told
        self._wanted = wanted
        self._environ = environ
        self._clock = clock
        self._targets: dict[str, TargetSettings] = {}
        self._seen: object = None
        self._read_at = 0.0
        self._settled = False
        """Whether the store knows of our targets."""
        self._deliveries: dict[str, tuple[TargetSettings, Delivery, trio.CancelScope]] = {}
        self._numbers = itertools.count(1)
        self._deadlines_at = 0.0
        self._prune_at = trio.current_time() + PRUNE_SECONDS

    @property
    def targets(self) -> Mapping[str, TargetSettings]:
        """Whom the owner wants told, as far as is known."""
        return self._targets

    def wake(self) -> None:
        """Look for what may be due now: something was committed."""
        for _, delivery, _ in self._deliveries.values():
            delivery.wake()

    async def run(self, *, task_status: trio.TaskStatus[Outbox]) -> None:
        """Deliver until cancelled: a child for a supervisor. Whoever is configured is registered when it is ready."""
        self._deliveries.clear()
        self._configure()
        if self._targets and self._place.generation == 1:
            # Before anything can happen that they are to be told of; behind a crash they are registered already.
            await self._settle()
        task_status.started(self)
        if not self._targets:
            # What was started to answer one call shall do that first.
            await trio.sleep(LOOK_SECONDS)
        async with trio.open_nursery() as nursery:
            while True:
                await self._look(nursery)
                await trio.sleep(LOOK_SECONDS)

    def tree_detail(self) -> dict[str, str | int | float]:
        """Say what the tree shows of it."""
        known = len(self._targets)
        return {"targets": known, "delivered": self._figures.delivered} if known else {"targets": 0}

    async def _look(self, nursery: trio.Nursery) -> None:
        """Bring what runs to what is configured, and do what is due now and then."""
        self._configure()
        await self._settle()
        wanted = self._targets if self._settled else {}
        for name, (target, _, scope) in list(self._deliveries.items()):
            if wanted.get(name) != target:
                scope.cancel()
                del self._deliveries[name]
        for name, target in wanted.items():
            if name not in self._deliveries:
                self._start(nursery, target)
        if not self._settled:
            return
        now = trio.current_time()
        try:
            if now >= self._deadlines_at:
                self._deadlines_at = now + DEADLINE_LOOK_SECONDS
                await self._look_at_deadlines()
            if now >= self._prune_at and self._targets:
                self._prune_at = now + PRUNE_SECONDS
                while await self._place.store.execute(PruneCallbacks(_BY, self._key().origin), self._key()):
                    pass
        except StoreError as problem:
            log.warning("the outbox could not be looked after: %s", problem)

    def _configure(self) -> None:
        """Read the configuration if it may have changed."""
        try:
            status = self._place.workspace.config.stat()
            seen: object = (status.st_ino, status.st_mtime_ns, status.st_size)
        except OSError:
            seen = "none"
        now = trio.current_time()
        if seen == self._seen and (seen == "none" or now < self._read_at + _READ_SECONDS):
            return
        self._seen, self._read_at = seen, now
        try:
            targets = configured_targets(self._place.workspace, self._place.registry, self._environ)
        except WorkspaceError as problem:
            # Whoever was told before is told on: a slip in a file must not lose what happens meanwhile.
            log.warning("%s Until then callbacks go where they went before.", problem)
            return
        if targets != self._targets:
            self._targets, self._settled = targets, False

    async def _settle(self) -> None:
        """Register the targets in the store, once after each change; if we lead."""
        leads = self._place.leads()
        if self._settled and not leads:
            self._settled = False
        if self._settled or not leads:
            return
        store = self._place.store
        wanted = {name: tuple(sorted(target.events)) for name, target in self._targets.items()}
        try:
            if await store.read(registered_targets) != wanted:
                await store.execute(RegisterTargets(_BY, tuple(sorted(wanted.items()))), self._place.key())
        except StoreError as problem:
            log.warning("the targets of callbacks could not be registered: %s", problem)
            return
        self._settled = True

    def _start(self, nursery: trio.Nursery, target: TargetSettings) -> None:
        delivery = Delivery(
            target,
            self._place.store,
            partial(_posting, target, self._environ, self._clock),
            holder=f"{self._place.server}/{self._place.generation}/{next(self._numbers)}",
            key=self._key,
            figures=self._figures,
            clock=self._clock,
        )
        scope = trio.CancelScope()
        self._deliveries[target.name] = (target, delivery, scope)
        nursery.start_soon(_deliver, delivery, scope, target.name)

    async def _look_at_deadlines(self) -> None:
        event = CallbackEvent.DEADLINE_NEAR
        within = [target.deadline_near_seconds for target in self._targets.values() if event in target.events]
        if not within and not self._wanted(event):
            return
        seconds = max(within, default=3_600.0)
        store = self._place.store
        while await store.read(deadlines_near, self._clock() + seconds, 1):
            told = await store.execute(TellDeadlines(_BY, self._key().origin, seconds), self._key())
            for session_id, task_id in told["tasks"]:
                self._told(Happening(event, session_id, task_id))
            if not told["tasks"]:
                return
            self.wake()

    def _key(self) -> CommandKey:
        """Name a command whose record goes with the next one."""
        key = self._place.key()
        return CommandKey(f"{key.origin}/callbacks", key.key)


async def _deliver(delivery: Delivery, scope: trio.CancelScope, name: str) -> None:
    with scope:
        try:
            await delivery.run()
        except WorkspaceError as problem:
            log.warning("nothing is delivered to %s: %s", name, problem)


async def _posting(target: TargetSettings, environ: Mapping[str, str], clock: Callable[[], float]) -> Posts:
    """Make who sends to a target; what speaks HTTP is imported only now, and beside the loop."""
    module = await trio.to_thread.run_sync(import_module, "vespera_agents.specialists.callbacks.posting")
    return cast("type[Poster]", module.Poster)(target, environ, clock)
