"""The supervisor with an order: each child has a spec and an id of its own; and `supervisor_spec`, for a tree of them.

What it has in common with the dynamic one is in `supervisors.any_supervisor`. Exact semantics: OTP's `supervisor.erl`,
with the differences named in the docstrings and in docs/supervision.md.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable
from functools import partial
from typing import Unpack, final

import trio

from supervisors.any_supervisor import AnySupervisor
from supervisors.backoff import Backoff
from supervisors.calls import FlagChange
from supervisors.children import StartedChild
from supervisors.errors import Shutdown
from supervisors.flags import AutoShutdown, Flags
from supervisors.listeners import Listener
from supervisors.specs import ChildSpec, ChildType, Restart, Strategy


@final
class Supervisor(AnySupervisor):
    """Starts, watches, restarts and stops its children.

    Args:
        children: static children, started in this order; ids are unique.
        name: what it is called in reports, errors and task names.
        strategy: who restarts with a child that ended.
        intensity: restarts allowed in `period_seconds`; 0 allows none.
        period_seconds: length of the sliding window, > 0.
        auto_shutdown: whether it ends because its significant children have ended by themselves.
        listener: who is told of every event; a nested supervisor without one uses its root's.
        rng: where the jitter of backoffs comes from; a seeded one makes them repeatable. Nested ones use their root's.

    Raises:
        SpecError: a flag or a child spec makes no sense.
    """

    def __init__(
        self,
        children: Iterable[ChildSpec] = (),
        *,
        name: str,
        strategy: Strategy = Strategy.ONE_FOR_ONE,
        intensity: int = 3,
        period_seconds: float = 5.0,
        auto_shutdown: AutoShutdown = AutoShutdown.NEVER,
        listener: Listener | None = None,
        rng: random.Random | None = None,
    ) -> None:
        flags = Flags(name, strategy, intensity, period_seconds, auto_shutdown)
        super().__init__(flags, listener=listener, rng=rng)
        for spec in children:
            flags.check_child(spec)
            self._life.roster.add(spec.id, spec)

    @property
    def strategy(self) -> Strategy:
        """Who restarts with a child that ended."""
        return self.flags.strategy

    # ---- calls, carried out by its own task in the order they come

    async def start_child(
        self, spec: ChildSpec, *, child_id: str | None = None, args: tuple[object, ...] = ()
    ) -> StartedChild:
        """Add a child at the end of the order and start it.

        Args:
            spec: what it is; many children may share one, which saves 300 bytes and 6 us for each.
            child_id: its name among its siblings, where that is not the id of its spec.
            args: further start arguments, after those of the spec.

        Raises:
            AlreadyStarted, AlreadyPresent: the id is taken by a running child, or by one that is down.
            StartFailed: it did not become ready; its spec is not kept.
            SpecError: the spec makes no sense below this supervisor.
            SupervisorNotRunning: the supervisor has not started, or ended before it came to this call.
        """
        return await self._calls.start_new(partial(self._calls.add, spec, child_id, args))

    def start_child_nowait(
        self, spec: ChildSpec, *, child_id: str | None = None, args: tuple[object, ...] = ()
    ) -> None:
        """Add a child at the end of the order and begin its life without waiting until it is ready.

        To be called inside the supervisor's event loop. While the supervisor is busy with something else the child is
        `starting`, and its life begins in its turn. A start that fails, is late or answers Ignore is reported and told
        to those who watch the child; the child is then forgotten and never restarted. Arguments as for start_child.

        Raises:
            AlreadyStarted, AlreadyPresent: the id is taken by a running child, or by one that is down.
            SpecError: the spec makes no sense below this supervisor.
            SupervisorNotRunning: the supervisor has not started, or is ending.
        """
        self._calls.start_child_nowait(spec, child_id, args)

    async def restart_child(self, child_id: str) -> StartedChild:
        """Start a child that is down.

        Raises:
            ChildNotFound, ChildRunning, ChildRestarting: it is not there, or not down.
            StartFailed: it did not become ready; its spec is kept.
            SupervisorNotRunning: as for start_child.
        """
        return await self._calls.carry_out(partial(self._calls.restart_child, child_id))

    async def delete_child(self, child_id: str) -> None:
        """Forget a child that is down.

        Raises:
            ChildNotFound, ChildRunning, ChildRestarting: it is not there, or not down.
            SupervisorNotRunning: as for start_child.
        """
        await self._calls.carry_out(partial(self._calls.delete_child, child_id))

    async def change(self, children: Iterable[ChildSpec] | None = None, **flags: Unpack[FlagChange]) -> None:
        """Take other flags and specs while it runs (OTP: code_change); all of them, or none.

        A running child goes on running, and its new spec counts from its next start. A spec with a new id is kept and
        not started. Children that are not in `children` stay as they are, after the others in the order. What was
        counted in the restart window goes on counting. Not for `max_children`, which an ordered supervisor has not.

        Raises:
            SpecError: something of it makes no sense; nothing was changed.
            SupervisorNotRunning: as for start_child.
        """
        specs = None if children is None else tuple(children)
        self._calls.changed(specs, None, flags)  # A word that no flag has must fail here, not in the supervisor's task.
        await self._calls.carry_out(partial(self._calls.change, specs, None, flags))


def supervisor_spec(
    id: str,  # noqa: A002 - the same word as in ChildSpec.
    factory: Callable[[], AnySupervisor],
    *,
    restart: Restart = Restart.PERMANENT,
    shutdown_seconds: float | None = None,
    start_timeout_seconds: float = math.inf,
    significant: bool = False,
    backoff: Backoff | None = None,
) -> ChildSpec:
    """Return the spec of a supervisor as a child: `factory` makes a new one for each life; its value is the live one.

    Neither its start nor its stop is limited unless asked: both are the sum of what its children's specs allow.
    """
    return ChildSpec(
        id,
        _run_subtree,
        args=(factory,),
        restart=restart,
        shutdown_seconds=shutdown_seconds,
        start_timeout_seconds=start_timeout_seconds,
        type=ChildType.SUPERVISOR,
        significant=significant,
        backoff=backoff,
    )


async def _run_subtree(factory: Callable[[], AnySupervisor], *, task_status: trio.TaskStatus[AnySupervisor]) -> None:
    supervisor = factory()
    await supervisor.run(task_status=task_status)
    if supervisor.ended_significantly:
        raise Shutdown(f"supervisor {supervisor.name!r}: its significant children have ended")
