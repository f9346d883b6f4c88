"""One simulated run: virtual time, seeded choices, faults, and a model beside each supervisor.

A scenario makes the tree from what it finds here: `simulation.supervisor(...)` and `simulation.dynamic(...)` make
supervisors under observation, `simulation.worker` is a child that misbehaves. Use `simulate()` to run one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Unpack, final

import trio

from supervisors.any_supervisor import AnySupervisor
from supervisors.calls import FlagChange
from supervisors.children import StartedChild
from supervisors.dynamic import DynamicSupervisor
from supervisors.errors import SupervisorError
from supervisors.flags import Flags
from supervisors.incarnation import ChildStatus, Incarnation
from supervisors.specs import ChildSpec, ChildStart
from supervisors.supervisor import Supervisor
from supervisors.testing.choices import Schedule
from supervisors.testing.model_calls import IGNORED, OK
from supervisors.testing.runs import Run
from supervisors.testing.violations import Violation
from supervisors.testing.watching import Watched
from supervisors.testing.workers import worker_of


@final
class Simulation(Run, trio.abc.Instrument):
    """One run. Made by `simulate()`; scenarios use it."""

    def __init__(self, seed: int, given: Schedule | None = None) -> None:
        super().__init__(seed, given)
        self.watched: list[Watched] = []
        """The supervisors of the run, over or not, in the order in which they were made."""
        self.founders: dict[trio.lowlevel.Task, tuple[Watched, str]] = {}
        """Whose child each task below a supervisor is."""
        self.calls_answered = 0
        """How many calls got their answer."""
        self.worker: ChildStart = worker_of(self, {})
        """The start function of a misbehaving child: `ChildSpec("a", simulation.worker, args=("a",))`."""
        self._open: list[Watched] = []
        self.promises: dict[ChildStatus, tuple[str, float]] = {}
        """Who will break the promise of a beat, and when that must be noticed."""
        self._timekeeper = ""
        self._by_task: dict[trio.lowlevel.Task, Watched] = {}
        self._by_supervisor: dict[AnySupervisor, Watched] = {}

    # ---- what a scenario makes its tree of

    def supervisor(self, children: Iterable[ChildSpec] = (), *, name: str, **flags: Unpack[FlagChange]) -> Supervisor:
        """Return a supervisor under observation; below another, call this in the factory of `supervisor_spec`."""
        checked = Flags(name, **flags)
        watched = self._watch(checked)
        specs = [watched.observed(spec) for spec in children]
        given = {key: getattr(checked, key) for key in ("strategy", "intensity", "period_seconds", "auto_shutdown")}
        supervisor = Supervisor(specs, name=name, listener=watched, rng=watched.dice, **given)
        self._by_supervisor[supervisor] = watched
        watched.adopt(supervisor, specs, None)
        return supervisor

    def dynamic(self, template: ChildSpec, *, name: str, **flags: Unpack[FlagChange]) -> DynamicSupervisor:
        """Return a dynamic supervisor under observation."""
        checked = Flags(name, **flags)
        watched = self._watch(checked)
        template = watched.observed(template)
        given = {key: getattr(checked, key) for key in ("intensity", "period_seconds", "max_children")}
        supervisor = DynamicSupervisor(template, name=name, listener=watched, rng=watched.dice, **given)
        self._by_supervisor[supervisor] = watched
        watched.adopt(supervisor, [], template)
        return supervisor

    async def call(self, supervisor: AnySupervisor, name: str, child: str | ChildSpec) -> str:
        """Make a call under observation; return its answer: "ok", "ignored" or the name of the error.

        `name` is start_child, start_dynamic (child: the argument of the new one), terminate_child, restart_child or
        delete_child.
        """
        watched = self._by_supervisor[supervisor]
        spec = watched.observed(child) if isinstance(child, ChildSpec) else None
        child_id = child if isinstance(child, str) else child.id
        reply = watched.call(name, child_id, spec)
        self.note(watched.name, name, child_id, 0, "")
        try:
            answer = await _made(supervisor, name, child_id, spec)
        except SupervisorError as error:
            answer = type(error).__name__
        self.note(watched.name, "answer", child_id, 0, answer)
        self.calls_answered += 1
        if self.violation is None:
            try:
                watched.answered(reply, answer)
            except Violation as violation:
                self.violated(violation)
        return answer

    def stop(self, supervisor: AnySupervisor) -> None:
        """Stop a supervisor under observation."""
        self.note(supervisor.name, "stop", "", 0, "")
        self._by_supervisor[supervisor].stop_requested = True
        supervisor.stop()

    # ---- what the parts of the run tell

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        """Let a model go on with its supervisor; called by trio after each step of each task."""
        watched = self._by_task.get(task)
        if watched is not None and not watched.over:
            watched.model.step(self.clock.now)
        elif task.name == self._timekeeper:
            for each in self._open:
                each.model.tick(self.clock.now)

    def promised(self, actor: str, status: ChildStatus, due: float) -> None:
        """Note that a child will not beat any more after `due`, whatever it has promised."""
        assert isinstance(status, Incarnation), "a child of a supervisor has its life for a status"
        beat_seconds = status.child.spec.beat_seconds
        if beat_seconds < math.inf:
            self.promises[status] = actor, due + beat_seconds

    # ---- quiet points

    def check_quiet(self) -> None:
        """Compare each supervisor with its model.

        Raises:
            Violation: they differ, or a broken promise has not been noticed.
        """
        now = self.clock.now
        open_ones = self._open
        for watched in open_ones:
            watched.check_quiet(now)
        if any(watched.over for watched in open_ones):
            self._open = [watched for watched in open_ones if not watched.over]
        for status, (actor, due) in self.promises.items():
            if now > due and not status.stop_requested:
                raise Violation(f"{actor} broke its promise of a beat at {due:g}, and nobody has noticed")

    def check_over(self) -> None:
        """Check, after the run, that nothing is left of it."""
        if self.violation is not None:
            return
        for watched in self.watched:
            if not watched.over:
                self.violated(Violation(f"supervisor {watched.name} has not ended"))
            elif watched.pending or any(watched.bodies.values()) or watched.zombies:
                left = [child_id for child_id, bodies in watched.bodies.items() if bodies]
                self.violated(Violation(f"supervisor {watched.name} left {left}, {len(watched.pending)} calls"))

    def unsettled(self) -> str | None:
        """Say which supervisor has not come to rest, and what it waits for; None where all have."""
        for watched in self.watched:
            if not (watched.over or watched.model.stopping or watched.model.idle()):
                return f"supervisor {watched.name} has not converged: {watched.model.expected()}"
        return None

    # ---- inside

    def _watch(self, flags: Flags) -> Watched:
        task = trio.lowlevel.current_task()
        parent, child_id = self.founders.get(task, (None, ""))
        watched = self._by_task[task] = Watched(self, flags, parent, child_id)
        if parent is None:
            self._timekeeper = f"{flags.name} timekeeper"
        self.watched.append(watched)
        self._open.append(watched)
        return watched


async def _made(supervisor: AnySupervisor, name: str, child_id: str, spec: ChildSpec | None) -> str:
    started: StartedChild | None = None
    if isinstance(supervisor, DynamicSupervisor):
        if name == "start_dynamic":
            started = await supervisor.start_child(child_id)
        else:
            await supervisor.terminate_child(child_id)
    elif isinstance(supervisor, Supervisor):
        match name:
            case "start_child":
                assert spec is not None, "a child is started from a spec"
                started = await supervisor.start_child(spec)
            case "restart_child":
                started = await supervisor.restart_child(child_id)
            case "delete_child":
                await supervisor.delete_child(child_id)
            case _:
                await supervisor.terminate_child(child_id)
    return IGNORED if started is not None and started.ignored else OK
