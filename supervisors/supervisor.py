"""The supervisor as its users see it: made from specs, run once, called, asked, stopped; and `supervisor_spec`.

Thin: its life is in `supervisors.supervision`, its children in `supervisors.offspring`. Exact semantics: OTP's
`supervisor.erl`, with the differences named in the docstrings.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import partial
from typing import final

import trio

from supervisors.children import ChildCounts, ChildInfo, ChildState, StartedChild, count
from supervisors.errors import ChildNotRunning
from supervisors.exits import Exit
from supervisors.figures import SupervisorStatistics
from supervisors.incarnation import ChildStatus, Ground
from supervisors.intensity import RestartWindow
from supervisors.listeners import Listener
from supervisors.specs import ChildSpec, ChildType, Restart, Strategy, check_flags
from supervisors.supervision import Supervision, SupervisorState
from supervisors.trees import Detail, TreeNode, node_of


@final
class Supervisor:
    """Starts, watches, restarts and stops its children. It runs once: a restarted supervisor is a new object.

    Args:
        children: static children, started in this order; ids are unique.
        name: what it is called in reports, errors and task names.
        strategy: who restarts with a child that ended.
        intensity: restarts allowed in `period_seconds`; 0 allows none.
        period_seconds: length of the sliding window, > 0.
        listener: who is told of every event; a nested supervisor without one uses its root's.

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
        listener: Listener | None = None,
    ) -> None:
        check_flags(name, intensity, period_seconds, strategy)
        self.name = name
        """What it is called."""
        self.strategy = strategy
        """Who restarts with a child that ended."""
        self._life = Supervision(name, strategy, RestartWindow(intensity, period_seconds), listener)
        for spec in children:
            self._life.offspring.add(spec)

    # ---- its life

    async def run(self, *, task_status: trio.TaskStatus[Supervisor] = trio.TASK_STATUS_IGNORED) -> None:
        """Start all children in order, call `started(self)`, then supervise until stopped; children stop in reverse.

        Cancelling it stops the children in reverse order, each within its own time, before the cancellation goes on.
        The root of a tree waits at its very end for the tasks of fenced children, if there are any.

        Raises:
            StartFailed: a static child did not become ready; those already started were stopped in reverse order.
            MaxRestartsExceeded: it gave up; all children were stopped in reverse order.
            KeyboardInterrupt, SystemExit: raised by a child and passed up; all other children were stopped first.
        """
        life = self._life
        if life.state is not SupervisorState.NEW:
            raise RuntimeError(f"supervisor {self.name!r} runs once and is {life.state.value}; make a new Supervisor")
        life.state = SupervisorState.STARTING
        on_running = partial(task_status.started, self)
        try:
            if isinstance(task_status, ChildStatus):
                await life.live(task_status.ground, on_running)
            else:
                async with trio.open_nursery() as nursery:
                    await life.live(Ground(nursery, life.reporter.listener), on_running)
        finally:
            if life.verdict is not None and not isinstance(life.verdict, Exception):
                # An interrupt from a child outranks whatever else ends this supervisor, also its own cancellation.
                raise life.verdict
        if life.verdict is not None:
            raise life.verdict

    def stop(self) -> None:
        """Ask it to stop, from inside its event loop; `run` then stops the children in reverse order and returns."""
        self._life.end(f"stop() was called on supervisor {self.name!r}")

    # ---- calls, carried out by its own task in the order they come

    async def start_child(self, spec: ChildSpec) -> StartedChild:
        """Add a child at the end of the order and start it.

        Raises:
            AlreadyStarted, AlreadyPresent: the id is taken by a running child, or by one that is down.
            StartFailed: it did not become ready; its spec is not kept.
            SpecError: the spec makes no sense below this supervisor.
            SupervisorNotRunning: the supervisor has not started, or ended before it came to this call.
        """
        return await self._life.call(partial(self._life.start_child, spec))

    async def terminate_child(self, child_id: str) -> None:
        """Stop a child and keep its spec (not a temporary one's); cancels a pending restart; idempotent.

        Raises:
            ChildNotFound: no child has this id.
            SupervisorNotRunning: as for start_child.
        """
        await self._life.call(partial(self._life.terminate_child, child_id))

    async def restart_child(self, child_id: str) -> StartedChild:
        """Start a child that is down.

        Raises:
            ChildNotFound, ChildRunning, ChildRestarting: it is not there, or not down.
            StartFailed: it did not become ready; its spec is kept.
            SupervisorNotRunning: as for start_child.
        """
        return await self._life.call(partial(self._life.restart_child, child_id))

    async def delete_child(self, child_id: str) -> None:
        """Forget a child that is down.

        Raises:
            ChildNotFound, ChildRunning, ChildRestarting: it is not there, or not down.
            SupervisorNotRunning: as for start_child.
        """
        await self._life.call(partial(self._life.delete_child, child_id))

    # ---- questions, answered at once

    def which_children(self) -> tuple[ChildInfo, ...]:
        """Return all children in start order."""
        return tuple(ChildInfo(c.spec.id, c.state, c.spec.type, c.value) for c in self._life.offspring)

    def count_children(self) -> ChildCounts:
        """Return how many children there are, by kind; grandchildren are not counted."""
        return count(self._life.offspring)

    def child_value(self, child_id: str) -> object:
        """Return what a running child gave to `started()`.

        Raises:
            ChildNotFound, ChildNotRunning: it is not there, or has no value now.
        """
        child = self._life.offspring.get(child_id)
        if child.state is not ChildState.RUNNING:
            raise ChildNotRunning(child_id, child.state.value)
        return child.value

    def crash_history(self, child_id: str) -> tuple[Exit, ...]:
        """Return the last failed ends of a child, oldest first; `exit.failure.formatted()` is the traceback.

        Raises:
            ChildNotFound: no child has this id.
        """
        return tuple(self._life.offspring.get(child_id).history or ())

    def snapshot(self) -> TreeNode:
        """Return the whole tree below this supervisor as it is now; needs no answer from any child."""
        lived = 0.0 if self._life.started_at is None else trio.current_time() - self._life.started_at
        return TreeNode(
            id=self.name,
            type=ChildType.SUPERVISOR,
            state=self._life.state.value,
            restarts=0,
            incarnation=0 if self._life.started_at is None else 1,
            lived_seconds=lived,
            detail=self.tree_detail(),
            children=self.tree_children(),
        )

    def tree_children(self) -> tuple[TreeNode, ...]:
        """Return the part of the snapshot below this supervisor: one node per child, in start order."""
        now = trio.current_time()
        return tuple(node_of(child, now) for child in self._life.offspring)

    def tree_detail(self) -> Detail:
        """Return what the tree shows about this supervisor: its strategy and how full its restart window is."""
        used = self._life.window.used(trio.current_time())
        return {"strategy": self.strategy.value, "restarts_in_period": f"{used}/{self._life.window.intensity}"}

    def statistics(self) -> SupervisorStatistics:
        """Return its numbers as they are now."""
        figures = self._life.figures
        return SupervisorStatistics(
            supervisor=self.name,
            state=self._life.state.value,
            children=self.count_children(),
            starts=figures.starts,
            start_failures=figures.start_failures,
            ignored=figures.ignored,
            restarts=figures.restarts.snapshot(),
            restart_seconds=figures.restart_seconds.snapshot(),
            intensity_used_ratio=self._life.window.used_ratio(trio.current_time()),
            escalations=figures.escalations,
            fenced=figures.fenced,
            zombies=figures.zombies,
            listener_failures=self._life.reporter.failures,
        )


def supervisor_spec(
    id: str,  # noqa: A002 - the same word as in ChildSpec.
    factory: Callable[[], Supervisor],
    *,
    restart: Restart = Restart.PERMANENT,
    shutdown_seconds: float | None = None,
    start_timeout_seconds: float = math.inf,
    significant: bool = False,
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
    )


async def _run_subtree(factory: Callable[[], Supervisor], *, task_status: trio.TaskStatus[Supervisor]) -> None:
    await factory().run(task_status=task_status)
