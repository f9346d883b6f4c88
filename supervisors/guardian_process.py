"""The guardian's own process: it outlives its supervising process and kills what that one left behind.

Run as a script (`python -I -S guardian_process.py`) it reads `+GROUP` and `-GROUP` lines from its standard input.
The end of that pipe means that the supervising process closed it or died, even by SIGKILL: every group still
registered gets SIGKILL, and the script exits once they are gone. It imports a handful of standard modules and no
trio, so that it starts in milliseconds and has nothing that could fail later. The lock file that its parent may hand
it is simply an inherited descriptor: the lock lasts as long as this process does.

It is not a supervisor: it starts nothing and restarts nothing. `guardian.py` starts it and writes the lines.
POSIX only. A process that left its group (`setsid`, `setpgid`) is beyond its reach.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time

GONE_SECONDS_MAX = 30.0
"""How long the script waits for killed groups to disappear; longer means sleeping uninterruptibly in the kernel."""

POLL_SECONDS = 0.005
"""Pause between two looks at a group that is going away."""

_PROC = "/proc"
_GROUP_FIELD = 2
"""Position of the process group in `/proc/PID/stat` after the command name: state, parent, group."""
_STATES_OF_THE_DEAD = frozenset({"Z", "X"})


def groups_at_the_end(pipe: int) -> set[int]:
    """Read registrations until the pipe ends; return the groups that are still registered then."""
    groups: set[int] = set()
    rest = b""
    while chunk := os.read(pipe, 65536):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            _apply(line, groups)
    # A last line without its newline was cut short; half a number is somebody else's group.
    return groups


def kill_until_gone(groups: set[int], seconds: float) -> set[int]:
    """Send SIGKILL to every group until all are gone, for at most `seconds`; return those that are still there."""
    deadline = time.monotonic() + seconds
    left = set(groups)
    while True:
        for group in left:
            signal_group(group, signal.SIGKILL)
        left = {group for group in left if group_is_alive(group)}
        if not left or time.monotonic() >= deadline:
            return left
        time.sleep(POLL_SECONDS)


def signal_group(group: int, number: signal.Signals) -> bool:
    """Send a signal to a process group; say whether there was one to take it."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        # macOS answers EPERM for a group of zombies; elsewhere it is a program that took another user's rights.
        return False
    return True


def group_is_alive(group: int) -> bool:
    """Say whether any process of the group can still run; zombies cannot, however long nobody collects them."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return _proc_is_ours() and _has_running_member(group)
    # The kernel counts zombies as members, and a container whose first process collects nothing keeps them for ever.
    return not _proc_is_ours() or _has_running_member(group)


def _apply(line: bytes, groups: set[int]) -> None:
    sign, number = line[:1], line[1:]
    # Group 0 would be the guardian itself and group 1 the first process: neither is ever a command.
    if not number.isdigit() or int(number) <= 1:
        return
    if sign == b"+":
        groups.add(int(number))
    elif sign == b"-":
        groups.discard(int(number))


def _proc_is_ours() -> bool:
    """Say whether /proc is there and shows the process numbers that we see (it may belong to another namespace)."""
    try:
        return os.readlink(f"{_PROC}/self") == str(os.getpid())  # noqa: PTH115 - pathlib costs 10 ms of start
    except OSError:
        return False


def _has_running_member(group: int) -> bool:
    for name in os.listdir(_PROC):  # noqa: PTH208 - as above
        if not name.isdigit():
            continue
        # A process that ended since the listing has no file any more; that is an answer too.
        with contextlib.suppress(OSError):
            descriptor = os.open(f"{_PROC}/{name}/stat", os.O_RDONLY)
            try:
                stat = os.read(descriptor, 1024).decode("latin-1")
            finally:
                os.close(descriptor)
            # The command name is in parentheses and may itself hold spaces and parentheses.
            fields = stat.rpartition(")")[2].split()
            if fields[_GROUP_FIELD] == str(group) and fields[0] not in _STATES_OF_THE_DEAD:
                return True
    return False


def main(pipe: int = 0, ready: int = 1) -> int:
    """Say that it is ready, guard until `pipe` ends; return 0 when every group is gone, 1 when one would not go."""
    # Its own session already keeps the terminal's signals away; this keeps away those sent to everything at once.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    with contextlib.suppress(OSError):
        os.write(ready, b"ready\n")
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, ready)
    os.close(null)
    left = kill_until_gone(groups_at_the_end(pipe), GONE_SECONDS_MAX)
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main())
