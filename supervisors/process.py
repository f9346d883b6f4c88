"""An OS process as a child: a ready handshake, its output by the line, its exit status as a normal end or a crash.

`process_spec` makes the `ChildSpec`; from there on the rules are those of any child: restart types, intensity, backoff,
groups. Stopping it is SIGTERM to its process group, and SIGKILL to what is left of the group after its time. Nothing of
it outlives its supervisor: the group is registered with the guardian before the program's first instruction
(`supervisors.guarded_process`), and the guardian kills it when this process dies, also by SIGKILL. POSIX only.

It is not a shell, and it feeds no input. A program that starts a session of its own is beyond its reach.
"""

from __future__ import annotations

import enum
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final, Self, final

import trio

from supervisors.backoff import Backoff
from supervisors.errors import SpecError, SupervisorError
from supervisors.guarded_process import KILL_SECONDS_MAX, GuardedProcess, start_guarded
from supervisors.guardian import Guardian
from supervisors.specs import ChildSpec, Restart, is_seconds
from supervisors.trees import Detail

LINE_BYTES_MAX: Final = 65_536
"""A longer line is handed over in pieces of this size, so that a program without newlines fills no memory."""
READY_VARIABLE: Final = "READY_DESCRIPTOR"
"""The environment variable that tells a program with `Ready.DESCRIPTOR` which descriptor to write its line to."""
DRAIN_SECONDS_MAX: Final = 1.0
"""How long output is still read after the group is dead: only a process that left the group can hold the pipe open."""
LATE_SECONDS: Final = 2 * KILL_SECONDS_MAX + DRAIN_SECONDS_MAX
"""What the child's own stop may take beyond its `shutdown_seconds`, before its supervisor resorts to force."""

OnLine = Callable[[bytes], None]
"""Takes one line of output without its newline; called in the event loop, so it must be quick. What it raises is a
crash of the child."""


def drop(line: bytes) -> None:
    """Take a line of output and do nothing with it."""


class Ready(enum.StrEnum):
    """When a program counts as started."""

    AT_ONCE = "at_once"
    """As soon as it runs."""
    LINE = "line"
    """When it writes a line to standard output, one that begins with `ready_prefix`."""
    DESCRIPTOR = "descriptor"
    """When it writes a line to the descriptor whose number is in READY_DESCRIPTOR, so that its output stays its own.
    (A shell writes to `/dev/fd/$READY_DESCRIPTOR`: most cannot redirect to a number of two digits.)"""


@final
class ProcessFailed(SupervisorError):
    """A program ended with a status that means failure, or before it was ready: a crash, or a failed start."""

    def __init__(self, program: str, status: int | None, *, ready: bool) -> None:
        super().__init__(f"{program} {_ending(status)}{'' if ready else ' before it was ready'}")
        self.program = program
        """What ran."""
        self.status = status
        """Its exit status; negative is the number of the signal that killed it, None that it could not be killed."""
        self.ready = ready
        """Whether it had become ready."""


@final
@dataclass(frozen=True, slots=True)
class ProcessChild:
    """What a process child is known by while it runs: the value of its `started()`."""

    argv: tuple[str, ...]
    """The program and its arguments."""
    pid: int
    """Its process id, which is also its process group."""
    greeting: bytes
    """The line by which it said that it is ready; empty for Ready.AT_ONCE."""

    def tree_detail(self) -> Detail:
        """Return what the tree shows about it."""
        return {"program": Path(self.argv[0]).name, "pid": self.pid}


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What to run and how to tell its state. Raises SpecError when invalid."""

    argv: tuple[str, ...]
    """The program, best as a path, and its arguments."""
    directory: Path = field(default_factory=Path.cwd)
    """Its working directory."""
    environment: Mapping[str, str] | None = None
    """Its whole environment; None is this process's own."""
    ready: Ready = Ready.AT_ONCE
    """When it counts as started."""
    ready_prefix: bytes = b""
    """How the line begins that says so; empty takes the first line there is."""
    normal_statuses: frozenset[int] = frozenset({0})
    """The exit statuses that are a normal end; every other one, and every signal, is a crash."""
    on_stdout: OnLine = drop
    """Takes its standard output, the line that says ready included."""
    on_stderr: OnLine = drop
    """Takes its standard error."""

    def __post_init__(self) -> None:
        if not self.argv or not all(self.argv[:1]):
            raise SpecError("a program needs an argv: its path, then its arguments")
        if self.ready_prefix and self.ready is Ready.AT_ONCE:
            raise SpecError(
                f"{self.argv[0]}: ready_prefix is the beginning of a line; take Ready.LINE or Ready.DESCRIPTOR"
            )


def process_spec(
    id: str,  # noqa: A002 - the same word as in ChildSpec.
    program: Program | Sequence[str],
    *,
    guardian: Guardian,
    restart: Restart = Restart.PERMANENT,
    shutdown_seconds: float = 5.0,
    start_timeout_seconds: float = 30.0,
    significant: bool = False,
    backoff: Backoff | None = None,
) -> ChildSpec:
    """Return the spec of a program as a child; its value is a `ProcessChild`.

    Args:
        id: its name among its siblings.
        program: what to run; a plain argv counts as started at once and its output is dropped.
        guardian: who kills it if this process dies; it must stay open for as long as the supervisor runs.
        restart: when it is started again.
        shutdown_seconds: how long it may take to end after SIGTERM; then SIGKILL. 0.0 is SIGKILL at once, inf waits.
        start_timeout_seconds: how long it may take to say that it is ready.
        significant: whether its end may end the supervisor.
        backoff: how long to wait before each restart.

    Raises:
        SpecError: something of it makes no sense.
    """
    if not isinstance(program, Program):
        program = Program(argv=tuple(program))
    if not is_seconds(shutdown_seconds):
        raise SpecError(f"child {id!r}: shutdown_seconds is a number of seconds >= 0, not {shutdown_seconds!r}")
    return ChildSpec(
        id,
        _run_program,
        args=(program, guardian, shutdown_seconds),
        restart=restart,
        # The child itself counts its time and sends the signals; the supervisor's force is only for a bug in here.
        shutdown_seconds=shutdown_seconds + LATE_SECONDS,
        start_timeout_seconds=start_timeout_seconds,
        significant=significant,
        backoff=backoff,
    )


async def _run_program(
    program: Program,
    guardian: Guardian,
    shutdown_seconds: float,
    *,
    task_status: trio.TaskStatus[ProcessChild],
) -> None:
    with _Pipes(program.ready) as pipes:
        process = start_guarded(
            guardian,
            program.argv,
            directory=program.directory,
            environment=pipes.environment(program.environment),
            output=pipes.theirs[0],
            errors=pipes.theirs[1],
            inherited=pipes.theirs[2:],
        )
        pipes.close_theirs()
        status, ready = await _Conversation(program, process, shutdown_seconds, task_status).hold(pipes)
    if not ready or status not in program.normal_statuses:
        raise ProcessFailed(program.argv[0], status, ready=ready)


@final
class _Pipes:
    """The pipes between a program and us: standard output, standard error and, where it is wanted, the ready line."""

    def __init__(self, ready: Ready) -> None:
        self.ours: list[int] = []
        self.theirs: list[int] = []
        for _ in range(3 if ready is Ready.DESCRIPTOR else 2):
            our_end, their_end = os.pipe()
            self.ours.append(our_end)
            self.theirs.append(their_end)

    def environment(self, wanted: Mapping[str, str] | None) -> dict[str, str]:
        environment = dict(os.environ if wanted is None else wanted)
        for descriptor in self.theirs[2:]:
            environment[READY_VARIABLE] = str(descriptor)
        return environment

    def streams(self) -> list[trio.lowlevel.FdStream]:
        streams = [trio.lowlevel.FdStream(descriptor) for descriptor in self.ours]
        self.ours.clear()
        return streams

    def close_theirs(self) -> None:
        while self.theirs:
            os.close(self.theirs.pop())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> None:
        self.close_theirs()
        while self.ours:
            os.close(self.ours.pop())


@final
class _Conversation:
    """Everything between the start of a program and the end of its group."""

    def __init__(
        self,
        program: Program,
        process: GuardedProcess,
        shutdown_seconds: float,
        task_status: trio.TaskStatus[ProcessChild],
    ) -> None:
        self._program = program
        self._process = process
        self._shutdown_seconds = shutdown_seconds
        self._task_status = task_status
        self._ready = False
        self._readings: list[trio.CancelScope] = []

    async def hold(self, pipes: _Pipes) -> tuple[int | None, bool]:
        """Run it to its end, whoever wants that; return its status, and whether it had become ready."""
        status: int | None = None
        on_lines: list[OnLine] = [self._on_stdout, self._program.on_stderr, self._on_greeting]
        async with trio.open_nursery() as readers:
            try:
                for stream, on_line in zip(pipes.streams(), on_lines, strict=False):
                    # Shielded: what it says while it is being stopped is heard, and a full pipe must not hold it up.
                    self._readings.append(trio.CancelScope(shield=True))
                    readers.start_soon(self._read, stream, on_line, self._readings[-1])
                if self._program.ready is Ready.AT_ONCE:
                    self._on_greeting(b"")
                await self._process.wait()
            finally:
                status = await self._end()
                for reading in self._readings:
                    reading.deadline = trio.current_time() + DRAIN_SECONDS_MAX
        return status, self._ready

    async def _end(self) -> int | None:
        """Stop it unless it has ended, and end its group whatever happens."""
        try:
            with trio.CancelScope(shield=True):
                await self._process.terminate(self._shutdown_seconds)
        finally:
            # Also when this child is being stopped by force: SIGKILL is sent before anything is waited for.
            status = await self._process.finish()
        return status

    async def _read(self, stream: trio.lowlevel.FdStream, on_line: OnLine, reading: trio.CancelScope) -> None:
        rest = b""
        with reading:
            async with stream:
                async for chunk in stream:
                    *lines, rest = (rest + chunk).split(b"\n")
                    for line in lines:
                        on_line(line)
                    while len(rest) >= LINE_BYTES_MAX:
                        on_line(rest[:LINE_BYTES_MAX])
                        rest = rest[LINE_BYTES_MAX:]
        if rest:
            on_line(rest)

    def _on_stdout(self, line: bytes) -> None:
        self._program.on_stdout(line)
        if self._program.ready is Ready.LINE:
            self._on_greeting(line)

    def _on_greeting(self, line: bytes) -> None:
        if not self._ready and line.startswith(self._program.ready_prefix):
            self._ready = True
            self._task_status.started(ProcessChild(self._program.argv, self._process.group, line))


def _ending(status: int | None) -> str:
    if status is None:
        return "could not be killed; its guardian tries again at its own end"
    if status >= 0:
        return f"exited with status {status}"
    try:
        return f"was killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"was killed by signal {-status}"
