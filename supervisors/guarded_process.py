"""A program that never runs unregistered: started behind a gate, ended with its whole process group.

`start_guarded` starts `/bin/sh`, which waits for one line on a pipe and only then becomes the program. In between,
the group is registered with the guardian. Kill this process at any moment with SIGKILL: before the registration the
gate sees the end of its pipe and exits without running the program, afterwards the guardian kills the group.

`GuardedProcess` waits for the program and ends its group; it reads no output, knows no timeouts and restarts nothing.
Who does: `supervisors.process`, for a program that is a child. POSIX only.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import final

import trio

from supervisors.guardian import Guardian, wait_exited
from supervisors.guardian_process import group_is_alive, signal_group

KILL_SECONDS_MAX = 5.0
"""How long a killed group may take to disappear; longer means sleeping uninterruptibly in the kernel."""

_GONE_POLL_SECONDS = 0.005

_GATE = 'read -r _ || exit 125; exec "$@" </dev/null'
"""The gate is standard input, because POSIX shells only redirect single-digit descriptors."""

_OPEN_GATE = 'read -r _ || exit 125; exec "$@"'
"""The same for a program that is talked to: a shell's `read` takes no byte beyond its line, the rest is its input."""


@final
class GuardedProcess:
    """A started program, the leader of its own session and process group."""

    __slots__ = ("_finished", "_guardian", "_process")

    def __init__(self, process: subprocess.Popen[bytes], guardian: Guardian) -> None:
        self._process = process
        self._guardian = guardian
        self._finished = False

    @property
    def group(self) -> int:
        """The process group, which is also the leader's process id."""
        return self._process.pid

    async def wait(self) -> None:
        """Wait until the leader has exited; cancelling this changes nothing about it."""
        await wait_exited(self._process)

    def signal_group(self, number: signal.Signals) -> bool:
        """Send a signal to every process of the group; say whether there was one."""
        # After the end the number may belong to others.
        return not self._finished and signal_group(self.group, number)

    async def terminate(self, grace_seconds: float) -> bool:
        """Ask the group to stop (SIGTERM), wait at most `grace_seconds` for its leader, and say whether it did."""
        self.signal_group(signal.SIGTERM)
        # A stopped process would sleep through its own end.
        self.signal_group(signal.SIGCONT)
        with trio.move_on_after(grace_seconds) as grace:
            await self.wait()
        return not grace.cancelled_caught

    async def finish(self) -> int | None:
        """Kill what is left of the group, collect the leader, and unregister: the one way in which it ends.

        Not interrupted by cancellation; takes at most `KILL_SECONDS_MAX`.

        Returns:
            The leader's status as `subprocess` has it (negative: killed by that signal), or None if the group
            cannot be killed; it then stays registered, and the guardian tries again at its own end.
        """
        with trio.CancelScope(shield=True), trio.move_on_after(KILL_SECONDS_MAX):
            if self._finished:
                return self._process.returncode
            # The leader is not collected yet, so the number is still its own.
            self.signal_group(signal.SIGKILL)
            await self.wait()
            # Collected first: a group without a zombie leader is gone for `killpg`, without a look through /proc.
            self._process.poll()
            while group_is_alive(self.group):
                self.signal_group(signal.SIGKILL)
                await trio.sleep(_GONE_POLL_SECONDS)
            self._finished = True
            self._guardian.unregister(self.group)
        return self._process.returncode if self._finished else None


def start_guarded(
    guardian: Guardian,
    argv: Sequence[str],
    *,
    directory: Path,
    environment: Mapping[str, str],
    output: int,
    errors: int | None = None,
    inherited: Sequence[int] = (),
    input_pipe: tuple[int, int] | None = None,
) -> GuardedProcess:
    """Start a program in a group of its own, registered with the guardian before its first instruction.

    Takes about a millisecond and has no checkpoint, so nothing can be cancelled half-way. Call it from the main
    thread; the caller ends what it gets with `finish()`.

    Args:
        guardian: who kills the group if this process dies.
        argv: the program, best as a path (the shell behind the gate would look up a bare name), and its arguments.
        directory: the working directory.
        environment: the whole environment. (The shell behind the gate adds PWD, and some drop names that no shell
            variable can have.)
        output: a descriptor for standard output and, unless `errors` is given, standard error; standard input is empty
            unless `input_pipe` is given.
        errors: a descriptor for standard error alone.
        inherited: further descriptors that the program gets, under the same numbers.
        input_pipe: both ends of a new pipe to be its standard input. The reading end is closed here whatever happens;
            the writing end stays the caller's, who must not have written to it yet.

    Raises:
        OSError: the system cannot start it: directory, memory, process limit, argument size.
        ValueError: an argument or the environment holds a NUL character.
        GuardianError: it could not be registered; it has not run.
    """
    gate, our_end = os.pipe() if input_pipe is None else (input_pipe[0], os.dup(input_pipe[1]))
    try:
        process = subprocess.Popen(
            ["/bin/sh", "-c", _GATE if input_pipe is None else _OPEN_GATE, "sh", *argv],
            stdin=gate,
            stdout=output,
            stderr=output if errors is None else errors,
            cwd=directory,
            env=environment,
            start_new_session=True,
            pass_fds=inherited,
        )
    except BaseException:
        os.close(our_end)
        raise
    finally:
        os.close(gate)
    registered = False
    try:
        guardian.register(process.pid)
        registered = True
        # Killed by somebody while it waited: its status will say so.
        with contextlib.suppress(BrokenPipeError):
            os.write(our_end, b"\n")
    finally:
        os.close(our_end)
        if not registered:
            # The gate has just been shut, and the shell behind it exits by itself, unless its caller holds it open.
            process.kill()
            process.wait()
    return GuardedProcess(process, guardian)
