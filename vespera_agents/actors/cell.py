"""The life of one actor: its incarnations, one after the other, behind one endpoint.

`Cell.run` is what a supervisor starts as a child. The cell makes the actor object, runs its hooks, and decides what
becomes of the mail when an incarnation ends: kept where a restart follows, failed where none does. Restarts
themselves are the supervisor's business.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Final, final

import trio
from trio.lowlevel import current_task

from supervisors.listeners import Report, ReportKind
from supervisors.specs import Restart
from supervisors.trees import HasTreeDetail
from vespera_agents.actors.actor import Actor
from vespera_agents.actors.drain import Fenced, cause_of, serve
from vespera_agents.actors.endpoint import Endpoint
from vespera_agents.actors.errors import ActorStopped
from vespera_agents.actors.refs import ActorRef
from vespera_agents.actors.registry import Registry
from vespera_agents.actors.statistics import ActorState, StopReason

_DOWN: Final = (ActorState.STOPPED, ActorState.RESTARTING)
_CUT_OFF: Final = "it did not stop in time and was cut off"


@final
class Cell:
    """One actor across its incarnations."""

    __slots__ = (
        "_announcing", "_crash", "_make", "_names", "_restart", "_stop_seconds_max", "_supervisor", "done",
        "endpoint", "is_final", "ref",
    )  # fmt: skip

    def __init__(
        self,
        make: Callable[[], Actor],
        endpoint: Endpoint,
        names: Registry[Cell],
        *,
        restart: Restart,
        stop_seconds_max: float,
    ) -> None:
        self._make = make
        self._names = names
        self._restart = restart
        self._stop_seconds_max = stop_seconds_max
        self._crash: BaseException | None = None
        self._announcing = False
        self._supervisor: str | None = None
        self.endpoint = endpoint
        """Its address."""
        self.ref: ActorRef[Actor] = ActorRef(endpoint)
        """The one reference to it."""
        self.is_final = False
        """Whether the next end is the last, whatever the restart type says."""
        self.done = trio.Event()
        """Set when that end is over."""

    # One incarnation ------------------------------------------------------------------------------------------------

    async def run(self, *, task_status: trio.TaskStatus[object]) -> None:
        """Live one incarnation. Cancelled: the message in hand is cut off, on_stop runs, the mail fails.

        Raises:
            NameTaken: Another living actor has the name.
            Exception: Whatever the constructor, a hook or a handler raised.
        """
        endpoint = self.endpoint
        if endpoint.switchboard.is_closed:
            raise RuntimeError(f"The system of actor {endpoint.name!r} is closed: keep it open while its actors live.")
        self._fence_predecessor()
        self._names.claim(self)
        was_restarting = endpoint.state is ActorState.RESTARTING
        incarnation = endpoint.incarnation = endpoint.incarnation + 1
        endpoint.state = ActorState.STARTING
        endpoint.mailbox.open()
        task, parties = current_task(), endpoint.switchboard.waits.parties
        parties[task] = endpoint.party
        try:
            await self._live(incarnation, task_status)
        except Fenced:
            return
        except BaseException as error:
            if endpoint.incarnation == incarnation:
                self._ended(error, was_restarting=was_restarting)
            raise
        finally:
            del parties[task]
        self._ended(None, was_restarting=was_restarting)
        if self.is_final:
            # A permanent child that returned would be restarted: whoever stopped it for good ends it from outside.
            await trio.sleep_forever()

    async def _live(self, incarnation: int, task_status: trio.TaskStatus[object]) -> None:
        endpoint = self.endpoint
        began = endpoint.clock()
        actor = self._make()
        actor.attach(self.ref)
        await actor.on_start()
        if endpoint.incarnation != incarnation:
            raise Fenced
        endpoint.counts.starts += 1
        endpoint.counts.init_duration.observe(endpoint.clock() - began)
        endpoint.state = ActorState.RUNNING
        endpoint.facts = actor.tree_detail if isinstance(actor, HasTreeDetail) else None
        self._crash = None
        self._announcing = True
        task_status.started(self.ref)
        self._announcing = False
        try:
            await serve(actor, endpoint)
        except BaseException as error:
            if endpoint.incarnation == incarnation:
                await self._clean_up(actor, error)
            raise
        await self._clean_up(actor, None)

    async def _clean_up(self, actor: Actor, end: BaseException | None) -> None:
        """Run on_stop, in bounded time; its error is raised, or noted on the crash that came first."""
        self.endpoint.state = ActorState.STOPPING
        self.endpoint.busy_since = None
        self.endpoint.facts = None
        with trio.move_on_after(min(actor.stop_timeout_seconds, self._stop_seconds_max), shield=True) as scope:
            try:
                await actor.on_stop()
            except Exception as error:
                if end is None or cause_of(end) is None:
                    raise
                end.add_note(f"on_stop failed as well: {type(error).__name__}: {error}")
        if scope.cancelled_caught:
            self.endpoint.counts.stop_timeouts += 1

    # Ends -----------------------------------------------------------------------------------------------------------

    def _ended(self, error: BaseException | None, *, was_restarting: bool) -> None:
        """Draw the conclusions from the end of the incarnation."""
        endpoint = self.endpoint
        endpoint.busy_since = None
        crash = cause_of(error)
        # The exception's type lies: an error may come out of a child that was asked to stop. Its scope does not.
        asked_to_stop = trio.current_effective_deadline() == -math.inf
        if endpoint.state is ActorState.STARTING:
            reason = StopReason.START_FAILED
            restarts = was_restarting
        elif crash is not None:
            reason = StopReason.CRASHED
            restarts = self._restart is not Restart.TEMPORARY and isinstance(crash, Exception)
        else:
            reason = StopReason.SHUTDOWN if asked_to_stop else StopReason.NORMAL
            restarts = self._restart is Restart.PERMANENT
        endpoint.counts.stops.increment(reason)
        self._crash = crash or self._crash
        if restarts and not asked_to_stop and not self.is_final:
            self._await_restart()
        else:
            self.give_up("it stopped" if crash is None else f"it crashed with {type(crash).__name__}: {crash}")

    def _await_restart(self) -> None:
        """Keep the mail for the next incarnation, and not for ever: a supervisor may give up without a word."""
        endpoint = self.endpoint
        endpoint.state = ActorState.RESTARTING
        switchboard = endpoint.switchboard
        due = endpoint.clock() + switchboard.restart_grace_seconds
        switchboard.timekeeper.at(due, partial(self._grace_over, endpoint.incarnation))

    def _grace_over(self, incarnation: int, _now: float) -> None:
        if self.endpoint.incarnation == incarnation:
            self.give_up_restart("it ended and was not restarted in time")

    def give_up_restart(self, reason: str) -> None:
        """End for good if it is between two incarnations; otherwise do nothing."""
        if self.endpoint.state is ActorState.RESTARTING:
            self.give_up(reason)

    def give_up(self, reason: str) -> None:
        """End for good, unless a supervisor starts it again: the mail fails, the name is free. Idempotent."""
        endpoint = self.endpoint
        if endpoint.state is not ActorState.STOPPED:
            endpoint.state = ActorState.STOPPED
            crash, self._crash = self._crash, None
            endpoint.close(reason, crash)
        self._names.release(self)
        if self.is_final:
            self.done.set()

    def abandon(self) -> None:
        """End for good because its supervisor has: what still runs of it is ignored from now on. Idempotent."""
        self._fence_predecessor()
        self.give_up("it was not started")

    # What supervisors say -------------------------------------------------------------------------------------------

    def hear(self, report: Report) -> None:
        """Take a supervisor's report about a child that has this actor's name, and may be somebody else."""
        if self._announcing:
            # Supervisors report a start while the child calls started(): this one is ours.
            self._supervisor = report.supervisor
        elif report.kind is ReportKind.CHILD_FENCED and self.is_below(report.supervisor):
            self._fence_predecessor()

    def is_below(self, supervisor: str) -> bool:
        """Whether it was last started by a supervisor of this name."""
        return self._supervisor == supervisor

    def _fence_predecessor(self) -> None:
        """Settle what an incarnation holds that its supervisor gave up waiting for; it still runs, and is ignored."""
        endpoint = self.endpoint
        if endpoint.state in _DOWN:
            return
        endpoint.incarnation += 1
        endpoint.counts.stops.increment(StopReason.SHUTDOWN)
        endpoint.busy_since = None
        endpoint.facts = None
        endpoint.party.waiting_on = None
        if endpoint.current is not None:
            endpoint.current.fail(ActorStopped(endpoint.name, _CUT_OFF))
            endpoint.current = None
        self.give_up(_CUT_OFF)
