"""Run one command to its end, whatever that end is: as work, as a gate or as a condition.

A command is an argument list in a group of its own, under the guardian, with an explicit directory and environment,
no standard input and no terminal. Its output goes to a sink as it comes, never into memory and never to the store.
When `run_command` is over, so is every process of the group: background children do not outlive the command.
How a program is started and its group ended is in `supervisors/guarded_process.py`; which program is meant, in
`programs.py`. A process that starts a session of its own (a daemon) escapes, as from any process group.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import final

import trio

from supervisors.guarded_process import GuardedProcess, start_guarded
from supervisors.guardian import Guardian
from vespera_agents.capabilities.programs import CannotRun, check_directory, find_program
from vespera_agents.work.models import CommandLine

TIMEOUT_GRACE_SECONDS = 2.0
"""From SIGTERM to SIGKILL when the time is up."""

CANCEL_GRACE_SECONDS = 0.5
"""From SIGTERM to SIGKILL when the caller is cancelled: someone is waiting at the terminal."""

DRAIN_SECONDS = 0.5
"""How long the output is read on after the command's exit, when something in the background holds it open."""

_CHUNK_BYTES = 65_536


@final
@dataclass(frozen=True, slots=True)
class CommandOutcome:
    """How a command ended; exactly one of `exit_status`, `signal_name` and `problem` is set."""

    exit_status: int | None
    """What the command returned, if it came to that."""
    signal_name: str | None
    """The signal that killed it, as SIGKILL."""
    duration_seconds: float
    """From its start to its exit."""
    timed_out: bool
    """Whether it was stopped because its time was up (whatever it returned then)."""
    output_bytes: int
    """Bytes given to the sink."""
    output_dropped_bytes: int
    """Bytes beyond the limit: read and thrown away."""
    problem: str | None = None
    """Why it did not run, or could not be ended, and what to do."""
    timeout_seconds: float | None = None
    """The limit that it had."""

    @property
    def succeeded(self) -> bool:
        """Whether it returned 0 in time."""
        return self.exit_status == 0 and not self.timed_out

    def describe(self) -> str:
        """Say in a few words how it ended."""
        if self.problem is not None:
            return self.problem
        if self.timed_out:
            limit = self.duration_seconds if self.timeout_seconds is None else self.timeout_seconds
            return f"timed out after {limit:.6g} s"
        if self.signal_name is not None:
            return f"killed by {self.signal_name} after {self.duration_seconds:.1f} s"
        return f"exit status {self.exit_status} after {self.duration_seconds:.1f} s"


async def run_command(
    line: CommandLine,
    *,
    directory: Path,
    environment: Mapping[str, str],
    guardian: Guardian,
    sink: Callable[[bytes], None],
    output_bytes_max: int,
) -> CommandOutcome:
    """Run a command and say how it ended; that it failed is an outcome, not an exception.

    Out of time: SIGTERM to the group, `TIMEOUT_GRACE_SECONDS`, SIGKILL. Cancelled: the same with
    `CANCEL_GRACE_SECONDS`, then the cancellation goes on. Both are bounded. What outlives the command in its group
    is killed.

    Args:
        line: what to run, and for how long at most.
        directory: where to run it.
        environment: its whole environment, see `command_environment`.
        guardian: kills the group if this process dies.
        sink: called with each piece of standard output and standard error, in order; it must not block. If it
            raises, the command is killed and the exception goes to the caller.
        output_bytes_max: how many bytes the sink gets; the rest is read, counted and dropped.

    Raises:
        GuardianError: there is no guardian to watch over it, so it was not run.
    """
    await trio.lowlevel.checkpoint_if_cancelled()
    ours, theirs = os.pipe()
    async with trio.lowlevel.FdStream(ours) as stream:
        started_at = trio.current_time()
        try:
            process = _start(line, directory, environment, guardian, theirs)
        except CannotRun as error:
            return CommandOutcome(
                None,
                None,
                0.0,
                timed_out=False,
                output_bytes=0,
                output_dropped_bytes=0,
                problem=str(error),
                timeout_seconds=line.timeout_seconds,
            )
        finally:
            os.close(theirs)
        run = _Run(process, stream, sink, output_bytes_max, started_at)
        await run.to_its_end(line.timeout_seconds)
    return run.outcome(line.timeout_seconds)


def _start(
    line: CommandLine, directory: Path, environment: Mapping[str, str], guardian: Guardian, output: int
) -> GuardedProcess:
    name, *arguments = line.argv()
    check_directory(directory)
    program = find_program(name, directory, environment)
    try:
        return start_guarded(
            guardian, [program, *arguments], directory=directory, environment=environment, output=output
        )
    except (OSError, ValueError) as error:
        raise CannotRun(f"{name} could not be started: {error}") from error


@final
class _Run:
    """One running command: its process, its output, and what is known of its end."""

    __slots__ = (
        "_drained",
        "_dropped",
        "_duration_seconds",
        "_process",
        "_room",
        "_sink",
        "_started_at",
        "_status",
        "_stream",
        "_taken",
        "_timed_out",
    )

    def __init__(
        self,
        process: GuardedProcess,
        stream: trio.lowlevel.FdStream,
        sink: Callable[[bytes], None],
        output_bytes_max: int,
        started_at: float,
    ) -> None:
        self._process = process
        self._stream = stream
        self._sink = sink
        self._room = output_bytes_max
        self._started_at = started_at
        self._drained = trio.Event()
        self._timed_out = False
        self._duration_seconds: float | None = None
        self._status: int | None = None
        self._taken = 0
        self._dropped = 0

    async def to_its_end(self, timeout_seconds: float) -> None:
        """Wait for the command, read its output, and leave no process of its group."""
        try:
            async with trio.open_nursery() as nursery:
                # Shielded: while a cancelled command is ended, its last words are still read.
                pump_scope = trio.CancelScope(shield=True)
                nursery.start_soon(self._pump, pump_scope)
                grace_seconds = CANCEL_GRACE_SECONDS
                try:
                    await self._wait(timeout_seconds)
                    grace_seconds = 0.0
                finally:
                    with trio.CancelScope(shield=True):
                        await self._end(grace_seconds)
                    pump_scope.cancel()
        except BaseExceptionGroup as group:
            raise _the_one_that_matters(group) from None

    def outcome(self, timeout_seconds: float) -> CommandOutcome:
        """Return how it ended."""
        status, problem = self._status, None
        if status is None:
            problem = (
                f"process group {self._process.group} cannot be killed: it sleeps in the kernel, "
                f"usually on a dead network file system; look at it with ps"
            )
        return CommandOutcome(
            exit_status=status if status is not None and status >= 0 else None,
            signal_name=_signal_name(-status) if status is not None and status < 0 else None,
            duration_seconds=self._duration_seconds or 0.0,
            timed_out=self._timed_out,
            output_bytes=self._taken,
            output_dropped_bytes=self._dropped,
            problem=problem,
            timeout_seconds=timeout_seconds,
        )

    async def _wait(self, timeout_seconds: float) -> None:
        """Wait for the command's own end, at most as long as it may take."""
        exited = True
        with trio.move_on_after(timeout_seconds) as limit:
            await self._process.wait()
        if limit.cancelled_caught:
            self._timed_out = True
            exited = await self._process.terminate(TIMEOUT_GRACE_SECONDS)
        if exited:
            self._stop_the_watch()
            # What it left in the background may still hold the output open: read on, but not for ever.
            with trio.move_on_after(DRAIN_SECONDS):
                await self._drained.wait()

    async def _end(self, grace_seconds: float) -> None:
        """Leave no process of the group, and read what is still in the pipe."""
        if grace_seconds > 0:
            await self._process.terminate(grace_seconds)
        self._status = await self._process.finish()
        self._stop_the_watch()
        # Every writer is dead and the end comes at once, unless one escaped into a session of its own.
        with trio.move_on_after(DRAIN_SECONDS):
            await self._drained.wait()

    async def _pump(self, scope: trio.CancelScope) -> None:
        """Hand the output to the sink until it ends or `scope` is cancelled."""
        try:
            with scope:
                while chunk := await self._stream.receive_some(_CHUNK_BYTES):
                    kept = bytes(chunk[: self._room])
                    self._room -= len(kept)
                    self._taken += len(kept)
                    self._dropped += len(chunk) - len(kept)
                    if kept:
                        self._sink(kept)
        finally:
            self._drained.set()

    def _stop_the_watch(self) -> None:
        if self._duration_seconds is None:
            self._duration_seconds = trio.current_time() - self._started_at


def _the_one_that_matters(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the sink's exception or an interrupt if there is one, else the cancellation, without the wrapping."""
    # This nursery has no nurseries inside, so what it raises is flat.
    return next((error for error in group.exceptions if not isinstance(error, trio.Cancelled)), group.exceptions[0])


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        # Real-time signals between the first and the last have no names.
        return f"signal {number}"
