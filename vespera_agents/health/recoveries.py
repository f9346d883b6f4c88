"""Carrying recoveries out: each a child of the health branch, with a deadline, written down, and told in the verdict.

    reasons ── `Attempts` says what is due ── a temporary child ── restart, or open a breaker

The supervisor reports its start and its end; one that fails is not restarted, but tried again when `Attempts` says so.
One runs at a time. A breaker stays open only for as long as somebody goes on saying so. What was stopped and not
started again in time is started by the next examination that finds it down. Neighbours: `recovering` says when,
`model` asks at each examination.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, final

import trio

from supervisors import AnySupervisor, ChildSpec, ChildState, Restart, Supervisor, SupervisorError, SupervisorState
from vespera_agents.health.checks import Grade, Reason
from vespera_agents.health.errors import RecoveryFailed
from vespera_agents.health.recovering import Attempts, Recovery, RecoveryAction
from vespera_agents.logs.events import log_event
from vespera_agents.specialists.admission import EVERYTHING, Admission
from vespera_agents.specialists.runtime import Runtime
from vespera_agents.store import StoreError
from vespera_agents.workspace import WorkspaceError

__all__ = ["Recoveries", "RecoveryNote"]

NOTES_MAX: Final = 32
_BREAKER_EXAMINATIONS: Final = 6
"""For how many periods of examination a breaker stays open if nobody says that it shall."""
_STOP_SECONDS: Final = 1.0
_START_SECONDS: Final = 1.0
"""How long an examination waits for what it starts again; that goes on without being waited for."""
_BETWEEN: Final = " > "

log = logging.getLogger("vespera_agents.health")


@final
@dataclass(slots=True)
class RecoveryNote:
    """What was done once, and what became of it."""

    at: float
    """When it began, in seconds since the epoch."""
    what: str
    """The action, and on what."""
    because: str
    """The reason: its component, and what is wrong with it."""
    outcome: str = "under way"
    """`under way`, `done`, `undone`, or why it failed."""
    seconds: float = 0.0
    """How long it took."""

    def __str__(self) -> str:
        return f"{self.what}, because {self.because}: {self.outcome}"


@final
@dataclass(slots=True)
class _Stopped:
    """A part of the tree that was stopped in order to be started again, until it runs."""

    supervisor: Supervisor
    child: str
    starts_left: int


@final
class Recoveries:
    """Everything that is declared to be done, and was done."""

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        """Have nothing to do; `clock` gives wall-clock seconds since the epoch."""
        self._clock = clock
        self._attempts: list[Attempts] = []
        self._notes: deque[RecoveryNote] = deque(maxlen=NOTES_MAX)
        self._stopped: list[_Stopped] = []
        self._busy = False
        self._number = 0

    @property
    def notes(self) -> tuple[RecoveryNote, ...]:
        """What was done lately, the newest last."""
        return tuple(self._notes.copy())

    def declare(self, recoveries: Sequence[Recovery]) -> None:
        """Take what is declared now; of what was declared before and stays, what was tried goes on counting."""
        known = {one.recovery: one for one in self._attempts}
        self._attempts = [known.get(one) or Attempts(one) for one in recoveries]

    def reasons(self) -> Iterator[Reason]:
        """Tell what is in force, what has given up, and what was stopped and does not run again."""
        now = trio.current_time()
        for stopped in self._stopped if not self._busy else ():
            what = f"it stopped {stopped.child}, which does not run again yet"
            yield Reason(Grade.UNHEALTHY, f"recovery restart {stopped.child}", what)
        for one in self._attempts:
            if one.in_force:
                why = "" if one.reason is None else f", because of {one.reason.component}"
                yield Reason(Grade.DEGRADED, f"recovery {one.recovery}", f"it is in force{why}")
            elif one.has_given_up(now):
                what = f"it was tried {one.recovery.most} times within {one.recovery.period_seconds:.0f} s in vain"
                yield Reason(Grade.DEGRADED, f"recovery {one.recovery}", f"{what}; look after it yourself")

    async def act(self, reasons: Sequence[Reason], runtime: Runtime, every_seconds: float) -> None:
        """Begin what is due, renew what is in force, and undo what is over.

        Args:
            reasons: those of this moment.
            runtime: where.
            every_seconds: when this is called again.
        """
        if not self._busy:
            await self._start_stopped()
        now = trio.current_time()
        for one in self._attempts:
            one.look(reasons, now)
            if one.is_over():
                self._undo(one, runtime.admission, "its reason has gone")
            elif one.in_force:
                _open(one, runtime.admission, every_seconds)
            elif not self._busy and one.is_due(now):
                await self._begin(one, runtime, every_seconds)

    def end(self, admission: Admission) -> None:
        """Undo what is in force: nobody looks after it any more."""
        for one in self._attempts:
            if one.in_force:
                self._undo(one, admission, "nobody examines the server any more")

    def _undo(self, attempts: Attempts, admission: Admission, why: str) -> None:
        attempts.in_force = False
        kind = _kind(attempts.recovery)
        if not any(one.in_force and _kind(one.recovery) == kind for one in self._attempts):
            admission.breaker(kind).close()
        self._notes.append(RecoveryNote(self._clock(), str(attempts.recovery), why, "undone"))
        log_event(log, logging.WARNING, "recovery undone", recovery=str(attempts.recovery), why=why)

    async def _begin(self, attempts: Attempts, runtime: Runtime, every_seconds: float) -> None:
        recovery, reason = attempts.recovery, attempts.reason
        assert reason is not None, "what is due has a reason"
        attempts.begin(trio.current_time())
        note = RecoveryNote(self._clock(), _what(recovery, reason), f"{reason.component}: {reason.what}")
        self._notes.append(note)
        self._number += 1
        if recovery.action.lasts:
            action = partial(_in_force, attempts, runtime.admission, every_seconds)
        elif recovery.action is RecoveryAction.REOPEN:
            action = partial(_reopen, runtime, reason.name)
        else:
            # What is to blame may have any name, also one that looks like a place in the tree.
            place = ("", reason.name) if recovery.target is None else _place(recovery.target)
            action = partial(self._restart, runtime.root, place, recovery.most)
        begun = trio.Event()
        run = partial(self._run, attempts, note, action, begun)
        log_event(log, logging.WARNING, "recovery begins", recovery=note.what, because=note.because)
        spec = ChildSpec(
            f"recovery {self._number}: {note.what}", run, restart=Restart.TEMPORARY, shutdown_seconds=_STOP_SECONDS
        )
        self._busy = True
        try:
            health = runtime.root.child_value("health")
            assert isinstance(health, Supervisor), "who examines lives below it"
            await health.start_child(spec)
        except SupervisorError as error:
            # It ends, and we with it.
            begun.set()
            self._end(note, f"failed: {error}")
        finally:
            if not begun.is_set():
                # Whoever asked for the examination has gone, and with it the start that it waited for.
                self._end(note, "failed: it was called off before it began")

    async def _run(
        self,
        attempts: Attempts,
        note: RecoveryNote,
        action: Callable[[], Awaitable[None]],
        begun: trio.Event,
        *,
        task_status: trio.TaskStatus[None],
    ) -> None:
        """Do it: the child.

        Raises:
            RecoveryFailed: it could not be done in time, or not at all; the supervisor reports it.
        """
        task_status.started()
        begun.set()
        began = trio.current_time()
        seconds = attempts.recovery.deadline_seconds
        outcome = "failed: it was stopped"
        try:
            with trio.move_on_after(seconds) as patience:
                await action()
                outcome = "done"
            if patience.cancelled_caught:
                outcome = f"failed: it was not done within {seconds:g} s"
        except (SupervisorError, RecoveryFailed, WorkspaceError, StoreError) as error:
            outcome = f"failed: {error}"
        finally:
            note.seconds = trio.current_time() - began
            self._end(note, outcome)
        if outcome != "done":
            raise RecoveryFailed(f"{note.what}: {outcome}")

    async def _restart(self, root: AnySupervisor, place: tuple[str, str], most: int) -> None:
        """Stop a part of the tree in order, and start it again; a temporary one starts with the next call of it.

        Raises:
            RecoveryFailed: there is no such part, or there are several.
            SupervisorError: it does not start again.
        """
        found = list(_found(root, *place))
        if len(found) != 1:
            how = "no part" if not found else f"{len(found)} parts"
            raise RecoveryFailed(
                f"{how} of the tree have the name {place[1]!r}. `vespera tree` shows the names; write "
                f"PARENT{_BETWEEN}CHILD where several have the same"
            )
        supervisor, child = found[0]
        if supervisor.get_childspec(child).restart is Restart.TEMPORARY or not isinstance(supervisor, Supervisor):
            await supervisor.terminate_child(child)
            return
        # Written down first: our time may be up before it has ended, or before it runs again.
        stopped = _Stopped(supervisor, child, most)
        self._stopped = [one for one in self._stopped if (one.supervisor, one.child) != (supervisor, child)]
        self._stopped.append(stopped)
        await supervisor.terminate_child(child)
        await supervisor.restart_child(child)
        self._stopped.remove(stopped)

    async def _start_stopped(self) -> None:
        """Start what an earlier recovery stopped and had no time to start, as often as it may be tried."""
        for one in tuple(self._stopped):
            state = None
            with suppress(SupervisorError):
                state = one.supervisor.which_child(one.child).state
            if state is ChildState.RUNNING or state is None or one.supervisor.state is SupervisorState.STOPPED:
                self._stopped.remove(one)
            elif state is ChildState.DOWN and one.starts_left:
                one.starts_left -= 1
                with suppress(SupervisorError), trio.move_on_after(_START_SECONDS):
                    await one.supervisor.restart_child(one.child)
                    self._stopped.remove(one)

    def _end(self, note: RecoveryNote, outcome: str) -> None:
        self._busy = False
        note.outcome = outcome
        level = logging.WARNING if outcome == "done" else logging.ERROR
        seconds = round(note.seconds, 3)
        log_event(log, level, "recovery ended", recovery=note.what, outcome=outcome, seconds=seconds)


def _what(recovery: Recovery, reason: Reason) -> str:
    if recovery.target is None and not recovery.action.lasts:
        return f"{recovery.action} {reason.name}"
    return str(recovery)


def _kind(recovery: Recovery) -> str:
    return EVERYTHING if recovery.target is None else recovery.target


def _open(attempts: Attempts, admission: Admission, every_seconds: float) -> None:
    recovery, reason = attempts.recovery, attempts.reason
    why = "it is not well" if reason is None else f"{reason.kind} is {reason.grade}"
    admission.breaker(_kind(recovery)).open(why, _BREAKER_EXAMINATIONS * every_seconds, max(1.0, recovery.for_seconds))


async def _in_force(attempts: Attempts, admission: Admission, every_seconds: float) -> None:
    await trio.lowlevel.checkpoint()
    _open(attempts, admission, every_seconds)
    attempts.in_force = True


async def _reopen(runtime: Runtime, directory: str) -> None:
    """Open a workspace as the next call would.

    Raises:
        RecoveryFailed: its database is another one now, which whoever calls it next must learn.
        WorkspaceError, StoreError: it cannot be opened.
    """
    opened = runtime.workspaces.get(Path(directory))
    if opened is None or not opened.store.holds_its_file():
        raise RecoveryFailed("it has another database now. Call it once: the answer says so, and it is open again")
    await runtime.workspace(directory)


def _place(target: str) -> tuple[str, str]:
    """Read the name of a supervisor, empty for any, and of its child."""
    parent, _, name = target.rpartition(_BETWEEN)
    return parent, name


def _found(root: AnySupervisor, parent: str, name: str) -> Iterator[tuple[AnySupervisor, str]]:
    """Find children by name, or by that of their supervisor's; nothing of the health branch, which we belong to."""
    waiting = [root]
    while waiting:
        supervisor = waiting.pop()
        for child in supervisor.which_children():
            below = child.value if isinstance(child.value, AnySupervisor) else None
            if child.id == "health" and supervisor is root:
                continue
            if name in {child.id, None if below is None else below.name} and parent in {"", supervisor.name}:
                yield supervisor, child.id
            if below is not None:
                waiting.append(below)
