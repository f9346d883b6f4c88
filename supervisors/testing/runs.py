"""What every simulated run is made of: virtual time, seeded choices, a trace, faults that struck, the first violation.

`supervisors.testing.simulation` is a run with a tree in it; other packages make runs of other things. A subclass says
in `check_quiet` what must hold whenever nothing can run. `carry_out` runs one under trio, and ends it, whatever breaks.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar, TypeVarTuple, final

import trio

from supervisors.exits import leaves
from supervisors.forcing import Killed, force_kill
from supervisors.testing.choices import Choices, Schedule, Stream
from supervisors.testing.clock import SimulatedClock, Stuck
from supervisors.testing.scheduling import seeded_scheduling
from supervisors.testing.violations import Violation

QUIET_POINTS_MAX: Final = 20_000
"""A run that has more of them does not end by itself."""
QUIET_POINTS_AFTER_VIOLATION_MAX: Final = 300
"""How many of them a run may take to end by itself after its violation."""

Note = tuple[float, str, str, str, int, str]
"""One line of a trace: when, which supervisor or actor, what, which child or sender, which life or number, how."""
Strike = tuple[float, str, str]
"""A fault that struck: when, whom, which."""
Result = TypeVar("Result")
Arguments = TypeVarTuple("Arguments")


class Run:
    """One run of whatever is simulated."""

    def __init__(self, seed: int, given: Schedule | None = None) -> None:
        self.choices = Choices(seed, given)
        """What is decided by chance."""
        self.clock = SimulatedClock(self._quiet)
        """The time of the run."""
        self.faults_on = True
        """Whether faults strike; the run switches them off before it looks whether all comes to rest."""
        self.trace: list[Note] = []
        """Everything that was observed, in order."""
        self.strikes: list[Strike] = []
        """The faults that struck, in order."""
        self.violation: Violation | None = None
        """The first thing that went wrong."""
        self.scope = trio.CancelScope()
        """What is cancelled when something went wrong."""
        self.over = False
        """Whether the scenario has ended."""
        self.main_task: trio.lowlevel.Task | None = None
        """The task below which all happens, from the beginning of the run."""
        self.quiet_points = 0
        """How often nothing could run."""
        self._quiet_points_left = QUIET_POINTS_AFTER_VIOLATION_MAX

    @property
    def now(self) -> float:
        """The time of the run, in seconds since its start."""
        return self.clock.now

    # ---- what a scenario uses

    def stream(self, actor: str) -> Stream:
        """Return the choices of an actor: a child, or whatever else decides something by chance."""
        return self.choices.stream(actor)

    def strikes_now(self, actor: str, fault: str, permille: int) -> bool:
        """Say whether a fault of a scenario's own child strikes now, and count it."""
        if not self.faults_on or not self.stream(actor).chance(permille):
            return False
        self.struck(actor, fault)
        return True

    # ---- what the parts of the run tell

    def note(self, supervisor: str, what: str, child_id: str, number: int, how: str) -> None:
        """Write a line of the trace."""
        self.trace.append((self.clock.now, supervisor, what, child_id, number, how))

    def struck(self, actor: str, fault: str) -> None:
        """Note that a fault has struck."""
        self.strikes.append((self.clock.now, actor, fault))

    def violated(self, violation: Violation) -> None:
        """Note what went wrong, and end the run."""
        if self.violation is None:
            self.violation = violation
            self.note("", "VIOLATION", "", 0, str(violation))
            self.scope.cancel()

    def digest(self) -> str:
        """Return a short name of the trace: the same for the same run, in every process."""
        return hashlib.blake2b(repr(self.trace).encode(), digest_size=16).hexdigest()

    # ---- quiet points

    def check_quiet(self) -> None:
        """Check what must hold at a moment when nothing can run.

        Raises:
            Violation: it does not.
        """

    def _quiet(self, deadline: float) -> bool:
        self.quiet_points += 1
        if self.over:
            # Trio tidies up, and waits for a wake-up call to itself, which is no deadline.
            return self.quiet_points < 2 * QUIET_POINTS_MAX
        if self.violation is not None:
            return self._end_by_force(deadline)
        try:
            self.check_quiet()
        except Violation as violation:
            self.violated(violation)
        if deadline == math.inf:
            self.violated(Violation("nothing is due any more, and the run is not over"))
        elif self.quiet_points > QUIET_POINTS_MAX:
            self.violated(Violation(f"the run is not over after {QUIET_POINTS_MAX} quiet points"))
        return self.violation is not None

    def _end_by_force(self, deadline: float) -> bool:
        """Let a run end after its violation, and make it end where it cannot: anything may be broken now."""
        self._quiet_points_left -= 1
        if deadline < math.inf and self._quiet_points_left > 0:
            return False
        if self.main_task is None or self._quiet_points_left < -QUIET_POINTS_MAX:
            raise Stuck("the run does not end after its violation")
        force_kill(self.main_task)
        return True


def carry_out(
    run: Run,
    main: Callable[[*Arguments], Awaitable[Result]],
    *args: *Arguments,
    instruments: Sequence[trio.abc.Instrument] = (),
) -> Result | None:
    """Run `main` under trio in the time of `run`, scheduled by its seed; None if it had to be ended by force."""
    try:
        with seeded_scheduling(run.choices.seed), _Named(run.choices.seed):
            return trio.run(main, *args, clock=run.clock, instruments=instruments)
    except (Killed, BaseExceptionGroup) as error:
        # A run that does not end after its violation is ended by force, and this is how that comes out.
        if not all(isinstance(leaf, Killed) for leaf in leaves(error)):
            raise
    except trio.TrioInternalError as error:
        run.violated(Violation(f"trio broke: {error.__cause__!r}"))
    return None


@final
class _Named:
    """Adds the seed of a run to an error that comes out of it."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def __enter__(self) -> None:
        """Do nothing."""

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        if error is not None:
            error.add_note(f"This came out of the simulated run of seed {self._seed}.")
