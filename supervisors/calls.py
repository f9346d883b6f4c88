"""What the calls of a supervisor do, in its own task, between two messages: start, stop, restart, forget, change.

Each answers or refuses as OTP's does. Who may call, and how the answer comes back, is `supervisors.messages`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import count
from typing import TypedDict, TypeVar, final

from trio.lowlevel import checkpoint_if_cancelled

from supervisors.children import Child, ChildState, StartedChild
from supervisors.errors import (
    AlreadyPresent,
    AlreadyStarted,
    ChildRestarting,
    ChildRunning,
    StartFailed,
    TooManyChildren,
)
from supervisors.flags import LIVE, AutoShutdown, Flags, check_childspecs
from supervisors.incarnation import Incarnation
from supervisors.listeners import ReportContext
from supervisors.messages import Call
from supervisors.specs import ChildSpec, Strategy
from supervisors.supervision import Supervision

AnswerT = TypeVar("AnswerT")


class FlagChange(TypedDict, total=False):
    """Flags that may change while a supervisor runs; one that is not given stays."""

    strategy: Strategy
    intensity: int
    period_seconds: float
    auto_shutdown: AutoShutdown
    max_children: int | None


@final
class Calls:
    """The calls of one supervisor."""

    __slots__ = ("_checked", "_life", "_numbers")

    def __init__(self, life: Supervision) -> None:
        self._life = life
        self._numbers = count(1)
        self._checked: tuple[ChildSpec | None, Flags | None] = (None, None)

    async def carry_out(self, operation: Callable[[], Awaitable[AnswerT]]) -> AnswerT:
        """Have `operation` carried out by the supervisor's task, and wait for its answer.

        Raises:
            SupervisorError: it was refused, or its start failed, or the supervisor does not run.
        """
        life = self._life
        if life.state not in LIVE:
            raise life.not_running()
        call = Call(operation, life.not_running)
        life.post(call)
        return await call.answer()

    # ---- children

    def start_child_nowait(self, spec: ChildSpec, child_id: str | None, args: tuple[object, ...]) -> None:
        """Add a child and begin its life, now or in its turn."""
        life = self._life
        if life.ending:
            raise life.not_running()
        child = self.add(spec, child_id, args)
        if life.idle:
            life.offspring.spawn_newcomer(child)
        else:
            life.start_in_turn(child)

    def start_dynamic_nowait(self, args: tuple[object, ...]) -> str:
        """Add one more child of the template and begin its life, now or in its turn; return its id."""
        life = self._life
        if life.ending:
            raise life.not_running()
        child = self.add_dynamic(args)
        if life.idle:
            life.offspring.spawn_newcomer(child)
        else:
            life.start_in_turn(child)
        return child.id

    async def terminate_child(self, child_id: str) -> None:
        """Stop a child; forget it if nothing is kept of such a one."""
        child = self._life.roster.get(child_id)
        self._life.delays.forget(child)
        await self._life.offspring.stop(child)
        if self._life.is_temporary(child):
            self._life.offspring.discard(child)

    async def restart_child(self, child_id: str) -> StartedChild:
        """Start a child that is down."""
        child = self._down(child_id)
        return await self._finish(child, self._life.offspring.spawn(child, ReportContext.START))

    async def delete_child(self, child_id: str) -> None:
        """Forget a child that is down."""
        self._life.offspring.discard(self._down(child_id))

    def _down(self, child_id: str) -> Child:
        child = self._life.roster.get(child_id)
        if child.alive:
            raise ChildRunning(child_id, child.state.value)
        if child.state is ChildState.RESTARTING:
            raise ChildRestarting(child_id, child.state.value)
        return child

    def add(self, spec: ChildSpec, child_id: str | None, args: tuple[object, ...]) -> Child:
        """Add a child that is not started yet."""
        life = self._life
        if spec is not self._checked[0] or life.flags is not self._checked[1]:
            life.flags.check_child(spec)
            if not spec.args:  # Many children in a row often share one spec; arguments must not be kept for longer.
                self._checked = (spec, life.flags)
        if child_id is None:
            child_id = spec.id
        present = life.roster.find(child_id)
        if present is not None:
            refusal = AlreadyPresent if present.state is ChildState.DOWN and not present.alive else AlreadyStarted
            raise refusal(child_id, present.state.value)
        return life.roster.add(child_id, spec, args)

    def add_dynamic(self, args: tuple[object, ...]) -> Child:
        """Add one more child of the template, with further arguments, that is not started yet."""
        life, template = self._life, self._life.template
        assert template is not None, "only a dynamic supervisor starts children by their arguments"
        most = life.flags.max_children
        if most is not None and len(life.roster) >= most:
            raise TooManyChildren(life.flags.name, most)
        return life.roster.add(f"{template.id}:{next(self._numbers)}", template, args)

    async def start_new(self, add: Callable[[], Child]) -> StartedChild:
        """Add and start a child; forget it if its start fails."""
        life = self._life
        await checkpoint_if_cancelled()
        if not life.idle:
            return await self.carry_out(partial(self._add_and_start, add))
        # The supervisor's task has nothing to do: this one begins in its place, which saves two switches (5 us). That
        # one goes on with it as soon as it is needed: for the next message, or when this start fails or is late.
        child = add()
        incarnation = life.offspring.spawn(child, ReportContext.START)
        call = Call(partial(self._finish_new, child, incarnation), life.not_running)
        life.offspring.quick, life.offspring.caller = incarnation, call
        return await call.answer()

    async def _add_and_start(self, add: Callable[[], Child]) -> StartedChild:
        child = add()
        return await self._finish_new(child, self._life.offspring.spawn(child, ReportContext.START))

    async def _finish_new(self, child: Child, incarnation: Incarnation) -> StartedChild:
        try:
            started = await self._finish(child, incarnation)
        except StartFailed:
            self._life.offspring.discard(child)
            raise
        if started.ignored and self._life.template is not None:
            self._life.offspring.discard(child)
        return started

    async def _finish(self, child: Child, incarnation: Incarnation) -> StartedChild:
        failed = await self._life.offspring.await_start(child, incarnation)
        if failed is not None:
            raise self._life.start_failed(child.id, failed)
        return StartedChild(child.id, incarnation.value, incarnation.number, ignored=incarnation.ready_at is None)

    # ---- live change (OTP: code_change)

    def changed(self, specs: Sequence[ChildSpec] | None, template: ChildSpec | None, flags: FlagChange) -> Flags:
        """Return what the flags would be, once all of it was checked; nothing is changed yet.

        Raises:
            SpecError: something of it makes no sense.
        """
        changed = replace(self._life.flags, **flags)
        for spec in (*(specs or ()), *(() if template is None else (template,))):
            changed.check_child(spec)
        check_childspecs(specs or ())
        return changed

    async def change(self, specs: Sequence[ChildSpec] | None, template: ChildSpec | None, flags: FlagChange) -> None:
        """Take other flags and specs; all of them, or none where one makes no sense."""
        life = self._life
        changed = life.flags = self.changed(specs, template, flags)
        life.window.change(changed.intensity, changed.period_seconds)
        if specs is not None:
            life.roster.arrange(specs)
        if template is not None:
            life.template = template
            for child in life.roster:
                child.spec = template
