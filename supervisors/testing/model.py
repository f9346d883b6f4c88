"""A supervisor in pure Python, beside the real one: told what happens, it says what has to follow.

It is written from OTP's rules and shares no code with the supervisor. Its one operation at a time is a generator
that yields what it waits for: a child that must begin, one that must be ready or over, one that must end. It goes
on whenever the real supervisor's task takes a step, and no sooner, so that what happens in between finds its place in
the same order in both inboxes. What differs is a `Violation`. The calls are in `supervisors.testing.model_calls`.

It does not model: backoff under a group strategy, `change()`, interrupts, and a supervisor that is stopped by force.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Generator, Iterable
from functools import partial
from typing import final

from supervisors.exits import ExitKind
from supervisors.flags import AutoShutdown, Flags
from supervisors.specs import ChildSpec, Restart, Strategy
from supervisors.testing.kids import FORCE_SECONDS_MAX, RESTARTING, End, Kid, Wait
from supervisors.testing.violations import Violation

DOUBLINGS_MAX = 64
"""From here on doubling a delay changes nothing."""


Operation = Generator[Wait, None, None]
"""Something that a supervisor does, and that may have to wait."""


@final
class Model:
    """One life of one supervisor, as it must be."""

    def __init__(self, flags: Flags, specs: Iterable[ChildSpec], template: ChildSpec | None = None) -> None:
        self.flags = flags
        """How it supervises."""
        self.template = template
        """What its children are made of, where it is dynamic."""
        self.kids: dict[str, Kid] = {spec.id: Kid(spec.id, spec) for spec in specs}
        """Its children, in start order."""
        self.verdict = ""
        """Why it must end: nothing, or the name of the error that it must raise."""
        self.stopping = False
        """Whether the real one has begun to stop its children."""
        self.stopped = False
        """Whether the real one has ended."""
        self.restarts_counted = 0
        """How many restarts it has counted in its life."""
        self._finished = False
        self._asked = False
        self._window: list[float] = []
        self._inbox: deque[Callable[[], Operation]] = deque()
        self._waits: list[tuple[Wait, int]] = []
        self._operations: list[Operation] = []
        self._delayed: list[Kid] = []
        self._allowed: set[Kid] = set()
        self._may_begin: Kid | None = None
        self._now = 0.0
        self._started = False

    # ---- what it is told

    def begin(self, now: float) -> None:
        """The real one has been started."""
        self._now = now
        self._operations.append(self._start_all())
        self._advance()

    def began(self, now: float, child_id: str, number: int) -> None:
        """A life of a child has taken its first step."""
        self._now = now
        self._advance(lambda: child_id in self.kids)  # An idle supervisor's part may be done by its caller.
        kid = self.kids.get(child_id)
        if kid is None:
            raise self._violation(f"{child_id} began, and no such child is known")
        if kid.live:
            raise self._violation(f"two lives of {child_id} at once: {number} began while {kid.number} goes on")
        if self._may_begin is kid:
            self._may_begin = None  # It was on its way when the supervisor was stopped.
        elif not self._waiting_for(kid, "begin"):
            # An idle supervisor may restart in the dying task, and take no step of its own for it.
            self._advance(lambda: self._waiting_for(self.kids.get(child_id), "begin"))
            # In the same step a temporary one may have been forgotten, and another of its name been started.
            kid = self.kids.get(child_id)
            if kid is None or not self._waiting_for(kid, "begin"):
                raise self._violation(f"{child_id} began, but {self.expected()}")
        if number != kid.number + 1:
            raise self._violation(f"life {number} of {child_id} began after life {kid.number}")
        kid.begin(now)

    def ready(self, now: float, child_id: str) -> None:
        """A child has become ready."""
        self._now = now
        kid = self._live(child_id, "became ready")
        kid.ready, kid.ready_at, kid.restarting = True, now, False

    def ended(self, now: float, child_id: str, end: End) -> None:
        """A life of a child is over, or was cut off."""
        self._now = now
        kid = self._live(child_id, "ended")
        if end.ready is not kid.ready:
            raise self._violation(f"{child_id} ended {'' if end.ready else 'not '}ready, and it was otherwise")
        if end.kind is ExitKind.START_TIMEOUT and now < kid.begun_at + kid.spec.start_timeout_seconds:
            raise self._violation(f"the start of {child_id} timed out after {now - kid.begun_at:g} s")
        if end.asked and not self._may_be_stopped(kid):
            raise self._violation(f"{child_id} was stopped ({end.kind.value}), but {self.expected()}")
        kid.live, kid.end, kid.ended_at = False, end, now
        if end.by_itself and not self.stopping and not self._waiting_for(kid, "end"):
            kid.undecided = True
            self._inbox.append(partial(self._decide, kid, kid.number))

    def step(self, now: float, until: Callable[[], bool] = lambda: False) -> None:
        """The real one's task goes on, or another does its part for it, until a moment in the middle of a step."""
        self._now = now
        self._advance(until)

    def tick(self, now: float) -> None:
        """The timekeeper has rung what is due: the restarts whose delay is over take their place in the inbox."""
        due = [kid for kid in self._delayed if kid.due is not None and kid.due <= now]
        for kid in sorted(due, key=lambda kid: kid.due or 0.0):
            kid.delay = kid.due = None
            self._delayed.remove(kid)
            self._inbox.append(partial(self._restart_now, kid, kid.number))

    def delayed(self, now: float, child_id: str, chance: float) -> None:
        """The real one says that it delays a restart; `chance` is what its dice have shown."""
        self._now = now
        kid = self.kids.get(child_id)
        self._advance(lambda: kid is None or kid.delay is not None)
        if kid is None or kid.delay is None or kid.due is not None or kid.spec.backoff is None:
            raise self._violation(f"the restart of {child_id} is delayed, but {self.expected()}")
        kid.due = now + kid.delay * (1.0 + chance * kid.spec.backoff.jitter)
        self._delayed.append(kid)

    def gave_up(self, child_id: str) -> None:
        """The real one says that it has restarted too often."""
        self._advance(lambda: self._finished)
        if self.verdict != "MaxRestartsExceeded":
            raise self._violation(
                f"it gave up over {child_id} with {len(self._window)} restarts of {self.flags.intensity} allowed "
                f"in {self.flags.period_seconds:g} s, but {self.expected()}"
            )

    def stops(self, now: float, *, asked: bool) -> None:
        """The real one begins to stop its children; `asked` says whether somebody wants that."""
        self._now = now
        if not asked:
            self._advance(lambda: self._finished)
        if not asked and not self._finished:
            raise self._violation(f"it stops although nobody asked for that; {self.expected()}")
        self.stopping = True
        self._asked = asked
        for wait, number in self._waits:
            if wait.over(number):
                continue
            if wait.what == "begin":
                self._may_begin = wait.kid
            elif wait.what == "end":
                # It was asked already; nobody waits for it before those that come first in the order.
                self._allowed.add(wait.kid)
                wait.kid.stop_at = math.inf
        self._operations.clear()
        self._waits.clear()
        self._inbox.clear()

    def has_stopped(self, reason: str) -> None:
        """The real one has ended."""
        left = [kid.id for kid in self.kids.values() if kid.live]
        if left:
            raise self._violation(f"it has ended, and {', '.join(left)} go on")
        if self.verdict and not reason.startswith(self.verdict) and not (self._asked and reason == "stopped"):
            raise self._violation(f"it ended with {reason!r} instead of {self.verdict}")
        if not self.verdict and reason != "stopped":
            raise self._violation(f"it ended with {reason!r} for no reason that the model knows")
        self.stopped = True

    def wants_end_of(self, child_id: str) -> bool:
        """Whether a child, a supervisor itself, is to be stopped now."""
        kid = self.kids.get(child_id)
        return kid is None or self.stopping or kid in self._allowed or self._waiting_for(kid, "end")

    # ---- what it says

    def expected(self) -> str:
        """Say what the model expects next, for a message."""
        if self.stopping:
            return f"it is stopping, and {self._last_live()} is next"
        if self._finished:
            return f"it must stop now ({self.verdict or 'auto_shutdown'})"
        if self._waits:
            wait = self._waits[-1][0]
            return f"{wait.kid.id} must {wait.what}"
        return "nothing is to be done"

    def check_quiet(self, now: float, *, stopping: bool) -> None:
        """Check that at a moment when nothing can run nothing has been left undone."""
        self.step(now)
        if self._finished and not stopping:
            raise self._violation(f"nothing happens, but {self.expected()}")
        if self._may_begin is not None:
            self._may_begin = None
        if not stopping and self._waits and self._waits[-1][0].what == "begin":
            raise self._violation(f"nothing happens, but {self.expected()}")
        for kid in self.kids.values():
            late = kid.overdue(now)
            if late is not None:
                raise self._violation(late)
            if kid.delay is not None and (kid.due is None or now > kid.due) and not stopping:
                raise self._violation(f"the delayed restart of {kid.id} does not come")

    @property
    def finished(self) -> bool:
        """Whether it must end, because of a verdict or of its significant children."""
        return self._finished

    def idle(self) -> bool:
        """Whether it has nothing to do and waits for nothing."""
        return self._started and not self._waits and not self._finished

    def states(self) -> dict[str, str]:
        """Return what it thinks of each child, in start order."""
        return {kid.id: kid.state for kid in self.kids.values()}

    # ---- its operations

    def submit(self, now: float, operation: Callable[[], Operation]) -> None:
        """Have something done after all that waits already."""
        self._now = now
        if not self.stopping and not self._finished:
            self._inbox.append(operation)

    def start(self, kid: Kid) -> Operation:
        """Start a child; afterwards it is ready, or `kid.end` says why not."""
        yield Wait(kid, "begin")
        yield Wait(kid, "ready")

    def stop(self, kid: Kid) -> Operation:
        """Stop a child, and cancel whatever was to happen to it."""
        kid.undecided = kid.restarting = False
        kid.delay = kid.due = None
        if kid.live:
            kid.stop_at = min(kid.stop_at, self._now + kid.spec.stop_seconds + FORCE_SECONDS_MAX)
            yield Wait(kid, "end")
        kid.restarting = False

    def _start_all(self) -> Operation:
        for kid in list(self.kids.values()):
            yield from self.start(kid)
            if self._failed(kid):
                self.verdict, self._finished = "StartFailed", True
                return
        self._started = True

    def _decide(self, kid: Kid, number: int) -> Operation:
        end = kid.end
        if not kid.undecided or kid.number != number or end is None or self.kids.get(kid.id) is not kid:
            return
        kid.undecided = False
        if kid.spec.restart is Restart.PERMANENT or (kid.spec.restart is Restart.TRANSIENT and not end.quiet):
            yield from self._restart(kid)
            return
        if kid.temporary or self.template is not None:
            self.kids.pop(kid.id)
        if kid.spec.significant and self._ends_with(kid):
            self._finished = True

    def _restart(self, kid: Kid) -> Operation:
        if not self._count():
            self.verdict, self._finished = "MaxRestartsExceeded", True
            return
        kid.restarting = True
        if kid.spec.backoff is None:
            yield from self._rebuild(kid)
        else:
            self._delay(kid)

    def _rebuild(self, kid: Kid) -> Operation:
        group = self._group(kid)
        for other in reversed(group):
            if other is not kid:
                yield from self.stop(other)
                if other.temporary:
                    self.kids.pop(other.id, None)
        for member in group:
            if self.kids.get(member.id) is not member:
                continue
            if member is not kid:
                member.restarting = True
            yield from self.start(member)
            if self._failed(member):
                kid.restarting = False
                member.restarting = True
                self._inbox.append(partial(self._retry, member, member.number))
                return
            if not member.ready and self.template is not None:
                self.kids.pop(member.id)

    def _retry(self, kid: Kid, number: int) -> Operation:
        if kid.restarting and kid.number == number and self.kids.get(kid.id) is kid:
            yield from self._restart(kid)

    def _restart_now(self, kid: Kid, number: int) -> Operation:
        if kid.restarting and kid.number == number and self.kids.get(kid.id) is kid:
            yield from self._rebuild(kid)

    def _failed(self, kid: Kid) -> bool:
        """Draw the conclusions from a start; say whether it failed."""
        if kid.ready_at is not None:
            return False
        kid.restarting = False
        if kid.end is not None and kid.end.kind is ExitKind.IGNORED:
            if kid.temporary:
                self.kids.pop(kid.id, None)
            return False
        return True

    # ---- rules

    def _count(self) -> bool:
        # A restart exactly one period ago still counts.
        self._window = [moment for moment in self._window if moment >= self._now - self.flags.period_seconds]
        self._window.append(self._now)
        self.restarts_counted += 1
        return len(self._window) <= self.flags.intensity

    def _group(self, kid: Kid) -> list[Kid]:
        kids = list(self.kids.values())
        match self.flags.strategy:
            case Strategy.ONE_FOR_ONE:
                return [kid]
            case Strategy.ONE_FOR_ALL:
                return kids
            case Strategy.REST_FOR_ONE:
                return kids[kids.index(kid) :]

    def _delay(self, kid: Kid) -> None:
        backoff = kid.spec.backoff
        assert backoff is not None, "only a child with a backoff is delayed"
        ready = 0.0 if kid.ready_at is None else kid.ended_at - kid.ready_at
        if ready >= backoff.resets_after_seconds:
            kid.failures = 0
        seconds = min(backoff.max_seconds, backoff.min_seconds * 2.0 ** min(kid.failures, DOUBLINGS_MAX))
        kid.failures += 1
        kid.delay = seconds

    def _ends_with(self, kid: Kid) -> bool:
        match self.flags.auto_shutdown:
            case AutoShutdown.NEVER:
                return False
            case AutoShutdown.ANY_SIGNIFICANT:
                return True
            case AutoShutdown.ALL_SIGNIFICANT:
                others = (each for each in self.kids.values() if each.spec.significant and each is not kid)
                return not any(each.taken or each.state == RESTARTING for each in others)

    def _may_be_stopped(self, kid: Kid) -> bool:
        if not self.stopping:
            return self._waiting_for(kid, "end")
        return self.template is not None or kid in self._allowed or kid.id == self._last_live()

    def _last_live(self) -> str | None:
        return next((kid.id for kid in reversed(self.kids.values()) if kid.live), None)

    # ---- its engine

    def _advance(self, until: Callable[[], bool] = lambda: False) -> None:
        """Go on for as long as nothing has to be waited for, or `until` a moment in the middle of a step."""
        while not self.stopping and not self._finished and not until():
            if self._waits:
                wait, number = self._waits[-1]
                if not wait.over(number):
                    return
                self._waits.pop()
            elif not self._operations:
                if not self._inbox:
                    return
                self._operations.append(self._inbox.popleft()())
            wait = next(self._operations[-1], None)
            if wait is None:
                self._operations.pop()
            else:
                self._waits.append((wait, wait.kid.number))

    def _waiting_for(self, kid: Kid | None, what: str) -> bool:
        if not self._waits:
            return False
        wait, number = self._waits[-1]
        return wait.kid is kid and wait.what == what and not wait.over(number)

    def _live(self, child_id: str, what: str) -> Kid:
        kid = self.kids.get(child_id)
        if kid is None or not kid.live:
            raise self._violation(f"{child_id} {what}, and does not live")
        return kid

    def _violation(self, text: str) -> Violation:
        return Violation(f"supervisor {self.flags.name}: {text}")
