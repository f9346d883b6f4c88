"""What both kinds of supervisors have in common: a life that is run once, questions, a place in the tree.

The two kinds are `supervisors.supervisor.Supervisor`, whose children have specs and ids of their own and an order, and
`supervisors.dynamic.DynamicSupervisor`, whose children are made of one template. Thin: its life is in
`supervisors.supervision`, its children in `supervisors.roster` and
`supervisors.offspring`.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from typing import Final

import trio

from supervisors.calls import Calls
from supervisors.children import Child, ChildCounts, ChildInfo, ChildState, count
from supervisors.deathwatch import Terminated, Watch
from supervisors.enclosing import Shelter
from supervisors.errors import ChildNotRunning
from supervisors.exits import Exit
from supervisors.figures import SupervisorStatistics
from supervisors.flags import Flags, SupervisorState
from supervisors.incarnation import Ground, Incarnation
from supervisors.listeners import Listener
from supervisors.specs import ChildSpec, ChildType
from supervisors.supervision import Supervision
from supervisors.timekeeper import Timekeeper
from supervisors.trees import Detail, TreeNode, node_of

_SUPERVISOR: Final = ChildType.SUPERVISOR


class AnySupervisor:
    """A supervisor of either kind. It runs once: a restarted supervisor is a new object."""

    def __init__(
        self,
        flags: Flags,
        *,
        listener: Listener | None,
        rng: random.Random | None,
        template: ChildSpec | None = None,
    ) -> None:
        self.name = flags.name
        """What it is called."""
        self._life = Supervision(flags, listener, rng, template)
        self._calls = Calls(self._life)
        self._shelter: Shelter | None = None

    @property
    def flags(self) -> Flags:
        """How it supervises, at this moment."""
        return self._life.flags

    @property
    def state(self) -> SupervisorState:
        """Where it is in its one life."""
        return self._life.state

    @property
    def ended_significantly(self) -> bool:
        """Whether it ended, or is ending, because its significant children have (auto_shutdown)."""
        return self._life.ended_significantly

    # ---- its life

    async def run(self, *, task_status: trio.TaskStatus[AnySupervisor] = trio.TASK_STATUS_IGNORED) -> None:
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
            raise RuntimeError(f"supervisor {self.name!r} runs once and is {life.state.value}; make a new one")
        life.state = SupervisorState.STARTING
        on_running = partial(task_status.started, self)
        try:
            if isinstance(task_status, Incarnation):
                await life.live(task_status.ground, task_status, on_running)
            else:
                await self._run_as_root(on_running)
        finally:
            if life.verdict is not None and not isinstance(life.verdict, Exception):
                # An interrupt from a child outranks whatever else ends this supervisor, also its own cancellation.
                raise life.verdict
        if life.verdict is not None:
            raise life.verdict

    async def _run_as_root(self, on_running: Callable[[], None]) -> None:
        timekeeper = Timekeeper()
        shelter = self._shelter = Shelter()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(timekeeper.run, name=f"{self.name} timekeeper")
            nursery.start_soon(shelter.run, name=f"{self.name} children")
            try:
                # The jitter of a backoff keeps a crowd apart; it protects no secret.
                rng = random.Random()  # noqa: S311
                ground = Ground(await shelter.nursery(), timekeeper, rng, self._life.reporter.listener)
                await self._life.live(ground, None, on_running)
            finally:
                timekeeper.stop()
                shelter.close()

    def stop(self) -> None:
        """Ask it to stop, from inside its event loop; `run` then stops the children in reverse order and returns."""
        self._life.end(f"stop() was called on supervisor {self.name!r}")

    def kill(self) -> None:
        """Stop it with everything below it, at once and by force: for a root whose ordered stop takes too long.

        May be called again, for what has caught the exception the first time. Below another supervisor it does
        nothing: that one has `shutdown_seconds` for this.
        """
        self.stop()
        if self._shelter is not None:
            self._shelter.force()

    # ---- a call that both kinds have

    async def terminate_child(self, child_id: str) -> None:
        """Stop a child; keep its spec, if it is not temporary or of a template; cancel a pending restart. Idempotent.

        Raises:
            ChildNotFound: no child has this id.
            SupervisorNotRunning: the supervisor has not started, or ended before it came to this call.
        """
        await self._calls.carry_out(partial(self._calls.terminate_child, child_id))

    # ---- questions, answered at once

    def which_children(self) -> tuple[ChildInfo, ...]:
        """Return all children in start order."""
        return tuple(child.info() for child in self._life.roster)

    def records(self) -> tuple[Child, ...]:
        """Return its own records of all children in start order, to be read only: a tenth of what a snapshot costs."""
        return tuple(self._life.roster)

    def which_child(self, child_id: str) -> ChildInfo:
        """Return one child.

        Raises:
            ChildNotFound: no child has this id.
        """
        return self._life.roster.get(child_id).info()

    def count_children(self) -> ChildCounts:
        """Return how many children there are, by kind; grandchildren are not counted."""
        return count(self._life.roster)

    def nested(self) -> list[AnySupervisor]:
        """Return the supervisors among its running children: for a walk through a tree of many workers."""
        below = [child for child in self._life.roster if child.spec.type is _SUPERVISOR]
        return [child.value for child in below if isinstance(child.value, AnySupervisor)]

    @property
    def intensity_used_ratio(self) -> float:
        """How full the restart window is now: at 1.0 the next restart is one too many."""
        return self._life.window.used_ratio(trio.current_time())

    @property
    def delayed_restarts(self) -> int:
        """How many children wait out a backoff."""
        return len(self._life.delays)

    def get_childspec(self, child_id: str) -> ChildSpec:
        """Return the spec of a child; that of a temporary one has no arguments any more.

        Raises:
            ChildNotFound: no child has this id.
        """
        return self._life.roster.get(child_id).spec

    def child_value(self, child_id: str) -> object:
        """Return what a running child gave to `started()`.

        Raises:
            ChildNotFound, ChildNotRunning: it is not there, or has no value now.
        """
        child = self._life.roster.get(child_id)
        if child.state is not ChildState.RUNNING:
            raise ChildNotRunning(child_id, child.state.value)
        return child.value

    def crash_history(self, child_id: str) -> tuple[Exit, ...]:
        """Return the last failed ends of a child, oldest first; `exit.failure.formatted()` is the traceback.

        Raises:
            ChildNotFound: no child has this id.
        """
        return tuple(self._life.roster.get(child_id).history or ())

    def watch(self, child_id: str, tell: Callable[[Terminated], None]) -> Watch:
        """Have `tell` called once, when a child has ended and no restart will follow; at once where that is so now.

        `tell` is called in the event loop, in the middle of supervision: it must be quick and never wait. What it
        raises is logged and counted. A restart does not fire it, also not a delayed one.

        Raises:
            ChildNotFound: no child has this id.
        """
        child = self._life.roster.get(child_id)
        watch = Watch(tell)
        if child.alive or child.state is ChildState.RESTARTING:
            if child.watches is None:
                child.watches = []
            child.watches.append(watch)
        else:
            self._life.offspring.tell(watch, child)
        return watch

    # ---- its place in the tree, and its numbers

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
        return tuple(node_of(child, now) for child in self._life.roster)

    def tree_detail(self) -> Detail:
        """Return what the tree shows about this supervisor: its strategy and how full its restart window is."""
        used = self._life.window.used(trio.current_time())
        return {"strategy": self.flags.strategy.value, "restarts_in_period": f"{used}/{self._life.window.intensity}"}

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
            intensity_used_ratio=self.intensity_used_ratio,
            escalations=figures.escalations,
            forced=figures.forced,
            hung=figures.hung,
            fenced=figures.fenced,
            zombies=figures.zombies,
            listener_failures=self._life.reporter.failures,
        )
