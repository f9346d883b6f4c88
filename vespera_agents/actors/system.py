"""`ActorSystem`: where actors are started, found, counted and stopped; `open_system` is its whole life.

A system is one supervision tree with a registry of names. Actors started with `start` are children of its root;
`actor_spec` places an actor below any other supervisor. It is not a scheduler: every actor is a trio task.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from contextvars import copy_context
from typing import TYPE_CHECKING, Final, TypeVar, TypeVarTuple, cast, final

import trio
from trio.lowlevel import checkpoint_if_cancelled

from supervisors.errors import (
    AlreadyPresent,
    AlreadyStarted,
    ChildNotFound,
    StartFailed,
    SupervisorError,
    SupervisorNotRunning,
)
from supervisors.exits import Exit
from supervisors.flags import LIVE
from supervisors.listeners import Listener, Report, ReportContext, ReportKind
from supervisors.specs import ChildSpec, Restart
from supervisors.supervisor import Supervisor
from vespera_agents.actors.actor import Actor
from vespera_agents.actors.cell import Cell, Terms
from vespera_agents.actors.cells import CellMaker
from vespera_agents.actors.census import census
from vespera_agents.actors.endpoint import Endpoint
from vespera_agents.actors.errors import NameTaken
from vespera_agents.actors.events.bus import EventBus
from vespera_agents.actors.groups import Groups
from vespera_agents.actors.handover import save_all
from vespera_agents.actors.mailbox import MailboxSpec
from vespera_agents.actors.refs import ActorRef
from vespera_agents.actors.registry import Registry
from vespera_agents.actors.stacks import AwaitedLine, await_stack
from vespera_agents.actors.statistics import (
    ActorState,
    ActorStatistics,
    DeadLetter,
    SystemStatistics,
    freeze,
)
from vespera_agents.actors.stopping import forget, see_off
from vespera_agents.actors.switchboard import Switchboard

if TYPE_CHECKING:
    from vespera_agents.actors.embedding.asyncio_edge import AsyncioEdge
    from vespera_agents.actors.tracing import Tracing

ActorT = TypeVar("ActorT", bound=Actor)
Arguments = TypeVarTuple("Arguments")

DEFAULT_MAILBOX: Final = MailboxSpec(1000)
"""The mailbox of an actor that is given none: 1000 messages, then senders wait or are refused."""
_log = logging.getLogger(__name__)
_ENDS: Final = (ReportKind.CHILD_ENDED, ReportKind.CHILD_CRASHED)


@final
class ActorSystem:
    """A running system. Made by `open_system`; everything on it belongs to that trio run.

    It is also a Listener. A supervisor that is not below `supervisor` and holds actors is best given
    `listener=system`: then the system hears at once when that supervisor gives up, and fails the mail of its actors.
    """

    def __init__(
        self,
        nursery: trio.Nursery,
        *,
        name: str,
        listener: Listener | None,
        intensity: int,
        period_seconds: float,
        dead_letters_max: int,
        restart_grace_seconds: float,
        snapshots: Mapping[str, object] | None,
        tracing: Tracing | None,
    ) -> None:
        self.name = name
        """What it is called; also the name of its root supervisor."""
        self.hears_starts: bool = listener is not None and getattr(listener, "hears_starts", True)
        """Whether reports of starts that went well are passed on: the system itself has no use for them."""
        self.supervisor = Supervisor(name=name, intensity=intensity, period_seconds=period_seconds, listener=self)
        """The root of its tree: other supervisors and children may be started below it."""
        self.bus = EventBus()
        """Where its actors and tasks publish events, and hear of them."""
        self.groups = Groups(on_change=self.bus.publish)
        """Its actors by common names; joining and leaving are events on the bus."""
        self._nursery = nursery
        self._context = copy_context()
        self._starting: dict[str, Exit | None] = {}
        """The starts that somebody waits for, by name, and how they ended if they failed."""
        self._leaving: dict[str, trio.Event] = {}
        """The actors that are being stopped, by name, and when that is over."""
        self._edge: AsyncioEdge | None = None
        self._listener = listener
        self._switchboard = Switchboard(
            dead_letters_max=dead_letters_max,
            restart_grace_seconds=restart_grace_seconds,
            snapshots=snapshots,
            tracing=tracing,
        )
        self._names: Registry[Cell] = Registry()
        self._cells = CellMaker(self._switchboard, self._names)

    # Starting and stopping actors -----------------------------------------------------------------------------------

    async def start(
        self,
        actor: Callable[[*Arguments], ActorT],
        *args: *Arguments,
        name: str | None = None,
        mailbox: MailboxSpec = DEFAULT_MAILBOX,
        restart: Restart = Restart.TRANSIENT,
        shutdown_seconds: float = 5.0,
        start_timeout_seconds: float = 30.0,
    ) -> ActorRef[ActorT]:
        """Start an actor below the root supervisor and wait until its on_start is done.

        It waits for an actor of the same name that is just being stopped.

        Args:
            actor: The actor's class.
            args: What each incarnation is constructed with.
            name: Unique among the living; class name and a number unless given.
            mailbox: How much mail it holds.
            restart: PERMANENT restarts it after every end, TRANSIENT after crashes, TEMPORARY never.
            shutdown_seconds: How long it may take to end when stopped; on_stop gets the larger part of it.
            start_timeout_seconds: How long constructor and on_start may take.

        Raises:
            NameTaken: A living actor has the name.
            supervisors.StartFailed: The constructor or on_start raised, or took too long.
        """
        await checkpoint_if_cancelled()
        while name is not None and (over := self._leaving.get(name)) is not None:
            await over.wait()
        terms, spec = self._cells.terms_of(restart, shutdown_seconds, start_timeout_seconds)
        cell = self._enroll(actor, args, name, mailbox, terms)
        chosen = cell.endpoint.name
        try:
            self._begin(cell, spec)
        except NameTaken:
            await self._clear_away(chosen)
            self._names.claim(cell)
            cell.expect_mail()
            self._begin(cell, spec)
        self._starting[chosen] = None
        try:
            ready, error = await cell.wait_started()
        finally:
            exit_ = self._starting.pop(chosen)
        if not ready:
            raise self._start_failed(cell, exit_) from error
        return cast("ActorRef[ActorT]", cell.endpoint)

    def spawn(
        self,
        actor: Callable[[*Arguments], ActorT],
        *args: *Arguments,
        name: str | None = None,
        mailbox: MailboxSpec = DEFAULT_MAILBOX,
        restart: Restart = Restart.TRANSIENT,
        shutdown_seconds: float = 5.0,
        start_timeout_seconds: float = 30.0,
    ) -> ActorRef[ActorT]:
        """Start an actor below the root supervisor without waiting for it; mail sent to it meanwhile waits for it.

        Arguments as for `start`. A start that fails is reported by the supervisor; the mail then fails as that of any
        actor that has ended.

        Raises:
            NameTaken: A living actor has the name, or one that has just ended and is not forgotten yet.
            supervisors.SupervisorNotRunning: The system is ending.
        """
        terms, spec = self._cells.terms_of(restart, shutdown_seconds, start_timeout_seconds)
        cell = self._enroll(actor, args, name, mailbox, terms)
        self._begin(cell, spec)
        return cast("ActorRef[ActorT]", cell.endpoint)

    def actor_spec(
        self,
        actor: Callable[[*Arguments], ActorT],
        *args: *Arguments,
        name: str | None = None,
        mailbox: MailboxSpec = DEFAULT_MAILBOX,
        restart: Restart = Restart.TRANSIENT,
        shutdown_seconds: float = 5.0,
        start_timeout_seconds: float = 30.0,
    ) -> ChildSpec:
        """Return the spec of an actor as a child of any supervisor: its id is the name, its value the ActorRef.

        Arguments as for `start`. The reference stays good as long as this spec is in use. A start fails with
        NameTaken while another actor of the name is up.
        """
        terms, _ = self._cells.terms_of(restart, shutdown_seconds, start_timeout_seconds)
        cell = self._cells.make(actor, args, name, mailbox, terms)
        return terms.child_spec(cell.endpoint.name, (cell,))

    async def stop(self, ref: ActorRef[Actor], *, timeout_seconds: float = 5.0) -> None:
        """Stop an actor that was started with `start`, for good: after the message in hand, or by force.

        Mail it still has fails. From inside a handler use `self.stop()` instead, for this would wait for that handler.
        Cancelled: it is stopped all the same.

        Args:
            ref: Whom to stop; an actor that has ended already is no error.
            timeout_seconds: How long the message in hand and on_stop may take before the handler is cancelled.

        Raises:
            ValueError: The actor was placed with actor_spec.
            TypeError: This is no single actor; a pool is closed with its own `close`.
        """
        if not isinstance(ref, Endpoint):
            raise TypeError(f"Only single actors are stopped here, not {ref!r}. Close a pool with its close().")
        cell = self._names.find(ref.name)
        if cell is None or cell.endpoint is not ref:
            return
        if not cell.is_own:
            raise ValueError(
                f"{ref.name!r} was placed with actor_spec: stop it with terminate_child() of its supervisor."
            )
        over = self._leaving.get(ref.name)
        if over is None:
            cell.is_final = True
            ref.stop()
            over = self._leaving[ref.name] = trio.Event()
            # Not in the caller's task: cancelled half-way, it would leave a dead child in the tree, with its name.
            self._nursery.start_soon(
                see_off, cell, self.supervisor, timeout_seconds, self._leaving, name=f"{self.name}/stop {ref.name}"
            )
        await over.wait()

    async def take_snapshots(self, *, timeout_seconds: float = 5.0) -> dict[str, object]:
        """Have every living actor take its snapshot, between two messages, and return them by name: a hand-over.

        Another system begins with them: `open_system(snapshots=...)`. An actor whose `snapshot` returns None is left
        out. For one that is between two incarnations, or busy for too long, or that calls this itself, it is what was
        last taken, if anything was. What this system was given for actors that were never started is handed on.

        Args:
            timeout_seconds: How long to wait for actors that are busy, for all of them together.
        """
        unclaimed = dict(self._switchboard.snapshots)
        endpoints = [cell.endpoint for cell in self._names]
        await save_all(endpoints, timeout_seconds)
        return unclaimed | {each.name: each.saved for each in endpoints if each.saved is not None}

    @property
    def asyncio(self) -> AsyncioEdge:
        """Where an actor awaits work that needs asyncio: `await system.asyncio.run(function, *args)`.

        Raises:
            AsyncioMissing: trio-asyncio is not installed; at the first `run`.
            AsyncioLoopEnded: The system is closed; at `run`.
        """
        if self._edge is None:
            # Here, because it imports asyncio, which most programs on trio never need.
            from vespera_agents.actors.embedding.asyncio_edge import AsyncioEdge  # noqa: PLC0415

            # In the context of whoever opened the system: that of its first user would be kept as long as the loop.
            self._edge = self._context.run(AsyncioEdge, self._nursery, name=f"{self.name} asyncio", until_closed=True)
            if self._switchboard.is_closed:
                self._edge.close()
        return self._edge

    # Finding and counting -------------------------------------------------------------------------------------------

    def whereis(self, name: str) -> ActorRef[Actor] | None:
        """Return the living actor of this name, or None."""
        cell = self._names.find(name)
        if cell is None or (cell.is_final and cell.endpoint.state is ActorState.STOPPED):
            return None
        return cell.endpoint

    @property
    def dead_letters(self) -> tuple[DeadLetter, ...]:
        """The last messages that nobody handled to the end, oldest first; as many as `dead_letters_max`."""
        return tuple(self._switchboard.dead_letters)

    def await_stacks(self) -> dict[str, tuple[AwaitedLine, ...]]:
        """Return, for each living actor by name, the lines at which it waits, outermost first."""
        return {cell.endpoint.name: await_stack(cell.endpoint.task) for cell in self._names}

    def cells(self) -> tuple[Cell, ...]:
        """Return the living as they are, for whoever looks through all of them again and again."""
        return tuple(self._names)

    def living(self) -> list[ActorStatistics]:
        """Return a picture of each actor that has not ended."""
        return [cell.endpoint.statistics() for cell in self._names if cell.endpoint.state is not ActorState.STOPPED]

    def statistics(self) -> SystemStatistics:
        """Return a picture of all actors as they are now, by kind."""
        # A copy: somebody may ask from another thread, and an actor of a new kind be started just then.
        kinds = dict(self._switchboard.kinds)
        present = census(self._names, kinds, self._switchboard.clock())
        return SystemStatistics(
            name=self.name,
            kinds={kind: freeze(kinds[kind], each) for kind, each in present.items()},
            dead_letters=self._switchboard.dead_letters_total,
        )

    # Supervision ----------------------------------------------------------------------------------------------------

    def on_report(self, report: Report) -> None:
        """Take a supervisor's report, and pass it on to the listener that the system was opened with."""
        offender = report.offender
        if offender is not None:
            cell = self._names.find(offender.id)
            if cell is not None:
                cell.hear(report)
            elif report.exit is not None and offender.id in self._starting and report.supervisor == self.name:
                self._starting[offender.id] = report.exit
            ended_by_itself = report.kind in _ENDS and report.context is ReportContext.RUN
            if ended_by_itself and report.supervisor == self.name and cell is None:
                self._nursery.start_soon(forget, self.supervisor, offender.id, name=f"{self.name}/forget {offender.id}")
        elif report.kind is ReportKind.SUPERVISOR_STOPPED:
            for cell in self._names:
                if cell.is_below(report.supervisor):
                    cell.give_up_restart(f"its supervisor {report.supervisor!r} has ended")
        if self._listener is not None:
            self._listener.on_report(report)
        elif report.kind is ReportKind.CHILD_CRASHED:
            # Somebody must hear of it: restarted in silence, an actor may crash for ever.
            failure = None if report.exit is None else report.exit.failure
            _log.error("%s crashed: %s", offender.id if offender else report.supervisor, failure or report.reason)

    async def live(self, *, task_status: trio.TaskStatus[object]) -> None:
        """Run the tree and the timekeeper; `open_system` calls this, once."""
        self._nursery.start_soon(self._switchboard.timekeeper.run, name=f"{self.name}/timekeeper")
        try:
            await self.supervisor.run(task_status=task_status)
        finally:
            self._switchboard.is_closed = True
            for cell in self._names:
                cell.give_up(f"its system {self.name!r} was closed")
            self._switchboard.timekeeper.stop()
            self.bus.close()
            if self._edge is not None:
                self._edge.close()

    # Below ----------------------------------------------------------------------------------------------------------

    def _enroll(
        self,
        actor: Callable[..., Actor],
        args: tuple[object, ...],
        name: str | None,
        mailbox: MailboxSpec,
        terms: Terms,
    ) -> Cell:
        """Make the cell of an actor that is about to be started below the root; its mail waits for it from now on."""
        cell = self._cells.make(actor, args, name, mailbox, terms)
        if name is not None and self._names.find(name) is not None:
            raise NameTaken(name)
        self._names.claim(cell)
        cell.is_own = True
        cell.expect_mail()
        return cell

    def _begin(self, cell: Cell, spec: ChildSpec) -> None:
        """Have the root supervisor begin its life, now or in its turn."""
        try:
            self.supervisor.start_child_nowait(spec, child_id=cell.endpoint.name, args=(cell,))
        except SupervisorError as refused:
            cell.abandon()
            if isinstance(refused, AlreadyPresent | AlreadyStarted):
                raise NameTaken(cell.endpoint.name) from refused
            raise

    def _start_failed(self, cell: Cell, exit_: Exit | None) -> Exception:
        """Return the error for a start that came to nothing; `exit_` is how it ended, where it was begun."""
        if exit_ is not None:
            return StartFailed(self.name, cell.endpoint.name, exit_)
        state = self.supervisor.state
        return cell.endpoint.stopped() if state in LIVE else SupervisorNotRunning(self.name, state.value)

    async def _clear_away(self, name: str) -> None:
        """Take what is left of an actor that has ended, and whose name is free, out of the tree.

        Raises:
            NameTaken: The root has another child of this name, which is no actor.
        """
        with suppress(ChildNotFound):
            left = self.supervisor.get_childspec(name)
            if not self._cells.knows(left):
                raise NameTaken(name)
            # Its task may be in its last step: then the supervisor has not heard of the end.
            await self.supervisor.terminate_child(name)
            await self.supervisor.delete_child(name)
