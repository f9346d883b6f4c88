"""One guardian process per supervising process: no command outlives the process that started it.

The supervising process tells its guardian which process groups it has started. When it ends, however it ends, the
pipe between the two ends with it, and the guardian kills those groups. A lock file, if there is one, stays locked
until that is done, so that a later process can wait until the commands of a dead run are really gone.

This is the supervising side. What the guardian does is in `guardian_process.py`; how a program is started so that
it never runs unregistered is in `guarded_process.py`. POSIX only.

Limits. A process that starts a session of its own (a daemon) escapes. A supervising process that forks without exec
(`os.fork`, multiprocessing's fork) hands its end of the pipe to the copy: open the guardian after such a fork.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import final

import trio

from supervisors import guardian_process
from supervisors.errors import SupervisorError

READY_SECONDS_MAX = 10.0
"""How long a new guardian may take to say that it is ready; it takes about 15 ms."""

CLOSE_SECONDS_MAX = 10.0
"""How long closing waits for the guardian to kill what is left and to exit."""

_LOCK_POLL_SECONDS = 0.02


@final
class GuardianError(SupervisorError):
    """The guardian cannot guard: it did not start, died and could not be replaced, or its lock file is taken."""


@final
@dataclass(frozen=True, slots=True)
class GuardianStatistics:
    """What a guardian knows at one moment."""

    pid: int
    """Process id of the guardian."""
    groups: int
    """Process groups registered now."""
    registered: int
    """Process groups registered since it was opened."""
    replacements: int
    """How often a dead guardian was replaced."""


@final
class Guardian:
    """The supervising process's end of its guardian; made by `open_guardian`, used from the trio thread only."""

    __slots__ = ("_closed", "_groups", "_lock", "_pipe", "_process", "_registered", "_replacements")

    def __init__(self, process: subprocess.Popen[bytes], pipe: int, lock: int | None) -> None:
        self._process = process
        self._pipe = pipe
        self._lock = lock
        self._groups: set[int] = set()
        self._registered = 0
        self._replacements = 0
        self._closed = False

    def register(self, group: int) -> None:
        """Promise that `group` dies with this process; the promise holds as soon as this returns.

        A guardian that was killed is noticed here, and replaced by one that knows every group of the old one.

        Raises:
            GuardianError: the guardian is closed, does not read, or could not be replaced. Start nothing then.
        """
        if self._closed:
            raise GuardianError("the guardian is closed: start commands only inside `async with open_guardian(...)`")
        if group <= 1:
            raise ValueError(f"{group} is no process group of a command")
        self._groups.add(group)
        self._registered += 1
        try:
            if not self._tell(b"+%d\n" % group):
                self._replace()
        except GuardianError:
            self._groups.discard(group)
            raise

    def unregister(self, group: int) -> None:
        """Say that every process of `group` is gone, so that its number may be given to others."""
        self._groups.discard(group)
        if not self._closed:
            # A dead guardian is replaced at the next registration, which tells the new one only what is left.
            self._tell(b"-%d\n" % group)

    def statistics(self) -> GuardianStatistics:
        """Return what it guards now, and how often it had to be replaced."""
        return GuardianStatistics(self._process.pid, len(self._groups), self._registered, self._replacements)

    async def close(self) -> None:
        """Let the guardian kill the groups that are left and exit; wait for that, bounded, also when cancelled."""
        if self._closed:
            return
        self._closed = True
        os.close(self._pipe)
        with trio.CancelScope(shield=True):
            with trio.move_on_after(CLOSE_SECONDS_MAX):
                await wait_exited(self._process)
            _end(self._process)

    def _tell(self, line: bytes) -> bool:
        """Write one line (atomic: far below PIPE_BUF); say whether there is a guardian to read it."""
        try:
            os.write(self._pipe, line)
        except BrokenPipeError:
            return False
        except BlockingIOError:
            raise GuardianError(
                f"the guardian (process {self._process.pid}) does not read its pipe: kill it, and the next command "
                f"starts another"
            ) from None
        return True

    def _replace(self) -> None:
        process, pipe = _spawn(self._lock, ready=subprocess.DEVNULL)
        os.close(self._pipe)
        # Its end of the pipe is closed, so the old one is dying: this waits microseconds, and leaves no zombie.
        _end(self._process)
        self._process, self._pipe = process, pipe
        self._replacements += 1
        for group in sorted(self._groups):
            if not self._tell(b"+%d\n" % group):
                raise GuardianError(f"the guardian died and so did its replacement: try {_by_hand()}")


@asynccontextmanager
async def open_guardian(
    lock_path: Path | None, *, lock_timeout_seconds: float = 10.0
) -> AsyncGenerator[Guardian, None]:
    """Start a guardian for this process; at the end of the block, kill every group that is still registered.

    Args:
        lock_path: a file that stays locked until this process *and* what it registered are gone; made if missing,
            never removed. None: no lock.
        lock_timeout_seconds: how long to wait for a lock that another run still holds.

    Raises:
        GuardianError: the guardian did not start, or the lock is held for longer.
    """
    lock = None if lock_path is None else await _locked(lock_path, lock_timeout_seconds)
    try:
        if lock is not None:
            os.ftruncate(lock, 0)
            os.pwrite(lock, b"%d\n" % os.getpid(), 0)
        guardian = await _started(lock)
        try:
            yield guardian
        finally:
            await guardian.close()
    finally:
        # Held on this side too, so that the lock is never free while a killed guardian is being replaced.
        if lock is not None:
            os.close(lock)


@final
class LateGuardian:
    """A guardian that is started when somebody first needs it; made by `open_guardian_late`."""

    __slots__ = ("_lock_path", "_opened", "_started", "_starting")

    def __init__(self, lock_path: Path | None) -> None:
        self._lock_path = lock_path
        self._opened = AsyncExitStack()
        self._starting = trio.Lock()
        self._started: Guardian | None = None

    async def guardian(self) -> Guardian:
        """Give the guardian, started if it does not run yet.

        Raises:
            GuardianError: as `open_guardian`.
        """
        async with self._starting:
            if self._started is None:
                self._started = await self._opened.enter_async_context(open_guardian(self._lock_path))
            return self._started

    def statistics(self) -> GuardianStatistics | None:
        """Return what it guards now; None while nobody needed it."""
        return None if self._started is None else self._started.statistics()

    async def close(self) -> None:
        """Close the guardian if it was started; what needs it afterwards fails."""
        await self._opened.aclose()


@asynccontextmanager
async def open_guardian_late(lock_path: Path | None) -> AsyncGenerator[LateGuardian, None]:
    """Start a guardian with the first command of the block, not before: many a block has none."""
    late = LateGuardian(lock_path)
    try:
        yield late
    finally:
        await late.close()


async def wait_until_released(lock_path: Path, timeout_seconds: float) -> None:
    """Wait until no run holds `lock_path`: the run is dead and so is every command that it had registered.

    Returns at once when the file does not exist.

    Raises:
        GuardianError: it is still held after `timeout_seconds`.
    """
    if not lock_path.exists():  # noqa: ASYNC240 - one look at a local file
        return
    os.close(await _locked(lock_path, timeout_seconds))


async def wait_exited(process: subprocess.Popen[bytes]) -> None:
    """Wait until the process has exited; where the system allows, it stays uncollected and so keeps its number."""
    try:
        descriptor = os.pidfd_open(process.pid)
    except (AttributeError, OSError):
        # No pidfd here (macOS, an old kernel): look, and look less often the longer it lasts.
        pause_seconds = 0.001
        while process.poll() is None:
            await trio.sleep(pause_seconds)
            pause_seconds = min(pause_seconds * 2, 0.05)
        return
    try:
        await trio.lowlevel.wait_readable(descriptor)
    finally:
        os.close(descriptor)


async def _started(lock: int | None) -> Guardian:
    """Start a guardian and wait until it says that it is ready, so that a broken one is found before it is needed."""
    ready, their_end = os.pipe()
    try:
        process, pipe = _spawn(lock, ready=their_end)
    except GuardianError:
        os.close(ready)
        raise
    finally:
        os.close(their_end)
    answer = b""
    try:
        async with trio.lowlevel.FdStream(ready) as stream:
            with trio.move_on_after(READY_SECONDS_MAX):
                answer = await stream.receive_some(16)
    finally:
        if not answer:
            os.close(pipe)
            _end(process)
    if not answer:
        raise GuardianError(f"the guardian ended before it was ready (status {process.returncode}): try {_by_hand()}")
    return Guardian(process, pipe, lock)


def _spawn(lock: int | None, *, ready: int) -> tuple[subprocess.Popen[bytes], int]:
    """Start the script; return it and the write end of its pipe, which no later child inherits."""
    their_end, our_end = os.pipe()
    try:
        os.set_blocking(our_end, False)
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", guardian_process.__file__],
            stdin=their_end,
            stdout=ready,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
            pass_fds=() if lock is None else (lock,),
        )
    except OSError as error:
        os.close(our_end)
        raise GuardianError(f"the guardian did not start ({error}): try {_by_hand()}") from error
    finally:
        os.close(their_end)
    return process, our_end


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill and collect a guardian that has exited or must; this waits microseconds."""
    process.kill()
    process.wait()


async def _locked(path: Path, timeout_seconds: float) -> int:
    """Return an open descriptor that holds the lock on `path`."""
    try:
        lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise GuardianError(f"the lock file {path} cannot be opened ({error}): make its directory first") from error
    try:
        await _wait_for_lock(lock, path, timeout_seconds)
    except BaseException:
        os.close(lock)
        raise
    return lock


async def _wait_for_lock(lock: int, path: Path, timeout_seconds: float) -> None:
    give_up_at = trio.current_time() + timeout_seconds
    while not _try_lock(lock, path):
        if trio.current_time() >= give_up_at:
            raise GuardianError(_still_held(lock, path, timeout_seconds))
        await trio.sleep(_LOCK_POLL_SECONDS)


def _try_lock(lock: int, path: Path) -> bool:
    # flock and not lockf: it belongs to the open file, so the guardian inherits it and no other close ends it.
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise GuardianError(f"{path} cannot be locked ({error}): put it on a local file system") from error
    return True


def _still_held(lock: int, path: Path, timeout_seconds: float) -> str:
    holder = os.pread(lock, 32, 0).decode("ascii", "replace").strip() or "unknown"
    return (
        f"{path} is still locked after {timeout_seconds:g} s: process {holder} runs, or commands that it started "
        f"are being killed. Stop that process, or wait longer."
    )


def _by_hand() -> str:
    return f"`{sys.executable} -I -S {guardian_process.__file__} </dev/null` by hand"
