"""Who belongs to a pool: its members below a supervisor of their own, how they come, and how they go.

It learns of both from that supervisor's reports, so what it knows is right also where a call was cancelled half-way.
It routes nothing: `pool` does, and is told of each change.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Generic, TypeVar, cast, final

import trio

from supervisors.errors import AlreadyPresent, AlreadyStarted, ChildNotFound, ChildRunning, SupervisorError
from supervisors.flags import SupervisorState
from supervisors.listeners import Report, ReportContext, ReportKind
from supervisors.restarts import Action, decide
from supervisors.specs import ChildSpec, Restart
from supervisors.supervisor import Supervisor, supervisor_spec
from vespera_agents.actors.actor import Actor
from vespera_agents.actors.refs import ActorRef
from vespera_agents.actors.system import ActorSystem

ActorT = TypeVar("ActorT", bound=Actor)

LOOK_SECONDS_MIN: Final = 0.001
"""How soon a member that is drained is looked at again; each time twice as long, up to LOOK_SECONDS_MAX."""
LOOK_SECONDS_MAX: Final = 0.05
"""How long at most."""


@final
@dataclass(frozen=True, slots=True)
class Member(Generic[ActorT]):
    """One actor of a pool."""

    number: int
    """Its place in the pool, from 1. A number that is free again is given again."""
    spec: ChildSpec
    """How its supervisor starts it."""
    ref: ActorRef[ActorT]
    """Its reference; good across restarts."""


@final
class Membership(Generic[ActorT]):
    """The members of one pool, in the order of their numbers."""

    def __init__(
        self,
        system: ActorSystem,
        name: str,
        make_spec: Callable[[str], ChildSpec],
        *,
        intensity: int,
        period_seconds: float,
    ) -> None:
        self._system = system
        self._make_spec = make_spec
        self._intensity = intensity
        self._period_seconds = period_seconds
        self._coming: dict[str, tuple[int, ChildSpec]] = {}
        self._leaving: set[int] = set()
        self._supervisor: Supervisor | None = None
        self.name = name
        """What the pool and its supervisor are called; members are called name-1, name-2, ..."""
        self.members: list[Member[ActorT]] = []
        """Who belongs to it, those that are leaving included."""
        self.handled_before = 0
        """Messages handled by members that have left."""
        self.on_change: Callable[[], None] = _nobody_listens
        """Called after each change of `present`, in the event loop."""

    @property
    def present(self) -> list[Member[ActorT]]:
        """Who takes mail: the members that are not leaving."""
        return [member for member in self.members if member.number not in self._leaving]

    @property
    def leaving(self) -> int:
        """How many are being drained."""
        return len(self._leaving)

    # Coming ---------------------------------------------------------------------------------------------------------

    async def open(self, size: int) -> None:
        """Start the supervisor with its first members below the system's root, and wait until all are ready.

        Raises:
            AlreadyStarted: Another child of the root has the name.
            supervisors.StartFailed: A member did not become ready; the others were stopped.
        """
        root = self._system.supervisor
        for number in range(1, size + 1):
            self._expect(number)
        # Transient: when it gives up, the root restarts it with its members, and counts that; when it is told to
        # stop, it stays down.
        spec = supervisor_spec(self.name, self._make_supervisor, restart=Restart.TRANSIENT)
        opened = False
        try:
            try:
                await root.start_child(spec)
            except AlreadyPresent:
                # A pool of this name has ended, and its spec has not been taken away.
                await root.delete_child(self.name)
                await root.start_child(spec)
            opened = True
        finally:
            if not opened and self._supervisor is not None:
                self._supervisor.stop()

    async def grow(self, size: int) -> None:
        """Start members until there are `size`. Cancelled: one that is being started joins when it is ready.

        Raises:
            supervisors.StartFailed: One did not become ready; those before it have joined.
        """
        taken = {member.number for member in self.members}
        free = (number for number in range(1, size + 1) if number not in taken)
        for number in [number for number, _ in zip(free, range(size - len(self.members)), strict=False)]:
            spec = self._expect(number)
            try:
                with suppress(ChildNotFound, ChildRunning):
                    await self._running.delete_child(spec.id)  # An earlier member of this number, which has ended.
                await self._running.start_child(spec)
            except AlreadyStarted:
                continue  # An earlier call, cancelled while this member was starting, has had its effect after all.

    def _expect(self, number: int) -> ChildSpec:
        child_id = f"{self.name}-{number}"
        spec = self._make_spec(child_id)
        self._coming[child_id] = (number, spec)
        return spec

    def _make_supervisor(self) -> Supervisor:
        """Make the supervisor, or the successor of one that gave up, with the same members and references."""
        specs = [member.spec for member in self.members] or [spec for _, spec in self._coming.values()]
        self._supervisor = Supervisor(
            specs, name=self.name, intensity=self._intensity, period_seconds=self._period_seconds, listener=self
        )
        return self._supervisor

    @property
    def _running(self) -> Supervisor:
        assert self._supervisor is not None, "a pool is used after it was opened"
        return self._supervisor

    # Going ----------------------------------------------------------------------------------------------------------

    async def shrink(self, size: int, drain_seconds: float) -> None:
        """Let the members with the highest numbers go: no new mail, what they have is handled, then they are stopped.

        Cancelled: those that are not stopped yet stay.
        """
        leaving = self.members[size:]
        self._leaving.update(member.number for member in leaving)
        self.on_change()
        deadline, pause = trio.current_time() + drain_seconds, LOOK_SECONDS_MIN
        try:
            while leaving:
                for member in tuple(leaving):
                    # Looked at right before it is stopped: somebody may have sent to its own reference meanwhile.
                    if not member.ref.load or trio.current_time() >= deadline:
                        await self._dismiss(member)
                        leaving.remove(member)
                if leaving:
                    pause = await _look_again(pause, deadline)
        finally:
            self._leaving.clear()
            self.on_change()

    async def close(self, drain_seconds: float) -> None:
        """Wait until no member has mail or the time is up, then stop all and take the supervisor out of the tree."""
        deadline, pause = trio.current_time() + drain_seconds, LOOK_SECONDS_MIN
        while any(member.ref.load for member in self.members) and trio.current_time() < deadline:
            pause = await _look_again(pause, deadline)
        root = self._system.supervisor
        with suppress(SupervisorError):
            await root.terminate_child(self.name)
            await root.delete_child(self.name)

    async def _dismiss(self, member: Member[ActorT]) -> None:
        with suppress(ChildNotFound):
            await self._running.terminate_child(member.spec.id)
            await self._running.delete_child(member.spec.id)

    # What the supervisor says ---------------------------------------------------------------------------------------

    def on_report(self, report: Report) -> None:
        """Take a report, and pass it on to the system, which needs to know of its actors' supervisors."""
        self._system.on_report(report)
        offender = report.offender
        if offender is None or report.supervisor != self.name:
            return
        if report.kind is ReportKind.CHILD_STARTED:
            self._joined(offender.id)
        elif report.exit is not None and self._is_final(report):
            self._left(offender.id)

    def _joined(self, child_id: str) -> None:
        number, spec = self._coming.pop(child_id, (0, None))
        if spec is None:
            return  # A member that is back, below a new supervisor.
        ref = cast("ActorRef[ActorT]", self._running.child_value(child_id))
        self.members.append(Member(number, spec, ref))
        self.members.sort(key=_number_of)
        self.on_change()

    def _is_final(self, report: Report) -> bool:
        """Whether the end of a member is the last of it."""
        match report.context:
            case ReportContext.RUN:
                assert report.exit is not None, "the report of an end says how it ended"
                restart = Restart(report.offender.restart) if report.offender is not None else Restart.PERMANENT
                return decide(restart, report.exit.kind) is not Action.RESTART
            case ReportContext.STOP:
                # Stopped alone, for good; a supervisor that stops them all may have a successor.
                return self._running.state is SupervisorState.RUNNING
            case _:
                return False

    def _left(self, child_id: str) -> None:
        for member in self.members:
            if member.spec.id == child_id:
                self.handled_before += member.ref.statistics().handled
                self.members.remove(member)
                self.on_change()
                return


def _number_of(member: Member[ActorT]) -> int:
    return member.number


def _nobody_listens() -> None:
    """Do nothing: the pool is not there yet."""


async def _look_again(pause: float, deadline: float) -> float:
    """Wait a little, never beyond the deadline; return how long to wait the next time."""
    left = deadline - trio.current_time()
    await trio.sleep(min(pause, left) if left > 0.0 else pause)
    return min(2 * pause, LOOK_SECONDS_MAX)
