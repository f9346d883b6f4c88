"""One simulated run of an actor system: what a scenario uses, and what is checked whenever nothing can run.

`simulation.actor(Counter, "c")` is a Counter that misbehaves and is watched; `simulation.post("shop")` is a sender
whose messages are followed. Use `simulate()` to make a run.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar, TypeVarTuple, final

import trio

from supervisors.listeners import Report, ReportContext, ReportKind
from supervisors.testing.choices import Schedule
from supervisors.testing.runs import Run
from supervisors.testing.violations import Violation
from vespera_agents.actors.actor import Actor
from vespera_agents.actors.errors import ActorError
from vespera_agents.actors.mailbox import MailboxSpec
from vespera_agents.actors.refs import ActorRef
from vespera_agents.actors.system import ActorSystem
from vespera_agents.actors.testing.faults import ActorFault, FaultPlan
from vespera_agents.actors.testing.ledger import Ledger
from vespera_agents.actors.testing.posts import Post
from vespera_agents.actors.testing.rules import Rules
from vespera_agents.actors.testing.wrapping import Around, Inside, wrapped

ActorT = TypeVar("ActorT", bound=Actor)
Arguments = TypeVarTuple("Arguments")
Check = Callable[[], str | None]
"""Says what is wrong, or None."""

PERMILLE: Final[Mapping[ActorFault, int]] = {
    ActorFault.CRASH_IN_START: 60,
    ActorFault.SLOW_START: 100,
    ActorFault.HANG_IN_START: 20,
    ActorFault.CRASH_BEFORE_HANDLER: 25,
    ActorFault.CRASH_AFTER_HANDLER: 25,
    ActorFault.CRASH_IN_HANDLER: 40,
    ActorFault.SLOW_HANDLER: 100,
    ActorFault.HANG_IN_HANDLER: 20,
    ActorFault.SWALLOW_CANCELLED: 30,
    ActorFault.HIDE: 10,
    ActorFault.IMMORTAL: 8,
    ActorFault.SLOW_STOP: 100,
    ActorFault.HANG_IN_STOP: 50,
    ActorFault.CRASH_IN_STOP: 60,
}
"""How often, in a thousand opportunities, each fault strikes an actor of a simulation."""


@final
@dataclass(frozen=True, slots=True)
class Invariants:
    """What must hold in a scenario, beside the rules that hold in every actor system."""

    always: Sequence[Check] = ()
    """Looked at whenever nothing can run."""
    settled: Sequence[Check] = ()
    """Looked at when faults have stopped, all mail has been handled and nobody waits."""
    closed: Sequence[Check] = ()
    """Looked at when the system has closed."""


@final
class ActorSimulation(Run):
    """One run. Made by `simulate()`; scenarios use it. It is also the listener of the system."""

    def __init__(self, seed: int, given: Schedule | None = None) -> None:
        super().__init__(seed, given)
        self.ledger = Ledger(self)
        """Who sent what, and what became of it."""
        self.invariants = Invariants()
        """What the scenario says must hold."""
        self._rules: Rules | None = None
        self._root = ""
        self._nursery: trio.Nursery | None = None
        self._plans: list[FaultPlan] = []
        self._around: dict[str, Around] = {}

    # ---- what a scenario uses

    def actor(
        self,
        actor_class: type[ActorT],
        name: str,
        *,
        permille: Mapping[ActorFault, int] = PERMILLE,
    ) -> type[ActorT]:
        """Return a class to start an actor with that is struck by faults, and whose every message is watched.

        Its first start is spared, so that a scenario gets its actors to run.

        Args:
            actor_class: What it is.
            name: Whose choices the faults are drawn from; best the actor's name.
            permille: How many of a thousand opportunities each fault strikes at.
        """
        around = self.around(name, permille, starts_spared=1)
        return wrapped(actor_class, lambda _actor: around)

    def around(self, name: str, permille: Mapping[ActorFault, int] = PERMILLE, *, starts_spared: int = 0) -> Around:
        """Return what is around the actors of this name: faults, and outside of them the ledger."""
        around = self._around.get(name)
        if around is None:
            plan = FaultPlan(
                permille=permille, stream=self.stream(name), on_strike=self.struck, starts_spared=starts_spared
            )
            plan.enabled = self.faults_on
            self._plans.append(plan)
            around = self._around[name] = Inside(self.ledger, plan)
        return around

    def post(self, sender: str) -> Post:
        """Return a sender whose messages are followed."""
        return Post(self, self.ledger, sender)

    def post_of(self, actor: Actor) -> Post:
        """Return an actor of this simulation as a sender, for this life of it."""
        life = self.ledger.life_of(actor)
        return Post(self, self.ledger, life.name, life)

    def start_soon(self, work: Callable[[*Arguments], Awaitable[object]], *args: *Arguments) -> None:
        """Run something beside the scenario, until the system has closed. An ActorError may end it."""
        assert self._nursery is not None, "start_soon is for scenarios"
        self._nursery.start_soon(self._work, work, args, name=getattr(work, "__name__", "work"))

    def knows(self, ref: ActorRef[Actor], mailbox: MailboxSpec) -> None:
        """Take note of an actor's mailbox, so that the rules about overflow are checked as well."""
        self.ledger.recipient(ref, mailbox)

    # ---- what the run does

    def begin(self, nursery: trio.Nursery, system: ActorSystem) -> None:
        """Take note of where the run takes place."""
        self._nursery = nursery
        self._rules = Rules(self.ledger, system)
        self._root = system.name

    def stop_faults(self) -> None:
        """Let no fault strike any more."""
        self.faults_on = False
        for plan in self._plans:
            plan.enabled = False

    def on_report(self, report: Report) -> None:
        """Hear what the supervisors of the system say."""
        self.note(
            report.supervisor,
            report.kind.value,
            "" if report.offender is None else report.offender.id,
            0 if report.offender is None else report.offender.incarnation,
            "",
        )
        self.ledger.on_report(report)
        offender = report.offender
        if offender is None:
            return
        life = self.ledger.latest(offender.id)
        if life is None or life.receiver.is_final:
            return
        if report.exit is not None:
            # Stopped, and nobody has called for that: it will be restarted with its group, or its supervisor ends.
            life.stopped_by_supervisor = report.context is ReportContext.STOP
        elif report.kind is ReportKind.CHILD_RESTARTED and life.followed_the_end:
            before = life.before
            if report.supervisor == self._root or (before is not None and before.stopped_by_supervisor):
                self._ended_too_early(offender.id, "is restarted")

    def _ended_too_early(self, name: str, what: str) -> None:
        self.violated(Violation(f"{name} was said to have ended for good, its mail has failed, and it {what}"))

    def check_quiet(self) -> None:
        """Check the rules of every actor system, and the scenario's own.

        Raises:
            Violation: one of them is broken.
        """
        if self._rules is not None:
            self._rules.check_quiet(self.now)
        _check(self.invariants.always)

    def unsettled(self) -> str | None:
        """Say what has not come to rest; None where all has."""
        return None if self._rules is None else self._rules.unsettled()

    def check(self, checks: Sequence[Check]) -> None:
        """Look at some of the scenario's invariants."""
        try:
            _check(checks)
        except Violation as violation:
            self.violated(violation)

    def check_closed(self) -> None:
        """Check what is left of the system."""
        try:
            if self._rules is not None:
                self._rules.check_closed()
            _check(self.invariants.closed)
        except Violation as violation:
            self.violated(violation)

    async def _work(self, work: Callable[..., Awaitable[object]], args: tuple[object, ...]) -> None:
        try:
            await work(*args)
        except ActorError:
            return
        except AssertionError as error:
            self.violated(Violation(f"an assertion failed: {error}"))


def _check(checks: Sequence[Check]) -> None:
    for check in checks:
        wrong = check()
        if wrong is not None:
            raise Violation(wrong)
